#!/bin/bash
# kernels: 6.1 6.12 forky
# timeout: 300
# Keys, pointers, wheels, touch and lights between input devices of the machine and the virtio-input devices that a
# container's compositor has, as libinput and evtest see them; what goes up when somebody dies; and uinput in their place.
. tests/box/lib.sh
. tests/box/input_lib.sh

source_device keyboard && keyboard=$node
source_device mouse && mouse=$node
source_device tablet && tablet=$node
source_device touch && touch=$node
source_device touch second && second=$node
start_device cluster --scanout 640x480 --scanout 800x600 --input-device "$keyboard,grab" \
    --input-device "$mouse" --input-device "$tablet" --input-device "$touch,scanout=1" \
    --input-device "$second,scanout=1"
for scanout in 0 1; do
    for kind in keyboard pointer mouse touch; do
        wait_for 20 test -c "$(node_of "cluster scanout $scanout $kind")"
    done
done
udevadm settle --timeout=20

# What udev makes of them, and whose they are.
for kind in keyboard:KEYBOARD pointer:MOUSE mouse:MOUSE touch:TOUCHSCREEN; do
    udevadm info -q property "$(node_of "cluster scanout 0 ${kind%:*}")" >/tmp/properties
    grep -qx "ID_INPUT_${kind#*:}=1" /tmp/properties || fail "$kind: $(cat /tmp/properties)"
    grep -qx 'ID_SEAT=seat-cluster' /tmp/properties || fail "$kind belongs to another seat: $(cat /tmp/properties)"
done
# What the status page says of them.
virtio-loopback-gpu ctl --name cluster status --json >/tmp/status.json
for kind in keyboard pointer mouse touch; do
    printf '1 %s %s seat-cluster True 0\n' "$kind" "$(node_of "cluster scanout 1 $kind")"
done >/tmp/expected
printf '%s (test keyboard) 0 there True\n' "$keyboard" >>/tmp/expected
printf '%s (test touch) 1 there False\n' "$second" >>/tmp/expected
python3 -c 'import json
status = json.load(open("/tmp/status.json"))["input"]
assert status["passes_windows"] is True, status
assert [device["scanout"] for device in status["devices"]] == [0] * 4 + [1] * 4, status
for device in status["devices"][4:]:
    print(*(device[field] for field in ("scanout", "kind", "node", "seat", "driver", "lost_frames")))
assert len(status["sources"]) == 5, status
for source in (status["sources"][0], status["sources"][4]):
    print(source["path"], "(%s)" % source["name"], source["scanout"], source["state"], source["grabbed"])' >/tmp/actual
expect "the status of input" "$(</tmp/actual)" "$(</tmp/expected)"
stdbuf -oL libinput debug-events --show-keycodes --udev seat-cluster >/tmp/libinput.log 2>&1 &
wait_for 20 grep -q 'cluster scanout 1 touch .*cap:t' /tmp/libinput.log
expect "devices of the seat" "$(grep -c DEVICE_ADDED /tmp/libinput.log)" 8
watch 'cluster scanout 0 keyboard' /tmp/keys
watch 'cluster scanout 0 pointer' /tmp/pointer
watch 'cluster scanout 0 mouse' /tmp/motion
watch 'cluster scanout 1 touch' /tmp/contacts
watch 'cluster scanout 1 keyboard' /tmp/other

# Keys, which the driver repeats: the source's own repetition would double it.
does keyboard 'KEY_A 1' 'KEY_A 2' 'KEY_A 0'
says /tmp/keys "$(key 30 KEY_A 1)" "$report" "$(key 30 KEY_A 0)" "$report"
! grep -q 'KEY_A), value 2' /tmp/keys || fail "the source's repetition is passed on: $(cat /tmp/keys)"
does keyboard 'KEY_B 1'
says /tmp/keys "$(key 48 KEY_B 1)" "$(key 48 KEY_B 2)" "$(key 48 KEY_B 2)"
does keyboard 'KEY_B 0'
says /tmp/keys "$(key 48 KEY_B 2)" "$(key 48 KEY_B 0)"
# Keys that the host would act upon: never SysRq, which is Print, too, nor the power key.
does keyboard 'KEY_POWER 1' 'KEY_POWER 0' 'KEY_SYSRQ 1' 'KEY_SYSRQ 0'
says /tmp/keys "$(key 210 KEY_PRINT 1)" "$(key 210 KEY_PRINT 0)"
! grep -qE 'KEY_(POWER|SYSRQ)\), value' /tmp/keys || fail "the host's keys are passed on"
wait_for 20 in_order /tmp/libinput.log 'KEY_A (30) pressed' 'KEY_A (30) released' 'KEY_B (48) pressed' 'KEY_B (48) released'

# Motion, buttons and wheels go where the pointer moved last.
does mouse 'REL_X 5 REL_Y -3' 'BTN_LEFT 1' 'BTN_LEFT 0' 'REL_WHEEL -2' 'BTN_EXTRA 1' 'BTN_EXTRA 0'
says /tmp/motion 'code 0 (REL_X), value 5' 'code 1 (REL_Y), value -3' "$report" "$(key 272 BTN_LEFT 1)" "$report" \
    "$(key 272 BTN_LEFT 0)" 'code 8 (REL_WHEEL), value -2' 'code 11 (REL_WHEEL_HI_RES), value -240' "$report" "$(key 276 BTN_EXTRA 1)"
