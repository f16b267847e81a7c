# shellcheck shell=bash
# Runs and counts tests. Sourced after deps.sh.

TEST_DIR=$TOP/target/test
TEST_KERNEL_DEFAULT=6.12
# NAME=VALUE words for the environment of box tests; those of long runs take their numbers from it.
TEST_ENVIRONMENT=()
# Seconds each box test may take; empty: what the test itself says.
TEST_TIMEOUT=''
passed=0 failed=0 failures=()

# result NAME STATUS [REMARK] — counts one test and says how it went.
result() {
    if (($2 == 0)); then
        passed=$((passed + 1))
        step "ok    $1 ${3-}"
    else
        failed=$((failed + 1))
        failures+=("$1")
        step "FAIL  $1 ${3-}"
    fi
}

# summary — the last line; fails if a test did, or if there was none.
summary() {
    local name
    for name in "${failures[@]}"; do
        echo "failed: $name"
    done
    echo "$passed passed, $failed failed"
    ((failed == 0 && passed > 0))
}

host_tests() {
    need_packages "${BUILD_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
    cargo_tests "cargo test" cargo test --locked --no-fail-fast --workspace
    fuzz_tests
    module_tests
}

# fuzz_tests — the seeds of the fuzz targets, on the stable toolchain and without libFuzzer.
fuzz_tests() {
    local -x RUSTFLAGS="--cfg fuzzing" CARGO_TARGET_DIR=$TOP/target/fuzz/stable
    cargo_tests "fuzz seeds" cargo test --locked --no-fail-fast --manifest-path fuzz/Cargo.toml --no-default-features
}

# Tests of OpenGL and Vulkan without the kernel.
VIRGL_TESTS=(--test virgl --test texture_scanouts --test host_visible)

# virgl_tests — OpenGL without the kernel, in the box's own Debian: in software, on this machine.
virgl_tests() {
    cargo_tests "virgl unit tests" scripts/box cargo test --no-fail-fast --lib gpu::engine
    cargo_tests "virgl tests" scripts/box cargo test --no-fail-fast "${VIRGL_TESTS[@]}"
}

