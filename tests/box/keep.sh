#!/bin/bash
# kernels: 6.1 6.12
# timeout: 240
# The adapter dies and comes back: the card stays, its clients go on, and nothing that was drawn is lost.
. tests/box/lib.sh

# field NAME PYTHON — something of the device's status.
field() { virtio-loopback-gpu ctl --name "$1" status --json | python3 -c "import json, sys; print(json.load(sys.stdin)$2)"; }

# gpu — the directory of the GPU; those of its input devices, which are made anew each time, have a dot in their name.
gpu() {
    local file name
    for file in /sys/devices/platform/virtio-loopback.*/name; do
        # One of an input device may be about to go.
        name=$(cat "$file" 2>/dev/null) || continue
        [[ -z $name || $name = *.* ]] || echo "${file%/name}"
    done
}

state() { cat "$(gpu)/state"; }

updates() { field kept '["scanouts"][0]["updates"]'; }

# goes_on — new frames are shown.
goes_on() {
    local before
    shown() { virtio-loopback-gpu ctl --name kept status | grep -q 'scanout 0 live'; }
    wait_for 30 shown
    before=$(updates)
    drawn() { (($(updates) > before + 5)); }
    wait_for 30 drawn
}

start_device kept --keep 30 --scanout 800x600
first=$card
expect "who keeps it" "$(field kept '["keep"]["by"]')" keeper
expect "for how long" "$(field kept '["keep"]["seconds"]')" 30
keeper=$(field kept '["keep"]["keeper_pid"]')
sleep 1000 | kmscube -D "$card" >/tmp/kmscube.log 2>&1 &
client=$!
goes_on
# Without --keep the next one goes on, too, and it keeps the device as the first one did.
for options in "--keep 30" "" "--keep 10"; do
    kill -KILL "$device"
    wait "$device" && fail "it survived"
    expect "state without an adapter" "$(state)" kept
    sleep 1
    no_stuck_task
    # shellcheck disable=SC2086  # several words
    start_device kept $options --scanout 800x600
    expect "card" "$card" "$first"
    goes_on
    expect "keeper" "$(field kept '["keep"]["keeper_pid"]')" "$keeper"
    expect "for how long" "$(field kept '["keep"]["seconds"]')" 30
    expect "refused used entries" "$(figure kept bad_used)" 0
done
# On purpose.
virtio-loopback-gpu ctl --name kept detach
wait "$device" || fail "detached badly: $?"
expect "state after detaching" "$(state)" kept
start_device kept --keep 30 --scanout 800x600
expect "card" "$card" "$first"
goes_on
# The keeper dies: there is another one, and the adapter may die again.
kill -KILL "$keeper"
another() { [[ $(field kept '["keep"]["keeper_pid"]') != "$keeper" ]]; }
wait_for 10 another
kill -KILL "$device"
wait "$device" && fail "it survived"
start_device kept --keep 30 --scanout 800x600
expect "card" "$card" "$first"
goes_on
kill -0 "$(pgrep -x kmscube)" || fail "kmscube ended: $(cat /tmp/kmscube.log)"
pkill -KILL -x kmscube
pkill -f 'sleep 1000' || true
wait "$client" || true

# What a client has left on the screen is there after the adapter came back, without its doing anything.
connector=$(modetest -M virtio_gpu -c | awk '$3 == "connected" { print $1 }')
sleep 1000 | modetest -M virtio_gpu -s "$connector:800x600" >/tmp/modetest.log 2>&1 &
shows_bars() { picture kept /tmp/bars.png && [[ $(pixel /tmp/bars.png 57 100) = c0c0c0 ]]; }
wait_for 20 shows_bars
kill -KILL "$device"
wait "$device" && fail "it survived"
start_device kept --keep 30 --scanout 800x600
wait_for 20 shows_bars
bar=0
for colour in c0c0c0 c0c000 00c0c0 00c000 c000c0 c00000 0000c0; do
    expect "bar $bar" "$(pixel /tmp/bars.png $((57 + bar * 114)) 100)" "$colour"
    bar=$((bar + 1))
done
pkill -x modetest
pkill -f 'sleep 1000' || true
no_client() { ! pgrep -x modetest; }
wait_for 10 no_client

# Another driver than before, whose pictures outlive the backend and the adapter all the same.
virtio=$(basename -- "$(echo "$(gpu)"/virtio*)")
echo "$virtio" >/sys/bus/virtio/drivers/virtio_gpu/unbind
echo "$virtio" >/sys/bus/virtio/drivers/virtio_gpu/bind
card_is_back() { [[ $(field kept '["state"]') = running && -c $card ]] && modetest -M virtio_gpu -c; }
wait_for 20 card_is_back
connector=$(modetest -M virtio_gpu -c | awk '$3 == "connected" { print $1 }')
sleep 1000 | modetest -M virtio_gpu -s "$connector:800x600" >/tmp/modetest.log 2>&1 &
wait_for 20 shows_bars
restarts=$(field kept '["backend_restarts"]')
pkill -KILL -f 'virtio-loopback-gpu backend'
replaced() { (($(field kept '["backend_restarts"]') > restarts)); }
wait_for 20 replaced
wait_for 20 shows_bars
kill -KILL "$device"
wait "$device" && fail "it survived"
start_device kept --keep 30 --scanout 800x600
wait_for 20 shows_bars
pkill -x modetest
pkill -f 'sleep 1000' || true

# A device that shall be another one is not the one that was kept.
kill -KILL "$device"
wait "$device" && fail "it survived"
start_device kept --keep 30 --scanout 800x600 --scanout 640x480
grep -q 'is not what is asked for now' /tmp/kept.log || fail "unclear: $(cat /tmp/kept.log)"
connectors=("/sys/class/drm/card${card#/dev/dri/card}-"*)
expect "connectors" "${#connectors[@]}" 2

# Told to end, it ends with all that kept it, and the name is free.
stop_device kept
no_keeper() { ! pgrep -f 'virtio-loopback-gpu keeper'; }
wait_for 5 no_keeper
gone() { [[ -z $(ls -d /sys/devices/platform/virtio-loopback.* 2>/dev/null) ]]; }
wait_for 10 gone

# Nobody comes: the card goes when the time is over.
start_device short --keep 6
killed=$EPOCHREALTIME
kill -KILL "$device"
wait "$device" && fail "it survived"
expect "state without an adapter" "$(state)" kept
wait_for 20 gone
# In tenths of a second.
waited=$(((${EPOCHREALTIME/./} - ${killed/./}) / 100000))
((waited >= 58)) || fail "the card has gone $waited tenths of a second after its adapter, kept for 6 s"
wait_for 5 no_keeper
no_stuck_task
unload
