#!/bin/bash
# kernels: 6.1 6.12 forky
# timeout: 660
# allows: drm_mm_takedown
# The module's interface and what it promises, by a device side in C: see loopback-driver-glue/kernel/test.
. tests/box/lib.sh

make -s -C loopback-driver-glue/kernel/test OUT=/tmp/uapi /tmp/uapi/uapi_test
/tmp/uapi/uapi_test
unload
