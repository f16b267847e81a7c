#!/bin/bash
# kernels: 6.1 6.12
# The real driver's modes are ours, and modetest's colour bars arrive pixel by pixel.
. tests/box/lib.sh

start_device bars --scanout 800x600
modes=$(modetest -M virtio_gpu -c)
grep -Eq '#0 800x600 .*preferred' <<<"$modes" || fail "no preferred mode of 800x600 in: $modes"
# The same to another program: the card's name for it, its driver, its connector.
drm_info -j "$card" | python3 -c 'import json, sys
(path, card), = json.load(sys.stdin).items()
assert path == sys.argv[1], path
assert card["driver"]["name"] == "virtio_gpu", card["driver"]
connector, = card["connectors"]
assert connector["status"] == 1 and connector["type"] == 15, connector
assert connector["modes"][0]["hdisplay"] == 800 and connector["modes"][0]["vdisplay"] == 600, connector["modes"][0]' "$card"
connector=$(awk '$3 == "connected" { print $1 }' <<<"$modes")
# The EDID's first bytes, and "VLG" after them.
grep -q 00ffffffffffff005987 <<<"$modes" || fail "not our EDID: $modes"
# modetest waits for a line on its standard input.
sleep 1000 | modetest -M virtio_gpu -s "$connector:800x600" >/tmp/modetest.log 2>&1 &
shows_bars() { picture bars /tmp/bars.png && [[ $(pixel /tmp/bars.png 57 100) = c0c0c0 ]]; }
wait_for 20 shows_bars
# Grey, yellow, cyan, green, magenta, red, blue: seven bars of 800 / 7 pixels.
bar=0
for colour in c0c0c0 c0c000 00c0c0 00c000 c000c0 c00000 0000c0; do
    expect "bar $bar" "$(pixel /tmp/bars.png $((57 + bar * 114)) 100)" "$colour"
    bar=$((bar + 1))
done
expect "objects mapped" "$(($(figure bars objects) > 0))" 1
pkill -x modetest
client_is_gone() { ! pgrep -x modetest; }
wait_for 10 client_is_gone
# The last picture stays when the client is gone.
picture bars /tmp/after.png
expect "bar after the client ended" "$(pixel /tmp/after.png 57 100)" c0c0c0
expect "refused used entries" "$(figure bars bad_used)" 0
stop_device bars
unload
