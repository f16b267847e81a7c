#!/bin/bash
# timeout: 300
# An SDL window on Wayland, in weston without a screen: what weston shows is what `ctl screenshot` says, pixel by pixel,
# as the only window of an output and as one of a desktop with two pixels a unit.
. tests/box/lib.sh

export XDG_RUNTIME_DIR=/run/wayland WAYLAND_DISPLAY=wayland-window
unset DISPLAY
mkdir -m 0700 "$XDG_RUNTIME_DIR"
cat >/tmp/weston-window.ini <<'END'
[shell]
background-color=0xff000000
panel-position=none
locking=false
cursor-theme=none
END

# start_weston OPTION… — a compositor that shows nothing to anybody; --debug lets it give screenshots.
start_weston() {
    weston --backend=headless --renderer=pixman --config=/tmp/weston-window.ini --socket="$WAYLAND_DISPLAY" --idle-time=0 \
        --debug "$@" >/tmp/weston.log 2>&1 &
    weston=$!
    wait_for 30 test -S "$XDG_RUNTIME_DIR/$WAYLAND_DISPLAY"
}

stop_weston() {
    kill "$weston"
    wait "$weston" || true
    wait_for 10 test ! -S "$XDG_RUNTIME_DIR/$WAYLAND_DISPLAY"
}

# start_bars MODE — modetest's colour bars, which stand still.
start_bars() {
    local connector
    connector=$(modetest -M virtio_gpu -c | awk '$3 == "connected" { print $1 }')
    sleep 1000 | modetest -M virtio_gpu -s "$connector:$1" >/tmp/modetest.log 2>&1 &
}

# weston_picture FILE — all of its output.
weston_picture() {
    rm -rf /tmp/shot && mkdir /tmp/shot
    (cd /tmp/shot && weston-screenshooter) || return 1
    mv /tmp/shot/*.png "$1"
}

size() { identify -format '%wx%h' "$1"; }

# differing FILE FILE — how many pixels differ.
differing() { compare -metric AE "$1" "$2" null: 2>&1 || true; }

# same_as_all — weston shows the window and nothing else.
same_as_all() {
    picture window /tmp/window.png && weston_picture /tmp/weston.png || return 1
    expect "size" "$(size /tmp/weston.png)" "$(size /tmp/window.png)"
    expect "pixels that differ" "$(differing /tmp/weston.png /tmp/window.png)" 0
}

# same_as_part — the window is somewhere on weston's output, whose other pixels are black. Its top left pixel is not.
same_as_part() {
    picture window /tmp/window.png && weston_picture /tmp/weston.png || return 1
    local place
    place=$(convert /tmp/weston.png -trim -format '%O' info:)
    convert /tmp/weston.png -crop "$(size /tmp/window.png)$place" +repage /tmp/part.png
    expect "pixels that differ, at $place" "$(differing /tmp/part.png /tmp/window.png)" 0
}

shows_bars() { picture window /tmp/window.png && [[ $(pixel /tmp/window.png "$1" "$2") = c0c0c0 ]]; }

echo "the only window: the picture is fitted into the output"
start_weston --shell=kiosk --width=1024 --height=700
DEVICE_DISPLAY=sdl start_device window --scanout 512x320 --on-resize ignore
start_bars 512x320
# Twice the size, with 30 rows above and below.
wait_for 30 shows_bars 10 40
wait_for 20 same_as_all
expect "size" "$(size /tmp/window.png)" 1024x700
expect "above the picture" "$(pixel /tmp/window.png 500 29)" 000000
expect "the picture's first row" "$(pixel /tmp/window.png 10 30)" c0c0c0
pkill -x modetest
stop_device window
stop_weston

echo "on a desktop with two pixels a unit: pixels of the frame are pixels of the screen"
start_weston --shell=desktop --width=800 --height=600 --scale=2
DEVICE_DISPLAY=sdl start_device window --scanout 400x300 --on-resize ignore
start_bars 400x300
wait_for 30 shows_bars 10 10
wait_for 20 same_as_part
expect "size" "$(size /tmp/window.png)" 400x300
pkill -x modetest
stop_device window
stop_weston
unload
