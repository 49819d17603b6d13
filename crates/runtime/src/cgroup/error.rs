//! What can go wrong with a control group.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// A cgroup operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cgroup file system where it belongs.
    #[error("no cgroup file system is mounted at {path}")]
    NotMounted {
        /// Where it was looked for.
        path: String,
    },
    /// The path cannot name a cgroup.
    #[error("invalid cgroup path {path:?}: {reason}")]
    Path {
        /// The path as given.
        path: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// A group of that name is there and processes are in it.
    #[error("cgroup {path} is not empty: {count} process(es) found")]
    NotEmpty {
        /// The group.
        path: String,
        /// How many processes are in it and below.
        count: usize,
    },
    /// The host cannot do what is asked.
    #[error("cannot set {setting}: {reason}")]
    Unsupported {
        /// The setting.
        setting: String,
        /// What is missing.
        reason: String,
    },
    /// A value contradicts itself.
    #[error("invalid {setting}: {reason}")]
    Invalid {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Less memory is asked for than is in use.
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    MemoryInUse {
        /// Units: bytes.
        limit: i64,
        /// Units: bytes.
        usage: u64,
        /// Units: bytes.
        peak: u64,
    },
    /// The group did not get where it should in time.
    #[error("timed out waiting for cgroup {path} to be {state}")]
    Timeout {
        /// The group.
        path: String,
        /// `frozen`, `thawed`.
        state: &'static str,
    },
    /// systemd did not do what it was asked for.
    #[error("unable to {operation} '{unit}': {reason}")]
    Systemd {
        /// The verb.
        operation: &'static str,
        /// The unit.
        unit: String,
        /// What systemd said.
        reason: String,
    },
    /// A system call failed.
    #[error("cannot {operation} {path}")]
    Io {
        /// The verb, and for a write also the value.
        operation: String,
        /// A file or directory, from the root of its hierarchy.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(operation: impl Into<String>, path: impl Into<String>, errno: Errno) -> Self {
        Self::Io { operation: operation.into(), path: path.into(), source: errno.into() }
    }

    /// Did the kernel refuse a value?
    pub(super) fn is_invalid_argument(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()))
    }

    pub(super) fn unsupported(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { setting: setting.into(), reason: reason.into() }
    }
}

/// A process could not be moved into a group. `Copy`, so that a child can pass it on without allocating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachError {
    /// The directory of the hierarchy: `memory`, `cpu,cpuacct`, `unified`.
    pub hierarchy: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot join the {} cgroup: {}", self.hierarchy, self.errno)
    }
}

impl std::error::Error for AttachError {}
