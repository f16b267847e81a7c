# shellcheck shell=bash
# For the tests that have the adapter show something on vkms: source it after lib.sh and set OUT, where pictures go.

# one_processor — for this test only. With two, vkms of 6.12 hangs the kernel now and then when an output is switched off:
# vkms_disable_vblank waits for the timer of its vblanks under the lock that the timer waits for (hrtimer_cancel in
# drm_vblank_disable_and_save).
one_processor() {
    second=/sys/devices/system/cpu/cpu1/online
    [[ -e $second ]] || return 0
    echo 0 >"$second"
    trap 'echo 1 >"$second"' EXIT
}

# find_vkms — sets $node to the card of vkms, and makes what the tests need.
find_vkms() {
    local flags=(-O1 -Wall -Werror -I/usr/include/libdrm)
    node=$(for card in /sys/class/drm/card?; do
        # By the name of its device, on 6.12 of the platform bus, on 7.x of the faux bus.
        [[ $(readlink -f "$card/device") != */vkms* ]] || echo "/dev/dri/${card##*/}"
    done)
    [[ -c $node ]] || fail "no card of vkms"
    mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
    gcc "${flags[@]}" -o /tmp/kms_owner tests/box/kms_owner.c -ldrm
    gcc "${flags[@]}" -o /tmp/card_client tests/box/card_client.c -ldrm
    modprobe virtio_loopback
    rm -f /tmp/never /tmp/control && mkfifo /tmp/never /tmp/control
}
# state — what the card does, as its driver knows it.
state() { cat "/sys/kernel/debug/dri/${node##*card}/state"; }

# start_owned NAME [--share] [OPTION…] — a device on a lease of the card, or on its owner's very file. Sets $card.
start_owned() {
    local name=$1 line share=()
    shift
    [[ ${1-} != --share ]] || { share=(--share) && shift; }
    rm -f "/tmp/$name.ready" && mkfifo "/tmp/$name.ready"
    /tmp/kms_owner "${share[@]}" "$node" /tmp/control -- virtio-loopback-gpu -v run --name "$name" --drm-fd 7 \
        --ready-fd 3 "$@" 3>"/tmp/$name.ready" >/tmp/answers 2>"/tmp/$name.log" &
    owner=$!
    read -r -t 60 line <"/tmp/$name.ready" || fail "$name is not ready: $(cat "/tmp/$name.log")"
    read -r _ _ card _ <<<"$line"
}
# ask COMMAND — has the card's owner do something.
ask() {
    local before
    before=$(wc -l </tmp/answers)
    echo "$*" >/tmp/control
    answered() { (($(wc -l </tmp/answers) > before)); }
    wait_for 60 answered
    expect "the owner's answer to $*" "$(tail -n 1 /tmp/answers)" ok
}
end_owned() {
    virtio-loopback-gpu ctl --name "$1" quit
    kill "$owner" && { wait "$owner" || true; } 2>/dev/null
}
client() {
    "$@" 0<>/tmp/never >/tmp/client.log 2>&1 &
    client=$!
}
end_client() {
    kill "$client"
    # Who is stopped does not end; who was not has ended by now, perhaps.
    { kill -CONT "$client" || true; wait "$client" || true; } 2>/dev/null
}
# counted DEVICE FIELD — a figure of scanout 0.
counted() {
    virtio-loopback-gpu ctl --name "$1" status --json | python3 -c 'import json, sys
print(json.load(sys.stdin)["scanouts"][0][sys.argv[1]])' "$2"
}
# scanned NAME CHECK… — what the card has scanned out is as CHECK says.
scanned() {
    ask capture "$OUT-$1.ppm" && scripts/lib/pixels.py "$OUT-$1.ppm" "${@:2}"
}
# scanned_on N NAME CHECK… — the same of the connector Virtual-N.
scanned_on() {
    ask capture "$OUT-$2.ppm" "$1" && scripts/lib/pixels.py "$OUT-$2.ppm" "${@:3}"
}
# shows DEVICE NAME CHECK… — and is DEVICE's screenshot, to the last pixel.
shows() {
    picture "$1" "$OUT-$2.png" && scanned "$2" "${@:3}" same "$OUT-$2.png" 0
}
# stopped CMD… — with the client stopped: vkms forgets to write back what is followed by another frame.
stopped() {
    local status=0
    # It has said that it has drawn something.
    [[ -s /tmp/client.log ]] || return 1
    kill -STOP "$client"
    # What fails in there ends that only.
    ("$@") || status=$?
    kill -CONT "$client"
    return "$status"
}
connector() { modetest -M virtio_gpu -c | awk '$3 == "connected" { print $1 }'; }
logged() { grep -q "$1" "/tmp/$2.log"; }
no_copy() {
    logged 'scanned out where it is, no byte is copied' "$1" || fail "not scanned out where it is: $(cat "/tmp/$1.log")"
    expect "bytes copied for $1" "$(counted "$1" copied_bytes)" 0
}
