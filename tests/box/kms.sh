#!/bin/bash
# boot: own
# vga: std
# timeout: 400
# kernels: 6.1 6.12 forky
# Scanouts on a connector of QEMU's display adapter (bochs-drm), as its own screen shows them: the picture is copied there
# where the driver imports no dma-bufs. Pictures: target/test/screen/.
. tests/box/lib.sh

SCREEN=target/test/screen
modprobe bochs 2>/dev/null || modprobe bochs-drm
[[ -c /dev/dri/card0 ]] || fail "no card of QEMU's"

# screen NAME — the machine's screen, as $SCREEN/NAME.ppm.
screen() {
    rm -f "$SCREEN/$1.ppm"
    touch "$SCREEN/want-$1"
    wait_for 20 test -f "$SCREEN/$1.ppm"
}
# shows DEVICE NAME CHECK… — the screen and the screenshot of DEVICE's are the same, and as CHECK says.
shows() {
    picture "$1" "$SCREEN/$2.png" && screen "$2" && scripts/lib/pixels.py "$SCREEN/$2.ppm" "${@:3}" same "$SCREEN/$2.png" 0
}
# counted DEVICE FIELD — a figure of scanout 0.
counted() {
    virtio-loopback-gpu ctl --name "$1" status --json | python3 -c 'import json, sys
print(json.load(sys.stdin)["scanouts"][0][sys.argv[1]])' "$2"
}
says() { grep -q "$1" "/tmp/$2.log"; }
rm -f /tmp/never && mkfifo /tmp/never

# modetest's bars in a mode of their size.
DEVICE_DISPLAY=kms start_device bars --scanout 800x600
says 'shown on /dev/dri/card0 (bochs-drm)' bars || fail "another card: $(cat /tmp/bars.log)"
connector=$(modetest -M virtio_gpu -c | awk '$3 == "connected" { print $1 }')
modetest -M virtio_gpu -s "$connector:800x600" 0<>/tmp/never >/tmp/modetest.log 2>&1 &
client=$!
wait_for 30 shows bars bars size 800 600 pixel .07 .2 c0c0c0 pixel .93 .2 0000c0 pixel .25 .9 ffffff
expect "ways that frames take" "$(grep -c 'in the mode 800x600' /tmp/bars.log)" 1
if says 'copied: the driver' bars; then
    (($(counted bars copied_bytes) >= 800 * 600 * 4)) || fail "not copied: $(counted bars copied_bytes)"
else
    says 'no byte is copied' bars || fail "neither copied nor not: $(cat /tmp/bars.log)"
    expect "bytes copied" "$(counted bars copied_bytes)" 0
fi
# The last picture stays when the client is gone, and its memory with it.
kill "$client" && { wait "$client" || true; } 2>/dev/null
sleep 1
shows bars after pixel .07 .2 c0c0c0 pixel .93 .2 0000c0 || fail "the last picture is gone"
stop_device bars

# A frame without a mode of its size lies in the middle of the preferred one.
DEVICE_DISPLAY=kms,connector=Virtual-1 start_device odd --scanout 600x500
gcc -O1 -Wall -Werror -I/usr/include/libdrm -o /tmp/card_client tests/box/card_client.c -ldrm
/tmp/card_client "$card" show 3366cc 0<>/tmp/never >/tmp/odd-client.log 2>&1 &
client=$!
shows_odd() {
    screen odd && picture odd "$SCREEN/odd.png" && scripts/lib/pixels.py "$SCREEN/odd.png" size 600 500 plain 0 0 1 1 &&
        scripts/lib/pixels.py "$SCREEN/odd.ppm" pixel .5 .5 3366cc pixel .02 .5 000000 pixel .98 .5 000000 pixel .5 .02 000000
}
wait_for 30 shows_odd
kill "$client" && { wait "$client" || true; } 2>/dev/null
stop_device odd

# A pointer is drawn into the copy: there is no plane for it.
DEVICE_DISPLAY=kms start_device pointer --scanout 640x480
mkfifo /tmp/moves
/tmp/card_client "$card" cursor ff8000 100 50 <>/tmp/moves >/tmp/pointer-client.log 2>&1 &
client=$!
# Of 64x64 pixels, from its top left one on.
wait_for 30 shows pointer pointer pixel .18 .13 ff8000 pixel .25 .23 ff8000 pixel .1 .1 202020 pixel .3 .13 202020
echo "500 400" >/tmp/moves
wait_for 30 shows pointer moved pixel .18 .13 202020 pixel .25 .23 202020 pixel .8 .85 ff8000 pixel .87 .95 ff8000
echo hide >/tmp/moves
wait_for 30 shows pointer hidden plain 0 0 1 1
kill "$client" && { wait "$client" || true; } 2>/dev/null
stop_device pointer

