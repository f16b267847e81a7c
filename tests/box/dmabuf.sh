#!/bin/bash
# timeout: 300
# Scanouts of textures as dma-bufs: Mesa's software renderer makes them by /dev/udmabuf, and the display maps them. The
# tests of tests/texture_scanouts.rs, which outside of the box see copies; then OpenGL programs on the card, whose frames
# are those of copies. Pictures: target/test/dmabuf-*.png.
. tests/box/lib.sh

OUT=target/test
# As udev has it, which does not run here. Without, the backend, which is nobody, may not open it.
chgrp kvm /dev/udmabuf
chmod 660 /dev/udmabuf
rm -f /tmp/never
mkfifo /tmp/never

env EXPECT_DMA_BUFS=true "CARGO_BIN_EXE_virtio-loopback-gpu=$(command -v virtio-loopback-gpu)" \
    test-texture_scanouts --test-threads=1 || fail "tests/texture_scanouts.rs, with dma-bufs"

# dma_bufs — how many the display of the adapter has mapped.
dma_bufs() { grep -c '/dmabuf:' "/proc/$device/maps" || true; }
some_dma_bufs() { (($(dma_bufs) > 0)); }
# shows NAME CHECK… — takes a picture and checks it.
shows() {
    virtio-loopback-gpu ctl --name gl screenshot "$OUT/dmabuf-$1.png" && scripts/lib/pixels.py "$OUT/dmabuf-$1.png" "${@:2}"
}

# A desktop that stands still and is not the same upside down: by copies, then by dma-bufs.
sed 's/^renderer=.*/renderer=gl/' scripts/guest/weston.ini >/tmp/weston.ini
mkdir -p /tmp/runtime && chmod 700 /tmp/runtime
desktop() {
    LIBSEAT_BACKEND=builtin XDG_RUNTIME_DIR=/tmp/runtime weston --backend=drm --renderer=gl --config=/tmp/weston.ini \
        --continue-without-input --drm-device="${card##*/}" --socket=wayland-dmabuf 0<>/tmp/never >/tmp/weston.log 2>&1 &
    weston=$!
    wait_for 60 shows "$1" pixel .3 .02 e0e0e0 pixel .02 .9 1d3557 pixel .5 .9 1d3557
    grep -q 'GL renderer: virgl' /tmp/weston.log || fail "weston does not draw by virgl: $(cat /tmp/weston.log)"
}
end_desktop() {
    kill "$weston" && { wait "$weston" || true; } 2>/dev/null
    stop_device gl
}
start_device gl --render virgl --scanout 640x480 --dmabuf-scanouts off
desktop copy
expect "dma-bufs with --dmabuf-scanouts=off" "$(dma_bufs)" 0
end_desktop
start_device gl --render virgl --scanout 640x480
desktop mapped
(($(dma_bufs) > 0)) || fail "the desktop is not shown by dma-bufs"
virtio-loopback-gpu ctl --name gl status | grep -q 'sandbox .*user 65534.*no_new_privs.*seccomp.*Landlock' ||
    fail "not confined: $(virtio-loopback-gpu ctl --name gl status)"
scripts/lib/pixels.py "$OUT/dmabuf-mapped.png" same "$OUT/dmabuf-copy.png" 1 || fail "the desktop is another one by dma-bufs"
end_desktop

# The renderer dies under a client: the last picture stays, and another client draws.
start_device gl --render virgl --scanout 640x480
kmscube -D "$card" 0<>/tmp/never >/tmp/kmscube.log 2>&1 &
client=$!
wait_for 90 shows kmscube size 640 480 pixel .02 .05 7f7f7f pixel .98 .95 7f7f7f colours 200 .4 .4 .6 .6
wait_for 10 some_dma_bufs
kill -KILL "$(pgrep -f 'virtio-loopback-gpu backend' | head -n 1)"
restarted() { virtio-loopback-gpu ctl --name gl status --json | grep -q '"backend_restarts": *1'; }
wait_for 20 restarted
for _ in 1 2 3; do
    shows after-kill pixel .02 .05 7f7f7f colours 200 .4 .4 .6 .6 || fail "the picture is lost"
    sleep 0.5
done
kill "$client" && { wait "$client" || true; } 2>/dev/null
kmscube -D "$card" 0<>/tmp/never >/tmp/kmscube.log 2>&1 &
client=$!
wait_for 60 shows again differs "$OUT/dmabuf-after-kill.png" 2
kill "$client" && { wait "$client" || true; } 2>/dev/null
# Its own card is no GPU to render with, and neither is another one of ours.
node=/dev/dri/renderD128
[[ -c $node ]] || fail "no render node of the first device"
chmod 666 "$node"
first=$device
start_device second --render virgl --scanout 640x480
no_render_node() { [[ -z $(find "/proc/$1/fd" -lname "*renderD*") ]]; }
for backend in $(pgrep -f 'virtio-loopback-gpu backend'); do
    no_render_node "$backend" || fail "a backend renders with a card of ours: $(ls -l "/proc/$backend/fd")"
done
stop_device second
device=$first
# refused SAYS OPTION… — a device that cannot be had, and why.
refused() {
    ! virtio-loopback-gpu run --name third --display headless --render virgl "${@:2}" 2>/tmp/third.log || fail "runs: ${*:2}"
    grep -q "$1" /tmp/third.log || fail "${*:2} says: $(cat /tmp/third.log)"
}
refused "$node is a card of virtio-loopback-gpu" --render-node "$node"
refused "would take a card of virtio-loopback-gpu" --sandbox=off

# Nothing is left of the dma-bufs, whoever had them.
stop_device gl
no_dma_bufs() { grep -q '^Total 0 objects' /sys/kernel/debug/dma_buf/bufinfo; }
mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
wait_for 10 no_dma_bufs
