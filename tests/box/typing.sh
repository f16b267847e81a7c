#!/bin/bash
# timeout: 300
# From a window to a client in the container: what is typed and clicked in a window arrives at libinput, and in a terminal
# on the weston that draws the window.
. tests/box/lib.sh

OUT=target/test
export DISPLAY=:8
Xvfb "$DISPLAY" -screen 0 1280x900x24 -nolisten tcp >/tmp/xvfb.log 2>&1 &
wait_for 20 xdpyinfo
modprobe evdev
shows() {
    virtio-loopback-gpu ctl --name typed screenshot "$OUT/typing-$1.png" && scripts/lib/pixels.py "$OUT/typing-$1.png" "${@:2}"
}

DEVICE_DISPLAY=sdl start_device typed --scanout 1024x768
has_devices() { [[ $(grep -l '^typed scanout 0' /sys/class/input/event*/device/name | wc -l) = 4 ]]; }
wait_for 20 has_devices
udevadm settle --timeout=20
mkdir -p /tmp/runtime && chmod 700 /tmp/runtime
rm -f /tmp/never && mkfifo /tmp/never
sed 's/^idle-time=.*/&\nrequire-input=true/' scripts/guest/weston.ini >/tmp/weston.ini
LIBSEAT_BACKEND=builtin XDG_RUNTIME_DIR=/tmp/runtime weston --backend=drm --renderer=pixman --config=/tmp/weston.ini \
    --seat=seat-typed --drm-device="${card##*/}" --socket=wayland-typed 0<>/tmp/never >/tmp/weston.log 2>&1 &
weston=$!
started() { shows empty pixel .3 .02 e0e0e0 pixel .5 .9 1d3557 || { tail -n 20 /tmp/weston.log && return 1; }; }
wait_for 60 started
stdbuf -oL libinput debug-events --show-keycodes --udev seat-typed >/tmp/libinput.log 2>&1 &
wait_for 20 grep -q 'typed scanout 0 pointer .*cap:p' /tmp/libinput.log

window=$(xdotool search --onlyvisible --name '^typed' | head -n 1)
[[ -n $window ]] || fail "no window: $(xwininfo -root -tree)"
xdotool windowfocus "$window"
# A quarter from the left and from the top.
xdotool mousemove --window "$window" 256 192
wait_for 20 grep -Eq 'POINTER_MOTION_ABSOLUTE.* 25\.[0-9]*/ *25\.[0-9]*' /tmp/libinput.log
xdotool key a
wait_for 20 grep -q 'KEY_A (30) released' /tmp/libinput.log
xdotool click 3
wait_for 20 grep -q 'BTN_RIGHT (273) released' /tmp/libinput.log
xdotool click 5
wait_for 20 grep -q 'POINTER_SCROLL_WHEEL .*vert 15' /tmp/libinput.log

# A terminal, which a click gives the keyboard. It is as large as the output, so that the click cannot miss.
WAYLAND_DISPLAY=wayland-typed XDG_RUNTIME_DIR=/tmp/runtime SHELL=/bin/sh weston-terminal --fullscreen 0<>/tmp/never >/tmp/terminal.log 2>&1 &
terminal=$!
wait_for 60 shows terminal differs "$OUT/typing-empty.png" 20
sleep 2
xdotool mousemove --window "$window" 500 400 click 1
rm -f /tmp/typed.txt
xdotool type --delay 60 "echo 'A window, and $((6 * 7)): (ok) ~/#' > /tmp/typed.txt"
xdotool key Return
wait_for 20 test -s /tmp/typed.txt
expect "what was typed" "$(</tmp/typed.txt)" "A window, and 42: (ok) ~/#"
# A key that is held repeats in the client, once, until it is released.
xdotool type --delay 60 "cat > /tmp/held.txt"
xdotool key Return
xdotool keydown x
sleep 2
xdotool keyup x
xdotool key Return
sleep 1
held=$(tr -d '\n' </tmp/held.txt)
[[ $held =~ ^x{4,120}$ ]] || fail "a held key gave '$held'"
sleep 1
expect "after its release" "$(tr -d '\n' </tmp/held.txt)" "$held"
shows typed size 1024 768 || fail "no picture"
kill "$terminal" "$weston" && { wait "$terminal" "$weston" || true; } 2>/dev/null
no_stuck_task
stop_device typed
has_no_devices() { ! grep -qs '^typed scanout' /sys/class/input/event*/device/name; }
wait_for 10 has_no_devices
unload
