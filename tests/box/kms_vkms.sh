#!/bin/bash
# kernels: 6.12 forky
# boot: own
# timeout: 600
# Scanouts on vkms, a card that imports dma-bufs, has real vblanks and a pointer's plane, and writes back what it has
# scanned out: frames get there without a copy of ours, counted, and are what the client drew. The card is leased to the
# adapter, so that its owner can look (kms_owner.c). Pictures: target/test/kms_vkms-*.
. tests/box/lib.sh
. tests/box/kms_lib.sh

OUT=target/test/kms_vkms

one_processor
modprobe vkms enable_cursor=1 enable_overlay=1
find_vkms
output=/sys/class/drm/${node##*/}-Virtual-1

# Buffers of the driver (guest blobs).
start_owned bars --scanout 1024x768
client modetest -M virtio_gpu -s "$(connector):1024x768"
wait_for 30 shows bars bars size 1024 768 pixel .07 .2 c0c0c0 pixel .93 .2 0000c0 pixel .25 .9 ffffff
no_copy bars
state | grep -q 'imported=yes' || fail "no imported buffer on the card: $(state)"
end_client
# The source has ended: its memory is left, and the picture stays.
sleep 1
wait_for 30 scanned after pixel .07 .2 c0c0c0 pixel .93 .2 0000c0 same "$OUT-bars.png" 0
! state | grep -q 'imported=yes' || fail "the card still shows a buffer of a driver that has gone: $(state)"
# Page flips, each shown once, none copied. As many imports as buffers.
copied=$(counted bars copied_bytes)
client /tmp/card_client "$card" show 3366cc 60
wait_for 30 stopped scanned flips plain 0 0 1 1 pixel .5 .5 3366cc
many() { (($(counted bars presents) > 100)); }
wait_for 30 many
virtio-loopback-gpu ctl --name bars status --json | grep -A 3 vblanks
expect "bytes copied for page flips" "$(counted bars copied_bytes)" "$copied"
end_client
end_owned bars
! state | grep -q 'active=1' || fail "the output is not off as it was: $(state)"

# A picture without a mode of its size lies in the middle of the preferred one: (212, 134) in 1024x768.
start_owned odd --scanout 600x500
client /tmp/card_client "$card" show 8040c0
wait_for 60 scanned odd size 1024 768 pixel .1 .5 000000 pixel .9 .5 000000 pixel .5 .1 000000 pixel .5 .5 8040c0 plain .21 .18 .78 .81
picture odd "$OUT-odd.png"
scripts/lib/pixels.py "$OUT-odd.png" size 600 500 plain 0 0 1 1 pixel .5 .5 8040c0
no_copy odd
end_client
end_owned odd

# A pointer on its plane.
start_owned pointer --scanout 640x480
mkfifo /tmp/moves
/tmp/card_client "$card" cursor ff8000 100 50 <>/tmp/moves >/tmp/client.log 2>&1 &
client=$!
# Of 64x64 pixels, from its top left one on.
wait_for 60 shows pointer pointer pixel .18 .13 ff8000 pixel .25 .23 ff8000 pixel .1 .1 202020 pixel .3 .13 202020
echo "500 400" >/tmp/moves
wait_for 60 shows pointer moved pixel .18 .13 202020 pixel .25 .23 202020 pixel .8 .85 ff8000 pixel .87 .95 ff8000
echo hide >/tmp/moves
wait_for 60 shows pointer hidden plain 0 0 1 1
no_copy pointer
end_client
end_owned pointer

# Textures of OpenGL: kmscube turns. Mesa's software renderer makes them as AB24, which vkms takes from kernel 6.15 on: till
# then they are copied, and the log says so.
chgrp kvm /dev/udmabuf && chmod 660 /dev/udmabuf
start_owned gl --scanout 640x480 --render virgl
client kmscube -D "$card"
drawn() { (($(counted gl presents) > 2)); }
wait_for 120 drawn
wait_for 90 stopped scanned cube size 640 480 pixel .02 .05 7f7f7f pixel .98 .95 7f7f7f colours 200 .4 .4 .6 .6
if logged 'the plane takes no pixels of AB24' gl; then
    (($(counted gl copied_bytes) >= 640 * 480 * 4)) || fail "not copied: $(counted gl copied_bytes)"
else
    no_copy gl
fi
wait_for 30 stopped scanned turned differs "$OUT-cube.ppm" 2
end_client
end_owned gl

# A plane over what the connector shows.
plane=$(drm_info -j "$node" | python3 -c 'import json, sys
card, = json.load(sys.stdin).values()
print(next(plane["id"] for plane in card["planes"] if plane["properties"]["type"]["raw_value"] == 0))')
start_owned overlay --display "kms,plane=$plane" --scanout 400x300
client /tmp/card_client "$card" show 40c040
wait_for 30 scanned overlay size 1024 768 pixel .5 .5 40c040 pixel .1 .1 000000 pixel .9 .9 000000
no_copy overlay
end_client
end_owned overlay

# A monitor that is removed: its last picture goes when nobody draws it any more, and the next one is shown.
monitor() { virtio-loopback-gpu ctl --name removed scanout "$@"; }
is_off() { ! state | grep -q -e 'active=1' -e 'fb=[1-9]'; }
signal_is() { [[ $(counted removed signal) = "$1" ]]; }
start_owned removed --scanout 1024x768
client /tmp/card_client "$card" show c0c040 30
wait_for 30 stopped scanned monitor plain 0 0 1 1 pixel .5 .5 c0c040
end_client
wait_for 10 signal_is off
state | grep -q 'active=1' || fail "the last picture does not stay: $(state)"
monitor remove 0
wait_for 10 is_off
expect "its scanout" "$(counted removed signal)" unplugged
expect "its index" "$(monitor add 1024x768)" 0
is_off || fail "on with nothing to show: $(state)"
client /tmp/card_client "$card" show 40c0c0 30
wait_for 30 stopped scanned added plain 0 0 1 1 pixel .5 .5 40c0c0
# It is drawn, and so shown, till the client takes notice.
monitor remove 0
wait_for 30 stopped scanned drawn plain 0 0 1 1 pixel .5 .5 40c0c0
end_client
wait_for 10 is_off
end_owned removed

# Another program takes the card for a while, and the adapter neither fails nor spins.
start_owned other --share --display kms --scanout 1024x768
client /tmp/card_client "$card" show c04040 30
wait_for 30 stopped scanned other plain 0 0 1 1 pixel .5 .5 c04040
ask drop
lost() { logged 'another program has taken' other; }
wait_for 10 lost
adapter=$(virtio-loopback-gpu ctl --name other status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
ticks() { awk '{ print $14 + $15 }' "/proc/$adapter/stat"; }
before=$(ticks) updates=$(counted other updates)
sleep 3
(($(counted other updates) > updates + 10)) || fail "the client waits for a card that is lost"
(($(ticks) - before < 100)) || fail "spins: $(($(ticks) - before)) ticks in 3 s"
ask set
back() { logged 'is ours again' other; }
wait_for 10 back
wait_for 30 stopped scanned back plain 0 0 1 1 pixel .5 .5 c04040
end_client

# The display goes, and comes back.
presents() { counted other presents; }
client /tmp/card_client "$card" show 4040c0 30
wait_for 30 stopped scanned plugged plain 0 0 1 1 pixel .5 .5 4040c0
echo off >"$output/status" && echo change >"/sys/class/drm/${node##*/}/uevent"
gone() { logged 'Virtual-1: the display is gone' other; }
wait_for 10 gone
! state | grep -q 'active=1' || fail "the output is not off: $(state)"
updates=$(counted other updates)
sleep 2
(($(counted other updates) > updates + 5)) || fail "the client waits for a display that is gone"
echo on >"$output/status" && echo change >"/sys/class/drm/${node##*/}/uevent"
there() { logged 'Virtual-1: there is a display' other; }
wait_for 10 there
wait_for 30 stopped scanned replugged plain 0 0 1 1 pixel .5 .5 4040c0
# The last picture of a client that has gone comes back, too.
end_client
echo off >"$output/status" && echo change >"/sys/class/drm/${node##*/}/uevent"
wait_for 10 is_off
echo on >"$output/status" && echo change >"/sys/class/drm/${node##*/}/uevent"
wait_for 30 scanned ended plain 0 0 1 1 pixel .5 .5 4040c0
! state | grep -q 'imported=yes' || fail "the card shows a buffer of a driver that has gone: $(state)"
echo detect >"$output/status"
end_owned other

# A lease that is taken back.
start_owned leased --scanout 1024x768
client /tmp/card_client "$card" show 40c0c0 30
wait_for 30 stopped scanned leased plain 0 0 1 1 pixel .5 .5 40c0c0
ask revoke
ended() { logged 'the lease of the leased card (vkms) has ended' leased; }
wait_for 10 ended
updates=$(counted leased updates)
sleep 1
(($(counted leased updates) > updates + 3)) || fail "the client waits for a lease that has ended"
picture leased "$OUT-leased.png" && scripts/lib/pixels.py "$OUT-leased.png" plain 0 0 1 1 pixel .5 .5 40c0c0
end_client
end_owned leased

no_stuck_task
modprobe -r vkms
unload
