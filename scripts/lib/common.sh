# shellcheck shell=bash
# What every script of this directory shares: paths, messages, stamps and locks. Sourced, never run.

TOP=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
# What belongs to this checkout: our module, our binaries, run directories and logs.
BOX_DIR=$TOP/target/box
# What any checkout can share, because it is made of Debian packages only.
BOX_CACHE=${BOX_CACHE:-$BOX_DIR/cache}

# step MESSAGE… — one progress line on stderr, with the seconds since the script started.
step() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&2; }

# note MESSAGE… — one line on stderr, prefixed with the script's name.
note() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die MESSAGE… — note, then exit 1.
die() { note "$@"; exit 1; }

# usage_error MESSAGE… — note, then exit 2.
usage_error() { note "$* (see --help)"; exit 2; }

# print_help — prints the comment block that follows the shebang of the running script.
print_help() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

need_root() { [[ $(id -u) = 0 ]] || die "must run as root"; }

# key_of FILE… — one hash over standard input and the contents of FILES.
key_of() { cat -- - "$@" | sha256sum | cut -d ' ' -f 1; }

# stamp_is FILE KEY — whether FILE says that what it stands for was made from KEY.
stamp_is() { [[ -f $1 && $(<"$1") = "$2" ]]; }

# with_lock FILE CMD… — runs CMD in a subshell with FILE locked, so that two runs do not build the same thing at once.
# Never call it in a condition: bash then ignores `set -e` in all of CMD.
with_lock() {
    local lock=$1
    shift
    mkdir -p -- "$(dirname -- "$lock")"
    (
        flock 9
        "$@" 9>&-
    ) 9>"$lock"
}

# quietly LOG CMD… — runs CMD with its output in LOG. Shows the last line of it now and then, and the end of it when CMD
# fails.
quietly() {
    local log=$1 status=0 watcher
    shift
    mkdir -p -- "$(dirname -- "$log")"
    : >"$log"
    watch_log "$log" &
    watcher=$!
    "$@" >"$log" 2>&1 </dev/null || status=$?
    kill "$watcher"
    wait "$watcher" 2>/dev/null || true
    if ((status != 0)); then
        tail -n 40 -- "$log" >&2
        note "failed ($status): $* — all of it in $log"
    fi
    return "$status"
}

# watch_log LOG — a line of progress every 20 seconds. `read` and not sleep: a killed watcher leaves no child behind.
watch_log() {
    local never line
    exec {never}<> <(:)
    while true; do
        read -r -t 20 -u "$never" || true
        line=$(tail -n 1 -- "$1" | tr -d '\r' | cut -c -100)
        step "… ${line:-still at it}"
    done
}