wait_for 20 in_order /tmp/libinput.log POINTER_MOTION 'BTN_LEFT (272) pressed' 'BTN_LEFT (272) released' 'BTN_EXTRA (276) pressed'
# Two notches; libinput may tell of them before it believes that a button is up for good.
wait_for 20 grep -q 'POINTER_SCROLL_WHEEL .*vert 30.00/240.0' /tmp/libinput.log
# Half of 0 to 999 is half of 0 to 32767, and the last pixel the last position.
does tablet 'ABS_X 500 ABS_Y 499' 'BTN_RIGHT 1' 'BTN_RIGHT 0' 'ABS_X 0 ABS_Y 0'
says /tmp/pointer 'code 0 (ABS_X), value 16400' 'code 1 (ABS_Y), value 32767' "$report" "$(key 273 BTN_RIGHT 1)" "$(key 273 BTN_RIGHT 0)" \
    'code 0 (ABS_X), value 0' 'code 1 (ABS_Y), value 0'
wait_for 20 in_order /tmp/libinput.log POINTER_MOTION_ABSOLUTE 'BTN_RIGHT (273) pressed'

# Two fingers; whoever knows of one only follows the first.
does touch 'ABS_MT_SLOT 0 ABS_MT_TRACKING_ID 7 ABS_MT_POSITION_X 999 ABS_MT_POSITION_Y 0 BTN_TOUCH 1 ABS_X 999 ABS_Y 0' \
    'ABS_MT_SLOT 1 ABS_MT_TRACKING_ID 8 ABS_MT_POSITION_X 0 ABS_MT_POSITION_Y 499' \
    'ABS_MT_SLOT 0 ABS_MT_TRACKING_ID -1' 'ABS_MT_SLOT 1 ABS_MT_TRACKING_ID -1 BTN_TOUCH 0'
says /tmp/contacts 'ABS_MT_TRACKING_ID), value 7' 'ABS_MT_POSITION_X), value 32767' "$(key 330 BTN_TOUCH 1)" "$report" \
    'ABS_MT_SLOT), value 1' 'ABS_MT_TRACKING_ID), value 8' 'ABS_MT_POSITION_Y), value 32767' "$report" \
    'ABS_MT_SLOT), value 0' 'ABS_MT_TRACKING_ID), value -1' 'ABS_MT_SLOT), value 1' 'ABS_MT_TRACKING_ID), value -1' "$(key 330 BTN_TOUCH 0)"
wait_for 20 in_order /tmp/libinput.log TOUCH_DOWN TOUCH_DOWN TOUCH_UP TOUCH_UP
# Another touch screen of that scanout, which counts slots and contacts as the first one does: they do not get mixed up, and one
# of them touches as long as the other does. Where the first one was touched before it need not say again.
does second 'ABS_MT_SLOT 0 ABS_MT_TRACKING_ID 9 ABS_MT_POSITION_X 500 ABS_MT_POSITION_Y 0'
says /tmp/contacts 'ABS_MT_TRACKING_ID), value 9' 'ABS_MT_POSITION_X), value 16400' "$(key 330 BTN_TOUCH 1)" "$report"
does touch 'ABS_MT_SLOT 0 ABS_MT_TRACKING_ID 9 ABS_MT_POSITION_X 999 ABS_MT_POSITION_Y 0'
says /tmp/contacts 'ABS_MT_TRACKING_ID), value 9' "$report" 'ABS_MT_SLOT), value 1' 'ABS_MT_TRACKING_ID), value 10' \
    'ABS_MT_POSITION_X), value 32767' 'ABS_MT_POSITION_Y), value 0' "$report"
does second 'ABS_MT_TRACKING_ID -1'
says /tmp/contacts 'ABS_MT_TRACKING_ID), value 10' 'ABS_MT_SLOT), value 0' 'ABS_MT_TRACKING_ID), value -1' "$report"
count /tmp/contacts "$(key 330 BTN_TOUCH 0)" 1 || fail "the first screen is not touched any more: $(tail -n 30 /tmp/contacts)"
does touch 'ABS_MT_TRACKING_ID -1'
says /tmp/contacts 'ABS_MT_TRACKING_ID), value 10' 'ABS_MT_SLOT), value 1' 'ABS_MT_TRACKING_ID), value -1' "$(key 330 BTN_TOUCH 0)" "$report"
wait_for 20 in_order /tmp/libinput.log TOUCH_UP TOUCH_UP TOUCH_DOWN TOUCH_DOWN TOUCH_UP TOUCH_UP
# That was all for the other scanout.
! grep -q '^Event' /tmp/other || fail "another scanout's keyboard says: $(cat /tmp/other)"

