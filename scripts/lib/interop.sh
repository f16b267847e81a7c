# shellcheck shell=bash
# Other people's vhost-user GPUs: QEMU 10 and its vhost-user-gpu from Debian 13, rust-vmm's vhost-device-gpu from the crate
# registry, built there. Sourced after programs.sh.

INTEROP_DIR=$TOP/target/interop
INTEROP_TREE=$BOX_CACHE/interop/tree
INTEROP_SUITE=trixie
# QEMU and its GPU backend; software GL for backends outside of the box; what building vhost-device-gpu needs.
INTEROP_PACKAGES=(
    qemu-system-x86 qemu-system-gui
    libegl1 libgbm1 libgl1-mesa-dri libgles2
    gcc libc6-dev make pkg-config libclang-dev clang
    libdrm-dev libegl-dev libepoxy-dev libgbm-dev libvirglrenderer-dev
)
VHOST_DEVICE_GPU_VERSION=0.2.0

ensure_interop_tree() { with_lock "$BOX_CACHE/interop.lock" make_interop_tree; }

make_interop_tree() {
    local key
    key=$(key_of <<<"$INTEROP_SUITE ${INTEROP_PACKAGES[*]} $(declare -f debian_tree)")
    ! stamp_is "$INTEROP_TREE.stamp" "$key" || return 0
    step "making a Debian tree with QEMU 10 (two minutes, once)"
    rm -f -- "$INTEROP_TREE.stamp"
    debian_tree "$INTEROP_SUITE" "$INTEROP_TREE" "$(IFS=, && printf '%s' "${INTEROP_PACKAGES[*]}")"
    printf '%s\n' "$key" >"$INTEROP_TREE.stamp"
}

# ensure_peers — $INTEROP_DIR/peers: the other backends in bin, and the libraries of theirs that the box lacks in lib.
ensure_peers() { with_lock "$INTEROP_DIR/peers.lock" make_peers; }

make_peers() {
    local key dir=$INTEROP_DIR/peers program library name
    key=$(key_of "$INTEROP_TREE.stamp" "$BOX_CACHE/rootfs/stamp" \
        <<<"$VHOST_DEVICE_GPU_VERSION $(declare -f make_peers build_vhost_device_gpu)")
    ! stamp_is "$dir/stamp" "$key" || return 0
    step "building vhost-device-gpu $VHOST_DEVICE_GPU_VERSION (a few minutes, once)"
    build_vhost_device_gpu "$INTEROP_DIR/cargo"
    rm -rf -- "$dir"
    mkdir -p -- "$dir/bin" "$dir/lib"
    cp -- "$INTEROP_DIR/cargo/release/vhost-device-gpu" "$INTEROP_TREE/usr/lib/qemu/vhost-user-gpu" "$dir/bin/"
    for program in "$dir"/bin/*; do
        of_tree --list "$program"
    done | awk '$2 == "=>" { print $3 }' | sort -u | while read -r library; do
        name=${library##*/}
        compgen -G "$BOX_CACHE/rootfs/tree/usr/lib/*-linux-gnu/$name" >/dev/null || cp -L -- "$library" "$dir/lib/"
    done
    printf '%s\n' "$key" >"$dir/stamp"
}

# build_vhost_device_gpu TARGET-DIR — with this machine's Rust toolchain and the crate's own Cargo.lock. `cargo install`
# cannot fetch alone, and the tree has no network, so a package that depends on it fetches it.
build_vhost_device_gpu() {
    local toolchain manifest home=${CARGO_HOME:-$HOME/.cargo} fetch=$INTEROP_DIR/fetch
    toolchain=$(rustc --print sysroot)
    [[ $toolchain != /usr ]] || die "building in a Debian tree needs a Rust toolchain outside of /usr, such as rustup's"
    mkdir -p -- "$fetch"
    : >"$fetch/lib.rs"
    cat >"$fetch/Cargo.toml" <<TOML
[package]
name = "fetch"
version = "0.0.0"
edition = "2024"
[lib]
path = "lib.rs"
[dependencies]
vhost-device-gpu = { version = "=$VHOST_DEVICE_GPU_VERSION", default-features = false, features = ["backend-virgl"] }
[workspace]
TOML
    cargo fetch --quiet --manifest-path "$fetch/Cargo.toml"
    manifest=$(cargo metadata --offline --format-version 1 --manifest-path "$fetch/Cargo.toml" | python3 -c 'import json, sys
print(*(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "vhost-device-gpu"))')
    cargo fetch --quiet --locked --manifest-path "$manifest"
    quietly "$INTEROP_DIR/logs/vhost-device-gpu.log" in_tree "$INTEROP_TREE" \
        --bind "$toolchain" --bind "$home" --bind "$TOP" \
        env "CARGO_HOME=$home" "RUSTC=$toolchain/bin/rustc" "$toolchain/bin/cargo" build --offline --locked --release \
        --no-default-features --features backend-virgl --manifest-path "$manifest" --target-dir "$1"
}

# of_tree [LOADER-OPTION…] PROGRAM ARG… — runs a program of the tree on this machine with the tree's own libraries. No
# chroot: it sees this machine's files and ends like any other process.
of_tree() { "${OF_TREE[@]}" "$@"; }

# command_of_tree TREE — sets COMMAND_OF_TREE to what comes before such a program.
command_of_tree() {
    local libraries=$1/usr/lib/x86_64-linux-gnu
    COMMAND_OF_TREE=(
        env
        "QEMU_MODULE_DIR=$libraries/qemu"
        "__EGL_VENDOR_LIBRARY_DIRS=$1/usr/share/glvnd/egl_vendor.d"
        "LIBGL_DRIVERS_PATH=$libraries/dri"
        "GBM_BACKENDS_PATH=$libraries/gbm"
        "$1/lib64/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/pulseaudio"
    )
}

command_of_tree "$INTEROP_TREE"
OF_TREE=("${COMMAND_OF_TREE[@]}")
# Our own programs are built in another one.
command_of_tree "$BOX_CACHE/build"
# shellcheck disable=SC2034  # for scripts/interop
OF_BUILD_TREE=("${COMMAND_OF_TREE[@]}")
