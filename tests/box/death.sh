#!/bin/bash
# kernels: 6.1 6.12
# timeout: 240
# The adapter is ended or killed while kmscube draws: nothing is stuck, the kernel is silent, the module unloads.
. tests/box/lib.sh

# draw NAME — kmscube on $card, until something has been shown. It ends when its standard input does.
draw() {
    sleep 1000 | kmscube -D "$card" >/tmp/kmscube.log 2>&1 &
    client=$!
    shown() { virtio-loopback-gpu ctl --name "$1" status | grep -q 'scanout 0 live'; }
    wait_for 60 shown "$1"
}

end_client() {
    pkill -KILL kmscube || true
    pkill -f 'sleep 1000' || true
    wait "$client" || true
}

backend_is_gone() { ! pgrep -f 'virtio-loopback-gpu backend'; }

for signal in TERM KILL; do
    start_device "end-$signal"
    draw "end-$signal"
    # A client that outlives everything.
    exec 9<>"$card"
    kill -"$signal" "$device"
    wait "$device" && status=0 || status=$?
    case $signal in
    TERM) expect "status after SIGTERM" "$status" 0 ;;
    KILL) expect "status after SIGKILL" "$status" 137 ;;
    esac
    wait_for 10 backend_is_gone
    sleep 2
    no_stuck_task
    end_client
    # Somebody still has the card open, so the module stays.
    rmmod virtio_loopback 2>/tmp/rmmod.log && fail "unloaded under a client"
    grep -qi 'in use\|busy' /tmp/rmmod.log || fail "unclear: $(cat /tmp/rmmod.log)"
    exec 9>&-
    no_stuck_task
    unload
done

# field NAME PYTHON — something of the device's status.
field() { virtio-loopback-gpu ctl --name "$1" status --json | python3 -c "import json, sys; print(json.load(sys.stdin)$2)"; }

# The backend is killed: another one goes on with the driver's rings, and kmscube with its frames.
start_device backend
draw backend
for kills in 1 2 3; do
    pkill -KILL -f 'virtio-loopback-gpu backend'
    replaced() { [[ $(field backend '["backend_restarts"]') = "$kills" ]]; }
    wait_for 20 replaced
    before=$(field backend '["scanouts"][0]["updates"]')
    drawn() { (($(field backend '["scanouts"][0]["updates"]') > before + 5)); }
    wait_for 30 drawn
done
expect "refused used entries" "$(figure backend bad_used)" 0
no_stuck_task
# Killed again and again: one clear line, and the adapter takes the device away.
is_given_up() { pkill -KILL -f 'virtio-loopback-gpu backend'; ! kill -0 "$device"; }
wait_for 30 is_given_up
wait "$device" && fail "the adapter ended well"
grep -q 'is given up; the device is removed' /tmp/backend.log || fail "unclear: $(cat /tmp/backend.log)"
no_stuck_task
end_client
unload
