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
grep -q berth.systemd /proc/cmdline || mount -t cgroup2 cgroup2 /sys/fs/cgroup
hostname guest
ip link set lo up
for module in /modules/*; do
  insmod "$module" || echo "guest: module $module does not load"
done

failures=0
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  for program in /tests/* /engine.sh; do
    echo "guest: $program"
    "$program" --test-threads=2 || failures=$((failures + 1))
  done
fi
left=$(find /sys/fs/cgroup -mindepth 1 -type d)
if [ -n "$left" ]; then
  echo "guest: groups are left: $left"
  failures=$((failures + 1))
fi
echo $failures >/failures

# From here on systemd is the first process, on a root file system that is hardly more than its package.
mkdir /system
mount -t tmpfs -o mode=755 tmpfs /system
tar -xf /systemd.tar -C /system
for entry in bin/berth bin/busybox busybox.tar expect.sh systemd.sh failures; do
  cp -a "/$entry" "/system/$entry"
done
mkdir -p /system/dev /system/proc /system/sys /system/run /system/tmp /system/root /system/etc/systemd/system
chroot /system /bin/busybox --install -s /bin 2>/dev/null
echo 0123456789abcdef0123456789abcdef >/system/etc/machine-id
echo 'root:x:0:0:root:/root:/bin/sh' >/system/etc/passwd
echo 'root:x:0:' >/system/etc/group
cat >/system/etc/systemd/system/default.target <<'UNIT'
[Unit]
DefaultDependencies=no
Requires=guest.service
UNIT
cat >/system/etc/systemd/system/guest.service <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/busybox sh /systemd.sh
UNIT
umount -l /sys/fs/cgroup 2>/dev/null
exec switch_root /system /lib/systemd/systemd
