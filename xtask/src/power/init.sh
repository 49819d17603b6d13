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
word() {
  sed -n "s/.*$1=\([^ ]*\).*/\1/p" /proc/cmdline
}
ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up || fault "there is no network"
registry=$(word registry)
mount -t ext4 /dev/vda /data || fault "the disk cannot be mounted"
berth daemon --data-root /data/berth -H $DOCKER_HOST --bridge none --insecure-registry "$registry" \
  >/tmp/daemon.log 2>&1 &
tries=0
until berth version >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -lt 200 ] || { cat /tmp/daemon.log; fault "the engine does not start"; }
  sleep 0.1
done
store=/data/berth/store

# Every command that said it was done is done.
for name in $(word expected | tr , ' '); do
  berth image inspect "$name" >/dev/null 2>&1 || fault "$name is gone"
done
# Every image is whole, and nothing is left of those that are not.
checked=$(wget -qO- --post-data '' http://127.0.0.1:2375/berth/fsck)
case $checked in
*'"Faults":0'*) ;;
*) echo "$checked"; fault "the store is not whole" ;;
esac
# What was on its way is on its way out.
gone() {
  tries=0
  until [ -z "$(ls $1)" ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { find $1; fault "something is left in $1"; }
    sleep 0.1
  done
}
for container in $(berth ps -aq); do
  berth rm "$container" >/dev/null || fault "container $container cannot be removed"
done
gone $store/ingest
gone $store/snapshots
gone $store/trash

if grep -qw last /proc/cmdline; then
  all=$(berth images -aq)
  [ -n "$all" ] || fault "there are no images in the end"
  # First those that were made of others.
  for round in 1 2 3; do
    [ -z "$all" ] || berth rmi -f $all >/dev/null 2>&1
    all=$(berth images -aq)
  done
  [ -z "$all" ] || fault "not every image can be removed: $all"
  for place in blobs/sha256 layers fixups trash; do
    gone $store/$place
  done
  echo "guest: empty"
  sleep 1000
fi

# What the work needs: an image, and an archive of two.
if ! berth image inspect base >/dev/null 2>&1; then
  berth import /busybox.tar base >/dev/null || fault "nothing can be imported"
fi
# A container with something new in it.
container() {
  dd if=/dev/urandom of=/tmp/new bs=64k count=6 2>/dev/null
  container=$(berth create --net none base true) || fault "no container can be made"
  berth cp /tmp/new "$container:/new-$number" >/dev/null || fault "nothing can be copied"
}
number=$(sed -n 1p /data/number 2>/dev/null || echo 0)
number=${number:-0}
archive() {
  container
  berth commit "$container" saved:1 >/dev/null && berth rm "$container" >/dev/null &&
    berth tag base saved:2 && berth save -o /tmp/saved.tar saved:1 saved:2 2>/dev/null || fault "nothing can be saved"
}
# Removes an image, if it is there.
remove() {
  if berth image inspect "$1" >/dev/null 2>&1; then
    echo "guest: removes $1"
    berth rmi "$1" >/dev/null && echo "guest: did -"
  fi
}
archive

echo "guest: working"
step=$(word first)
while :; do
  number=$((number + 1))
  step=$((step + 1))
  echo $number >/data/number
  case $((step % 5)) in
  0)
    berth import --change "LABEL number=$number" /busybox.tar "img:$number" >/dev/null && echo "guest: did img:$number"
    ;;
  1)
    remove saved:1
    remove saved:2
    berth load -q -i /tmp/saved.tar >/dev/null && echo "guest: did saved:1" && echo "guest: did saved:2"
    ;;
  2)
    container
    berth commit "$container" "commit:$number" >/dev/null && echo "guest: did commit:$number"
    berth rm "$container" >/dev/null
    berth tag "commit:$number" "tag:$((number % 3))" && echo "guest: did tag:$((number % 3))"
    ;;
  3)
    berth tag saved:1 "$registry/box:$number" && echo "guest: did $registry/box:$number"
    berth push -q "$registry/box:$number" >/dev/null && echo "guest: did -"
    ;;
  4)
    tags=$(wget -qO- "http://$registry/v2/box/tags/list" 2>/dev/null | sed 's/.*\[//; s/\].*//; s/"//g' | tr , '\n' | sort -n)
    for tag in $(echo "$tags" | tail -n 2); do
      remove "$registry/box:$tag"
      berth pull -q "$registry/box:$tag" >/dev/null && echo "guest: did $registry/box:$tag"
    done
    ;;
  esac
  for name in $(berth images --format '{{.Repository}}:{{.Tag}}' | grep -E '^((img|commit)|.*/box):[0-9]'); do
    [ "${name##*:}" -ge $((number - 12)) ] || remove "$name"
  done
done
