#!/bin/busybox sh
# The first process of the guest: mounts what a machine has, runs the tests, says how many programs failed, ends.
export PATH=/bin HOME=/root RUST_BACKTRACE=0
if [ ! -e /moved ]; then
  # The kernel's first root can neither be pivoted nor hold the upper layer of an overlay.
  /bin/busybox --install -s /bin
  mkdir /new
  mount -t tmpfs -o mode=755 tmpfs /new
  for entry in /*; do
    [ "$entry" = /new ] || cp -a "$entry" /new
  done
  touch /new/moved
  exec switch_root /new /init
fi
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
hostname guest
ip link set lo up
for module in /modules/*; do
  insmod "$module" || echo "guest: module $module does not load"
done
cat /sys/fs/cgroup/cgroup.controllers

failures=0
for program in /tests/* /engine.sh; do
  echo "guest: $program"
  "$program" --test-threads=2 || failures=$((failures + 1))
done
left=$(find /sys/fs/cgroup -mindepth 1 -type d)
if [ -n "$left" ]; then
  echo "guest: groups are left: $left"
  failures=$((failures + 1))
fi
echo "berth-guest: failures $failures"
poweroff -f
