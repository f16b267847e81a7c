#!/bin/bash
# kernels: 6.1 6.12 forky
# timeout: 600
# The module's interface and what it promises, by a device side in C: see loopback-driver-glue/kernel/test.
. tests/box/lib.sh

make -s -C loopback-driver-glue/kernel/test box OUT=/tmp/uapi
/tmp/uapi/uapi_test
unload
