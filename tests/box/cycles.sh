#!/bin/bash
# kernels: 6.1 6.12
# timeout: 900
# allows: drm_mm_takedown
# Devices are made and removed again and again, by every way to end one, some with clients that draw or still have the
# card open then. Nothing is left of them: no object of any slab cache, no page, file, kernel thread or module reference.
#   CYCLES  how many
. tests/box/long.sh

number CYCLES 25
((CYCLES >= 20)) || fail "fewer than 20 cycles cannot be told from the files of this test"
# What is made once only has been made after these.
WARM_UP=12

client=$(build_client)

# cycle N — one device.
cycle() {
    local card pid name=cycle
    rm -f /tmp/cycle.ready && mkfifo /tmp/cycle.ready
    virtio-loopback-gpu run --name "$name" --display headless --scanout 320x200 --ready-fd 3 \
        3>/tmp/cycle.ready >/tmp/cycle.log 2>&1 &
    pid=$!
    read -r -t 40 _ _ card _ </tmp/cycle.ready || fail "not ready: $(cat /tmp/cycle.log)"
    # Somebody draws, or has the card open, when it goes.
    case $(($1 % 3)) in
    0) start_drawing "$card" ;;
    1) exec 9<>"$card" ;;
    esac
    case $(($1 % 4)) in
    0) kill -KILL "$pid" ;;
    1) kill -TERM "$pid" ;;
    *) virtio-loopback-gpu ctl --name "$name" quit ;;
    esac
    { wait "$pid" || (($1 % 4 == 0)); } 2>/dev/null || fail "ended with $?: $(cat /tmp/cycle.log)"
    case $(($1 % 3)) in
    0) ends_as_gone ;;
    1) exec 9>&- ;;
    esac
}

start_drawing() {
    "$client" "$1" show 336699 30 0<>"$NEVER" >/tmp/shown 2>&1 &
    drawing=$!
    has_drawn() { grep -q shown /tmp/shown || { cat /tmp/shown "/proc/$drawing/stack" /tmp/cycle.log && false; }; }
    wait_for 40 has_drawn
}

# ends_as_gone — a client whose card has gone is told so.
ends_as_gone() {
    local status=0
    ends_within 20 "$drawing" || fail "the client does not end: $(cat "/proc/$drawing/stack")"
    wait "$drawing" || status=$?
    expect "client: $(cat /tmp/shown)" "$status" 3
}

cycles() {
    local n
    for ((n = 1; n <= $1; n++)); do
        cycle "$n"
        ((n % 50)) || echo "$SECONDS s: $n cycles"
    done
    wait_for 20 no_devices
    wait_for 20 no_processes
    wait_for 20 no_buffers
    udevadm settle --timeout=20
    # udev's workers end when they have had nothing to do for a while.
    wait_for 30 has_no_workers
}

has_no_workers() { [[ $(pgrep -c udevd) -le 1 ]]; }

modprobe virtio_loopback
cycles "$WARM_UP"
# The comparison notices one page, one file and one object more per cycle. What was there before may be freed meanwhile and
# hide them: the second look is at a system that has settled.
holder_program='
import os, sys, time
files = [os.eventfd(0) for _ in range(int(sys.argv[1]))]
with open("/tmp/pages", "wb") as file:
    file.write(bytes(4096 * int(sys.argv[1])))
open("/tmp/holds", "w")
time.sleep(1000)'

# notices — takes /tmp/before, and compares it with what is there when a process holds CYCLES of each.
notices() {
    local what status=0
    python3 tests/box/counters.py take /tmp/before
    python3 -c "$holder_program" "$CYCLES" &
    holder=$!
    wait_for 20 test -e /tmp/holds
    python3 tests/box/counters.py take /tmp/held
    ! python3 tests/box/counters.py compare /tmp/before /tmp/held "$CYCLES" >/tmp/noticed || status=1
    for what in 'page counter nr_shmem' 'slab filp'; do
        grep -q "^leak: $what:" /tmp/noticed || status=1
    done
    kill "$holder" && { wait "$holder" || true; } 2>/dev/null
    rm /tmp/pages /tmp/holds
    return "$status"
}
notices || notices || notices || fail "not noticed: $(cat /tmp/noticed)"

# What leaks leaks in every round; what the rest of the system has come to need meanwhile is there after the first.
for round in 1 2 3; do
    cycles "$CYCLES"
    # What is freed late is freed; a leak stays. Not in a subshell, which would be one more process.
    for try in {1..8}; do
        python3 tests/box/counters.py take /tmp/after
        ! python3 tests/box/counters.py compare /tmp/before /tmp/after "$CYCLES" >/tmp/compared || break
        sleep 2
    done
    echo "round $round, after $try looks:"
    cat /tmp/compared
    sed -n 's/^leak: \(.*\): [0-9]* before.*/\1/p' /tmp/compared | sort >/tmp/leaks.now
    if ((round == 1)); then
        mv /tmp/leaks.now /tmp/leaks
    else
        comm -12 /tmp/leaks /tmp/leaks.now >/tmp/leaks.all
        mv /tmp/leaks.all /tmp/leaks
    fi
    [[ -s /tmp/leaks ]] || break
    mv /tmp/after /tmp/before
done
[[ ! -s /tmp/leaks ]] || fail "in every round: $(paste -sd, /tmp/leaks)"
no_task_stuck 10
nothing_left
echo "$CYCLES cycles in $SECONDS s"
