# shellcheck shell=bash
# For the box's own scripts: messages to the kernel's log, and the end of processes.

kmsg() { printf '<5>box: %s\n' "$*" >/dev/kmsg; }

# find_processes EXCEPT… — sets PIDS to what still runs, without this process, kernel threads, zombies and EXCEPT.
# No subshell and no pipe: they would be found too.
find_processes() {
    local stat line state parent pid
    PIDS=()
    for stat in /proc/[0-9]*/stat; do
        pid=${stat#/proc/} pid=${pid%/stat}
        { read -r line <"$stat"; } 2>/dev/null || continue
        read -r state parent _ <<<"${line##*) }"
        [[ $pid = 1 || $pid = 2 || $parent = 2 || $state = Z || " $* " = *" $pid "* ]] || PIDS+=("$pid")
    done
}

# end_processes EXCEPT… — ends what the command left running; what does not end is stuck in the kernel.
end_processes() {
    local signal tries pid
    for signal in TERM KILL; do
        for tries in {0..30}; do
            find_processes "$@"
            ((${#PIDS[@]})) || return 0
            ((tries)) || kill -"$signal" "${PIDS[@]}" 2>/dev/null
            sleep 0.1
        done
    done
    for pid in "${PIDS[@]}"; do
        kmsg "WARNING: task $pid ($(<"/proc/$pid/comm")) does not end: $(tr '\n' ' ' <"/proc/$pid/stack")"
    done
}
