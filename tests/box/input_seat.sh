#!/bin/bash
# timeout: 240
# A window types into its container only if nobody on the host reads the devices that do it: with udev's rules, which give them
# a seat of their own, and with --input-any-seat; else not, and a warning and the status page say so.
. tests/box/lib.sh
. tests/box/input_lib.sh

export DISPLAY=:8
Xvfb "$DISPLAY" -screen 0 1280x900x24 -nolisten tcp >/tmp/xvfb.log 2>&1 &
wait_for 20 xdpyinfo
warning="what windows get is not passed on: the input devices belong to this desktop's own seat"
rules=/run/udev/rules.d/70-virtio-loopback-gpu.rules

# start_window NAME SEAT [OPTION…] — a device with a client and a window that has the focus, and /tmp/keys and /tmp/pointer of its
# devices, which are of that seat.
start_window() {
    local window kind connector
    DEVICE_DISPLAY=sdl start_device "$1" --scanout 640x480 "${@:3}"
    for kind in keyboard pointer mouse touch; do
        wait_for 20 test -c "$(node_of "$1 scanout 0 $kind")"
    done
    udevadm settle --timeout=20
    for kind in keyboard pointer mouse touch; do
        expect "the seat of the $kind" "$(seat_of "$(node_of "$1 scanout 0 $kind")")" "$2"
    done
    virtio-loopback-gpu ctl --name "$1" status >/tmp/status
    grep -q "^  input     0 keyboard /dev/input/.*; ${2:-seat0}$" /tmp/status || fail "the status page: $(cat /tmp/status)"
    watch "$1 scanout 0 keyboard" /tmp/keys
    watch "$1 scanout 0 pointer" /tmp/pointer
    # There is a window when there is a picture. modetest waits for a line on its standard input.
    connector=$(modetest -M virtio_gpu -c | awk '$3 == "connected" { print $1 }')
    sleep 1000 | modetest -M virtio_gpu -s "$connector:640x480" >/tmp/modetest.log 2>&1 &
    wait_for 20 xdotool search --onlyvisible --name "^$1"
    window=$(xdotool search --onlyvisible --name "^$1" | head -n 1)
    xdotool windowfocus "$window"
    xdotool mousemove --window "$window" 100 100
}

# seat_of NODE — as udev has it.
seat_of() { udevadm info -q property "$1" | sed -n 's/^ID_SEAT=//p'; }

# passes NAME JSON — whether the status page says this of what windows get.
passes() { virtio-loopback-gpu ctl --name "$1" status --json | grep -qx "    \"passes_windows\": $2,"; }

type_and_click() { xdotool key a click 1 key b; }

# stop_window NAME — its client goes first.
stop_window() {
    pkill -x modetest
    wait_for 10 no_client
    stop_device "$1"
}

no_client() { ! pgrep -x modetest; }

# On the desktop's own seat.
# The tests after this one have them again.
restore() { [[ ! -e /tmp/rules ]] || { mv /tmp/rules "$rules" && udevadm control --reload; }; }
trap restore EXIT
mv "$rules" /tmp/rules && udevadm control --reload
source_device mouse && mouse=$node
start_window shared '' --input-device "$mouse"
passes shared false || fail "the status page: $(cat /tmp/status)"
grep -q '^  windows   their input is not passed on' /tmp/status || fail "the status page: $(cat /tmp/status)"
type_and_click
wait_for 20 count /tmp/shared.log "$warning" 1
type_and_click
# What a device of the machine says is passed on in any case; and so nothing of what was before it is still under way.
watch 'shared scanout 0 mouse' /tmp/motion
does mouse 'REL_X 5'
says /tmp/motion 'code 0 (REL_X), value 5' "$report"
sleep 2
! grep '^Event' /tmp/keys /tmp/pointer || fail "what a window gets is passed on to the seat that it is on"
count /tmp/shared.log "$warning" 1 || fail "it is said again and again"
stop_window shared

# The user knows that nobody reads them.
start_window trusted '' --input-any-seat
passes trusted true || fail "the status page: $(cat /tmp/status)"
type_and_click
says /tmp/keys "$(key 30 KEY_A 1)" "$(key 30 KEY_A 0)" "$(key 48 KEY_B 1)" "$(key 48 KEY_B 0)"
says /tmp/pointer "$(key 272 BTN_LEFT 1)" "$(key 272 BTN_LEFT 0)"
count /tmp/trusted.log "$warning" 0 || fail "there is a warning"
stop_window trusted

# They have a seat of their own.
restore
start_window own seat-own
passes own true || fail "the status page: $(cat /tmp/status)"
type_and_click
says /tmp/keys "$(key 30 KEY_A 1)" "$(key 30 KEY_A 0)" "$(key 48 KEY_B 1)" "$(key 48 KEY_B 0)"
says /tmp/pointer "$(key 272 BTN_LEFT 1)" "$(key 272 BTN_LEFT 0)"
stop_window own
does mouse leave
no_stuck_task
unload
