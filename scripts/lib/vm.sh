# shellcheck shell=bash
# Boots the box in QEMU and judges how it ended. Sourced after kernels.sh.

# The emulator and its first arguments; scripts/interop has another one than the machine's.
box_emulator=(qemu-system-x86_64)

# Exit codes of a run that are not the command's own. 124 is timeout(1)'s.
EXIT_WARNINGS=123
EXIT_TIMEOUT=124
EXIT_BOOT=125

# accelerator — kvm where the processor shows it to us and QEMU can start a machine with it; else tcg. A /dev/kvm
# without svm or vmx may be one that cannot run an ordinary kernel.
accelerator() {
    if grep -qwE 'svm|vmx' /proc/cpuinfo && [[ -w /dev/kvm ]] &&
        echo quit | timeout 10 qemu-system-x86_64 -accel kvm -M pc -cpu max -display none -S -monitor stdio >/dev/null 2>&1; then
        echo kvm
    else
        echo tcg
    fi
}

# processor ACCELERATOR — the processor to show. Emulated AVX is so slow that llvmpipe draws ten times faster without it,
# and five-level page tables cost a walk more.
processor() {
    case $1 in
    tcg) echo max,-avx,-avx2,-fma,-f16c,la57=off ;;
    *) echo max ;;
    esac
}

# clock_parameters ACCELERATOR — for the kernel command line; see tsc_khz.c.
clock_parameters() {
    local program=$BOX_DIR/tsc_khz
    [[ $1 = tcg ]] || return 0
    [[ $program -nt scripts/lib/tsc_khz.c ]] || gcc -O2 -o "$program.$$" scripts/lib/tsc_khz.c
    [[ ! -e $program.$$ ]] || mv -- "$program.$$" "$program"
    printf 'tsc=reliable tsc_early_khz=%s' "$("$program")"
}

# new_run — makes a run's directory, named like its log, and prints it. What is a week old goes.
new_run() {
    mkdir -p -- "$BOX_DIR/runs" "$BOX_DIR/logs"
    find "$BOX_DIR/runs" "$BOX_DIR/logs" -mindepth 1 -mtime +7 -delete
    mktemp -d "$BOX_DIR/runs/$(date +%m%d-%H%M%S).XXXX"
}

# qemu_arguments KERNEL RUN — sets QEMU to the command line, without what depends on run or shell.
qemu_arguments() {
    local kernel=$1 run=$2 append accelerator
    accelerator=$(accelerator)
    append="console=ttyS0 loglevel=7 panic=-1 oops=panic nokaslr mitigations=off net.ifnames=0 $(clock_parameters "$accelerator")"
    append+=" drm_kms_helper.fbdev_emulation=0 sysctl.kernel.hung_task_timeout_secs=60 box.run=${run#"$TOP/"} $box_append"
    QEMU=("${box_emulator[@]}" -M pc -accel "$accelerator" -cpu "$(processor "$accelerator")" -smp "$box_cpus" -m "$box_memory"
        -nodefaults -no-user-config -display none -vga "$box_vga" -nic none -no-reboot
        -kernel "$BOX_CACHE/kernel-$kernel/vmlinuz" -initrd "$BOX_DIR/kernel-$kernel/initramfs" -append "$append"
        -drive "if=virtio,format=raw,snapshot=on,file=$BOX_CACHE/rootfs/root.img"
        -drive "if=virtio,format=raw,snapshot=on,file=$BOX_CACHE/kernel-$kernel/modules.img"
        -virtfs "local,path=$TOP,mount_tag=repo,security_model=none,multidevs=remap"
        -serial "file:$(console_log "$run")" -device virtio-serial-pci)
}

console_log() { printf '%s/logs/%s.console.log\n' "$BOX_DIR" "${1##*/}"; }

# run_command KERNEL TIMEOUT CMD… — boots, runs CMD, returns its exit code or one of the codes above.
run_command() {
    local kernel=$1 limit=$2 run status=0 readers=()
    shift 2
    run=$(new_run)
    printf '%q ' exec "$@" >"$run/command"
    mkfifo "$run/out" "$run/err"
    cat <"$run/out" &
    readers+=($!)
    cat <"$run/err" >&2 &
    readers+=($!)
    qemu_arguments "$kernel" "$run"
    QEMU+=(-chardev "file,id=out,path=$run/out" -device "virtserialport,chardev=out,name=box.out"
        -chardev "file,id=err,path=$run/err" -device "virtserialport,chardev=err,name=box.err")
    timeout --foreground --kill-after=5 "$limit" "${QEMU[@]}" "${box_qemu_arguments[@]}" \
        </dev/null >"$run/qemu.log" 2>&1 &
    qemu_pid=$!
    # In the background, so that the machine ends with this script when that is interrupted.
    trap 'kill "$qemu_pid" 2>/dev/null || true' EXIT
    wait "$qemu_pid" || status=$?
    trap - EXIT
    wait "${readers[@]}"
    judge "$run" "$status" "$limit"
}

# judge RUN QEMU-STATUS TIMEOUT
judge() {
    local run=$1 qemu_status=$2 limit=$3 log status
    log=$(console_log "$run")
    if [[ -f $run/exit ]]; then
        status=$(<"$run/exit")
    elif grep -q 'Kernel panic' "$log"; then
        note "the kernel panicked: $log"
        grep -B 30 -A 5 'Kernel panic' "$log" | tail -n 50 >&2
        return "$EXIT_BOOT"
    elif grep -q 'box: command starts' "$log"; then
        if ((qemu_status == 124)); then
            note "the command did not end within $limit s: $log"
            return "$EXIT_TIMEOUT"
        fi
        note "the machine went away while the command ran: $log"
        return "$EXIT_BOOT"
    else
        note "the box did not boot: $log"
        tail -n 20 -- "$log" "$run/qemu.log" >&2
        return "$EXIT_BOOT"
    fi
    if without_reports "$box_allowed" <"$log" | grep -qE "$KERNEL_WARNINGS"; then
        note "the kernel complained: $log"
        grep -E -A 12 "$KERNEL_WARNINGS" "$log" | head -n 60 >&2
        ((status != 0 || box_allow_warnings)) || status=$EXIT_WARNINGS
    fi
    rm -rf -- "$run"
    return "$status"
}

# run_shell KERNEL — an interactive shell on this terminal.
run_shell() {
    local kernel=$1 run rows=24 columns=80
    run=$(new_run)
    read -r rows columns < <(stty size) || true
    box_append+=" box.rows=$rows box.columns=$columns"
    qemu_arguments "$kernel" "$run"
    QEMU+=(-chardev "stdio,id=tty,signal=off" -device "virtconsole,chardev=tty")
    note "console log: $(console_log "$run"); leave with 'exit'"
    "${QEMU[@]}" "${box_qemu_arguments[@]}" || true
    [[ ! -t 0 ]] || stty sane
    rm -rf -- "$run"
}
