#!/bin/bash
# kernels: forky
# boot: own
# timeout: 500
# weston's desktop on vkms, with its pointer: drawn by the processor and by OpenGL it is scanned out where it is, to the last
# pixel what the adapter says that it shows. Pictures: target/test/kms_weston-*.
. tests/box/lib.sh
. tests/box/kms_lib.sh

OUT=target/test/kms_weston
modprobe vkms enable_cursor=1
find_vkms
modprobe -a uinput evdev
mkdir -p /tmp/runtime && chmod 700 /tmp/runtime
rm -f /tmp/mouse && mkfifo /tmp/mouse
python3 tests/box/uinput.py mouse /tmp/mouse >/tmp/mouse.log 2>&1 &
wait_for 20 grep -q '^/dev/input/event' /tmp/mouse.log
udevadm settle --timeout=20

# desktop NAME RENDERER OPTION… — weston on a new device, with its panel and background on the screen and nothing copied.
desktop() {
    sed "s/^renderer=.*/renderer=$2/" scripts/guest/weston.ini >/tmp/weston.ini
    start_owned "$1" --scanout 1024x768 "${@:3}"
    # Atomic clients see no cursor plane of virtio_gpu's unless they know of hot spots, as weston does not.
    client env WESTON_DISABLE_ATOMIC=1 LIBSEAT_BACKEND=builtin XDG_RUNTIME_DIR=/tmp/runtime weston --backend=drm \
        --renderer="$2" --config=/tmp/weston.ini --drm-device="${card##*/}" --socket="wayland-$1"
    wait_for 200 stopped scanned "$1" size 1024 768 pixel .3 .02 e0e0e0 pixel .02 .9 1d3557 pixel .5 .9 1d3557
    no_copy "$1"
}
# moved DEVICE X Y — after a move of the mouse there is a pointer on the desktop's background, and nothing is copied for it.
moved() {
    wait_for 60 moves "$@"
    no_copy "$1"
}
# Again and again: a compositor does not hear what moved before it had the mouse.
moves() {
    echo "REL_X $2 REL_Y $3" >/tmp/mouse
    sleep 1
    stopped same_with_pointer "$1"
}
# Its image is an arrow on nothing: fewer pixels than a quarter of its 64x64, which are half a percent of the screen.
same_with_pointer() { shows "$1" "$1-pointer" same "$OUT-$1.ppm" .13 && ! scripts/lib/pixels.py "$OUT-$1-pointer.ppm" plain .02 .1 .98 .9 2>/dev/null; }
# elsewhere DEVICE — once more, and it is at another place.
elsewhere() {
    cp "$OUT-$1-pointer.ppm" "$OUT-$1-before.ppm"
    moved "$1" 90 80
    ! scripts/lib/pixels.py "$OUT-$1-pointer.ppm" same "$OUT-$1-before.ppm" 0 2>/dev/null
}

desktop pixels pixman
moved pixels 40 30
wait_for 30 elsewhere pixels
end_client
end_owned pixels

# Textures of OpenGL are dma-bufs of udmabuf's, as Mesa makes them in software. With them weston has its pointer on the
# cursor plane, and that is on the one of vkms, which has 512x512 pixels.
chgrp kvm /dev/udmabuf && chmod 660 /dev/udmabuf
desktop textures gl --render virgl
grep -q 'GL renderer: virgl' /tmp/client.log || fail "drawn by something else: $(cat /tmp/client.log)"
state | grep -q 'format=XB24' || fail "no texture of Mesa's on the card: $(state)"
moved textures 40 30
state | grep -q 'size=512x512' || fail "the pointer is not on its plane: $(state)"
wait_for 30 elsewhere textures
end_client
end_owned textures

no_stuck_task
modprobe -r vkms
unload
