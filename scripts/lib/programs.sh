# shellcheck shell=bash
# Builds our programs for the box. Sourced after rootfs.sh.

PROGRAMS=(virtio-loopback-gpu)
# With OpenGL, which needs a newer virglrenderer than Debian 12 has: built in the box's own Debian.
# The release profile without link-time optimisation: emulated, debug code is too slow, and LTO doubles the build.
PROGRAM_OPTIONS=(--locked --bins --features virgl --release --config profile.release.lto=false --config profile.release.strip=true)

# What building in the box's own Debian needs.
BUILD_TREE_PACKAGES=$(IFS=, && printf '%s' "${BUILD_PACKAGES[*]},${VIRGL_BUILD_PACKAGES[*]}")

# ensure_programs — our programs in $BOX_DIR/bin, built in a Debian 13 tree.
ensure_programs() {
    local program built=$BOX_DIR/cargo
    mkdir -p -- "$BOX_DIR/bin"
    ensure_build_tree
    step "building the programs"
    with_lock "$BOX_DIR/bin.lock" build_in_tree "$built"
    for program in "${PROGRAMS[@]}"; do
        cmp -s -- "$built/release/$program" "$BOX_DIR/bin/$program" ||
            install -m 755 -- "$built/release/$program" "$BOX_DIR/bin/$program"
    done
}

ensure_build_tree() { with_lock "$BOX_CACHE/build.lock" make_build_tree; }

make_build_tree() {
    local dir=$BOX_CACHE/build key
    key=$(key_of <<<"$ROOTFS_SUITE $BUILD_TREE_PACKAGES $(declare -f debian_tree)")
    ! stamp_is "$dir.stamp" "$key" || return 0
    step "making a Debian tree to build in (under a minute, once)"
    rm -f -- "$dir.stamp"
    debian_tree "$ROOTFS_SUITE" "$dir" "$BUILD_TREE_PACKAGES"
    printf '%s\n' "$key" >"$dir.stamp"
}

# build_in_tree TARGET-DIR — with this machine's Rust toolchain and crates; the tree needs no network.
build_in_tree() {
    local toolchain home=${CARGO_HOME:-$HOME/.cargo}
    toolchain=$(rustc --print sysroot)
    [[ $toolchain != /usr ]] || die "building in a Debian tree needs a Rust toolchain outside of /usr, such as rustup's"
    cargo fetch --locked --quiet
    quietly "$BOX_DIR/logs/programs.log" in_tree "$BOX_CACHE/build" --bind "$toolchain" --bind "$home" --bind "$TOP" \
        env "CARGO_HOME=$home" "RUSTC=$toolchain/bin/rustc" "$toolchain/bin/cargo" build --offline \
        --manifest-path "$TOP/Cargo.toml" --target-dir "$1" "${PROGRAM_OPTIONS[@]}"
}
