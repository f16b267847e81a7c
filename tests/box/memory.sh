#!/bin/bash
# kernels: 6.1 6.12
# timeout: 400
# Little memory: for adapter and backend in a cgroup, for a client in one, and in the whole machine. Buffers are whole or
# refused; whoever is killed for want of memory is replaced or ends; nothing is stuck, and with memory again all works.
. tests/box/long.sh

GROUP=/sys/fs/cgroup/memory-test
client=$(build_client)

# The kernel's word that it has killed a process for want of memory comes with a stack trace. It is no fault here, so
# it must not be on the console, where every trace is one: see only_oom_traces.
quiet_console() { dmesg --clear && dmesg -n 1; }

# only_oom_traces — ends quiet_console; fails if there was any other trace.
only_oom_traces() {
    local traces other
    traces=$(dmesg | grep -c 'Call Trace:') || true
    other=$(dmesg | grep -cE 'WARNING:|BUG:|page allocation failure|blocked for more than') || true
    expect "warnings: $(dmesg | tail -n 60)" "$other" 0
    expect "traces without a kill" "$((traces > $(dmesg | grep -c 'invoked oom-killer')))" 0
    echo "killed for want of memory: $(dmesg | grep -cE '(Out of memory|out of memory): Killed' || true)"
    dmesg --clear
    dmesg -n 7
}

# buffers COUNT WIDTH HEIGHT — sets MADE.
buffers() {
    MADE=$("$client" "$card" buffers "$@" 2>/tmp/buffers.log) || fail "buffers: $(cat /tmp/buffers.log)"
}

shows() {
    "$client" "$card" show "$2" 0<>"$NEVER" >/tmp/client 2>&1 &
    local drawing=$!
    is_shown() { picture "$1" /tmp/shown.png && [[ $(pixel /tmp/shown.png 160 100) = "$2" ]]; }
    wait_for 40 is_shown "$1" "$2"
    kill "$drawing"
    { wait "$drawing" || true; } 2>/dev/null
}

# available — MiB.
available() { awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo; }

echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir "$GROUP"

# A cgroup in which there is just enough: the driver's buffers are the client's, not the device's.
start_device small --scanout 320x200
children "$device"
for pid in "$device" "${CHILDREN[@]}"; do
    echo "$pid" >"$GROUP/cgroup.procs"
done
echo 16M >"$GROUP/memory.max"
buffers 64 1024 1024
expect "buffers of 4 MiB each, made for a device in 16 MiB" "$MADE" 64
shows small 336699
expect "killed" "$(sed -n 's/^oom_kill //p' "$GROUP/memory.events")" 0

# And one in which there is not: the kernel kills the backend or the adapter.
quiet_console
"$client" "$card" show 11aa22 10 0<>"$NEVER" >/tmp/client 2>&1 &
drawing=$!
wait_for 40 grep -q shown /tmp/client
echo 64K >"$GROUP/memory.max" || true
is_killed() { (($(sed -n 's/^oom_kill //p' "$GROUP/memory.events") > 0)); }
pkill -KILL -f 'virtio-loopback-gpu backend' || true
wait_for 40 is_killed
no_task_stuck 10
echo max >"$GROUP/memory.max"
sleep 1
only_oom_traces
if is_alive "$device"; then
    shows_again() { picture small /tmp/again.png && [[ $(pixel /tmp/again.png 160 100) = 11aa22 ]]; }
    wait_for 40 shows_again
    is_alive "$drawing" || fail "the client has ended: $(cat /tmp/client)"
    kill "$drawing"
    stop_device small
else
    { wait "$device" || true; } 2>/dev/null
    ends_within 20 "$drawing" || fail "the client does not end: $(cat "/proc/$drawing/stack")"
    start_device again --scanout 320x200
    shows again 22bb33
    stop_device again
fi
{ wait "$drawing" || true; } 2>/dev/null

# A client that makes more buffers than its own cgroup allows: it is refused them or killed, and nobody else.
start_device little --scanout 320x200
echo 64M >"$GROUP/memory.max"
quiet_console
(
    echo "$BASHPID" >"$GROUP/cgroup.procs"
    exec "$client" "$card" buffers 400 1024 1024 >/tmp/made 2>/tmp/buffers.log
) &
greedy=$!
ends_within 90 "$greedy" || fail "the client does not end: $(cat "/proc/$greedy/stack")"
status=0
{ wait "$greedy" || status=$?; } 2>/dev/null
echo "greedy client: exit code $status, $(cat /tmp/made /tmp/buffers.log)"
((status == 137 || (status == 0 && $(cat /tmp/made) < 17))) || fail "400 buffers of 4 MiB in 64 MiB, or damaged ones"
no_task_stuck 10
only_oom_traces
is_without_objects() { [[ $(figure little objects) = 0 ]]; }
wait_for 20 is_without_objects
shows little 44ccdd

# Most of the machine's memory is taken, by huge pages that nobody uses.
echo 3 >/proc/sys/vm/drop_caches
echo $(($(available) / 2 - 100)) >/proc/sys/vm/nr_hugepages
echo "available: $(available) MiB"
(($(available) < 300)) || fail "too much memory is left"
buffers 16 1024 1024
expect "buffers of 4 MiB each" "$MADE" 16
pkill -KILL -f 'virtio-loopback-gpu backend'
replaced() { [[ $(field little '["backend_restarts"]') = 1 ]]; }
wait_for 40 replaced
shows little 55ddee
echo 0 >/proc/sys/vm/nr_hugepages
stop_device little
rmdir "$GROUP"
nothing_left
