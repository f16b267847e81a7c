#!/bin/bash
# timeout: 300
# modetest, kmscube and weston with clients in an SDL window: what quickstart shows, asked from the X server.
. tests/box/lib.sh

OUT=/tmp/window scripts/guest/quickstart || fail "see above; the adapter: $(cat /tmp/window/adapter.log)"
unload
