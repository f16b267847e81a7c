#!/bin/bash
# kernels: 6.1 6.12
# timeout: 900
# allows: drm_mm_takedown
# Adapter and backend are killed at random moments under kmscube, modetest and drm_info: nobody is stuck, clients go on
# or end, the device comes back, and in the end nothing is left.
#   KILLS   how many; half of them with `run --keep`, where card and clients outlive the adapter
#   KEEPER  1: there, the process that keeps the device meanwhile is killed, too, now and then
#   SEED    for the same moments again
. tests/box/long.sh

number KILLS 50
number KEEPER 0
number SEED "$RANDOM"
RANDOM=$SEED
NAME=kills
# A backend that dies more often within half a minute is given up.
MOST_OF_BACKEND=4

adapter='' client='' program='' card='' ready=0 of_backend=0
declare -A counts=()
count() { counts[$1]=$((${counts[$1]-0} + 1)); }

# start_adapter [OPTION…] — does not wait for anything.
start_adapter() {
    rm -f /tmp/ready && mkfifo /tmp/ready
    exec 7<>/tmp/ready
    virtio-loopback-gpu -v run --name "$NAME" --display headless --scanout 640x480 --ready-fd 7 "$@" >/tmp/adapter.log 2>&1 &
    adapter=$! ready=0 of_backend=0
}

# is_ready — waits until the card can be used, and sets $card. False: the adapter has ended.
is_ready() {
    local line='' part end=$((SECONDS + 40))
    ((ready == 0)) || return 0
    # A read that ends in the middle of the line has taken a part of it.
    until read -r -t 0.2 -u 7 part; do
        line+=$part
        is_alive "$adapter" || return 1
        ((SECONDS < end)) || fail "not ready: $(cat /tmp/adapter.log)"
    done
    read -r _ _ card _ <<<"$line$part"
    [[ -c $card ]] || fail "no card in: $line$part"
    ready=1
}

# start_client PROGRAM — one that draws as fast as it can.
start_client() {
    local connector
    program=$1
    case $program in
    kmscube) kmscube -D "$card" 0<>"$NEVER" >/tmp/client.log 2>&1 7>&- & ;;
    modetest)
        # A new card has no connector for a moment. Without a card, which may have gone meanwhile, it ends at once.
        for _ in {1..10}; do
            connector=$(modetest -M virtio_gpu -c 2>/dev/null | awk '$3 == "connected" { print $1 }') || true
            [[ -z $connector ]] || break
            pause 200
        done
        modetest -M virtio_gpu -v -s "$connector:640x480" 0<>"$NEVER" >/tmp/client.log 2>&1 7>&- &
        ;;
    esac
    client=$!
}

# random_program — sets PROGRAM. kmscube takes long to start.
random_program() {
    below 3
    if ((R)); then PROGRAM=modetest; else PROGRAM=kmscube; fi
}

updates() {
    virtio-loopback-gpu ctl --name "$NAME" status 2>/dev/null |
        sed -n 's/.*scanout 0 .* shown of \([0-9]*\) updates/\1/p'
}

# state_of_things — for a failure: what device, driver and client are at.
state_of_things() {
    tail -n 5 /tmp/client.log
    cat /tmp/adapter.log
    timeout 20 virtio-loopback-gpu ctl --name "$NAME" status
    ps -eLo state,pid,tid,comm,wchan:40 | awk '$1 ~ /^D/ || $4 ~ /virtio|modetest|kmscube/'
    local task
    for task in $(ps -eLo state,tid | awk '/^D/ { print $2 }') "$client"; do
        echo "task $task:" && cat "/proc/$task/stack"
    done
}

