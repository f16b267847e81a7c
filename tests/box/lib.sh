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

# start_device NAME [OPTION…] — runs a headless device, or one on DEVICE_DISPLAY, and waits until its card is there. Sets
# $card to its node. Its log is /tmp/NAME.log, its process id $device.
start_device() {
    local name=$1
    shift
    modprobe virtio_loopback
    rm -f "/tmp/$name.ready" && mkfifo "/tmp/$name.ready"
    virtio-loopback-gpu -v run --name "$name" --display "${DEVICE_DISPLAY:-headless}" --ready-fd 3 "$@" \
        3>"/tmp/$name.ready" >"/tmp/$name.log" 2>&1 &
    device=$!
    local line
    read -r -t 20 line <"/tmp/$name.ready" || fail "$name is not ready: $(cat "/tmp/$name.log")"
    rm "/tmp/$name.ready"
    read -r _ _ card _ <<<"$line"
    [[ -c $card ]] || fail "no card in: $line"
}

# stop_device NAME — ends it as a user does, and expects that it ends well.
stop_device() {
    virtio-loopback-gpu ctl --name "$1" quit
    wait "$device" || fail "$1 ended with $?: $(cat "/tmp/$1.log")"
}

# picture NAME FILE — what scanout 0 shows.
picture() { virtio-loopback-gpu ctl --name "$1" screenshot "$2"; }

# pixel FILE X Y — as RRGGBB.
pixel() { convert "$1" -crop "1x1+$2+$3" +repage -depth 8 rgb:- | od -An -tx1 | tr -d ' \n'; }

# figure NAME FIELD — a figure of the transport.
figure() {
    virtio-loopback-gpu ctl --name "$1" status --json | python3 -c 'import json, sys
print(json.load(sys.stdin)["transport"][sys.argv[1]])' "$2"
}

# no_stuck_task — fails if a task sleeps without being killable.
no_stuck_task() {
    [[ -z $(stuck_tasks) ]] || sleep 3
    expect "stuck tasks" "$(stuck_tasks)" ""
}

stuck_tasks() { ps -eo state,pid,comm,wchan:40 | awk '/^D/ && !/kworker/'; }

# unload — removes the module, which every client must allow by now.
unload() {
    wait_for 10 modprobe -r virtio_loopback
    modprobe virtio_loopback
}
