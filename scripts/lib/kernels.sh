# shellcheck shell=bash
# The box's kernels: Debian's images, module trees, and per kernel a root directory with the headers and the compiler
# the kernel was built with; the module built against them; the initramfs. Sourced after rootfs.sh.

KERNELS=(6.1 6.12 forky)
KERNEL_DEFAULT=6.12
# perl and python3 are for kernel-doc, which W=1 runs.
KERNEL_PACKAGES=linux-image-amd64,linux-headers-amd64,gcc,make,perl,python3
# Modules no test bench needs; they are most of a Debian kernel's size.
KERNEL_PRUNED=(
    drivers/{accel,ata,bluetooth,comedi,edac,firewire,hwmon,iio,infiniband,isdn,media,mfd,mmc,mtd,nfc,nvme,power}
    drivers/{scsi,soundwire,staging,target,thunderbolt,usb} drivers/net/{can,ethernet,wireless,usb,wwan,phy,dsa}
    drivers/gpu/drm/{amd,gma500,i915,imagination,nouveau,radeon,xe} sound
    fs/{afs,btrfs,ceph,gfs2,nfs,nfsd,ocfs2,smb,ubifs,xfs,jfs,bcachefs,f2fs,reiserfs}
)
# What the initramfs loads to reach the root file system, in this order.  ext4 asks for crc32c_generic by name.
KERNEL_BOOT_MODULES=(virtio_pci virtio_blk virtio_console crc32c_generic ext4 9pnet_virtio 9p)
MODULE_NAME=virtio_loopback
MODULE_SOURCE=$TOP/loopback-driver-glue/kernel

# kernel_suite KERNEL — the Debian suite whose current kernel KERNEL stands for.
kernel_suite() {
    case $1 in
    6.1) echo bookworm ;;
    6.12) echo trixie ;;
    forky) echo forky ;;
    *) usage_error "unknown kernel '$1': one of ${KERNELS[*]}" ;;
    esac
}

# kernel_release KERNEL — its `uname -r`.
kernel_release() { cat -- "$BOX_CACHE/kernel-$1/release"; }

# ensure_kernel KERNEL — $BOX_CACHE/kernel-KERNEL: vmlinuz, release, modules/ and modules.img, tree/ for building.
ensure_kernel() { with_lock "$BOX_CACHE/kernel-$1.lock" make_kernel "$1"; }

