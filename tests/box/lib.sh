# shellcheck shell=bash
# For the tests in this directory, which run as root in the box: `. tests/box/lib.sh` first.
set -euo pipefail

# fail MESSAGE… — ends the test.
fail() { echo "FAIL: $*" >&2; exit 1; }

# expect WHAT ACTUAL EXPECTED — fails unless the two strings are the same.
expect() { [[ $2 = "$3" ]] || fail "$1: got '$2', expected '$3'"; }

# wait_for SECONDS CMD… — waits until CMD succeeds; fails with what its last try said.
wait_for() {
    local end=$((SECONDS + $1)) said
    shift
    until said=$("$@" 2>&1); do
        ((SECONDS < end)) || fail "waited in vain for: $*: $said"
        sleep 0.1
    done
}