# weston's desktop, whose damage alone is copied.
sed 's/^renderer=.*/renderer=pixman/' scripts/guest/weston.ini >/tmp/weston.ini
mkdir -p /tmp/runtime && chmod 700 /tmp/runtime
DEVICE_DISPLAY=kms,device=/dev/dri/card0 start_device desktop --scanout 1024x768
LIBSEAT_BACKEND=builtin XDG_RUNTIME_DIR=/tmp/runtime weston --backend=drm --renderer=pixman --config=/tmp/weston.ini \
    --continue-without-input --drm-device="${card##*/}" --socket=wayland-kms 0<>/tmp/never >/tmp/weston.log 2>&1 &
client=$!
wait_for 90 shows desktop desktop size 1024 768 pixel .3 .02 e0e0e0 pixel .02 .9 1d3557 pixel .5 .9 1d3557
kill "$client" && { wait "$client" || true; } 2>/dev/null
stop_device desktop

# Without --scanout the container has the very monitor that is there, and follows it.
mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
real=/sys/class/drm/card0-Virtual-1/edid
[[ $(wc -c <"$real") -ge 128 ]] || fail "QEMU's monitor has no EDID"
# preferred DRIVER — the mode that the monitor of its card prefers.
preferred() { modetest -M "$1" -c 2>/dev/null | awk '/preferred/ && /^ *#/ { print $2, $3; exit }'; }
DEVICE_DISPLAY=kms start_device monitor
has_monitor() { cmp "$real" "/sys/class/drm/${card##*/}"-Virtual-*/edid; }
wait_for 20 has_monitor
mode=$(preferred virtio_gpu)
[[ $mode = [1-9]*x*[0-9]\ * ]] || fail "the monitor prefers no mode: $(modetest -M virtio_gpu -c)"
IFS='x ' read -r width height _ <<<"$mode"
expect "the preferred mode" "$mode" "$(preferred bochs-drm)"
/tmp/card_client "$card" show 9933cc 0<>/tmp/never >/tmp/monitor-client.log 2>&1 &
client=$!
wait_for 30 shows monitor monitor size "$width" "$height" plain 0 0 1 1 pixel .5 .5 9933cc
# Another monitor of another name. Bytes 54 and on are four descriptors of 18 bytes, of which that with tag 0xfc is the name.
python3 - "$real" /tmp/other.edid <<'PYTHON'
import sys
edid = bytearray(open(sys.argv[1], "rb").read())
at = next(at for at in range(54, 126, 18) if edid[at:at + 4] == b"\0\0\0\xfc")
edid[at + 5:at + 18] = b"Other Screen\n"
edid[127] = -sum(edid[:127]) % 256
open(sys.argv[2], "wb").write(edid)
PYTHON
# Drivers of up to 6.12 read their monitor's EDID once, when they start.
if [[ $(uname -r) != 6.* ]]; then
    cat /tmp/other.edid >/sys/kernel/debug/dri/0/Virtual-1/edid_override
    echo change >/sys/class/drm/card0/uevent
    is_other() { has_monitor && grep -aq 'Other Screen' "$real"; }
    wait_for 20 is_other
    wait_for 20 shows monitor same-picture plain 0 0 1 1 pixel .5 .5 9933cc
    printf reset >/sys/kernel/debug/dri/0/Virtual-1/edid_override
fi
kill "$client" && { wait "$client" || true; } 2>/dev/null
stop_device monitor

# What cannot be is said: our own card, no such connector, somebody else's card.
start_device own
refused() {
    ! virtio-loopback-gpu run --name refused --display "$2" 2>/tmp/refused.log || fail "runs: $2"
    grep -q "$1" /tmp/refused.log || fail "$2 says: $(cat /tmp/refused.log)"
}
refused "is a card of virtio-loopback-gpu" "kms,device=$card"
refused 'has no connector "HDMI-A-7", there are Virtual-1' kms,connector=HDMI-A-7
stop_device own
DEVICE_DISPLAY=kms start_device first
refused 'another program shows something on /dev/dri/card0' kms
stop_device first

# Nothing is left on the card: what was not on before is off again.
! grep -q 'active=1' /sys/kernel/debug/dri/0/state || fail "the output is not off: $(cat /sys/kernel/debug/dri/0/state)"
no_stuck_task
unload