# draws — waits until more has been drawn. False: the client has ended.
draws() {
    local before now end=$((SECONDS + 60))
    before=$(updates)
    until now=$(updates) && ((${now:-0} >= ${before:-0} + 3)); do
        is_alive "$client" || return 1
        # modetest goes on without what it could not get, and draws nothing.
        if grep -qE '^(failed to|no connector)' /tmp/client.log; then
            kill "$client"
            ends_within 10 "$client" || fail "$program does not end"
            return 1
        fi
        is_alive "$adapter" || fail "the adapter has ended: $(cat /tmp/adapter.log)"
        ((SECONDS < end)) || fail "$program draws nothing: $(state_of_things 2>&1)"
        pause 100
    done
}

# is_drawn_on — a client draws. One that drm_info was quicker than, as the card's master, is started again.
is_drawn_on() {
    local tries
    for tries in 1 2 3 4 5 6; do
        if [[ -n $client ]] && is_alive "$client" && draws; then
            return
        fi
        random_program
        start_client "$PROGRAM"
    done
    fail "$program does not draw after $tries tries: $(tail -n 5 /tmp/client.log)"
}

# end_client — after its card has gone: it ends, or waits where a signal ends it.
end_client() {
    [[ -n $client ]] || return 0
    if ends_within 2 "$client"; then
        count "$program ended by itself"
    else
        kill -TERM "$client"
        ends_within 10 "$client" || fail "$program does not end: $(cat "/proc/$client/"{status,stack})"
        count "$program was ended"
    fi
    { wait "$client" || true; } 2>/dev/null
    client=''
}

# kill_adapter — and its backend goes with it.
kill_adapter() {
    children "$adapter"
    kill -KILL "$adapter"
    { wait "$adapter" || true; } 2>/dev/null
    local child
    for child in "${CHILDREN[@]}"; do
        command_of "$child"
        [[ $COMMAND = *' keeper '* ]] || ends_within 10 "$child" || fail "outlives its adapter: $COMMAND"
    done
    adapter=''
    count "adapter"
}

# find_backend — sets BACKEND to a process that the adapter has started and that is no keeper; empty if there is none.
find_backend() {
    local child
    BACKEND=''
    children "$adapter"
    for child in "${CHILDREN[@]}"; do
        command_of "$child"
        [[ $COMMAND != *' backend '* ]] || BACKEND=$child
    done
}

# kill_one — adapter or backend.
kill_one() {
    local victim
    below 2 && victim=$R
    find_backend
    if ((victim)) && [[ -n $BACKEND ]] && ((of_backend < MOST_OF_BACKEND)); then
        kill -KILL "$BACKEND" 2>/dev/null || true
        of_backend=$((of_backend + 1))
        count "backend"
    else
        kill_adapter
    fi
}

# has_ended — whether the adapter has, for a backend that was killed before it could be used; for nothing else.
has_ended() {
    [[ -n $adapter ]] || return 0
    ! is_alive "$adapter" || return 1
    { wait "$adapter"; } 2>/dev/null && fail "the adapter ended well: $(cat /tmp/adapter.log)"
    grep -q 'GPU backend' /tmp/adapter.log || fail "unclear: $(cat /tmp/adapter.log)"
    expect "lines of an adapter whose backend was killed" "$(grep -c '^virtio-loopback-gpu: ' /tmp/adapter.log)" 1
    adapter=''
    count "adapter ended, its backend was killed as it started"
}

# look — drm_info on whatever card there is, again and again; it must always come to an end.
look() {
    local card status
    while pause 300; do
        for card in /dev/dri/card*; do
            status=0
            # It may abort, when the card goes while it looks.
            { timeout -k 5 30 drm_info "$card" >/dev/null 7>&- || status=$?; } 2>/dev/null
            ((status != 124 && status != 137)) || echo "drm_info does not end: $status" >>/tmp/hangs
        done
    done
}