# Lights that the container switches on are on where its user looks.
light 'cluster scanout 0 keyboard' 1 1
wait_for 20 grep -qx 'LED_CAPSL 1' /tmp/keyboard.log
light 'cluster scanout 0 keyboard' 1 0
wait_for 20 grep -qx 'LED_CAPSL 0' /tmp/keyboard.log
# Nobody else gets what is grabbed.
grep -q 'grabbed by another process' <(timeout 2 evtest "$keyboard" 2>&1) || fail "the keyboard is not grabbed"

# A source is unplugged while it holds something, and the others go on.
does keyboard 'KEY_C 1'
says /tmp/keys "$(key 46 KEY_C 1)"
does keyboard leave
says /tmp/keys "$(key 46 KEY_C 1)" "$(key 46 KEY_C 0)" "$report"
wait_for 20 grep -q "$keyboard is gone" /tmp/cluster.log
does mouse 'REL_X 1'
says /tmp/motion 'BTN_EXTRA), value 0' 'code 0 (REL_X), value 1'

# The adapter is told to end, and killed, with a button held: it goes up, and whoever reads is told that the device is gone.
no_input() { ! grep -q 'cluster scanout' /sys/class/input/event*/device/name; }
ended() { ! pgrep -x evtest && [[ $(tail -n 1 "$1") = *'No such device'* ]]; }
does mouse 'BTN_LEFT 1'
says /tmp/motion 'BTN_EXTRA), value 0' "$(key 272 BTN_LEFT 1)"
stop_device cluster
wait_for 20 no_input
wait_for 20 ended /tmp/motion
says /tmp/motion 'BTN_EXTRA), value 0' "$(key 272 BTN_LEFT 1)" "$(key 272 BTN_LEFT 0)"
pkill -x libinput-debug- || true

start_device killed --input-device "$mouse"
wait_for 20 test -c "$(node_of 'killed scanout 0 mouse')"
watch 'killed scanout 0 mouse' /tmp/motion
udevadm settle --timeout=20
stdbuf -oL libinput debug-events --show-keycodes --udev seat-killed >/tmp/libinput.log 2>&1 &
wait_for 20 grep -q 'killed scanout 0 touch .*cap:t' /tmp/libinput.log
does mouse 'BTN_LEFT 0' 'BTN_LEFT 1'
says /tmp/motion "$(key 272 BTN_LEFT 1)"
wait_for 20 grep -q 'BTN_LEFT (272) pressed' /tmp/libinput.log
kill -KILL "$device"
wait "$device" && fail "it survived"
wait_for 20 ended /tmp/motion
# evdev has no time to tell of it, but who follows the devices lets go.
wait_for 20 in_order /tmp/libinput.log 'BTN_LEFT (272) pressed' 'BTN_LEFT (272) released' DEVICE_REMOVED
pkill -x libinput-debug- || true
gone() { [[ -z $(ls -d /sys/devices/platform/virtio-loopback.* 2>/dev/null) ]]; }
wait_for 20 gone
no_stuck_task

# The driver is taken away and comes back: its new device works.
start_device rebound --input-device "$mouse"
wait_for 20 test -c "$(node_of 'rebound scanout 0 mouse')"
virtio=$(basename "$(readlink -f "/sys/class/input/$(basename "$(node_of 'rebound scanout 0 mouse')")/device/../..")")
for _ in 1 2 3; do
    echo "$virtio" >/sys/bus/virtio/drivers/virtio_input/unbind
    expect "the device without a driver" "$(node_of 'rebound scanout 0 mouse')" ""
    echo "$virtio" >/sys/bus/virtio/drivers/virtio_input/bind
    wait_for 20 test -c "$(node_of 'rebound scanout 0 mouse')"
done
watch 'rebound scanout 0 mouse' /tmp/motion
does mouse 'REL_X 9'
says /tmp/motion 'code 0 (REL_X), value 9'
stop_device rebound
wait_for 20 gone

# uinput in their place.
start_device plain --input uinput --input-device "$mouse" --input-device "$touch"
wait_for 20 test -c "$(node_of 'plain scanout 0 touch')"
udevadm settle --timeout=20
udevadm info -q property "$(node_of 'plain scanout 0 mouse')" | grep -qx 'ID_SEAT=seat-plain' || fail "uinput's devices have no seat"
watch 'plain scanout 0 mouse' /tmp/motion
watch 'plain scanout 0 touch' /tmp/contacts
does mouse 'REL_Y 4'
says /tmp/motion 'code 1 (REL_Y), value 4' "$report"
does touch 'ABS_MT_SLOT 0 ABS_MT_TRACKING_ID 9 ABS_MT_POSITION_X 500'
says /tmp/contacts 'ABS_MT_TRACKING_ID), value 9' 'ABS_MT_POSITION_X), value 16400'
stop_device plain
no_plain() { [[ -z $(node_of 'plain scanout 0 mouse') ]]; }
wait_for 20 no_plain

# None at all.
start_device none --input none
! grep 'none scanout' /sys/class/input/event*/device/name || fail "there are input devices"
virtio-loopback-gpu ctl --name none status --json | grep -qx '  "input": null,' || fail "the status page has input"
stop_device none
does mouse leave
does tablet leave
does touch leave
does second leave
no_stuck_task
unload
