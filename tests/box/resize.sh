#!/bin/bash
# timeout: 300
# A window is given another size: weston's output follows, pixel for pixel; a client that takes no notice keeps its picture.
. tests/box/lib.sh

OUT=target/test
export DISPLAY=:7
Xvfb "$DISPLAY" -screen 0 1600x1000x24 -nolisten tcp >/tmp/xvfb.log 2>&1 &
wait_for 20 xdpyinfo
shows() {
    virtio-loopback-gpu ctl --name sized screenshot "$OUT/resize-$1.png" && scripts/lib/pixels.py "$OUT/resize-$1.png" "${@:2}"
}
# desktop NAME WIDTH HEIGHT — weston's panel, 32 pixels high at any size, and its background.
desktop() { shows "$1" size "$2" "$3" pixel .3 .02 e0e0e0 pixel .02 .9 1d3557 pixel .5 .9 1d3557; }
frame() { virtio-loopback-gpu ctl --name sized status --json | python3 -c 'import json, sys
scanout, = json.load(sys.stdin)["scanouts"]
print(scanout["signal"], "{width}x{height}".format(**scanout))'; }
frame_is() { [[ $(frame) = "live $1" ]] || { frame && return 1; }; }

DEVICE_DISPLAY=sdl start_device sized --scanout 800x600
mkdir -p /tmp/runtime && chmod 700 /tmp/runtime
rm -f /tmp/never && mkfifo /tmp/never
LIBSEAT_BACKEND=builtin XDG_RUNTIME_DIR=/tmp/runtime weston --backend=drm --renderer=pixman \
    --config="$PWD/scripts/guest/weston.ini" --continue-without-input --drm-device="${card##*/}" --socket=wayland-sized \
    0<>/tmp/never >/tmp/weston.log 2>&1 &
weston=$!
wait_for 60 desktop first 800 600
window=$(xdotool search --onlyvisible --name '^sized' | head -n 1)
[[ -n $window ]] || fail "no window: $(xwininfo -root -tree)"

for size in '1024 700' '1300 900' '640 480'; do
    read -r width height <<<"$size"
    xdotool windowsize "$window" "$width" "$height"
    wait_for 30 frame_is "${width}x$height"
    wait_for 30 desktop "$width" "$width" "$height"
done
grep -q 'plugged in anew for a client that stays' /tmp/sized.log || fail "weston takes new modes by itself now"

# Two hundred sizes in twenty seconds, and then all is as the last one says.
for step in {1..200}; do
    xdotool windowsize "$window" $((600 + step * 3)) $((500 + step))
    sleep 0.1
done
wait_for 40 frame_is 1200x700
wait_for 30 desktop storm 1200 700
kill -0 "$weston" || fail "weston has ended: $(cat /tmp/weston.log)"

# A monitor that is unplugged takes its window along, and one that is plugged in has one.
window_of() { xdotool search --onlyvisible --name '^sized' | head -n 1 | grep .; }
virtio-loopback-gpu ctl --name sized scanout remove 0
has_no_window() { ! window_of; }
wait_for 20 has_no_window
expect "its index" "$(virtio-loopback-gpu ctl --name sized scanout add 900x600)" 0
wait_for 30 desktop back 900 600
window=$(window_of)
kill "$weston" && { wait "$weston" || true; } 2>/dev/null

# modetest draws once, in the mode that it was told.
virtio-loopback-gpu ctl --name sized scanout set 0 800x600
# A console on the card that stays at its mode finds the monitor unplugged a second later, for a moment.
sleep 3
connector=$(modetest -M virtio_gpu -c | awk '$3 == "connected" { print $1 }')
modetest -M virtio_gpu -s "$connector:800x600" 0<>/tmp/never >/tmp/modetest.log 2>&1 &
client=$!
wait_for 20 frame_is 800x600
xdotool windowsize "$window" 1000 500
sleep 3
frame_is 800x600 || fail "not modetest's frame any more: $(frame)"
# In the middle of the window, scaled: 667 pixels wide.
shows bars size 1000 500 pixel .1 .3 000000 pixel .2 .3 c0c0c0 pixel .3 .3 c0c000 pixel .9 .3 000000 || fail "no bars"
kill "$client" && { wait "$client" || true; } 2>/dev/null
no_stuck_task
stop_device sized
unload