# kill_as_new — every adapter has a device of its own.
kill_as_new() {
    local n moment
    for ((n = 1; n <= $1; n++)); do
        ! has_ended || { end_client && start_adapter; }
        below 3 && moment=$R
        case $moment in
        0) below 1500 ;; # whatever it is at: starting, probed, on its way back
        1) ! is_ready || { [[ -n $client ]] || { random_program && start_client "$PROGRAM"; }; } && below 800 ;;
        *) ! is_ready || is_drawn_on && below 400 ;;
        esac
        pause "$R"
        has_ended || kill_one
        no_task_stuck 10
        ((n % 10)) || echo "$SECONDS s: $n kills with new devices"
    done
    # What the last kill has left alive works.
    ! has_ended || { end_client && start_adapter; }
    is_ready || { has_ended && start_adapter && is_ready; }
    is_drawn_on
    virtio-loopback-gpu ctl --name "$NAME" quit
    wait "$adapter" || fail "the adapter ended with $?: $(cat /tmp/adapter.log)"
    end_client
}

# find_keeper — sets KEEPER_PID, empty if there is none.
find_keeper() { KEEPER_PID=$(pgrep -f 'virtio-loopback-gpu keeper' | head -n 1) || true; }

kill_keeper() {
    local old
    find_keeper && old=$KEEPER_PID
    [[ -n $old ]] || fail "nobody keeps the device"
    kill -KILL "$old"
    count "keeper"
    other() { find_keeper && [[ -n $KEEPER_PID && $KEEPER_PID != "$old" ]]; }
    wait_for 20 other
}

# goes_on FIRST CLIENT — the client that drew on the card FIRST still does.
goes_on() {
    is_ready || return 1
    expect "card" "$card" "$1"
    expect "client" "$client" "$2"
    draws || fail "$program has ended: $(tail -n 5 /tmp/client.log)"
}

# kill_and_keep COUNT PROGRAM — the card and its client outlive the adapters.
kill_and_keep() {
    local n early=0 first mine
    start_adapter --keep 30
    is_ready || fail "the adapter has ended: $(cat /tmp/adapter.log)"
    first=$card
    random_program && start_client "$2"
    draws || { start_client "$2" && draws; } || fail "$2 does not draw: $(cat /tmp/client.log)"
    mine=$client
    for ((n = 1; n <= $1; n++)); do
        if has_ended; then
            # The keeper holds the device meanwhile.
            below 2000 && pause "$R"
            is_alive "$client" || fail "$program has ended: $(tail -n 5 /tmp/client.log)"
            start_adapter --keep 30
        fi
        below 3
        if ((R == 0 && early == 0)); then
            early=1
            below 1500
        else
            early=0
            until goes_on "$first" "$mine"; do
                has_ended || fail "not ready, not ended"
                start_adapter --keep 30
            done
            below 400
        fi
        pause "$R"
        [[ -c $first ]] || fail "the card has gone"
        below 8
        if ((KEEPER && R == 0 && early == 0)); then kill_keeper; else has_ended || kill_one; fi
        no_task_stuck 10
        ((n % 10)) || echo "$SECONDS s: $n kills with $2 on one device"
    done
    until ! has_ended && goes_on "$first" "$mine"; do
        start_adapter --keep 30
    done
    virtio-loopback-gpu ctl --name "$NAME" quit
    wait "$adapter" || fail "the adapter ended with $?: $(cat /tmp/adapter.log)"
    end_client
}

modprobe virtio_loopback
look &
looker=$!
if virtio-loopback-gpu run --help | grep -q -- '--keep'; then
    kill_as_new $((KILLS - KILLS / 2))
    kill_and_keep $((KILLS / 2 - KILLS / 4)) kmscube
    kill_and_keep $((KILLS / 4)) modetest
else
    kill_as_new "$KILLS"
fi
kill "$looker"
{ wait "$looker" || true; } 2>/dev/null
pkill -x drm_info || true
[[ ! -e /tmp/hangs ]] || fail "$(cat /tmp/hangs)"
exec 7>&-
nothing_left
for what in "${!counts[@]}"; do
    echo "$what: ${counts[$what]}"
done
echo "$KILLS kills in $SECONDS s, seed $SEED"
