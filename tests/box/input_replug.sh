#!/bin/bash
# kernels: 6.1 6.12 forky
# timeout: 240
# Input devices of the machine that are unplugged and plugged in again: under the path that udev makes for them, and as the
# number that the kernel gives, which another device may have got meanwhile.
. tests/box/lib.sh
. tests/box/input_lib.sh

# As udev's own rules do for keyboards with a serial number. Its directory goes with the last link in it.
rules=/run/udev/rules.d/71-test-links.rules
cat >"$rules" <<'RULES'
ACTION!="remove", SUBSYSTEM=="input", KERNEL=="event*", ATTRS{name}=="test keyboard", SYMLINK+="input/by-test/keyboard"
RULES
udevadm control --reload
link=/dev/input/by-test/keyboard

# effort — how often the adapter's input thread has been woken, and the adapter's clock ticks.
effort() {
    local task
    for task in "/proc/$device/task"/*; do
        [[ $(<"$task/comm") != input ]] || awk '/^voluntary/ { printf "%s ", $2 }' "$task/status"
    done
    awk '{ print $14 + $15 }' "/proc/$device/stat"
}

# of_source PATH TEXT — whether the status page says this of a source.
of_source() {
    local said
    said=$(virtio-loopback-gpu ctl --name cluster status | grep "^  source    $1 ") || true
    [[ $said = "  source    $1 $2" ]] || { echo "$1: '$said'" && return 1; }
}

source_device keyboard && wait_for 20 test -L "$link"
source_device mouse && mouse=$node
start_device cluster --input-device "$link,grab" --input-device "$mouse"
for kind in keyboard mouse; do
    wait_for 20 test -c "$(node_of "cluster scanout 0 $kind")"
done
udevadm settle --timeout=20
watch 'cluster scanout 0 keyboard' /tmp/keys
watch 'cluster scanout 0 mouse' /tmp/motion
stdbuf -oL libinput debug-events --show-keycodes --udev seat-cluster >/tmp/libinput.log 2>&1 &
wait_for 20 grep -q 'cluster scanout 0 touch .*cap:t' /tmp/libinput.log
# The kernel's console would set its own light whenever somebody plugs a keyboard in.
for file in "/sys/class/input/$(basename "$(node_of 'cluster scanout 0 keyboard')")/device/input"*::capslock/trigger; do
    echo none >"$file"
done
light 'cluster scanout 0 keyboard' 1 1
wait_for 20 grep -qx 'LED_CAPSL 1' /tmp/keyboard.log

wait_for 20 of_source "$link" "(test keyboard) for scanout 0, there, grabbed"
wait_for 20 of_source "$mouse" "(test mouse) for scanout 0, there"

# A replug, again and again, with a key held when it goes: it goes up once, and is not down when the keyboard comes back.
for round in 1 2 3; do
    does keyboard 'KEY_A 1'
    wait_for 20 count /tmp/keys 'KEY_A), value 1' "$round"
    does keyboard leave
    wait_for 20 count /tmp/cluster.log "$link is gone" "$round"
    wait_for 20 count /tmp/keys 'KEY_A), value 0' "$round"
    wait_for 20 test ! -e /dev/input/by-test
    wait_for 20 of_source "$link" "(test keyboard) for scanout 0, gone"
    # Nobody works while it is awaited.
    udevadm settle --timeout=20
    sleep 1
    before=$(effort)
    [[ $before = *' '* ]] || fail "no input thread: $before"
    sleep 3
    expect "wake-ups of the input thread, and ticks of the adapter, in 3 s" "$(effort)" "$before"
    # Others go on.
    does mouse "REL_X $((10 + round))"
    says /tmp/motion "code 0 (REL_X), value $((10 + round))" "$report"
    source_device keyboard
    wait_for 20 count /tmp/cluster.log "$link is back" "$round"
    wait_for 20 of_source "$link" "(test keyboard) for scanout 0, there, grabbed"
    # What the container has lit is lit there, too.
    wait_for 20 grep -qx 'LED_CAPSL 1' /tmp/keyboard.log
    grep -q 'grabbed by another process' <(timeout 2 evtest "$node" 2>&1) || fail "what came back is not grabbed"
    does keyboard 'KEY_B 1' 'KEY_B 0'
    wait_for 20 count /tmp/keys 'KEY_B), value 0' "$round"
done
wait_for 20 count /tmp/libinput.log 'KEY_A (30) pressed' 3
wait_for 20 count /tmp/libinput.log 'KEY_A (30) released' 3
wait_for 20 count /tmp/libinput.log 'KEY_B (48) released' 3

# Another device gets the number of one that was named by it, and is left alone.
does mouse 'BTN_LEFT 1'
says /tmp/motion "$(key 272 BTN_LEFT 1)"
does mouse leave
wait_for 20 count /tmp/cluster.log "$mouse is gone" 1
says /tmp/motion "$(key 272 BTN_LEFT 1)" "$(key 272 BTN_LEFT 0)"
source_device tablet
expect "the number of the tablet" "$node" "$mouse"
wait_for 20 count /tmp/cluster.log "$mouse is another device now, test tablet, and not passed on" 1
watch 'cluster scanout 0 pointer' /tmp/pointer
does tablet 'ABS_X 500 ABS_Y 499' 'BTN_RIGHT 1' 'BTN_RIGHT 0'
does tablet leave
wait_for 20 test ! -e "$mouse"
source_device mouse
expect "the number of the mouse" "$node" "$mouse"
wait_for 20 count /tmp/cluster.log "$mouse is back" 1
does mouse 'REL_Y 7'
says /tmp/motion 'code 1 (REL_Y), value 7' "$report"
! grep -q '^Event' /tmp/pointer || fail "another device is passed on: $(cat /tmp/pointer)"

# Both are gone when the adapter ends.
does mouse leave
does keyboard leave
wait_for 20 count /tmp/cluster.log "$link is gone" 4
wait_for 20 count /tmp/cluster.log "$mouse is gone" 2
pkill -x libinput-debug- || true
stop_device cluster
rm "$rules" && udevadm control --reload
no_stuck_task
unload
