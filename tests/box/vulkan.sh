#!/bin/bash
# timeout: 300
# Vulkan and blobs that the driver maps, under a front-end of our own, for the card has no window for them:
# tests/host_visible.rs, with /dev/udmabuf, by which memory of Mesa's software renderer can be mapped, too.
. tests/box/lib.sh

# As udev has it, which does not run here. Without, the backend, which is nobody, may not open it.
chgrp kvm /dev/udmabuf
chmod 660 /dev/udmabuf
# Emulated, they are slow: not those that wait on purpose.
env EXPECT_DMA_BUFS=true "CARGO_BIN_EXE_virtio-loopback-gpu=$(command -v virtio-loopback-gpu)" \
    test-host_visible --test-threads=1 --skip hangs || fail "tests/host_visible.rs, with dma-bufs"
