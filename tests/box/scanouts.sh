#!/bin/bash
# kernels: 6.1 6.12
# timeout: 300
# Monitors come, go, move and change while weston runs: its outputs follow, and what is shown.
. tests/box/lib.sh

OUT=target/test
monitor() { virtio-loopback-gpu ctl --name screens scanout "$@"; }
# connectors — the preferred mode of each connector.
connectors() {
    modetest -M virtio_gpu -c | awk '$3 ~ /^(dis)?connected$/ { state = $3; if (state != "connected") print "none" }
        state == "connected" && /^ *#0 / { print $2 }' | xargs
}
connectors_are() { [[ $(connectors) = "$*" ]] || { connectors && return 1; }; }
# shows SCANOUT NAME CHECK… — takes a picture of a scanout and checks it.
shows() {
    virtio-loopback-gpu ctl --name screens screenshot --scanout "$1" "$OUT/scanouts-$2.png" &&
        scripts/lib/pixels.py "$OUT/scanouts-$2.png" "${@:3}"
}
# desktop SCANOUT NAME WIDTH HEIGHT — weston's panel and background.
desktop() { shows "$1" "$2" size "$3" "$4" pixel .3 .02 e0e0e0 pixel .02 .9 1d3557 pixel .5 .9 1d3557; }

start_device screens --scanout 800x600,name=first --max-scanouts 3
wait_for 10 connectors_are 800x600 none none
grep -aq first "/sys/class/drm/${card##*/}-Virtual-1/edid" || fail "its EDID does not name it"
mkdir -p /tmp/runtime && chmod 700 /tmp/runtime
rm -f /tmp/never && mkfifo /tmp/never
LIBSEAT_BACKEND=builtin XDG_RUNTIME_DIR=/tmp/runtime weston --backend=drm --renderer=pixman --config="$PWD/scripts/guest/weston.ini" \
    --continue-without-input --drm-device="${card##*/}" --socket=wayland-screens 0<>/tmp/never >/tmp/weston.log 2>&1 &
weston=$!
wait_for 60 desktop 0 one 800 600

# Another one.
expect "the new scanout" "$(monitor add 1024x768@0,600,dpi=160)" 1
wait_for 10 connectors_are 800x600 1024x768 none
wait_for 30 desktop 1 two 1024 768
# Its name, physical size (1024 and 768 pixels at 160 per inch, in begun centimetres) and place.
status=$(virtio-loopback-gpu ctl --name screens status)
grep -q 'monitor   1 1024x768@0,600,refresh=60,dpi=160$' <<<"$status" || fail "not the monitor in: $status"
size=$(od -An -tu1 -j21 -N2 "/sys/class/drm/${card##*/}-Virtual-2/edid" | xargs)
expect "its size in centimetres" "$size" "17 13"

# The first free connector, then none; and what cannot be is said in a line.
expect "the third scanout" "$(monitor add 640x480)" 2
refused=$(monitor add 640x480 2>&1) && fail "a fourth monitor for three scanouts"
expect "why not" "$refused" "virtio-loopback-gpu: all 3 scanouts have a monitor (\`run --max-scanouts\` gives a device more)"
wait_for 30 desktop 2 three 640 480

# One that goes takes weston's output along, and another size at the same place is a monitor that weston takes.
monitor remove 1
wait_for 10 connectors_are 800x600 none 640x480
unplugged() { virtio-loopback-gpu ctl --name screens status | grep -q "scanout $1 unplugged"; }
wait_for 20 unplugged 1
expect "the place that was free" "$(monitor add 1280x720)" 1
wait_for 30 desktop 1 again 1280 720
# Moved: told, and nothing else changes.
monitor move 1 10,20
grep -q 'monitor   1 1280x720@10,20,refresh=60$' <<<"$(virtio-loopback-gpu ctl --name screens status)" || fail "not moved"
desktop 1 moved 1280 720 || fail "the picture is lost"
# A monitor that changes: the connector's modes do. weston leaves its output alone, and so finds the monitor unplugged and
# plugged in again.
monitor set 0 1280x800@50
wait_for 10 connectors_are 1280x800 1280x720 640x480
wait_for 30 desktop 0 set 1280 800
wait_for 10 connectors_are 1280x800 1280x720 640x480
desktop 1 beside 1280 720 || fail "the picture beside it is lost"
kill -0 "$weston" || fail "weston has ended: $(cat /tmp/weston.log)"
kill "$weston" && { wait "$weston" || true; } 2>/dev/null
no_stuck_task
stop_device screens
unload
