#!/bin/bash
# kernels: 6.1 6.12 forky
# boot: own
# timeout: 240
# Every allocation of the module fails once: see loopback-driver-glue/kernel/test/uapi_faults.c. With a module that was
# built for this.
. tests/box/lib.sh

module=target/box/faults-$(uname -r)/virtio_loopback.ko

# The usual module, for the tests after this one.
put_back() {
    [[ ! -e /sys/module/virtio_loopback ]] || rmmod virtio_loopback
    modprobe virtio_loopback
}

make -s -C loopback-driver-glue/kernel/test OUT=/tmp/uapi /tmp/uapi/fault_test
# what it depends on stays
wait_for 10 rmmod virtio_loopback
trap put_back EXIT
for ((at = 1, loaded = 0; loaded == 0; at++)); do
    if said=$(insmod "$module" "fault_at=$at" 2>&1); then
        loaded=1
    else
        [[ $said = *"Cannot allocate memory"* ]] || fail "the module does not load: $said"
        [[ ! -e /dev/virtio-loopback && ! -e /sys/module/virtio_loopback ]] || fail "something is left of the module"
    fi
done
((at == 5)) || fail "loading takes $((at - 2)) allocations"
echo 0 >/sys/module/virtio_loopback/parameters/fault_at
/tmp/uapi/fault_test
wait_for 10 rmmod virtio_loopback
no_stuck_task
