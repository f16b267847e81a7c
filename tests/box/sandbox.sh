#!/bin/bash
# kernels: 6.1 6.12 forky
# The backend of a real card is confined on every kernel, strictly, and shows what is drawn.
. tests/box/lib.sh

# status NAME — a line of /proc/PID/status without its spaces.
status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$backend/status" | tr '\t' ' '; }

start_device sandbox --sandbox=strict
backend=$(virtio-loopback-gpu ctl --name sandbox status --json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["backend_pid"])')
expect "users" "$(status Uid)" "65534 65534 65534 65534"
expect "groups" "$(status Groups)" ""
expect "seccomp" "$(status Seccomp)" 2
expect "no_new_privs" "$(status NoNewPrivs)" 1
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
    expect "$set" "$(status "$set")" 0000000000000000
done
# Sockets, the window, eventfds; neither the control nor the session file.
others=$(find "/proc/$backend/fd" -type l -printf '%l\n' |
    grep -vE '^(socket:|anon_inode:\[event|/\[virtio-loopback-memory\]|/memfd:|/dev/null|/tmp/sandbox.log)' || true)
expect "other files" "$others" ""
landlock=$(virtio-loopback-gpu ctl --name sandbox status --json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["sandbox"]["landlock_abi"] or 0)')
((landlock >= 2)) || fail "Landlock ABI $landlock"

sleep 1000 | kmscube -D "$card" >/tmp/kmscube.log 2>&1 &
client=$!
shown() { virtio-loopback-gpu ctl --name sandbox status | grep -q 'scanout 0 live'; }
wait_for 60 shown
picture sandbox /tmp/sandbox.png
pkill -KILL kmscube || true
pkill -f 'sleep 1000' || true
wait "$client" || true
stop_device sandbox
no_stuck_task
unload
