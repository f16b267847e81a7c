#!/usr/bin/env bash
# What scripts/box promises: exit codes, both outputs byte by byte, and two boxes at once.
set -euo pipefail
cd -- "$(dirname -- "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

fail() { echo "FAIL: $*" >&2; exit 1; }

# box_exits STATUS BOX-OPTION… -- CMD…
box_exits() {
    local expected=$1 status=0
    shift
    scripts/box run --no-build "$@" >"$work/$BASHPID.out" 2>"$work/$BASHPID.err" || status=$?
    ((status == expected)) || fail "'$*' exited with $status, expected $expected: $(<"$work/$BASHPID.err")"
}

bytes='printf "a\r\n\000\377b"; echo to stderr >/dev/stderr; exit 7'
(box_exits 7 -- sh -c "$bytes" && printf 'a\r\n\000\377b' | cmp - "$work/$BASHPID.out" && grep -qx 'to stderr' "$work/$BASHPID.err") &
first=$!
(box_exits 0 -- sh -c 'sleep 1000 & [ "$1" = "two words" ]' sh 'two words') &
wait "$first" || fail "exit code or output"
wait "$!" || fail "arguments, or a process left behind"
box_exits 127 -- no-such-program
box_exits 123 -- sh -c 'echo "WARNING: CPU: 0" >/dev/kmsg'
box_exits 0 --allow-warnings -- sh -c 'echo "WARNING: CPU: 0" >/dev/kmsg'
box_exits 124 --timeout 25 -- sleep 1000
box_exits 125 -- sh -c 'echo c >/proc/sysrq-trigger'
box_exits 125 --append 'root_missing panic=-1 init_on_alloc=0 rdinit=/none' -- true
box_exits 2 --kernel 5.10 -- true
