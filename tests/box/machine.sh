#!/bin/bash
# kernels: 6.1 6.12 forky
# The box itself: what tests rely on is there, and no other graphics card is.
. tests/box/lib.sh

expect "user" "$(id -u)" 0
expect "directory" "$PWD" /repo
expect "cards before any device was made" "$(ls /dev/dri 2>/dev/null)" ""
expect "fbdev emulation" "$(grep -o 'drm_kms_helper.fbdev_emulation=.' /proc/cmdline)" drm_kms_helper.fbdev_emulation=0
for program in modetest drm_info kmscube weston Xvfb xwd convert strace gcc; do
    command -v "$program" >/dev/null || fail "no $program"
done
modinfo virtio_gpu >/dev/null || fail "no virtio_gpu"
[[ ! -e loopback-driver-glue/kernel/Kbuild ]] || grep -q '^virtio_loopback ' /proc/modules || fail "our module is not loaded"
scratch=$(mktemp target/box/write.XXXXXX)
echo written >"$scratch"
expect "file in the checkout" "$(<"$scratch")" written
rm "$scratch"
