#!/bin/bash
# kernels: 6.1 6.12
# timeout: 150
# Random sequences of the module's calls, for a short time: see loopback-driver-glue/kernel/test/uapi_fuzz.c, and
# scripts/fuzz uapi for a long one.
. tests/box/lib.sh

make -s -C loopback-driver-glue/kernel/test OUT=/tmp/uapi /tmp/uapi/uapi_fuzz
/tmp/uapi/uapi_fuzz --seconds 20
no_stuck_task
