# shellcheck shell=bash
# Builds our programs for the box. Sourced after deps.sh.

PROGRAMS=(virtio-loopback-gpu)
# The release profile without link-time optimisation: emulated, debug code is too slow, and LTO doubles the build.
PROGRAM_PROFILE=(--release --config profile.release.lto=false --config profile.release.strip=true)

# ensure_programs — our programs in $BOX_DIR/bin, built on this machine: Debian 13 runs what Debian 12 or 13 built.
ensure_programs() {
    local program
    need_packages "${BUILD_PACKAGES[@]}"
    mkdir -p -- "$BOX_DIR/bin"
    step "building the programs"
    with_lock "$BOX_DIR/bin.lock" quietly "$BOX_DIR/logs/programs.log" \
        cargo build --locked --bins --target-dir "$BOX_DIR/cargo" "${PROGRAM_PROFILE[@]}"
    for program in "${PROGRAMS[@]}"; do
        cmp -s -- "$BOX_DIR/cargo/release/$program" "$BOX_DIR/bin/$program" ||
            install -m 755 -- "$BOX_DIR/cargo/release/$program" "$BOX_DIR/bin/$program"
    done
}
