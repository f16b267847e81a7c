# shellcheck shell=bash
# The cells of scripts/interop's matrix, as root in a machine with the real driver: `. tests/interop/lib.sh` after
# tests/box/lib.sh. Whoever sources it defines `picture DEVICE FILE`.

# Where the pictures and logs of this run are kept.
mkdir -p "$INTEROP_OUT"

# cell NAME CMD… — runs CMD in a subshell; one line tells what came of it.
cell() {
    local name=$1 log=$INTEROP_OUT/$1.log status
    shift
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1
    status=$?
    # What a cell that failed has left would be in the next one's way.
    pkill -x 'modetest|card_client|kmscube'
    set -e
    if ((status == 0)); then
        printf 'cell %s pass\n' "$name"
    else
        printf 'cell %s fail %s\n' "$name" "$(sed -n 's/^FAIL: //p' "$log" | tail -n 1 | cut -c -300)"
    fi
    return "$status"
}

# first_card — the node of the only card there is.
first_card() {
    local node
    for node in /dev/dri/card[0-9]; do
        [[ ! -c $node ]] || { echo "$node" && return; }
    done
    return 1
}

# no_driver_errors ALLOWED — the driver has complained of nothing, but for lines with ALLOWED.
no_driver_errors() {
    local complaint
    complaint=$(dmesg | grep -E 'virtio_gpu.*(\*ERROR\*|timed out|failed)' | grep -vE "$1" | head -n 1 || true)
    [[ -z $complaint ]] || fail "the driver complains: $complaint"
}

# has_modes MODE — what the driver knows of the display is what was asked for.
has_modes() {
    modetest -M virtio_gpu -c >"$INTEROP_OUT/modetest-c.txt"
    grep -Eq "#0 $1 .*preferred" "$INTEROP_OUT/modetest-c.txt" || fail "no preferred mode of $1"
    grep -q 00ffffffffffff00 "$INTEROP_OUT/modetest-c.txt" || fail "no EDID"
}

# shows_bars — modetest's colour bars arrive, by pixel.
shows_bars() {
    local connector bar=0 colour picture=$INTEROP_OUT/bars.png
    connector=$(modetest -M virtio_gpu -c | awk '$3 == "connected" { print $1 }')
    # modetest waits for a line on its standard input.
    sleep 1000 | modetest -M virtio_gpu -s "$connector:800x600" >"$INTEROP_OUT/modetest.log" 2>&1 &
    grey_bar() { picture interop "$picture" && [[ $(pixel "$picture" 57 100) = c0c0c0 ]]; }
    wait_for 30 grey_bar
    # Grey, yellow, cyan, green, magenta, red, blue: seven bars of 800 / 7 pixels.
    for colour in c0c0c0 c0c000 00c0c0 00c000 c000c0 c00000 0000c0; do
        expect "bar $bar" "$(pixel "$picture" $((57 + bar * 114)) 100)" "$colour"
        bar=$((bar + 1))
    done
    pkill -x modetest
    client_is_gone() { ! pgrep -x modetest; }
    wait_for 10 client_is_gone
}

# start_cursor CARD — a cursor of one colour at 100,80 on a dark screen; lines for it go to descriptor 4.
start_cursor() {
    gcc -O1 -o /tmp/card_client tests/box/card_client.c -I/usr/include/libdrm -ldrm
    rm -f /tmp/cursor.in /tmp/cursor.out
    mkfifo /tmp/cursor.in
    /tmp/card_client "$1" cursor ff8000 100 80 </tmp/cursor.in >/tmp/cursor.out 2>&1 &
    exec 4>/tmp/cursor.in
    wait_for 20 grep -q shown /tmp/cursor.out
}

# tell_cursor LINE — moves or hides the cursor.
tell_cursor() {
    echo "$1" >&4
    wait_for 10 grep -q "^$1\$" /tmp/cursor.out
}

# stop_cursor — ends the client.
stop_cursor() {
    exec 4>&-
    client_is_gone() { ! pgrep -x card_client; }
    wait_for 10 client_is_gone
}

# draws_gl — kmscube's cube arrives, and it is Mesa's virgl driver that has drawn it.
draws_gl() {
    local picture=$INTEROP_OUT/gl.png colours
    # It ends when its standard input does.
    rm -f /tmp/never && mkfifo /tmp/never
    stdbuf -oL kmscube -D "$card" 0<>/tmp/never >"$INTEROP_OUT/kmscube.log" 2>&1 &
    many_colours() {
        picture interop "$picture"
        colours=$(identify -format %k "$picture")
        ((colours > 200)) || { echo "$colours colours" && return 1; }
    }
    wait_for 60 many_colours
    grep -iq 'renderer.*virgl' "$INTEROP_OUT/kmscube.log" ||
        fail "drawn by $(grep -i renderer "$INTEROP_OUT/kmscube.log" | head -n 1)"
}
