//! Control groups: create them, set limits, move processes in, measure, freeze, kill, remove.
//!
//! Owns every file below `/sys/fs/cgroup` that belongs to a container: version 1, version 2 and the hybrid of both
//! behind one [`Cgroup`], made by itself or by systemd. Knows nothing of containers, images or Docker's defaults: what it is told arrives as
//! `oci::runtime::LinuxResources`.
//!
//! [`Hierarchies::detect`] looks at the host once (some thirty cheap system calls, no file is parsed) and keeps the
//! roots open; whoever makes many groups keeps the value in an [`std::sync::Arc`]. A [`Cgroup`] is one path below all
//! of these roots: making it is one `mkdirat` a hierarchy, a setting an `openat`, a `write` and a `close`.
//!
//! A process gets in by one of three ways:
//! - version 2: hand [`Cgroup::clone_fd`] to `clone3` with `CLONE_INTO_CGROUP`;
//! - version 1: the child calls [`Cgroup::attach_self`] first of all. It moves a thread that is itself, which the
//!   kernel does without its global lock, and neither allocates nor locks;
//! - anybody: [`Cgroup::attach`] moves a process by its id.
//!
//! The root of a new cgroup namespace is the group that its maker is in, so `unshare(CLONE_NEWCGROUP)` comes after.

mod device;
mod device_program;
mod error;
mod file;
mod freeze;
mod group;
mod hierarchy;
mod kill;
mod oom;
mod stats;
pub(crate) mod systemd;
mod v1;
mod v2;

pub use error::{AttachError, Error};
pub use group::Cgroup;
pub use hierarchy::{Controller, Hierarchies, Version};
pub use oom::OomWatch;
pub use stats::{Blkio, BlkioEntry, Cpu, Hugetlb, Memory, MemoryCounter, Pids, Rdma, Stats, Throttling};
