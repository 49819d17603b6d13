//! An OCI runtime of runtime-spec 1.2: namespaces, cgroups, root filesystems, seccomp, exec.
//!
//! A library for the shim, which owns the container's process as its own child, and the command `berth oci` with
//! runc's command line ([`cli`]) for other engines. Everything that happens between `clone` and `execve` is here.
//!
//! ```text
//! caller (single-threaded)                      container
//!   create ── clone3 ─────────────────────────► namespaces, mounts, pivot_root, devices, limits
//!      cgroup, id maps, hooks createRuntime           │
//!      ◄──────────────────────────── ready ──────────┘ waits
//!   Created::start ── start ───────────────────► hooks startContainer, seccomp, execve
//!      ◄──────────────────────────── socket closes, or what failed with its errno
//!   Running
//! ```
//!
//! Not here: images, snapshots, logs, the daemon; no thread is ever made.

pub mod cgroup;
pub mod cli;
pub mod seccomp;

mod capability;
mod channel;
mod create;
mod error;
#[allow(unsafe_code)] // clone
mod exec;
mod hooks;
mod init;
#[allow(unsafe_code)] // clone
mod launch;
mod limits;
mod listener;
#[allow(unsafe_code)] // unshare
mod namespace;
mod options;
mod path;
mod process;
#[allow(unsafe_code)] // clone, for id-mapped mounts
mod rootfs;
mod sysctl;

pub use create::{Create, Created, Options, Running, Stdio, create, run};
pub use error::{Error, ExecFailure};
pub use exec::{Exec, ExecProfile, Target, exec};
pub use hooks::run as run_hooks;
pub use rootfs::clone_of_process;
