#!/bin/bash
# kernels: 6.1 6.12
# timeout: 400
# SIGSTOP of each process in turn, while a client draws: the others go on or wait, `ctl` answers or says that it got no
# answer, and after SIGCONT, or SIGKILL, all is well again.
. tests/box/long.sh

# How long they are stopped. `ctl` waits 15 s, a backend that says nothing is given up after 6.
STOPPED=10

client=$(build_client)
updates() { virtio-loopback-gpu ctl --name stopped status | sed -n 's/.*scanout 0 live.* shown of \([0-9]*\) updates/\1/p'; }
goes_on() {
    local before
    before=$(updates)
    is_more() { [[ $(updates) -ge $((${before:-0} + 5)) ]]; }
    wait_for 40 is_more
    is_alive "$drawing" || fail "the client has ended: $(cat /tmp/client)"
}

# all_stopped PID — every thread of it is.
all_stopped() { ! ps -L -o state= -p "$1" | grep -v T; }

stop() {
    kill -STOP "$1"
    wait_for 10 all_stopped "$1"
}

start_drawing() {
    "$client" "$card" show 336699 10 0<>"$NEVER" >/tmp/client 2>&1 &
    drawing=$!
    goes_on
}

start_device stopped --scanout 320x200
start_drawing

# The client: its device answers, its last picture stays, and it goes on.
stop "$drawing"
picture stopped /tmp/stopped.png
expect "pixel" "$(pixel /tmp/stopped.png 160 100)" 336699
sleep "$STOPPED"
no_task_stuck 5
kill -CONT "$drawing"
goes_on

# The adapter: `ctl` says so. Nobody is stuck; the client, which waits for its frames, can be stopped and killed.
stop "$device"
status=0
said=$(virtio-loopback-gpu ctl --name stopped status 2>&1) || status=$?
expect "exit code" "$status" 1
expect "message" "$said" "virtio-loopback-gpu: the device did not answer within 15 s"
no_task_stuck 5
kill -CONT "$device"
goes_on

# The backend: another one takes its place.
expect "backends replaced" "$(field stopped '["backend_restarts"]')" 0
backend=$(field stopped '["backend_pid"]')
stop "$backend"
replaced() { [[ $(field stopped '["backend_restarts"]') = 1 ]]; }
wait_for 20 replaced
grep -q 'the GPU backend hangs; another one takes its place' /tmp/stopped.log || fail "unclear: $(cat /tmp/stopped.log)"
! is_alive "$backend" || fail "the stopped backend is still there"
goes_on

# Both: it is the machine that was slow, or the backend is replaced; either way there are frames.
backend=$(field stopped '["backend_pid"]')
stop "$device"
stop "$backend"
sleep "$STOPPED"
no_task_stuck 5
kill -CONT "$device" "$backend"
goes_on

# A stopped adapter that is killed takes its backend along, also a stopped one, and the client is told.
backend=$(field stopped '["backend_pid"]')
stop "$backend"
stop "$device"
kill -KILL "$device"
ends_within 10 "$device" || fail "the adapter is still there"
ends_within 10 "$backend" || fail "the backend is still there"
{ wait "$device" || true; } 2>/dev/null
status=0
ends_within 20 "$drawing" || fail "the client does not end: $(cat "/proc/$drawing/stack")"
wait "$drawing" || status=$?
expect "client: $(cat /tmp/client)" "$status" 3
nothing_left

# The process that keeps the device: nobody needs it while there is an adapter.
if virtio-loopback-gpu run --help | grep -q -- '--keep'; then
    start_device stopped --scanout 320x200 --keep 30
    start_drawing
    keeper=$(pgrep -f 'virtio-loopback-gpu keeper' | head -n 1)
    stop "$keeper"
    goes_on
    sleep "$STOPPED"
    goes_on
    # A stopped keeper keeps the device all the same.
    first=$card
    kill -KILL "$device"
    { wait "$device" || true; } 2>/dev/null
    sleep 2
    [[ -c $first ]] || fail "the card has gone"
    kill -CONT "$keeper"
    start_device stopped --scanout 320x200 --keep 30
    expect "card" "$card" "$first"
    goes_on
    stop_device stopped
    ends_within 20 "$drawing" || fail "the client does not end"
    nothing_left
fi
