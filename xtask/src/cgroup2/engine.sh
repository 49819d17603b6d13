#!/bin/busybox sh
# A bundle by `berth oci` and containers of a whole engine on cgroup version 2: every limit is in force inside.
failures=0

# expect WHAT EXPECTED COMMAND…: what the command says.
expect() {
  local what=$1 expected=$2 said
  shift 2
  said=$("$@" 2>&1)
  if [ "$said" = "$expected" ]; then
    echo "engine: $what ... ok"
  else
    echo "engine: $what ... FAILED: expected '$expected', got '$said'"
    failures=$((failures + 1))
  fi
}

# status COMMAND…: how the command ends, as a word.
status() {
  "$@" >/tmp/said 2>&1
  echo $?
}

# A bundle. The program and the limits are the only lines that differ from what `berth oci spec` writes.
mkdir -p /tmp/bundle/rootfs
tar -xf /busybox.tar -C /tmp/bundle/rootfs
cd /tmp/bundle || exit 1
berth oci spec
sed -i -e 's/"terminal": true/"terminal": false/' -e 's|"sh"|"cat", "/sys/fs/cgroup/pids.max"|' \
  -e 's|"resources": {|"resources": {"pids": {"limit": 33},|' config.json
expect "berth oci run" 33 berth oci run bundled

berth daemon >/tmp/daemon.log 2>&1 &
daemon=$!
tries=0
until berth version >/dev/null 2>&1 || [ $tries -gt 100 ]; do
  tries=$((tries + 1))
  sleep 0.2
done
berth import /busybox.tar busybox >/dev/null

file() { # FLAG… FILE: a file of the container's own group
  local flags=
  while [ $# -gt 1 ]; do
    flags="$flags $1"
    shift
  done
  # shellcheck disable=SC2086
  berth run --rm --net none $flags busybox cat "/sys/fs/cgroup/$1"
}
expect "memory" 67108864 file -m 64m memory.max
expect "memory and swap" 67108864 file -m 64m --memory-swap 128m memory.swap.max
expect "soft limit" 33554432 file -m 64m --memory-reservation 32m memory.low
expect "cpus" "50000 100000" file --cpus 0.5 cpu.max
expect "cpu shares" 59 file --cpu-shares 512 cpu.weight
expect "cpuset" 1 file --cpuset-cpus 1 cpuset.cpus
expect "pids" 20 file --pids-limit 20 pids.max
expect "no limit" max file pids.max
expect "the namespace's root" 0::/ berth run --rm --net none busybox cat /proc/self/cgroup

expect "out of memory" 137 \
  status berth run --name oom --net none -m 16m --memory-swap 16m busybox dd if=/dev/zero of=/dev/null bs=64M count=1
expect "OOMKilled" true berth inspect -f '{{.State.OOMKilled}}' oom
berth rm oom >/dev/null

kmsg='mknod /tmp/kmsg c 1 11 && dd if=/tmp/kmsg of=/dev/null bs=8192 count=1'
expect "a device that is not allowed" 1 status berth run --rm --net none busybox sh -c "$kmsg"
expect "a device that is" 0 status berth run --rm --net none --device-cgroup-rule 'c 1:11 r' busybox sh -c "$kmsg"

berth run -d --name spin --net none busybox sh -c 'while :; do :; done' >/dev/null
used() { sed -n 's/^usage_usec //p' /sys/fs/cgroup/berth/*/cpu.stat; }
berth pause spin >/dev/null
before=$(used)
sleep 0.3
expect "paused" "$before" used
expect "paused, it says" paused berth inspect -f '{{.State.Status}}' spin
berth unpause spin >/dev/null
tries=0
while [ "$(used)" = "$before" ] && [ $tries -lt 100 ]; do
  tries=$((tries + 1))
  sleep 0.1
done
expect "unpaused" yes sh -c "[ $tries -lt 100 ] && echo yes"
expect "stats" "spin 1" berth stats --no-stream --format '{{.Name}} {{.PIDs}}' spin
berth rm -f spin >/dev/null

kill $daemon
wait $daemon
rmdir /sys/fs/cgroup/berth 2>/dev/null
[ $failures -eq 0 ] || cat /tmp/daemon.log
exit $failures
