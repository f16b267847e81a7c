#!/bin/bash
# kernels: 6.1 6.12
# Several devices at once are told apart; a name is given once.
. tests/box/lib.sh

start_device one --scanout 640x480
one=$device first=$card
start_device two --scanout 800x600
two=$device second=$card
[[ $first != "$second" ]] || fail "both are $first"
virtio-loopback-gpu run --name one --display headless 2>/tmp/busy.log && fail "the name was given twice"
grep -q '"one" is running already' /tmp/busy.log || fail "unclear: $(cat /tmp/busy.log)"
expect "lines about it" "$(wc -l </tmp/busy.log)" 1
for card in "$first" "$second"; do
    index=${card#/dev/dri/card}
    name=$(cat "/sys/class/drm/card$index/device/name")
    # Without a console on the card nobody has asked for its modes yet.
    echo detect >"$(echo "/sys/class/drm/card$index/card$index-Virtual-"*)/status"
    modes=$(cat "/sys/class/drm/card$index/card$index-Virtual-"*/modes | head -n 1)
    case $name in
    one) expect "mode of one" "$modes" 640x480 ;;
    two) expect "mode of two" "$modes" 800x600 ;;
    *) fail "card$index is called '$name'" ;;
    esac
done
device=$one && stop_device one
wait_for 10 test ! -e "$first"
[[ -c $second ]] || fail "the other card went, too"
device=$two && stop_device two
unload
