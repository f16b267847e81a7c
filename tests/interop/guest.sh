#!/bin/bash
# guest.sh ROW — a row of the matrix with QEMU: what the driver in QEMU's guest makes of a vhost-user GPU. Prints a line per
# cell. The pictures are taken outside, by scripts/lib/qemu_screen.py in target/interop/ROW/.
# shellcheck disable=SC2317  # what cell calls
INTEROP_OUT=/repo/target/interop/$1
. tests/box/lib.sh
. tests/interop/lib.sh

# picture DEVICE FILE — what QEMU's console shows, taken from outside.
picture() {
    local name=screen-$BASHPID end=$((SECONDS + 20))
    rm -f "$INTEROP_OUT/$name.ppm"
    : >"$INTEROP_OUT/want-$name"
    until [[ -e $INTEROP_OUT/$name.ppm ]]; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
    convert "$INTEROP_OUT/$name.ppm" "$2"
    rm "$INTEROP_OUT/$name.ppm"
}

boots() {
    [[ -c ${card-} ]] || fail "no card: $(dmesg | grep -E '\[drm|virtio_gpu' | tail -n 1)"
    no_driver_errors '^$'
}

# has_cursor — the driver's cursor commands are answered, and the screen below is right. The pointer itself is in no
# screendump (docs/interop.md).
has_cursor() {
    local screen=$INTEROP_OUT/screen.png
    start_cursor "$card"
    dark() { picture interop "$screen" && [[ $(pixel "$screen" 400 300) = 202020 ]]; }
    wait_for 15 dark
    expect "the screen below the pointer" "$(pixel "$screen" 100 80)" 202020
    tell_cursor "300 200"
    tell_cursor hide
    stop_cursor
    no_driver_errors '^$'
}

# The box looks for new devices only, and QEMU's was there before.
modprobe virtio_gpu
found() { card=$(first_card); }
for _ in {1..100}; do
    ! found || break
    sleep 0.1
done
ok=0
if cell boots boots && cell modes has_modes 800x600; then
    cell picture shows_bars || ok=1
    cell cursor has_cursor || ok=1
    [[ $1 != */ours-virgl ]] || cell gl draws_gl || ok=1
else
    ok=1
fi
dmesg >"$INTEROP_OUT/dmesg.txt"
exit "$ok"
