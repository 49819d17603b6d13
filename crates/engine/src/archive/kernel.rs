//! File systems that the kernel makes up: they are not the container's files and are never copied.

use std::os::fd::AsFd;

/// Their numbers.
///
/// Source: `include/uapi/linux/magic.h`.
const MADE_UP: [u32; 12] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xcafe_4a11, // bpf
    0x6e73_6673, // nsfs
    0x6165_676c, // pstore
];

/// Whether a file is on one of them.
pub(super) fn is_made_up(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file)
        .is_ok_and(|system| u32::try_from(system.f_type).is_ok_and(|kind| MADE_UP.contains(&kind)))
}
