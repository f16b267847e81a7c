#!/bin/bash
# timeout: 600
# OpenGL through Mesa's virgl driver, the kernel's virtio_gpu and our renderer: kmscube, glmark2, weston with a client,
# and what becomes of them when the renderer dies. Pictures: target/test/virgl-*.png.
. tests/box/lib.sh

OUT=target/test
rm -f /tmp/never
mkfifo /tmp/never
scene_of() { virtio-loopback-gpu ctl --name gl screenshot "$OUT/virgl-$1.png"; }
# shows NAME CHECK… — takes a picture and checks it.
shows() { scene_of "$1" && scripts/lib/pixels.py "$OUT/virgl-$1.png" "${@:2}"; }

start_device gl --render virgl --scanout 640x480
eglinfo -B -p gbm >/tmp/eglinfo.log 2>&1 || true
grep -q 'renderer: *virgl' /tmp/eglinfo.log || fail "eglinfo names no virgl: $(cat /tmp/eglinfo.log)"
virtio-loopback-gpu ctl --name gl status | grep -q 'sandbox .*user 65534.*no_new_privs.*seccomp.*Landlock' ||
    fail "not confined: $(virtio-loopback-gpu ctl --name gl status)"

kmscube -D "$card" 0<>/tmp/never >/tmp/kmscube.log 2>&1 &
client=$!
# A cube in many colours before a grey that is the same everywhere.
wait_for 150 shows kmscube size 640 480 pixel .02 .05 7f7f7f pixel .98 .95 7f7f7f colours 200 .4 .4 .6 .6
grep -q 'renderer: "virgl' /tmp/kmscube.log || fail "not by virgl: $(cat /tmp/kmscube.log)"
wait_for 20 shows kmscube2 differs "$OUT/virgl-kmscube.png" 2
kill "$client" && { wait "$client" || true; } 2>/dev/null

# It compares pixels of 800x600 where it can, but does not start in a mode of just that: so scenes whose pixels are the
# same in another mode.
scenes=(-b build:use-vbo=true -b shading:shading=phong -b bump:bump-render=normals -b effect2d -b function -b loop)
timeout -k 5 150 glmark2-es2-drm --validate --visual-config alpha=0 "${scenes[@]}" >/tmp/glmark2.log 2>&1 </dev/null ||
    fail "glmark2: $(tail -n 5 /tmp/glmark2.log)"
grep -q 'GL_RENDERER: *virgl' /tmp/glmark2.log || fail "not by virgl: $(cat /tmp/glmark2.log)"
# With alpha it would ask for scanouts that virtio_gpu does not have.
! grep -q 'Failed to set crtc' /tmp/glmark2.log || fail "glmark2 is not shown: $(cat /tmp/glmark2.log)"
! grep -q 'Validation: *Failure' /tmp/glmark2.log || fail "glmark2: $(cat /tmp/glmark2.log)"
right=$(grep -c 'Validation: *Success' /tmp/glmark2.log || true)
((right >= 3)) || fail "glmark2 has validated $right scenes: $(cat /tmp/glmark2.log)"

# A compositor that draws with OpenGL, and a client that does. The window is where weston puts it, and turns.
sed 's/^renderer=.*/renderer=gl/' scripts/guest/weston.ini >/tmp/weston.ini
mkdir -p /tmp/runtime && chmod 700 /tmp/runtime
LIBSEAT_BACKEND=builtin XDG_RUNTIME_DIR=/tmp/runtime weston --backend=drm --renderer=gl --config=/tmp/weston.ini \
    --continue-without-input --drm-device="${card##*/}" --socket=wayland-virgl 0<>/tmp/never >/tmp/weston.log 2>&1 &
weston=$!
wait_for 60 shows weston-empty pixel .3 .02 e0e0e0 pixel .02 .9 1d3557 pixel .5 .9 1d3557
grep -q 'GL renderer: virgl' /tmp/weston.log || fail "weston does not draw by virgl: $(cat /tmp/weston.log)"
WAYLAND_DISPLAY=wayland-virgl XDG_RUNTIME_DIR=/tmp/runtime weston-simple-egl 0<>/tmp/never >/tmp/simple-egl.log 2>&1 &
egl=$!
wait_for 60 shows weston-egl pixel .3 .02 e0e0e0 differs "$OUT/virgl-weston-empty.png" 3
wait_for 30 shows weston-egl2 differs "$OUT/virgl-weston-egl.png" .5
kill "$egl" && { wait "$egl" || true; } 2>/dev/null
kill "$weston" && { wait "$weston" || true; } 2>/dev/null

# The renderer dies under a client: the picture and the card stay; the client may draw no more, and can be ended.
kmscube -D "$card" 0<>/tmp/never >/tmp/kmscube.log 2>&1 &
client=$!
wait_for 60 shows before-kill pixel .02 .05 7f7f7f colours 200 .4 .4 .6 .6
kill -KILL "$(pgrep -f 'virtio-loopback-gpu backend' | head -n 1)"
restarted() { virtio-loopback-gpu ctl --name gl status --json | grep -q '"backend_restarts": *1'; }
wait_for 20 restarted
shows after-kill pixel .02 .05 7f7f7f colours 200 .4 .4 .6 .6 || fail "the picture is lost"
no_stuck_task
kill "$client" && { wait "$client" || true; } 2>/dev/null
# 2D goes on, and so does OpenGL for whoever begins anew.
connector=$(modetest -M virtio_gpu -c | awk '$3 == "connected" { print $1 }')
modetest -M virtio_gpu -s "$connector:640x480" 0<>/tmp/never >/tmp/modetest.log 2>&1 &
client=$!
wait_for 20 shows bars pixel .07 .3 c0c0c0 pixel .21 .3 c0c000 pixel .93 .3 0000c0
kill "$client" && { wait "$client" || true; } 2>/dev/null
kmscube -D "$card" 0<>/tmp/never >/tmp/kmscube.log 2>&1 &
client=$!
wait_for 60 shows kmscube3 pixel .02 .05 7f7f7f colours 200 .4 .4 .6 .6
kill "$client" && { wait "$client" || true; } 2>/dev/null
stop_device gl
unload
