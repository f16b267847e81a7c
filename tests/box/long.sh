# shellcheck shell=bash
# For the tests that do the same thing many times or to many devices: `. tests/box/long.sh` first. Their numbers come
# from the environment, so that scripts/soak runs the same code as scripts/test, only longer.
. tests/box/lib.sh

# number NAME DEFAULT — sets the variable NAME to DEFAULT unless the environment has it, and says so.
number() {
    local -n value=$1
    value=${value:-$2}
    [[ $value =~ ^[0-9]+$ ]] || fail "$1='$value' is no number"
    echo "$1=$value"
}

# below N — sets R to a random number from 0 to N - 1. No subshell: it would not move the generator on.
# shellcheck disable=SC2034  # for whoever asked
below() { R=$(((RANDOM << 15 | RANDOM) % $1)); }

# pause MS — sleeps without starting a program, which takes long in an emulated machine.
pause() {
    local ms
    printf -v ms %03d $(($1 % 1000))
    read -r -t "$(($1 / 1000)).$ms" <>"$NEVER" || true
}
# What is read from it never comes; for clients that end when their standard input does.
NEVER=/tmp/never
[[ -p $NEVER ]] || mkfifo "$NEVER"

# children PID — sets CHILDREN to the processes that PID has started, whichever of its threads did.
children() {
    local file line
    CHILDREN=()
    for file in "/proc/$1"/task/*/children; do
        { read -r line <"$file"; } 2>/dev/null || true
        # shellcheck disable=SC2206  # numbers
        CHILDREN+=(${line-})
        line=''
    done
}

# command_of PID — sets COMMAND to its command line with spaces; empty if it has ended.
command_of() {
    local words=()
    { mapfile -d '' words <"/proc/$1/cmdline"; } 2>/dev/null || true
    # shellcheck disable=SC2034  # for whoever asked
    COMMAND=${words[*]-}
}

# is_alive PID — whether it runs: neither gone nor a zombie.
is_alive() {
    local line
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    [[ ${line##*) } != [ZX]* ]]
}

# ends_within SECONDS PID — whether it does.
ends_within() {
    local end=$((SECONDS + $1))
    while is_alive "$2"; do
        ((SECONDS < end)) || return 1
        pause 50
    done
}

# no_task_stuck SECONDS — fails if there is a task that cannot be killed, and still after that time. Threads count.
no_task_stuck() {
    local end=$((SECONDS + $1)) stuck
    while stuck=$(ps -eLo state,pid,tid,comm,wchan:40 | awk '/^D/ && !/kworker/') && [[ -n $stuck ]]; do
        ((SECONDS < end)) || fail "stuck: $stuck"
        sleep 0.2
    done
}

# field NAME PYTHON — something of a device's status, such as '["backend_pid"]'.
field() { virtio-loopback-gpu ctl --name "$1" status --json | python3 -c "import json, sys; print(json.load(sys.stdin)$2)"; }

# nothing_left — waits until no device, card, process or object of ours is there, and unloads the module.
nothing_left() {
    no_task_stuck 10
    wait_for 20 no_devices
    wait_for 20 no_processes
    wait_for 20 no_buffers
    wait_for 20 modprobe -r virtio_loopback
    modprobe virtio_loopback
}

no_devices() { ! compgen -G '/sys/devices/platform/virtio-loopback.*' && ! compgen -G '/dev/dri/card*'; }

no_processes() { ! pgrep -af '^virtio-loopback-gpu|/virtio-loopback-gpu '; }

# virtio_gpu's commands; the cache goes with its last card.
no_buffers() { ! grep virtio-gpu-vbufs /proc/slabinfo; }

# build_client — builds card_client.c if need be, and prints its path.
build_client() {
    [[ -x /tmp/card_client ]] ||
        gcc -O2 -Wall -Werror -I/usr/include/libdrm -o /tmp/card_client tests/box/card_client.c -ldrm
    echo /tmp/card_client
}
