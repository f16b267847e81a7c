#!/bin/bash
# kernels: 6.1 6.12
# timeout: 600
# 16 devices at once: every card appears, all present frames together, each shows its own client's pixels; idle they take
# no processor time, and one more of them takes less than 8 MiB of private memory.
. tests/box/long.sh

DEVICES=16
# Seconds without a clock tick; after SETTLED, adapters no longer ask their backends whether they are there.
IDLE=10 SETTLED=4
MOST_KIB=8192

modprobe virtio_loopback
client=$(build_client)
adapters=() cards=() clients=()

# start_all — four at a time: emulated processors that start 16 at once take so long that adapters give up.
start_all() {
    local i
    rm -f /tmp/ready
    mkfifo /tmp/ready
    exec 7<>/tmp/ready
    for ((i = 0; i < DEVICES; i++)); do
        virtio-loopback-gpu run --name "many$i" --display headless --scanout 320x200 --ready-fd 7 >"/tmp/many$i.log" 2>&1 &
        adapters+=($!)
        ((i < 3)) || wait_for_one
    done
    for i in 1 2 3; do
        wait_for_one
    done
    exec 7>&-
    expect "cards" "${#cards[@]}" "$DEVICES"
    expect "different cards" "$(printf '%s\n' "${cards[@]}" | sort -u | wc -l)" "$DEVICES"
}

# wait_for_one — the next device that is ready.
wait_for_one() {
    local name path
    read -r -t 90 -u 7 _ name path _ || fail "only ${#cards[@]} devices are ready: $(cat /tmp/many*.log)"
    [[ -c $path ]] || fail "no card of $name: $path"
    cards[${name#many}]=$path
}

# processes — sets PROCESSES to the adapters and backends, the first device's apart in FIRST.
processes() {
    local i
    FIRST=() PROCESSES=()
    for ((i = 0; i < DEVICES; i++)); do
        children "${adapters[i]}"
        expect "processes of many$i" "${#CHILDREN[@]}" 1
        if ((i)); then PROCESSES+=("${adapters[i]}" "${CHILDREN[0]}"); else FIRST=("${adapters[i]}" "${CHILDREN[0]}"); fi
    done
}

# ticks PID… — clock ticks of user and system time.
ticks() {
    local pid
    for pid in "$@"; do
        cat "/proc/$pid/stat"
    done | sed 's/.*) //' | awk '{ sum += $12 + $13 } END { print sum + 0 }'
}

# private_kib PID… — memory that would be free without them.
private_kib() {
    local pid
    for pid in "$@"; do
        cat "/proc/$pid/smaps_rollup"
    done | awk '/^Private_(Clean|Dirty|Hugetlb):/ { sum += $2 } END { print sum + 0 }'
}

updates() { virtio-loopback-gpu ctl --name "$1" status | sed -n 's/.*scanout 0 live.* shown of \([0-9]*\) updates/\1/p'; }

# colour I — of device I's client.
colour() { printf '%02x%02x%02x' $((16 + $1 * 13)) $((250 - $1 * 11)) $(($1 * 37 % 256)); }

start_all
processes

# Idle.
sleep "$SETTLED"
before=$(ticks "${FIRST[@]}" "${PROCESSES[@]}")
sleep "$IDLE"
after=$(ticks "${FIRST[@]}" "${PROCESSES[@]}")
expect "clock ticks of $DEVICES devices in $IDLE s" "$((after - before))" 0
kib=$(($(private_kib "${PROCESSES[@]}") / (DEVICES - 1)))
echo "private memory of one more idle device: $kib KiB; 0 clock ticks of $DEVICES devices in $IDLE s"
((kib > 0 && kib < MOST_KIB)) || fail "private memory of one more device: $kib KiB"

# All draw.
for ((i = 0; i < DEVICES; i++)); do
    "$client" "${cards[i]}" show "$(colour "$i")" 4 0<>"$NEVER" >"/tmp/client.$i" 2>&1 &
    clients+=($!)
done
declare -A drawn=()
for ((i = 0; i < DEVICES; i++)); do
    is_shown() { [[ $(updates "many$i") -gt 0 ]]; }
    wait_for 60 is_shown
    drawn[$i]=$(updates "many$i")
done
for ((i = 0; i < DEVICES; i++)); do
    goes_on() { [[ $(updates "many$i") -ge $((drawn[$i] + 5)) ]]; }
    wait_for 60 goes_on
    is_alive "${clients[i]}" || fail "client $i has ended: $(cat "/tmp/client.$i")"
done
for ((i = 0; i < DEVICES; i++)); do
    picture "many$i" "/tmp/many$i.png"
    expect "pixels of many$i" "$(convert "/tmp/many$i.png" -depth 8 -format '%wx%h %k %[hex:p{160,100}]' info: | tr A-F a-f)" \
        "320x200 1 $(colour "$i")"
done

# All end. Not while they draw: virtio_gpu forgets objects of frames that are under way when a card goes (docs/uapi.md,
# Limits), and with 16 at once on emulated processors some always are. cycles.sh and kills.sh have drawing clients.
kill "${clients[@]}"
for i in "${!clients[@]}"; do
    ends_within 20 "${clients[i]}" || fail "client $i does not end: $(cat "/proc/${clients[i]}/stack")"
done
{ wait "${clients[@]}" || true; } 2>/dev/null
for pid in "${adapters[@]}"; do
    kill -TERM "$pid"
done
for i in "${!adapters[@]}"; do
    wait "${adapters[i]}" || fail "many$i ended with $?: $(cat "/tmp/many$i.log")"
done
nothing_left
