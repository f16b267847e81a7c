# shellcheck shell=bash
# The box's root file system: Debian 13 as an ext4 image. Sourced after debian.sh.

# What this machine needs to make the box and to boot it.
# shellcheck disable=SC2034
BOX_PACKAGES=(mmdebstrap qemu-system-x86 e2fsprogs cpio xz-utils util-linux)

ROOTFS_SUITE=trixie
ROOTFS_PACKAGES=(
    # the system
    busybox-static iproute2 kmod procps psmisc python3-minimal strace systemd udev util-linux
    # clients of the card
    drm-info kmscube libdrm-tests seatd weston
    # GL in software and by virgl, what renders that, and programs that draw with it
    glmark2-es2-drm libegl1 libgbm1 libgl1-mesa-dri libgles2 libvirglrenderer1 mesa-utils
    # Vulkan in software, and what it is rendered in
    mesa-vulkan-drivers virgl-server
    # whether virgl draws what llvmpipe draws
    piglit
    # where the adapter's window is shown, and its screenshots
    imagemagick libsdl2-2.0-0 x11-apps x11-utils xauth xvfb
    # who types and moves the mouse, and who sees it
    evtest libinput-tools xdotool
    # to build small test programs
    gcc libc6-dev libdrm-dev make
)
# Of piglit's 2 GB these tests are 1.9: they take the box minutes to copy, and none of them is run.
ROOTFS_WITHOUT=(arb_vertex_attrib_64bit glsl-4.20)
# Sparse: what is not used takes no space. A run's writes go to a temporary file of QEMU's.
ROOTFS_SIZE=8G

# ensure_rootfs — $BOX_CACHE/rootfs/root.img and tree/, the directory it was made from.
ensure_rootfs() { with_lock "$BOX_CACHE/rootfs.lock" make_rootfs; }

make_rootfs() {
    local dir=$BOX_CACHE/rootfs key
    local without=("${ROOTFS_WITHOUT[@]/#/--dpkgopt=path-exclude=/usr/lib/*/piglit/generated_tests/spec/}")
    without=("${without[@]/%//*}")
    key=$(key_of <<<"$ROOTFS_SUITE ${ROOTFS_PACKAGES[*]} ${without[*]} $ROOTFS_SIZE $(declare -f make_rootfs debian_tree make_ext4)")
    ! stamp_is "$dir/stamp" "$key" || return 0
    step "making the Debian root file system (about a minute, once)"
    rm -f -- "$dir/stamp"
    debian_tree "$ROOTFS_SUITE" "$dir/tree" "$(IFS=,; printf '%s' "${ROOTFS_PACKAGES[*]}")" "${without[@]}"
    mkdir -p -- "$dir/tree/repo" "$dir/tree/usr/lib/modules"
    echo box >"$dir/tree/etc/hostname"
    printf '127.0.0.1 localhost box\n::1 localhost\n' >"$dir/tree/etc/hosts"
    make_ext4 "$dir/tree" "$dir/root.img" "$ROOTFS_SIZE"
    printf '%s\n' "$key" >"$dir/stamp"
}

# make_ext4 DIR IMAGE SIZE — no journal: an image is only ever written through a snapshot that is thrown away.
make_ext4() {
    rm -f -- "$2"
    quietly "$2.log" mke2fs -t ext4 -O '^has_journal' -E root_owner=0:0,lazy_itable_init=1 -d "$1" "$2" "$3"
}
