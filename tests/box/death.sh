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
    wait_for 10 test "$(pgrep -fc 'virtio-loopback-gpu backend' || true)" = 0
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

# The backend is killed: one clear line, and the adapter takes the device away.
start_device backend
draw backend
pkill -KILL -f 'virtio-loopback-gpu backend'
wait "$device" && fail "the adapter went on"
grep -q 'the GPU backend is gone (signal: 9 (SIGKILL))' /tmp/backend.log || fail "unclear: $(cat /tmp/backend.log)"
no_stuck_task
end_client
unload
