#!/bin/bash
# kernels: 6.1 6.12 forky
# timeout: 420
# The module's interface and what it promises, by a device side in C: see loopback-driver-glue/kernel/test.
#
# Not executable, so not run by scripts/test yet: its stress tests unplug cards in the middle of frames, of which
# virtio_gpu itself makes the kernel warn (drm_mm_takedown; docs/uapi.md, known limits). It is to run when no warning
# has been seen over many runs. By hand: scripts/box run --allow-warnings -- bash tests/box/uapi.sh
. tests/box/lib.sh

make -s -C loopback-driver-glue/kernel/test box OUT=/tmp/uapi
/tmp/uapi/uapi_test
unload
