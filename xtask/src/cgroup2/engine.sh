#!/bin/busybox sh
# A bundle by `berth oci` and containers of a whole engine on cgroup version 2: every limit is in force inside.
. /expect.sh

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

disk=$(tr : ' ' </sys/block/nullb0/dev)
read="mknod /tmp/disk b $disk && head -c 1 /tmp/disk >/dev/null"
expect "a device that is not allowed" 1 status berth run --rm --net none busybox sh -c "$read"
expect "a device that is" 0 status berth run --rm --net none --device-cgroup-rule "b ${disk% *}:* r" busybox sh -c "$read"
expect "a device of the host" 0 status berth run --rm --net none --device /dev/nullb0:/dev/disk:r busybox head -c 1 /dev/disk
expect "rates of a disk" "${disk% *}:0 rbps=1048576 wbps=max riops=max wiops=20" \
  file --device-read-bps /dev/nullb0:1mb --device-write-iops /dev/nullb0:20 io.max
expect "the host's cgroup namespace" 1 \
  sh -c 'berth run --rm --net none --cgroupns host busybox cat /proc/self/cgroup | grep -c "^0::/berth/[0-9a-f]*$"'

berth run -d --name small --net none --init --pids-limit 4 --cpus 0.1 busybox sleep 1000 >/dev/null
expect "exec into the limits" 0::/ berth exec small cat /proc/self/cgroup
expect "exec beyond the limits" "can't fork: Resource temporarily unavailable" \
  sh -c "berth exec small sh -c 'sleep 1 & sleep 1 & sleep 1 &' 2>&1 | grep -o \"can't fork: .*\""
sleep 2
berth exec small sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done'
throttled() { grep -q 'nr_throttled [1-9]' /sys/fs/cgroup/berth/*/cpu.stat && echo yes; }
expect "throttled" yes throttled
kill -9 $daemon
wait $daemon
expect "a container goes on without the engine" 2 sh -c "grep -c . /sys/fs/cgroup/berth/*/cgroup.procs"
berth daemon >>/tmp/daemon.log 2>&1 &
daemon=$!
tries=0
until berth version >/dev/null 2>&1 || [ $tries -gt 100 ]; do
  tries=$((tries + 1))
  sleep 0.2
done
expect "a container outlives its engine" running berth inspect -f '{{.State.Status}}' small
expect "its limits too" "small 2" berth stats --no-stream --format '{{.Name}} {{.PIDs}}' small
berth rm -f small >/dev/null

berth run -d --name web -p 8080:80 busybox httpd -f -h /var/www >/dev/null
expect "a published port" "it works" sh -c 'for try in 1 2 3 4 5; do wget -qO- http://127.0.0.1:8080/index.html && break; sleep 0.5; done'
expect "a container's own network" 1 sh -c "berth exec web ip -o addr show eth0 | grep -c 'inet '"
berth rm -f web >/dev/null

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
