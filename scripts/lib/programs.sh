# shellcheck shell=bash
# Builds our programs for the box. Sourced after rootfs.sh.

PROGRAMS=(virtio-loopback-gpu)
# Where cargo builds in the tree. Its build scripts may not run on this machine.
TREE_TARGET=$BOX_DIR/cargo-tree
# The release profile without link-time optimisation: emulated, debug code is too slow, and LTO doubles the build.
PROGRAM_OPTIONS=(--release --config profile.release.lto=false --config profile.release.strip=true)

# What building in the box's own Debian needs.
BUILD_TREE_PACKAGES=$(IFS=, && printf '%s' "${BUILD_PACKAGES[*]},${VIRGL_BUILD_PACKAGES[*]}")

# ensure_programs — our programs in $BOX_DIR/bin. OpenGL needs a newer virglrenderer than Debian 12 has, so they are built
# in a Debian 13 tree.
ensure_programs() {
    local program
    mkdir -p -- "$BOX_DIR/bin"
    ensure_build_tree
    step "building the programs"
    with_lock "$BOX_DIR/bin.lock" \
        quietly "$BOX_DIR/logs/programs.log" cargo_in_tree build --bins "${PROGRAM_OPTIONS[@]}"
    for program in "${PROGRAMS[@]}"; do
        cmp -s -- "$TREE_TARGET/release/$program" "$BOX_DIR/bin/$program" ||
            install -m 755 -- "$TREE_TARGET/release/$program" "$BOX_DIR/bin/$program"
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

# cargo_in_tree COMMAND ARG… — with OpenGL, and with this machine's Rust toolchain and crates; the tree needs no network.
# /dev is the machine's, where it has GPUs.
cargo_in_tree() {
    local toolchain home=${CARGO_HOME:-$HOME/.cargo} variable kept=()
    toolchain=$(rustc --print sysroot)
    [[ $toolchain != /usr ]] || die "building in a Debian tree needs a Rust toolchain outside of /usr, such as rustup's"
    cargo fetch --locked --quiet
    for variable in NO_TEST_SKIPPED RUST_LOG RUST_BACKTRACE GFXSTREAM_PATH; do
        [[ -z ${!variable-} ]] || kept+=("$variable=${!variable}")
    done
    in_tree "$BOX_CACHE/build" --bind /dev --bind "$toolchain" --bind "$home" --bind "$TOP" \
        env "CARGO_HOME=$home" "RUSTC=$toolchain/bin/rustc" "RUSTDOC=$toolchain/bin/rustdoc" \
        "RUSTUP_TOOLCHAIN=$toolchain" "${kept[@]}" \
        "$toolchain/bin/cargo" "$1" --offline --locked --features virgl --manifest-path "$TOP/Cargo.toml" \
        --target-dir "$TREE_TARGET" "${@:2}"
}
