#!/bin/busybox sh
# The first process of the guest: checks what the last cut left on the disk, then works until the next.
export PATH=/bin HOME=/root DOCKER_HOST=tcp://127.0.0.1:2375
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
for module in /modules/*; do
  insmod "$module" || echo "guest: module $module does not load"
done
fault() {
  echo "guest: fault $*"
  sleep 1000
}
mount -t ext4 /dev/vda /data || fault "the disk cannot be mounted"
berth daemon --data-root /data/berth -H $DOCKER_HOST --bridge none >/tmp/daemon.log 2>&1 &
tries=0
until berth version >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -lt 200 ] || { cat /tmp/daemon.log; fault "the engine does not start"; }
  sleep 0.1
done

# Every command that said it was done is done.
expected=$(sed -n 's/.*expected=\([^ ]*\).*/\1/p' /proc/cmdline | tr , ' ')
for name in $expected; do
  berth image inspect "$name" >/dev/null 2>&1 || fault "$name is gone"
done
# Every image is whole, and nothing is left of those that are not.
checked=$(wget -qO- --post-data '' http://127.0.0.1:2375/berth/fsck)
case $checked in
*'"Faults":0'*) ;;
*) echo "$checked"; fault "the store is not whole" ;;
esac
if [ "$(ls /data/berth/store/ingest | wc -l)" != 0 ]; then
  fault "an ingest is left"
fi

echo "guest: working"
number=$(sed -n 1p /data/number 2>/dev/null || echo 0)
number=${number:-0}
while :; do
  number=$((number + 1))
  echo $number >/data/number
  berth import --change "LABEL number=$number" /busybox.tar "img:$number" >/dev/null && echo "guest: did img:$number"
  berth save -o /tmp/saved.tar "img:$number" && echo "guest: did -"
  echo "guest: removes img:$number"
  berth rmi "img:$number" >/dev/null && echo "guest: did -"
  berth load -q -i /tmp/saved.tar >/dev/null && echo "guest: did img:$number"
  container=$(berth create --net none "img:$number" true) || fault "no container can be made"
  berth commit "$container" "commit:$number" >/dev/null && echo "guest: did commit:$number"
  berth rm "$container" >/dev/null
  berth tag "commit:$number" "tag:$((number % 3))" && echo "guest: did tag:$((number % 3))"
  old=$((number - 2))
  for name in "img:$old" "commit:$old"; do
    if berth image inspect "$name" >/dev/null 2>&1; then
      echo "guest: removes $name"
      berth rmi "$name" >/dev/null && echo "guest: did -"
    fi
  done
done
