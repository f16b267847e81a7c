#!/bin/bash
# kernels: 6.1 6.12
# timeout: 300
# Limits of a real card, and a control group that pays for what drawing costs, whoever dies of it.
. tests/box/lib.sh
. scripts/lib/warnings.sh

# field NAME PYTHON — something of the device's status.
field() { virtio-loopback-gpu ctl --name "$1" status --json | python3 -c "import json, sys; print(json.load(sys.stdin)$2)"; }

cgroups=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)
group=$cgroups/gpu-test
mkdir "$group"
echo +memory >"$cgroups/cgroup.subtree_control"
[[ ! -e $group/memory.swap.max ]] || echo 0 >"$group/memory.swap.max"

# What the module bounds is as asked for, and shown.
start_device first --cgroup "$group" --limit outstanding=64,bounce=16M --limit export=32M,bytes=8M
first=$device
expect "entries of the control queue" "$(field first '["limits"]["outstanding"]["limit"]')" 64
expect "bytes of bounce pages" "$(figure first bounce_max)" $((16 << 20))
expect "the same as a limit" "$(field first '["limits"]["bounce"]["limit"]')" $((16 << 20))
(($(field first '["limits"]["bounce"]["used"]') > 0)) || fail "no bounce pages"
expect "bytes of dma-bufs" "$(field first '["limits"]["export"]')" "{'limit': 33554432, 'used': 0, 'peak': None, 'refused': None}"
expect "the control group" "$(field first '["cgroup"]')" "$group"
virtio-loopback-gpu ctl --name first status | grep -q "cgroup    $group" || fail "no line about the group"

# Several devices of one container share its group. Their adapters are outside.
start_device second --cgroup "$group"
second=$device
in_group() { sort -n "$group/cgroup.procs" | xargs; }
backends() { { field first '["backend_pid"]'; field second '["backend_pid"]'; } | sort -n | xargs; }
expect "processes of the group" "$(in_group)" "$(backends)"

# A real client, with its 64 commands at once.
card=/dev/dri/$(basename "$(echo "/sys/devices/platform/virtio-loopback.0/drm/card"*)")
[[ -c $card ]] || card=$(field first '["nodes"][0]')
sleep 1000 | kmscube -D "$card" >/tmp/kmscube.log 2>&1 &
client=$!
drawn() { (($(field "$1" '["scanouts"][0]["updates"]') > $2)); }
wait_for 60 drawn first 5
(($(field first '["limits"]["resources"]["used"]') > 0)) || fail "no resources"
(($(field first '["limits"]["total_entries"]["used"]') > 0)) || fail "no entries"
(($(field first '["limits"]["outstanding"]["peak"]') <= 64)) || fail "too many commands"
# Another backend is in the group, too, and counts on.
peak=$(field first '["limits"]["resources"]["peak"]')
kill -KILL "$(field first '["backend_pid"]')"
replaced() { [[ $(field first '["backend_restarts"]') = 1 ]]; }
wait_for 20 replaced
wait_for 30 drawn first $(($(field first '["scanouts"][0]["updates"]') + 5))
expect "processes of the group" "$(in_group)" "$(backends)"
(($(field first '["limits"]["resources"]["peak"]') >= peak)) || fail "forgotten"
pkill -KILL kmscube || true
pkill -f 'sleep 1000' || true
wait "$client" 2>/dev/null || true
device=$first && stop_device first
device=$second && stop_device second
expect "processes of the group" "$(in_group)" ""
unload

# The backend holds pixels until its group is out of memory. It is killed, and replaced.
play() {
    virtio-loopback-gpu demo --name oom --display headless --buffers classic --scanout 1600x900 --rate 0 \
        --frames 4 --screenshot "$1" --cgroup "$group"
}
kills() { sed -n 's/^oom_kill //p' "$group/memory.events"; }
# Its reports have stack traces, which would look like complaints on the console. They are judged below.
dmesg --console-level err
trap 'dmesg --console-level info' EXIT
play /tmp/unbounded.png
expect "kills without a bound" "$(kills)" 0
# One of the two buffers fits.
echo 9M >"$group/memory.max"
play /tmp/bounded.png 2>/tmp/oom.log &
device=$!
is_killed() { (($(kills) > 0)); }
wait_for 60 is_killed
echo max >"$group/memory.max"
wait "$device" || fail "the demo ended with $?: $(cat /tmp/oom.log)"
grep -q 'signal: 9 (SIGKILL)); another one takes its place' /tmp/oom.log || fail "unclear: $(cat /tmp/oom.log)"
cmp /tmp/unbounded.png /tmp/bounded.png || fail "the picture is another one"
# In a group that stays too small there is an end to that.
start_device third --cgroup "$group"
before=$(kills)
echo 64K >"$group/memory.max"
is_over() { ! kill -0 "$device"; }
wait_for 60 is_over
wait "$device" && fail "a device without a backend ended well"
grep -q 'is given up; the device is removed' /tmp/third.log || fail "unclear: $(cat /tmp/third.log)"
(($(kills) - before == 6)) || fail "$(kills) kills after $before"
echo max >"$group/memory.max"
# There is nothing but those reports.
reports=$(dmesg | grep -c 'invoked oom-killer')
((reports > 0)) || fail "no report of the OOM killer"
dmesg | sed '/invoked oom-killer/,/oom-kill:constraint=CONSTRAINT_MEMCG/d' >/tmp/rest.log
grep -E "$KERNEL_WARNINGS" /tmp/rest.log && fail "the kernel complained"
dmesg --clear
dmesg --console-level info

# What is no place for a process is said on one line.
for wrong in /tmp /nonexistent "$group/cgroup.procs"; do
    virtio-loopback-gpu run --name wrong --display headless --cgroup "$wrong" 2>/tmp/wrong.log && fail "$wrong is taken"
    expect "lines about $wrong" "$(wc -l </tmp/wrong.log)" 1
    grep -q -- "--cgroup $wrong" /tmp/wrong.log || fail "unclear: $(cat /tmp/wrong.log)"
done
mkdir "$group/below"
echo +memory >"$group/cgroup.subtree_control"
play /tmp/never.png 2>/tmp/wrong.log && fail "a group with controllers for others is taken"
grep -q "cannot start the GPU backend .* in --cgroup $group" /tmp/wrong.log || fail "unclear: $(cat /tmp/wrong.log)"
rmdir "$group/below" "$group"
no_stuck_task
unload
