# shellcheck shell=bash
# vkms, the kernel's display without hardware: a card with real vblanks and a connector that writes back what was scanned
# out. Debian's kernels lack it, so it is built from Debian's source package, for one kernel. Sourced after debian.sh.

VKMS_KERNEL=6.12
VKMS_PATH=drivers/gpu/drm/vkms

# ensure_vkms_source — $BOX_CACHE/vkms-$VKMS_KERNEL/source: that part of the kernel's source.
ensure_vkms_source() { with_lock "$BOX_CACHE/vkms-$VKMS_KERNEL.lock" make_vkms_source; }

make_vkms_source() {
    local dir=$BOX_CACHE/vkms-$VKMS_KERNEL package=linux-source-$VKMS_KERNEL key suite
    suite=$(kernel_suite "$VKMS_KERNEL")
    key=$(key_of <<<"$suite $package $VKMS_PATH $(declare -f make_vkms_source debian_tree)")
    ! stamp_is "$dir/stamp" "$key" || return 0
    step "fetching vkms out of $package (150 MB, under a minute, once)"
    rm -rf --one-file-system -- "$dir"
    # Unpacked only: nothing of it is run.
    debian_tree "$suite" "$dir/tree" "$package" --variant=extract
    mkdir -p -- "$dir/source"
    tar -xJf "$dir/tree/usr/src/$package.tar.xz" -C "$dir/source" --strip-components=5 "$package/$VKMS_PATH"
    rm -rf --one-file-system -- "$dir/tree"
    printf '%s\n' "$key" >"$dir/stamp"
}

# build_vkms OUTPUT — in the kernel's own suite, for the kernel that Debian has built without it.
build_vkms() {
    local output=$1 tree=$BOX_CACHE/kernel-$VKMS_KERNEL/tree release work status=0
    release=$(kernel_release "$VKMS_KERNEL")
    work=$(mktemp -d "$tree/tmp/vkms.XXXXXX")
    cp -- "$BOX_CACHE/vkms-$VKMS_KERNEL/source"/{Makefile,*.[ch]} "$work/"
    quietly "$BOX_DIR/logs/vkms.log" in_tree "$tree" \
        make -C "/lib/modules/$release/build" "M=/tmp/${work##*/}" CONFIG_DRM_VKMS=m modules || status=$?
    ((status != 0)) || cp -- "$work/vkms.ko" "$output"
    rm -rf --one-file-system -- "$work"
    return "$status"
}
