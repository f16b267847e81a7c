#!/bin/bash
# timeout: 400
# A window that draws by GL on EGL takes frames in dma-bufs as textures: the processor copies nothing, and the picture is
# that of copies. Mesa's software renderer plays the GPU, as in dmabuf.sh; the window is on Wayland, in weston without a
# screen. Pictures: target/test/window-*.png.
. tests/box/lib.sh

OUT=target/test
export XDG_RUNTIME_DIR=/run/wayland WAYLAND_DISPLAY=wayland-window
unset DISPLAY
# Nothing of another test, such as its socket.
rm -rf "$XDG_RUNTIME_DIR"
mkdir -m 0700 "$XDG_RUNTIME_DIR"
chgrp kvm /dev/udmabuf
chmod 660 /dev/udmabuf
rm -f /tmp/never
mkfifo /tmp/never
weston --backend=headless --renderer=pixman --shell=kiosk --width=640 --height=480 --socket="$WAYLAND_DISPLAY" --idle-time=0 \
    --debug >/tmp/host-weston.log 2>&1 &
wait_for 30 test -S "$XDG_RUNTIME_DIR/$WAYLAND_DISPLAY"

# field NAME — of the scanout.
field() {
    virtio-loopback-gpu ctl --name gl status --json | python3 -c 'import json, sys
print(json.load(sys.stdin)["scanouts"][0][sys.argv[1]])' "$1"
}
# few_copies — of all frames so far at most one was copied. A single one comes as a copy now and then; seen together with
# the backend going on without a display while the window opened, which may be why.
few_copies() {
    local copied
    copied=$(field copied_bytes)
    echo "$copied bytes copied of $(field damaged_bytes) in $(field presents) frames"
    ((copied <= 640 * 480 * 4)) || fail "$copied bytes were copied: $(cat /tmp/gl.log)"
}
shows() { picture gl "$OUT/window-$1.png" && scripts/lib/pixels.py "$OUT/window-$1.png" "${@:2}"; }

sed 's/^renderer=.*/renderer=gl/' scripts/guest/weston.ini >/tmp/weston.ini
# desktop NAME — a desktop that stands still and is not the same upside down, drawn by virgl.
desktop() {
    LIBSEAT_BACKEND=builtin weston --backend=drm --renderer=gl --config=/tmp/weston.ini --continue-without-input \
        --drm-device="${card##*/}" --socket=wayland-card 0<>/tmp/never >/tmp/weston.log 2>&1 &
    weston=$!
    wait_for 90 shows "$1" size 640 480 pixel .3 .02 e0e0e0 pixel .02 .9 1d3557 pixel .5 .9 1d3557
}
end_desktop() { kill "$weston" && { wait "$weston" || true; } 2>/dev/null; }

start_gl() { DEVICE_DISPLAY=sdl start_device gl --render virgl --scanout 640x480 --on-resize ignore "$@"; }

start_gl --dmabuf-scanouts off
desktop copied
grep -q 'GL takes dma-bufs' /tmp/gl.log || fail "GL cannot import: $(cat /tmp/gl.log)"
(($(field copied_bytes) > 0)) || fail "nothing was copied"
end_desktop
stop_device gl

start_gl
desktop imported
! grep 'does not take a dma-buf' /tmp/gl.log || fail "copies after all"
few_copies
(($(field damaged_bytes) >= 640 * 480 * 4)) || fail "damaged: $(field damaged_bytes) bytes"
scripts/lib/pixels.py "$OUT/window-imported.png" same "$OUT/window-copied.png" 1 || fail "another desktop by dma-bufs"
# What weston shows.
(cd /tmp && rm -f wayland-screenshot-*.png && weston-screenshooter)
mv /tmp/wayland-screenshot-*.png "$OUT/window-host.png"
scripts/lib/pixels.py "$OUT/window-host.png" same "$OUT/window-imported.png" 1 || fail "weston shows another desktop"
end_desktop

# Buffers that are flipped, and their last one stays when they are gone.
kmscube -D "$card" 0<>/tmp/never >/tmp/kmscube.log 2>&1 &
client=$!
wait_for 90 shows cube pixel .02 .05 7f7f7f pixel .98 .95 7f7f7f colours 200 .4 .4 .6 .6
wait_for 60 shows cube2 differs "$OUT/window-cube.png" 2
many_frames() { (($(field presents) >= 30)); }
wait_for 90 many_frames
few_copies
kill "$client" && { wait "$client" || true; } 2>/dev/null
is_off() { [[ $(field signal) != live ]]; }
wait_for 20 is_off
shows last pixel .02 .05 7f7f7f colours 200 .4 .4 .6 .6 || fail "the last picture is lost"
stop_device gl

no_dma_bufs() { grep -q '^Total 0 objects' /sys/kernel/debug/dma_buf/bufinfo; }
mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
kill %1
wait_for 10 no_dma_bufs
unload
