#!/bin/bash
# adapter.sh BACKEND — the row of the matrix with our adapter: `run` with one backend, in the box. Prints a line per cell.
# shellcheck disable=SC2317  # what cell calls
INTEROP_OUT=/repo/target/interop/adapter/$1
. tests/box/lib.sh
. tests/interop/lib.sh

backend=$1 peers=/repo/target/interop/peers socket=/run/interop.sock

# start_backend — the program on $socket, or nothing for a child of the adapter.
start_backend() {
    export LD_LIBRARY_PATH=$peers/lib
    case $backend in
    ours-*) ;;
    vhost-device-gpu)
        # It starts GL when the driver already waits, five seconds at most. From a cold disk that takes longer here.
        cat /usr/lib/*-linux-gnu/lib{LLVM,gallium,GL,EGL}*.so* >/dev/null
        GALLIVM_PERF=nopt RUST_LOG=debug "$peers/bin/vhost-device-gpu" --socket-path "$socket" --gpu-mode virglrenderer \
            >"$INTEROP_OUT/backend.log" 2>&1 &
        ;;
    vhost-user-gpu) "$peers/bin/vhost-user-gpu" --socket-path "$socket" >"$INTEROP_OUT/backend.log" 2>&1 & ;;
    *) fail "no such backend: $backend" ;;
    esac
    backend_id=${!-}
    unset LD_LIBRARY_PATH
    [[ $backend = ours-* ]] || wait_for 20 test -S "$socket"
}

# boots — the driver is happy with the device.
boots() {
    [[ -c ${card-} ]] || fail "${why:-no card}"
    no_driver_errors 'cap ?set'
}

# hides_cursor — Linux hides it with UPDATE_CURSOR of resource 0.
hides_cursor() {
    local picture=$INTEROP_OUT/hidden.png
    start_cursor "$card"
    cursor_at() { picture interop "$picture" && [[ $(pixel "$picture" "$1" "$2") = "$3" ]]; }
    wait_for 10 cursor_at 100 80 ff8000
    tell_cursor hide
    wait_for 5 cursor_at 100 80 202020
    stop_cursor
}

has_cursor() {
    local picture=$INTEROP_OUT/cursor.png
    start_cursor "$card"
    cursor_at() { picture interop "$picture" && [[ $(pixel "$picture" "$1" "$2") = "$3" ]]; }
    wait_for 10 cursor_at 100 80 ff8000
    expect "the last pixel of the cursor" "$(pixel "$picture" 163 143)" ff8000
    expect "the screen beside it" "$(pixel "$picture" 164 144)" 202020
    tell_cursor "300 200"
    wait_for 10 cursor_at 300 200 ff8000
    expect "where it was" "$(pixel "$picture" 100 80)" 202020
    stop_cursor
}

# start — backend and device; sets $card, or $why there is none.
start() {
    local arguments=()
    case $backend in
    ours-*) arguments=(--render "${backend#ours-}") ;;
    *) arguments=(--backend "$socket") ;;
    esac
    start_backend
    (start_device interop --scanout 800x600 "${arguments[@]}") >/dev/null 2>&1 || true
    card=$(first_card) || why=$(tail -n 1 /tmp/interop.log)
}

# stop — both.
stop() {
    virtio-loopback-gpu ctl --name interop quit || true
    cp /tmp/interop.log "$INTEROP_OUT/adapter.log"
    dmesg >"$INTEROP_OUT/dmesg.txt"
    [[ -z $backend_id ]] || kill "$backend_id" 2>/dev/null || true
}

start
# The driver waits 5 s for vhost-device-gpu to start GL, which takes longer on an emulated machine that is busy. It goes on
# without capsets then, and so without GL.
for _ in 1 2; do
    dmesg | grep -q 'timed out waiting for cap set' || break
    stop
    no_card() { ! first_card; }
    wait_for 20 no_card
    dmesg --clear
    rm -f "$socket" /tmp/interop.ready
    start
done

ok=0
if cell boots boots && cell modes has_modes 800x600; then
    cell picture shows_bars || ok=1
    cell cursor has_cursor || ok=1
    cell hiding hides_cursor || ok=1
    case $backend in
    ours-virgl) cell gl draws_gl || ok=1 ;;
    vhost-device-gpu) cell gl draws_gl || true ;;
    esac
else
    ok=1
fi
stop
exit "$ok"
