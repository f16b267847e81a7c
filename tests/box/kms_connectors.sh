#!/bin/bash
# kernels: forky
# boot: own
# timeout: 500
# Several connectors at once, of a vkms that configfs has given three: each shows its own picture, and one of them whose
# display comes and goes leaves the others alone, leaks nothing and ends up right. Pictures: target/test/kms_connectors-*.
. tests/box/lib.sh
. tests/box/kms_lib.sh

OUT=target/test/kms_connectors
COUNT=3
CYCLES=50

# A card of vkms with COUNT connectors, each with a CRTC, a primary and a cursor plane of its own, that writes back.
modprobe configfs
modprobe vkms create_default_dev=0
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
device=/sys/kernel/config/vkms/vkms-three
mkdir "$device"
for ((n = 1; n <= COUNT; n++)); do
    mkdir "$device"/{crtcs/crtc,planes/primary,planes/cursor,encoders/encoder,connectors/connector}$n
    echo 1 >"$device/crtcs/crtc$n/writeback"
    # enum drm_plane_type
    echo 1 >"$device/planes/primary$n/type"
    echo 2 >"$device/planes/cursor$n/type"
    ln -s "$device/crtcs/crtc$n" "$device/planes/primary$n/possible_crtcs/"
    ln -s "$device/crtcs/crtc$n" "$device/planes/cursor$n/possible_crtcs/"
    ln -s "$device/crtcs/crtc$n" "$device/encoders/encoder$n/possible_crtcs/"
    ln -s "$device/encoders/encoder$n" "$device/connectors/connector$n/possible_encoders/"
done
echo 1 >"$device/enabled"
find_vkms
gcc -O1 -Wall -Werror -I/usr/include/libdrm -o /tmp/connectors_client tests/box/connectors_client.c -ldrm
# plug N, unplug N — the display of the Nth connector (enum drm_connector_status).
plug() { echo 1 >"$device/connectors/connector$1/status"; }
unplug() { echo 2 >"$device/connectors/connector$1/status"; }
# told N WHAT — the client's last word of its Nth connector.
told() { expect "what the client says of connector $1" "$(grep "^$1 " /tmp/client.log | tail -n 1)" "$1 $2"; }
active() { state | grep -c 'active=1' || true; }
active_are() { [[ $(active) = "$1" ]] || { state && return 1; }; }
# figures N FIELD — a figure of scanout N.
scanout() {
    virtio-loopback-gpu ctl --name "$1" status --json | python3 -c 'import json, sys
print(next(s[sys.argv[2]] for s in json.load(sys.stdin)["scanouts"] if s["scanout"] == int(sys.argv[1])))' "$2" "$3"
}

# Three modes on three connectors, in an order of their own.
start_owned modes --share --display kms,connector=Virtual-2,connector=Virtual-1,connector=Virtual-3 \
    --scanout 1024x768 --scanout 800x600 --scanout 640x480
client /tmp/connectors_client "$card" c04040 40c040 4040c0
wait_for 30 told 3 640x480
wait_for 40 stopped scanned_on 2 first size 1024 768 plain 0 0 1 1 pixel .5 .5 c04040
wait_for 40 stopped scanned_on 1 second size 800 600 plain 0 0 1 1 pixel .5 .5 40c040
wait_for 40 stopped scanned_on 3 third size 640 480 plain 0 0 1 1 pixel .5 .5 4040c0
for n in 0 1 2; do
    expect "bytes copied for scanout $n" "$(scanout modes "$n" copied_bytes)" 0
    virtio-loopback-gpu ctl --name modes screenshot --scanout "$n" "$OUT-scanout$n.png"
done
scripts/lib/pixels.py "$OUT-scanout1.png" size 800 600 plain 0 0 1 1 pixel .5 .5 40c040
end_client
end_owned modes
active_are 0

# What is plugged in is what the container has: one of three displays comes and goes.
unplug 2
start_owned storm --share --display kms --max-scanouts 3
client /tmp/connectors_client "$card" c08040 40c080 8040c0
wait_for 30 told 2 1024x768
expect "its connectors' displays" "$(grep -c 1024x768 /tmp/client.log)" 2
plug 2
# Scanout 1 is the second connector that was there, and 2 the one that came last.
wait_for 30 told 3 1024x768
wait_for 40 stopped scanned_on 2 came plain 0 0 1 1 pixel .5 .5 8040c0
cycle() {
    unplug 2 && sleep "$1"
    plug 2 && sleep "$1"
}
adapter=$(virtio-loopback-gpu ctl --name storm status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
# kept — what the adapter has: descriptors, and memory of the driver's (dma-bufs).
kept() { echo "$(find "/proc/$adapter/fd" -type l | wc -l) descriptors, $(tail -n 1 /sys/kernel/debug/dma_buf/bufinfo)"; }
framebuffers() { grep -c '^framebuffer\[' "/sys/kernel/debug/dri/${node##*card}/framebuffer"; }
settled() { told 3 1024x768 && active_are 3 && stopped scanned_on 2 settled plain 0 0 1 1 pixel .5 .5 8040c0; }
for _ in 1 2 3; do cycle .7; done
wait_for 40 settled
sleep 1
before=$(kept)
updates=$(scanout storm 0 presents)
for ((n = 0; n < CYCLES; n++)); do
    # Some of them faster than anybody can follow.
    cycle "$((n % 3 == 0)).$((n % 5 * 5))"
done
wait_for 60 settled
(($(scanout storm 0 presents) > updates + 50)) || fail "the first connector waits for the second"
kept_is() { [[ $(kept) = "$before" ]] || { kept && return 1; }; }
echo "before $CYCLES cycles: $before; after: $(kept), $(framebuffers) framebuffers"
wait_for 20 kept_is
# Of each output the client's two buffers, and two for copies of what has ended.
(($(framebuffers) <= 4 * COUNT)) || fail "framebuffers are left: $(framebuffers)"
wait_for 40 stopped scanned_on 1 other plain 0 0 1 1 pixel .5 .5 c08040
wait_for 40 stopped scanned_on 3 last plain 0 0 1 1 pixel .5 .5 40c080
# One that is off has nothing of the driver's.
unplug 2
off() { told 3 off && active_are 2; }
wait_for 20 off
kill -0 "$client" || fail "the client has ended: $(cat /tmp/client.log)"
end_client
end_owned storm
active_are 0

no_stuck_task
echo 0 >"$device/enabled"
unload
