#!/bin/bash
# kernels: 6.12
# timeout: 300
# The unit in packaging/systemd: systemd keeps the device of a process that is killed, and starts another one.
. tests/box/lib.sh

# systemd is process 1 of a namespace of its own, in which /run and the cgroups are its own.
mkdir /tmp/systemd
cat >/tmp/systemd/init <<'INIT'
#!/bin/bash
set -e
mount -t proc proc /proc
mount -t tmpfs -o mode=755 run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/systemd/system/virtio-loopback-gpu@.service.d
cp /repo/packaging/systemd/virtio-loopback-gpu@.service /run/systemd/system/
# The module is loaded, and nothing else is to be started.
cat >/run/systemd/system/virtio-loopback-gpu@.service.d/box.conf <<'UNIT'
[Unit]
DefaultDependencies=no
Wants=
After=
[Service]
StandardOutput=append:/tmp/systemd/log
StandardError=append:/tmp/systemd/log
UNIT
printf '[Unit]\nDefaultDependencies=no\n' >/run/systemd/system/box.target
exec env -i container=box PATH="$PATH" /usr/lib/systemd/systemd --unit=box.target
INIT
chmod +x /tmp/systemd/init
cp -- "$(command -v virtio-loopback-gpu)" /usr/local/bin/
mkdir -p /etc/virtio-loopback-gpu
echo 'OPTIONS=--display headless --scanout 800x600' >/etc/virtio-loopback-gpu/cluster.conf
unshare --pid --mount --cgroup --fork --kill-child --propagation private /tmp/systemd/init >/tmp/systemd/out 2>&1 &
outer=$!

# inside CMD… — runs CMD where systemd is. XDG_RUNTIME_DIR: root's devices are in /run there.
inside() { nsenter -t "$(pgrep -P "$outer" -o)" --pid --mount --cgroup env -u XDG_RUNTIME_DIR "$@"; }
# The state is "degraded" if some unit of no interest has failed.
is_up() { inside systemctl is-system-running | grep -qE 'running|degraded|starting'; }
wait_for 60 is_up

status() { inside virtio-loopback-gpu ctl --name cluster status --json | python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }
main() { inside systemctl show -P "$1" virtio-loopback-gpu@cluster; }
unit_log() { tail -n 20 /tmp/systemd/log; }

# Returns when the unit is ready, that is when there is a card.
inside systemctl start virtio-loopback-gpu@cluster || fail "it does not start: $(inside systemctl status virtio-loopback-gpu@cluster) $(unit_log)"
card=$(status '["nodes"][0]')
[[ -c $card ]] || fail "ready without a card: $card"
expect "who keeps it" "$(status '["keep"]["by"]')" service-manager
expect "descriptors kept" "$(main NFileDescriptorStore)" 3

connector=$(modetest -M virtio_gpu -c | awk '$3 == "connected" { print $1 }')
sleep 1000 | modetest -M virtio_gpu -s "$connector:800x600" >/tmp/modetest.log 2>&1 &
shows_bars() {
    inside virtio-loopback-gpu ctl --name cluster screenshot /tmp/systemd/bars.png &&
        [[ $(pixel /tmp/systemd/bars.png 57 100) = c0c0c0 ]]
}
wait_for 20 shows_bars
for kills in 1 2; do
    pid=$(main MainPID)
    inside kill -KILL "$pid"
    restarted() { [[ $(main NRestarts) = "$kills" && $(main ActiveState) = active ]]; }
    wait_for 30 restarted
    expect "card" "$(status '["nodes"][0]')" "$card"
    # Nobody has drawn anything since.
    wait_for 20 shows_bars
    expect "descriptors kept" "$(main NFileDescriptorStore)" 3
    no_stuck_task
done
pgrep -x modetest >/dev/null || fail "modetest ended: $(cat /tmp/modetest.log)"
# A new version, without taking the card from anybody.
inside virtio-loopback-gpu ctl --name cluster detach
detached() { [[ $(main NRestarts) = 3 && $(main ActiveState) = active ]]; }
wait_for 30 detached
expect "card" "$(status '["nodes"][0]')" "$card"
wait_for 20 shows_bars
pkill -x modetest
pkill -f 'sleep 1000' || true

inside systemctl stop virtio-loopback-gpu@cluster
expect "descriptors kept" "$(main NFileDescriptorStore)" 0
gone() { [[ -z $(ls -d /sys/devices/platform/virtio-loopback.* 2>/dev/null) ]]; }
wait_for 10 gone
# unshare itself minds no signal while its child lives.
kill -KILL "$(pgrep -P "$outer" -o)"
wait "$outer" || true
no_stuck_task
unload
