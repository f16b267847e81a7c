#!/usr/bin/env bash
# What scripts/box promises: exit codes, both outputs byte by byte, and two boxes at once.
set -euo pipefail
cd -- "$(dirname -- "$0")/../.."
work=$(mktemp -d)
trap 'wait; rm -rf -- "$work"' EXIT

fail() { echo "FAIL: $*" >&2; exit 1; }

# box_exits STATUS BOX-OPTION… -- CMD… — the outputs are in $log.out and $log.err.
log=$work/box
box_exits() {
    local expected=$1 status=0
    shift
    scripts/box run --no-build "$@" >"$log.out" 2>"$log.err" || status=$?
    ((status == expected)) || fail "'$*' exited with $status, expected $expected: $(<"$log.err")"
}

outputs() {
    box_exits 7 -- sh -c 'printf "a\r\n\000\377b"; echo to stderr >/dev/stderr; exit 7'
    printf 'a\r\n\000\377b' | cmp - "$log.out"
    grep -qx 'to stderr' "$log.err"
}
outputs &
first=$!
# shellcheck disable=SC2016  # for the shell in the box
log=$work/second box_exits 0 -- sh -c 'sleep 1000 & [ "$1" = "two words" ]' sh 'two words'
wait "$first" || fail "exit code or output"
box_exits 127 -- no-such-program
box_exits 123 -- sh -c 'echo "WARNING: CPU: 0" >/dev/kmsg'
box_exits 0 --allow-warnings -- sh -c 'echo "WARNING: CPU: 0" >/dev/kmsg'
# Long enough for a machine that does something else, too.
box_exits 124 --timeout 60 -- sleep 1000
box_exits 125 -- sh -c 'echo c >/proc/sysrq-trigger'
box_exits 125 --append 'rdinit=/none' -- true
box_exits 2 --kernel 5.10 -- true
