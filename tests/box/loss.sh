#!/bin/bash
# What is shown when nobody draws any more: the last picture, black or an image, as the user wishes, after the time that
# the user says; and nothing of it in a mode set, or when the backend is replaced.
. tests/box/lib.sh

rm -f /tmp/never && mkfifo /tmp/never
# bars — starts modetest, whose colour bars scanout 0 shows then.
bars() {
    local connector
    connector=$(modetest -M virtio_gpu -c | awk '$3 == "connected" { print $1 }')
    modetest -M virtio_gpu -s "$connector:320x200" 0<>/tmp/never >/tmp/modetest.log 2>&1 &
    client=$!
    wait_for 20 shows c0c0c0
}
# shows RRGGBB — whether that is the colour in the middle of the first bar.
shows() {
    picture lost /tmp/lost.png
    [[ $(pixel /tmp/lost.png 22 50) = "$1" ]] || { pixel /tmp/lost.png 22 50 && return 1; }
}
signal() { virtio-loopback-gpu ctl --name lost status | grep -o 'scanout 0 [a-z]*'; }
is_off() { [[ $(signal) = 'scanout 0 off' ]]; }
end_client() {
    kill "$client" && { wait "$client" || true; } 2>/dev/null
    wait_for 10 is_off
}

start_device lost --scanout 320x200 --on-client-loss black,after=1.5
bars
# The backend is replaced at once: the picture stays.
kill -KILL "$(pgrep -f 'virtio-loopback-gpu backend' | head -n 1)"
sleep 3
shows c0c0c0 || fail "a backend that is replaced is a client's loss"
end_client
shows c0c0c0 || fail "black at once, not after 1.5 s"
wait_for 5 shows 000000
is_off || fail "not off: $(signal)"
bars
end_client
stop_device lost

# The client's pictures come first again, and an image without a time after the shortest one.
convert -size 32x20 xc:'#123456' /tmp/image.png
start_device lost --scanout 320x200 --on-client-loss image=/tmp/image.png
bars
end_client
wait_for 5 shows 123456
bars
end_client
wait_for 5 shows 123456
stop_device lost

refused=$(virtio-loopback-gpu demo --on-client-loss image=/tmp/none.png 2>&1) && fail "an image that is not there"
grep -q 'cannot read the PNG file /tmp/none.png: ' <<<"$refused" || fail "not a clear line: $refused"
unload