make_kernel() {
    local kernel=$1 dir=$BOX_CACHE/kernel-$1 suite key release
    suite=$(kernel_suite "$kernel")
    key=$(key_of <<<"$suite $KERNEL_PACKAGES ${KERNEL_PRUNED[*]} $(declare -f make_kernel extract_modules run_depmod debian_tree make_ext4)")
    ! stamp_is "$dir/stamp" "$key" || return 0
    step "fetching kernel $kernel with its headers and compiler (under a minute, once)"
    rm -f -- "$dir/stamp"
    debian_tree "$suite" "$dir/tree" "$KERNEL_PACKAGES"
    release=$(basename -- "$dir"/tree/boot/vmlinuz-*)
    release=${release#vmlinuz-}
    printf '%s\n' "$release" >"$dir/release"
    cp -- "$dir/tree/boot/vmlinuz-$release" "$dir/vmlinuz"
    extract_modules "$dir" "$release"
    make_ext4 "$dir/modules/lib/modules" "$dir/modules.img" 1G
    printf '%s\n' "$key" >"$dir/stamp"
}

# extract_modules DIR RELEASE — moves the wanted modules out of the tree, uncompressed: emulated, xz is slow.
extract_modules() {
    local dir=$1 release=$2 modules=$1/modules/lib/modules pruned
    rm -rf -- "$dir/modules"
    mkdir -p -- "$modules"
    # "build" and "source" point into the headers, which stay in the tree.
    cp -a -- "$dir/tree/usr/lib/modules/$release" "$modules/"
    rm -f -- "$modules/$release/build" "$modules/$release/source"
    rm -rf -- "$dir/tree/usr/lib/modules/$release/kernel"
    for pruned in "${KERNEL_PRUNED[@]}"; do
        rm -rf -- "${modules:?}/$release/kernel/$pruned"
    done
    find "$modules" -name '*.ko.xz' -print0 | xargs -0r -n 64 -P "$(nproc)" xz -d
    run_depmod "$dir" "$dir/modules" "$release"
}

# run_depmod KERNEL-DIR BASE RELEASE — depmod of the kernel's own suite on BASE/lib/modules/RELEASE.
run_depmod() {
    local dir=$1 base=$2 release=$3 mounted
    mounted=$(mktemp -d "$dir/tree/tmp/modules.XXXXXX")
    cp -a -- "$base/lib" "$mounted/"
    in_tree "$dir/tree" depmod -b "/tmp/${mounted##*/}" "$release"
    find "$mounted/lib/modules/$release" -maxdepth 1 -name 'modules.*' -exec cp -a -t "$base/lib/modules/$release" {} +
    rm -rf --one-file-system -- "$mounted"
}

# ensure_module KERNEL — $BOX_DIR/kernel-KERNEL/updates: our module, vkms where there is one, and the indexes modprobe
# needs to find them; and $BOX_DIR/faults-RELEASE/: ours whose allocations can be made to fail, for tests/box/faults.sh.
ensure_module() {
    ! has_vkms "$1" || ensure_vkms_source "$1"
    with_lock "$BOX_DIR/kernel-$1.lock" make_module "$1"
}

make_module() {
    local kernel=$1 dir=$BOX_DIR/kernel-$1 key sources=("$BOX_CACHE/kernel-$1/stamp") modules=("$BOX_DIR/kernel-$1/$MODULE_NAME.ko")
    mkdir -p -- "$dir"
    ! has_vkms "$kernel" || sources+=("$BOX_CACHE/vkms-source-$kernel/stamp")
    if [[ ! -f $MODULE_SOURCE/Kbuild ]]; then
        note "no module source in loopback-driver-glue/kernel: going on without $MODULE_NAME"
        rm -rf -- "$dir/updates" "$dir/module.stamp"
        return 0
    fi
    key=$({ cat -- "$MODULE_SOURCE"/{Kbuild,*.[ch],test/fault.[ch]} && declare -f make_module build_module index_modules build_vkms; } |
        key_of "${sources[@]}")
    ! stamp_is "$dir/module.stamp" "$key" || return 0
    step "building $MODULE_NAME for kernel $kernel"
    rm -f -- "$dir/module.stamp"
    build_module "$kernel" "$dir/$MODULE_NAME.ko"
    mkdir -p -- "$dir/faults"
    build_module "$kernel" "$dir/faults/$MODULE_NAME.ko" VLB_FAULTS=1
    # for tests, which know the release they run on
    ln -sfn -- "kernel-$kernel/faults" "$BOX_DIR/faults-$(kernel_release "$kernel")"
    if has_vkms "$kernel"; then
        build_vkms "$kernel" "$dir/vkms.ko"
        modules+=("$dir/vkms.ko")
    fi
    index_modules "$kernel" "$dir/updates" "${modules[@]}"
    printf '%s\n' "$key" >"$dir/module.stamp"
}

# build_module KERNEL OUTPUT [MAKE-ARG…] — W=1 in the kernel's own suite; a warning fails the build.
build_module() {
    local kernel=$1 output=$2 tree=$BOX_CACHE/kernel-$1/tree log=$BOX_DIR/logs/module-$1.log release work status=0
    release=$(kernel_release "$kernel")
    work=$(mktemp -d "$tree/tmp/build.XXXXXX")
    mkdir -- "$work/test"
    cp -- "$MODULE_SOURCE"/{Kbuild,*.[ch]} "$work/"
    cp -- "$MODULE_SOURCE"/test/fault.[ch] "$work/test/"
    quietly "$log" in_tree "$tree" make -C "/lib/modules/$release/build" "M=/tmp/${work##*/}" W=1 "${@:3}" modules || status=$?
    if ((status == 0)) && grep -i 'warning' "$log" >&2; then
        note "the module builds with warnings on kernel $kernel: see $log"
        status=1
    fi
    ((status != 0)) || cp -- "$work/$MODULE_NAME.ko" "$output"
    rm -rf --one-file-system -- "$work"
    return "$status"
}

# index_modules KERNEL OUTPUT-DIR MODULE…
index_modules() {
    local kernel=$1 output=$2 release work
    release=$(kernel_release "$kernel")
    work=$(mktemp -d "$BOX_DIR/index.XXXXXX")
    cp -a -- "$BOX_CACHE/kernel-$kernel/modules/lib" "$work/"
    mkdir -p -- "$work/lib/modules/$release/updates"
    cp -- "${@:3}" "$work/lib/modules/$release/updates/"
    run_depmod "$BOX_CACHE/kernel-$kernel" "$work" "$release"
    rm -rf -- "$work/lib/modules/$release/kernel" "$output"
    mv -- "$work/lib/modules/$release" "$output"
    rm -rf -- "$work"
}

# ensure_initramfs KERNEL — $BOX_DIR/kernel-KERNEL/initramfs: busybox, the modules that lead to the root, our module.
ensure_initramfs() { with_lock "$BOX_DIR/kernel-$1.lock" make_initramfs "$1"; }

make_initramfs() {
    local kernel=$1 dir=$BOX_DIR/kernel-$1 base=$BOX_CACHE/kernel-$1 key release work
    mkdir -p -- "$dir"
    key=$({ cat -- "$base/stamp" "$dir/module.stamp" 2>/dev/null; declare -f make_initramfs boot_modules; } |
        key_of "$TOP/scripts/guest/initramfs-init")
    ! stamp_is "$dir/initramfs.stamp" "$key" || return 0
    release=$(kernel_release "$kernel")
    work=$(mktemp -d "$dir/initramfs.XXXXXX")
    mkdir -p -- "$work"/{bin,dev,proc,sys,root,modules,updates}
    cp -L -- "$BOX_CACHE/rootfs/tree/usr/bin/busybox" "$work/bin/busybox"
    install -m 755 -- "$TOP/scripts/guest/initramfs-init" "$work/init"
    boot_modules "$base/modules/lib/modules/$release" >"$work/modules/order"
    (cd -- "$base/modules/lib/modules/$release" && xargs -r cp -t "$work/modules") <"$work/modules/order"
    [[ ! -d $dir/updates ]] || cp -a -- "$dir/updates/." "$work/updates/"
    (cd -- "$work" && find . | cpio --quiet -o -H newc -R 0:0) >"$dir/initramfs"
    rm -rf -- "$work"
    printf '%s\n' "$key" >"$dir/initramfs.stamp"
}

# boot_modules DIR — KERNEL_BOOT_MODULES and what they depend on, in load order, relative to DIR. What the kernel has
# built in is not listed.
boot_modules() {
    python3 - "$1/modules.dep" "${KERNEL_BOOT_MODULES[@]}" <<'PYTHON'
import os, sys

dependencies, paths = {}, {}
for line in open(sys.argv[1]):
    path, _, needs = line.partition(":")
    paths[os.path.basename(path).split(".")[0].replace("-", "_")] = path
    dependencies[path] = needs.split()
order = []
for name in sys.argv[2:]:
    if name in paths:
        # modules.dep lists the nearest dependency first.
        for path in [*reversed(dependencies[paths[name]]), paths[name]]:
            if path not in order:
                order.append(path)
print("\n".join(order))
PYTHON
}