# box_test_programs — tests in Rust that run in the box, too, in the directory of its programs.
box_test_programs() {
    local name path
    for name in texture_scanouts host_visible; do
        path=$(scripts/box cargo test --no-run --test "$name" --message-format=json 2>"$TEST_DIR/$name-build.log" |
            python3 -c 'import json, sys
print(*(path for line in sys.stdin if line[0] == "{" and (path := json.loads(line).get("executable")) and sys.argv[1] in path))' "$name")
        [[ -f $path ]] || die "the test $name is not built: see $TEST_DIR/$name-build.log"
        install -m 755 -D -- "$path" "$BOX_DIR/bin/test-$name"
    done
}

# cargo_tests NAME CMD… — counts every test of every test program that CMD, a `cargo test`, runs.
cargo_tests() {
    local log=$TEST_DIR/${1// /-}.log status=0 ok bad
    step "$1"
    NO_TEST_SKIPPED=1 quietly "$log" "${@:2}" || status=$?
    ok=$(sed -n 's/^test result: .* \([0-9]*\) passed;.*/\1/p' "$log" | paste -sd+ | bc_or_zero)
    bad=$(sed -n 's/^test result: .* \([0-9]*\) failed;.*/\1/p' "$log" | paste -sd+ | bc_or_zero)
    passed=$((passed + ok))
    if ((status != 0)); then
        ((bad > 0)) || bad=1
        failed=$((failed + bad))
        failures+=("$1: $bad, see $log")
        # What failing tests printed, and those that print as they go.
        sed -n '/^failures:$/,/^test result:/p; /panicked at/,+3p' "$log" >&2
    fi
    step "$1: $ok passed, $bad failed"
}

# bc_or_zero — the value of the sum on standard input.
bc_or_zero() { local sum && { read -r sum || true; } && echo $((${sum:-0})); }

# module_tests — the module's plain C parts, built and run in user space.
module_tests() {
    local status=0
    [[ -f loopback-driver-glue/kernel/test/Makefile ]] || return 0
    quietly "$TEST_DIR/module.log" make -C loopback-driver-glue/kernel/test check || status=$?
    result "loopback-driver-glue/kernel/test" "$status"
}

# script_tests — the tests of the scripts themselves.
script_tests() {
    local script status
    for script in tests/scripts/*.sh; do
        status=0
        quietly "$TEST_DIR/$(basename -- "$script").log" "$script" || status=$?
        result "$script" "$status"
    done
}

# header FILE KEY DEFAULT — the value of "# KEY: value" in FILE.
header() {
    local value
    value=$(sed -n "s/^# $2: *//p" "$1" | head -n 1)
    printf '%s\n' "${value:-$3}"
}

# box_tests [NAME…] — runs tests/box/NAME.sh, or all, on the kernels they ask for.
box_tests() {
    local kernel name file shared own
    for kernel in 6.12 6.1 forky; do
        shared=() own=()
        for file in tests/box/*.sh; do
            name=$(basename -- "$file" .sh)
            [[ -x $file && (-z ${*} || " $* " = *" $name "*) ]] || continue
            [[ " $(header "$file" kernels "$TEST_KERNEL_DEFAULT") " = *" $kernel "* ]] || continue
            if [[ $(header "$file" boot shared) = own ]]; then own+=("$name"); else shared+=("$name"); fi
        done
        ((${#shared[@]} + ${#own[@]})) || continue
        if ! scripts/box prepare --kernel "$kernel"; then
            result "tests/box on $kernel: ${shared[*]} ${own[*]}" 1 "the box cannot be made"
            continue
        fi
        if ! box_test_programs; then
            result "programs of the tests for the box" 1
            return
        fi
        ((${#shared[@]} == 0)) || box_boots "$kernel" "${shared[@]}"
        for name in "${own[@]}"; do
            box_boots "$kernel" "$name"
        done
    done
}

# box_boots KERNEL NAME… — runs the tests one after the other in one boot. If the box goes away in the middle, the test
# that was running has failed and the rest gets a new boot.
box_boots() {
    local kernel=$1 left=("${@:2}") code before status name remark
    mkdir -p -- "$TEST_DIR/box-$1"
    while ((${#left[@]})); do
        code=0 before=$failed
        step "booting kernel $kernel for ${#left[@]} tests"
        while read -r status name remark; do
            if [[ $status = exit ]]; then
                code=$name
            else
                box_result "$kernel" "$name" "$status" "$remark"
                left=("${left[@]:1}")
            fi
        done < <(box_boot "$kernel" "${left[@]}")
        if ((${#left[@]})); then
            cat -- "$TEST_DIR/box-$kernel/box.log" >&2
            box_result "$kernel" "${left[0]}" 1 "the box went away ($code)"
            left=("${left[@]:1}")
        elif ((code != 0 && failed == before)); then
            cat -- "$TEST_DIR/box-$kernel/box.log" >&2
            result "kernel log on $kernel, outside of tests" "$code"
        fi
    done
}

# start_screen TYPE — has the next machine show what it shows, in $TEST_DIR/screen. Sets SCREEN to its options.
start_screen() {
    rm -rf -- "$TEST_DIR/screen"
    mkdir -p -- "$TEST_DIR/screen"
    python3 scripts/lib/qemu_screen.py "$TEST_DIR/screen" >"$TEST_DIR/screen.log" 2>&1 </dev/null &
    # A path of at most 107 bytes, from where the machine is started.
    SCREEN=(--vga "$1" --qemu-arg -qmp --qemu-arg "unix:${TEST_DIR#"$TOP/"}/screen/qmp,server=on,wait=off")
}

# box_boot KERNEL NAME… — prints "STATUS NAME REMARK" as each test ends, and "exit CODE" at the end.
box_boot() {
    local code=0 dir=$TEST_DIR/box-$1 name word screen allowed=() SCREEN=()
    for name in "${@:2}"; do
        for word in $(header "tests/box/$name.sh" allows ''); do
            allowed+=(--allow "$word")
        done
    done
    screen=$(header "tests/box/$2.sh" vga '')
    [[ -z $screen ]] || start_screen "$screen"
    scripts/box run --no-build --kernel "$1" "${allowed[@]}" "${SCREEN[@]}" --timeout "$(time_limit "${@:2}")" -- \
        env "TEST_TIMEOUT=$TEST_TIMEOUT" "${TEST_ENVIRONMENT[@]}" \
        scripts/guest/run-tests "${dir#"$TOP/"}" "${@:2}" 2>"$dir/box.log" </dev/null || code=$?
    echo "exit $code"
}

# time_limit NAME… — seconds the tests may take in all, with the boot.
time_limit() {
    local name sum=60
    for name in "$@"; do
        sum=$((sum + ${TEST_TIMEOUT:-$(header "tests/box/$name.sh" timeout 120)} + 10))
    done
    echo "$sum"
}

# box_result KERNEL NAME STATUS REMARK — counts one test, and if it failed shows what its log says of failures, and the
# end of it.
box_result() {
    local log=$TEST_DIR/box-$1/$2.log
    if (($3 != 0)) && [[ -f $log ]]; then
        { head -n -40 -- "$log" | grep -B 8 '^FAIL' | tail -n 40 && echo '[…]'; tail -n 40 -- "$log"; } | sed 's/^/    | /' >&2
    fi
    result "tests/box/$2.sh on $1" "$3" "$4"
}
