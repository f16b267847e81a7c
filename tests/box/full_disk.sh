#!/bin/bash
# kernels: 6.1 6.12
# timeout: 400
# No room on the disk, nothing to write to, no /dev/shm, no /proc: what needs it fails with one clear line, what does not
# works, and a device that runs goes on.
. tests/box/long.sh

PREFIX='virtio-loopback-gpu: '

# says COMMAND LINE — what it says is this line, and it fails with 1.
says() {
    local status=0 said
    said=$("${@:1:$#-1}" 2>&1) || status=$?
    expect "exit code; it said: $said" "$status" 1
    expect "message" "$said" "$PREFIX${*: -1}"
}

fill() { dd if=/dev/zero of="$1/filler" bs=4k 2>/dev/null || true; }

# small DIRECTORY [OPTION…] — an own file system of 256 KiB there.
small() { mkdir -p "$1" && mount -t tmpfs -o "size=256k,mode=700${2:+,$2}" small "$1"; }

NO_SPACE='No space left on device (os error 28)'
READ_ONLY='Read-only file system (os error 30)'
run=(virtio-loopback-gpu run --display headless --scanout 320x200 --name)
client=$(build_client)

# A device that runs when its directory, /run and /tmp fill up.
mkdir /var/tmp/place
exec 5>/var/tmp/place/log
small "$XDG_RUNTIME_DIR/sub"
export XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR/sub
start_device full --scanout 320x200
"$client" "$card" show 336699 10 0<>"$NEVER" >/var/tmp/place/client 2>&1 &
drawing=$!
updates() { virtio-loopback-gpu ctl --name full status | sed -n 's/.*scanout 0 live.* shown of \([0-9]*\) updates/\1/p'; }
goes_on() {
    local before
    before=$(updates)
    is_more() { [[ $(updates) -ge $((${before:-0} + 5)) ]]; }
    wait_for 40 is_more
}
goes_on
fill "$XDG_RUNTIME_DIR"
mount -o remount,size=8m /run
mount -o remount,size=8m /tmp
fill /run
fill /tmp
says virtio-loopback-gpu ctl --name full screenshot /tmp/picture.png "cannot write /tmp/picture.png: $NO_SPACE"
says virtio-loopback-gpu ctl --name full screenshot /run/picture.png "cannot write /run/picture.png: $NO_SPACE"
expect "files left over" "$(find /tmp /run -maxdepth 1 -name 'picture*')" ""
goes_on
# Its backend can be replaced, too.
pkill -KILL -f 'virtio-loopback-gpu backend'
replaced() { [[ $(field full '["backend_restarts"]') = 1 ]]; }
wait_for 20 replaced
goes_on
expect "client" "$(is_alive "$drawing" && cat /var/tmp/place/client)" shown
virtio-loopback-gpu ctl --name full screenshot /var/tmp/place/picture.png
expect "pixel" "$(pixel /var/tmp/place/picture.png 160 100)" 336699

# Another one cannot start, and the first does not mind.
small /var/tmp/place/nothing
mkdir /var/tmp/place/nothing/virtio-loopback-gpu && chmod 700 /var/tmp/place/nothing/virtio-loopback-gpu
# Every inode is taken: neither the lock nor the socket can be made.
mount -o remount,nr_inodes=4 /var/tmp/place/nothing
touch /var/tmp/place/nothing/{1,2}  2>/dev/null || true
XDG_RUNTIME_DIR=/var/tmp/place/nothing says "${run[@]}" other \
    "cannot make the control socket /var/tmp/place/nothing/virtio-loopback-gpu/other.sock: $NO_SPACE"
rm /var/tmp/place/nothing/2
XDG_RUNTIME_DIR=/var/tmp/place/nothing says "${run[@]}" other \
    "cannot make the control socket /var/tmp/place/nothing/virtio-loopback-gpu/other.sock: $NO_SPACE"
mount -o remount,ro /var/tmp/place/nothing
XDG_RUNTIME_DIR=/var/tmp/place/nothing says "${run[@]}" third \
    "cannot make the control socket /var/tmp/place/nothing/virtio-loopback-gpu/third.sock: $READ_ONLY"
goes_on
rm -f /tmp/filler /run/filler
mount -o remount,size=50% /run
mount -o remount,size=50% /tmp
kill "$drawing"
stop_device full
umount "$XDG_RUNTIME_DIR" /var/tmp/place/nothing
XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR%/sub}

# shows NAME COLOUR — a device's client and its pixels.
shows() {
    "$client" "$card" show "$2" 0<>"$NEVER" >/tmp/client 2>&1 &
    drawing=$!
    is_shown() { picture "$1" /tmp/shown.png && [[ $(pixel /tmp/shown.png 160 100) = "$2" ]]; }
    wait_for 40 is_shown "$1" "$2"
    kill "$drawing"
}

# No /dev/shm, and a full one: a device without a window and one with a window work.
start_x() {
    Xvfb :8 -screen 0 640x480x24 -noreset -nolisten tcp 2>/tmp/xvfb.log &
    export DISPLAY=:8
    wait_for 30 xdpyinfo
}
umount /dev/shm
rmdir /dev/shm
start_x
start_device no-shm --scanout 320x200
shows no-shm 11aa22
stop_device no-shm
DEVICE_DISPLAY=sdl start_device no-shm-window --scanout 320x200
shows no-shm-window 22bb33
stop_device no-shm-window
mkdir /dev/shm
mount -t tmpfs -o mode=1777,size=4k shm /dev/shm
fill /dev/shm
DEVICE_DISPLAY=sdl start_device full-shm --scanout 320x200
shows full-shm 33cc44
stop_device full-shm
unset DISPLAY
umount /dev/shm
mount -t tmpfs -o mode=1777 shm /dev/shm

# No /proc.
without_proc() { unshare --mount sh -c 'umount -l /proc && exec "$@"' sh "$@"; }
says without_proc "${run[@]}" no-proc \
    "cannot find the program's own file in /proc: no /proc/self/exe available. Is /proc mounted?"
nothing_left
