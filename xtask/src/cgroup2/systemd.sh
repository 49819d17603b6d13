#!/bin/busybox sh
# Groups that systemd makes, on a guest whose first process is systemd: by `berth oci --systemd-cgroup` and by an
# engine with `native.cgroupdriver=systemd`. Says how many programs failed in all and ends the guest.
exec >/dev/console 2>&1 </dev/null
export PATH=/bin HOME=/root
. /expect.sh
name=systemd
version=$(systemctl --version | head -n 1)
echo "guest: $version"
oci() { berth oci --systemd-cgroup "$@"; }
show() { systemctl show --value -p "$2" "$1"; }
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  unified=yes memory=/sys/fs/cgroup pids=/sys/fs/cgroup
  limit=memory.max property=MemoryMax
else
  unified=no memory=/sys/fs/cgroup/memory pids=/sys/fs/cgroup/pids
  limit=memory.limit_in_bytes property=MemoryLimit
fi
# file HIERARCHY FILE: a file of the container's group
file() { cat "$1/test.slice/test-oci.slice/cri-one.scope/$2"; }
exists() { [ -e "$1" ] && echo yes || echo no; }

mkdir -p /tmp/bundle/rootfs
tar -xf /busybox.tar -C /tmp/bundle/rootfs
cd /tmp/bundle || exit 1
berth oci spec
sed -i -e 's/"terminal": true/"terminal": false/' -e 's|"sh"|"sleep", "1000"|' \
  -e 's|"resources": {|"cgroupsPath": "test-oci.slice:cri:one", "resources": {"pids": {"limit": 33}, "memory": {"limit": 67108864}, "cpu": {"shares": 512, "quota": 25000, "period": 50000},|' config.json
# The container keeps the streams of whoever creates it.
expect "create" 0 status oci create one
pid=$(berth oci state one | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
cgroup() { sed -n "s/^\(0::\|[0-9]*:memory:\)//p" "/proc/$pid/cgroup" | sort -u | tail -n 1; }
expect "the scope" /test.slice/test-oci.slice/cri-one.scope cgroup
expect "memory" 67108864 file $memory $limit
expect "memory of the unit" 67108864 show cri-one.scope $property
expect "pids" 33 file $pids pids.max
expect "pids of the unit" 33 show cri-one.scope TasksMax
expect "cpu of the unit" 500ms show cri-one.scope CPUQuotaPerSecUSec
expect "delegated" yes show cri-one.scope Delegate
expect "devices of the unit" strict show cri-one.scope DevicePolicy
expect "start" "" oci start one
expect "exec" inside oci exec one echo inside
expect "a null device" "" oci exec one sh -c 'echo x >/dev/null'
expect "update" "" oci update --memory 33554432 --memory-swap 33554432 --pids-limit 44 one
expect "memory after the update" 33554432 file $memory $limit
expect "memory of the unit after the update" 33554432 show cri-one.scope $property
systemctl daemon-reload
expect "memory after a reload" 33554432 file $memory $limit
expect "pids after a reload" 44 file $pids pids.max
expect "a null device after a reload" "" oci exec one sh -c 'echo x >/dev/null'
disk=$(tr : ' ' </sys/block/nullb0/dev)
expect "a device that is not allowed after a reload" "Operation not permitted" \
  sh -c "berth oci exec --cap CAP_MKNOD one sh -c 'mknod /dev/disk b $disk; head -c 1 /dev/disk' 2>&1 | grep -o 'Operation not permitted'"
expect "pause" "" oci pause one
expect "paused" paused sh -c "berth oci state one | sed -n 's/.*\"status\": \"\(.*\)\".*/\1/p'"
expect "resume" "" oci resume one
expect "kill" "" oci kill one KILL
until [ "$(berth oci state one | grep -c stopped)" = 1 ]; do sleep 0.1; done
expect "delete" "" oci delete one
expect "no unit is left" "" systemctl list-units --all --no-legend 'cri-*'
expect "no group is left" no exists $memory/test.slice/test-oci.slice/cri-one.scope
sed -i 's|test-oci.slice:cri:one|/plain/path|' config.json
expect "a path that is none" 1 status oci run two
expect "it says" 1 grep -c 'expected cgroupsPath to be of format .*slice:prefix:name.* for systemd cgroups, got .*/plain/path' /tmp/said

berth daemon --exec-opt native.cgroupdriver=systemd >/tmp/daemon.log 2>&1 &
daemon=$!
answers() { until berth version >/dev/null 2>&1; do sleep 0.2; done; }
answers
berth import /busybox.tar busybox >/dev/null
expect "the driver" systemd berth info -f '{{.CgroupDriver}}'
id=$(berth run -d --net none --name limited -m 64m --pids-limit 20 busybox sleep 1000)
expect "a container's memory" 67108864 cat "$memory/system.slice/berth-$id.scope/$limit"
expect "a container's unit" active show "berth-$id.scope" ActiveState
expect "a container's exec" inside berth exec limited echo inside
expect "a container's processes" "limited 1" berth stats --no-stream --format '{{.Name}} {{.PIDs}}' limited
kill -9 $daemon
wait $daemon
berth daemon --exec-opt native.cgroupdriver=systemd >>/tmp/daemon.log 2>&1 &
daemon=$!
answers
expect "it outlives the engine" running berth inspect -f '{{.State.Status}}' limited
expect "its end" limited berth rm -f limited
expect "its unit is gone" "" systemctl list-units --all --no-legend 'berth-*'
expect "its group is gone" no exists "$memory/system.slice/berth-$id.scope"
expect "another slice" 0 status berth run --rm --net none --cgroup-parent my-own.slice busybox true
expect "no slice" 125 status berth run --rm --net none --cgroup-parent /my/own busybox true
expect "out of memory" 137 \
  status berth run --name oom --net none -m 16m --memory-swap 16m busybox dd if=/dev/zero of=/dev/null bs=64M count=1
berth rm oom >/dev/null
# systemd takes the group away with its last process; the supervisor looks before that.
seen=0
for round in 1 2 3 4 5; do
  berth run --name oom --net none -m 16m --memory-swap 16m busybox dd if=/dev/zero of=/dev/null bs=64M count=1
  [ "$(berth inspect -f '{{.State.OOMKilled}}' oom)" = true ] && seen=$((seen + 1))
  berth rm oom >/dev/null
done
expect "the kernel did it" "5 of 5" echo "$seen of 5"
expect "no unit is left at all" "" systemctl list-units --all --no-legend 'berth-*' 'cri-*' 'runc-*'
kill $daemon
wait $daemon
[ $failures -eq 0 ] || cat /tmp/daemon.log
failed_before=$(cat /failures)
[ $failures -eq 0 ] || failed_before=$((failed_before + 1))
echo "berth-guest: failures $failed_before"
poweroff -f
