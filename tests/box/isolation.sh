#!/bin/bash
# kernels: 6.1 6.12 forky
# timeout: 240
# A device side that reads all it can, and one that writes all it can: the programs `reader` and `scribble` of
# loopback-driver-glue/kernel/test.
. tests/box/lib.sh

make -s -C loopback-driver-glue/kernel/test OUT=/tmp/uapi /tmp/uapi/reader /tmp/uapi/scribble
/tmp/uapi/reader --seconds 15
/tmp/uapi/scribble --seconds 10
no_stuck_task
unload
