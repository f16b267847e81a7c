# shellcheck shell=bash
# How much of the code each fuzz target reaches. Sourced after deps.sh.

COVERAGE_DIR=$TOP/target/fuzz/coverage

# covers TARGET — the files and directories a target is about. "crate:NAME" is one of the dependencies.
covers() {
    case $1 in
    control) echo src/gpu.rs src/gpu/{backing,chain,control,cursor,error,memfd,pixels,rect,resource,scanout}.rs ;;
    rings) echo src/backend/{busy_poll,device,display,held,memory,vring}.rs src/vhost_gpu/client.rs \
        crate:virtio-queue/src/{queue,chain,desc/split}.rs ;;
    front_end) echo src/backend src/vhost_gpu/{channel,client}.rs crate:vhost/src/vhost_user/backend_req_handler.rs ;;
    back_end) echo src/adapter/{front_end,requests,watch}.rs src/vhost_gpu/channel.rs ;;
    gpu_socket) echo src/adapter/{display_server,kept,replies,scanouts}.rs src/vhost_gpu/{channel,decode}.rs ;;
    state) echo src/gpu/{restore,state}.rs src/gpu/state ;;
    control_socket) echo src/control ;;
    input) echo src/input/{kind,outbox,rings,sorter}.rs ;;
    options) echo src/adapter/{edid,modes}.rs src/control.rs src/sandbox/user.rs ;;
    shadow) echo loopback-driver-glue/kernel/shadow.c ;;
    esac
}

# coverage TARGET… — plays the seeds and what was found with a build that counts, and prints a table. The annotated
# sources are in target/fuzz/coverage/TARGET.txt.
coverage() {
    local target major profdata cov program
    rm -rf -- "$COVERAGE_DIR/profiles"
    mkdir -p -- "$COVERAGE_DIR/profiles"
    for target in "$@"; do
        step "coverage of $target"
        if [[ $target = shadow ]]; then
            need_packages clang libclang-rt-dev llvm make python3
            profdata=llvm-profdata cov=llvm-cov
            program=loopback-driver-glue/kernel/test/build/shadow_coverage
            quietly "$LOG_DIR/coverage.log" make -C loopback-driver-glue/kernel/test build/shadow_coverage
        else
            # Whose format the compiler writes.
            major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
            need_packages "${BUILD_PACKAGES[@]}" "llvm-$major" python3
            profdata=llvm-profdata-$major cov=llvm-cov-$major
            program=$COVERAGE_DIR/build/debug/examples/replay
            quietly "$LOG_DIR/coverage.log" build_replay
        fi
        quietly "$LOG_DIR/coverage.log" play_counted "$target" "$program"
        "$profdata" merge --sparse -o "$COVERAGE_DIR/$target.profdata" "$COVERAGE_DIR/profiles/$target".*
        report "$target" "$cov" "$program" >"$COVERAGE_DIR/$target.json"
    done
    python3 scripts/lib/coverage.py "${@/#/$COVERAGE_DIR/}"
}

build_replay() {
    RUSTFLAGS="--cfg fuzzing -C instrument-coverage" CARGO_TARGET_DIR=$COVERAGE_DIR/build \
        cargo build --locked --manifest-path fuzz/Cargo.toml --no-default-features --example replay
}

# play_counted TARGET PROGRAM
play_counted() {
    local directory directories=() files=()
    while read -r directory; do
        [[ ! -d $directory ]] || directories+=("$directory")
    done < <(inputs_of "$1")
    local -x LLVM_PROFILE_FILE=$COVERAGE_DIR/profiles/$1.%p
    if [[ $1 = shadow ]]; then
        mapfile -t files < <(find "${directories[@]}" -type f)
        "$2" "${files[@]}"
    else
        "$2" "$1" "${directories[@]}"
    fi
}

# report TARGET COV PROGRAM — the figures as JSON; and the annotated sources.
report() {
    local file files=() options=(-instr-profile="$COVERAGE_DIR/$1.profdata")
    for file in $(covers "$1"); do
        case $file in
        crate:*) files+=("$(crate_source "${file#crate:}")") ;;
        *) files+=("$TOP/$file") ;;
        esac
    done
    printf '%s\n' "${files[@]}" >"$COVERAGE_DIR/$1.files"
    # The module's are known by their path from where they were compiled.
    [[ $1 != shadow ]] || files=()
    "$2" show "$3" "${options[@]}" "${files[@]}" >"$COVERAGE_DIR/$1.txt"
    "$2" export --summary-only "$3" "${options[@]}" "${files[@]}"
}

# crate_source NAME[/PATH] — where cargo has a dependency's sources, or a part of them.
crate_source() {
    local name=${1%%/*} path=${1#"${1%%/*}"} options=(--locked --format-version 1 --manifest-path fuzz/Cargo.toml)
    # Else it would download what other systems need.
    options+=(--filter-platform "$(rustc -vV | sed -n 's/^host: //p')")
    echo "$(cargo metadata "${options[@]}" | python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == sys.argv[1]:
        print(os.path.dirname(package["manifest_path"]))' "$name")${path:-/src}"
}
