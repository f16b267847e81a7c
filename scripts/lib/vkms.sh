# shellcheck shell=bash
# vkms, the kernel's display without hardware: a card with real vblanks and a connector that writes back what was scanned
# out. Debian's kernels lack it, so it is built from Debian's source packages, for some kernels. Sourced after debian.sh.

# The older one takes no AB24 and has one connector; the newer has as many as configfs is told.
VKMS_KERNELS=(6.12 forky)
VKMS_PATH=drivers/gpu/drm/vkms

# has_vkms KERNEL — whether it is built for that.
has_vkms() { [[ " ${VKMS_KERNELS[*]} " = *" $1 "* ]]; }

# ensure_vkms_source KERNEL — $BOX_CACHE/vkms-source-KERNEL/source: that part of the kernel's source. After ensure_kernel.
ensure_vkms_source() { with_lock "$BOX_CACHE/vkms-source-$1.lock" make_vkms_source "$1"; }

make_vkms_source() {
    local kernel=$1 dir=$BOX_CACHE/vkms-source-$1 package key suite
    suite=$(kernel_suite "$kernel")
    package=linux-source-$(kernel_release "$kernel" | grep -oE '^[0-9]+\.[0-9]+')
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

# build_vkms KERNEL OUTPUT — in the kernel's own suite, for the kernel that Debian has built without it.
build_vkms() {
    local kernel=$1 output=$2 tree=$BOX_CACHE/kernel-$1/tree release work status=0
    release=$(kernel_release "$kernel")
    work=$(mktemp -d "$tree/tmp/vkms.XXXXXX")
    cp -- "$BOX_CACHE/vkms-source-$kernel/source"/{Makefile,*.[ch]} "$work/"
    quietly "$BOX_DIR/logs/vkms-$kernel.log" in_tree "$tree" \
        make -C "/lib/modules/$release/build" "M=/tmp/${work##*/}" CONFIG_DRM_VKMS=m modules || status=$?
    ((status != 0)) || cp -- "$work/vkms.ko" "$output"
    rm -rf --one-file-system -- "$work"
    return "$status"
}
