# shellcheck shell=bash
# Builds our programs for the box. Sourced after rootfs.sh.

PROGRAMS=(virtio-loopback-gpu)
# The release profile without link-time optimisation: emulated, debug code is too slow, and LTO doubles the build.
PROGRAM_OPTIONS=(--locked --bins --release --config profile.release.lto=false --config profile.release.strip=true)

# What building in the box's own Debian needs.
BUILD_TREE_PACKAGES=$(IFS=, && printf '%s' "${BUILD_PACKAGES[*]}")

# ensure_programs — our programs in $BOX_DIR/bin. Built on this machine if its C library is not newer than the box's
# (Debian 12 and 13), else, or with BOX_BUILD=tree, in a Debian 13 tree.
ensure_programs() {
    local program built=$BOX_DIR/cargo
    mkdir -p -- "$BOX_DIR/bin"
    step "building the programs"
    if [[ ${BOX_BUILD-} = tree ]] || ! runs_in_box; then
        # Build scripts compiled there may not run here.
        built=$BOX_DIR/cargo-tree
        ensure_build_tree
        with_lock "$BOX_DIR/bin.lock" build_in_tree "$built"
    else
        need_packages "${BUILD_PACKAGES[@]}"
        with_lock "$BOX_DIR/bin.lock" quietly "$BOX_DIR/logs/programs.log" \
            cargo build --target-dir "$built" "${PROGRAM_OPTIONS[@]}"
    fi
    for program in "${PROGRAMS[@]}"; do
        cmp -s -- "$built/release/$program" "$BOX_DIR/bin/$program" ||
            install -m 755 -- "$built/release/$program" "$BOX_DIR/bin/$program"
    done
}

# runs_in_box — whether what this machine links runs there.
runs_in_box() {
    local here there
    here=$(getconf GNU_LIBC_VERSION)
    there=$(in_tree "$BOX_CACHE/rootfs/tree" getconf GNU_LIBC_VERSION)
    printf '%s\n' "$here" "$there" | sort -VC
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
