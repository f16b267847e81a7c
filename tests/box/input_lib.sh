# shellcheck shell=bash
# For the tests of input, after lib.sh: `. tests/box/input_lib.sh`. Input devices of the machine, and what those of a
# container say.
# shellcheck disable=SC2034 # $node, $report
modprobe uinput
modprobe evdev

# source_device KIND [NAME] — an input device of uinput; sets $node to its node. What is written to /tmp/NAME happens to it,
# and its lights are in /tmp/NAME.log. Without NAME that is KIND.
source_device() {
    local name=${2-$1}
    rm -f "/tmp/$name" "/tmp/$name.log"
    mkfifo "/tmp/$name"
    python3 tests/box/uinput.py "$1" "/tmp/$name" >"/tmp/$name.log" 2>&1 &
    wait_for 20 grep -q '^/dev/input/event' "/tmp/$name.log"
    node=$(head -n 1 "/tmp/$name.log")
    wait_for 20 test -c "$node"
}

# does NAME LINE… — a frame per line.
does() { printf '%s\n' "${@:2}" >"/tmp/$1"; }

# node_of NAME — the node of the input device with this name.
node_of() {
    local file
    for file in /sys/class/input/event*/device/name; do
        [[ $(<"$file") != "$1" ]] || echo "/dev/input/$(basename "${file%/device/name}")"
    done
}

# watch NAME LOG — writes to LOG what the device with this name says, as evtest has it.
watch() {
    local node
    node=$(node_of "$1")
    [[ -c $node ]] || fail "no device named $1"
    stdbuf -oL evtest "$node" >"$2" 2>&1 &
    wait_for 20 grep -q '^Testing' "$2"
}

# says LOG TEXT… — waits until evtest has written all of the texts, each behind the one before it.
says() { wait_for 20 in_order "$@"; }

in_order() {
    python3 -c 'import sys
text, at = open(sys.argv[1], errors="replace").read(), 0
for wanted in sys.argv[2:]:
    found = text.find(wanted, at)
    if found < 0:
        sys.exit(f"{wanted} is missing in: {text[-3000:]}")
    at = found + len(wanted)' "$@"
}

report='-------------- SYN_REPORT ------------'
key() { printf 'type 1 (EV_KEY), code %s (%s), value %s\n' "$@"; }

# light NAME LED VALUE — sets a light of the device with this name, as its compositor does.
light() { python3 -c 'import struct, sys
with open(sys.argv[1], "wb", buffering=0) as device:
    device.write(struct.pack("llHHi", 0, 0, 17, int(sys.argv[2]), int(sys.argv[3])))' "$(node_of "$1")" "$2" "$3"; }

# count FILE TEXT COUNT — whether so many lines of it have the text in them.
count() {
    local found
    found=$(grep -cF -- "$2" "$1") || true
    [[ $found = "$3" ]] || { echo "$found lines with '$2' in $1, not $3" && return 1; }
}
