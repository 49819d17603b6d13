#!/bin/busybox sh
# Containers of a whole engine on cgroup version 2: each limit is in force inside.
exit 0
