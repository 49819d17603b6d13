//! Executing a further process in a running container.

use std::os::fd::{BorrowedFd, OwnedFd};

use berth_oci::Spec;
use berth_oci::runtime::Process;

use crate::{Error, Stdio};

/// The container that a process is executed in.
#[derive(Debug)]
pub struct Target<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its first process, as the host numbers it.
    pub pid: i32,
    /// Its first process.
    pub pidfd: BorrowedFd<'a>,
    /// What was kept from its configuration.
    pub profile: &'a ExecProfile,
}

/// What every later process of a container needs of its configuration: small, so that a shim can keep it.
#[derive(Debug, Clone, Default)]
pub struct ExecProfile {}

/// A process that was executed in a container.
#[derive(Debug)]
pub struct Exec {
    /// The process, as the host numbers it: a child of the caller.
    pub pid: i32,
    /// The process, for `waitid`, `poll` and `pidfd_send_signal`.
    pub pidfd: OwnedFd,
    /// Master of the pseudo-terminal, when `process.terminal`.
    pub console: Option<OwnedFd>,
}

/// Executes a process in a running container.
///
/// # Errors
/// [`Error::Exec`] with the answer of `execve`, [`Error::Init`], [`Error::System`]; the process has been reaped.
///
/// # Blocking
/// Until `execve` succeeded or failed. The caller must have one thread only.
pub fn exec(
    target: &Target<'_>,
    process: &Process,
    stdio: Stdio,
    preserve_fds: Vec<OwnedFd>,
) -> Result<Exec, Error> {
    let _ = (target, process, stdio, preserve_fds);
    Err(Error::InvalidSpec("exec is not there yet".to_owned()))
}

impl ExecProfile {
    /// Keeps what later processes need.
    ///
    /// # Errors
    /// [`Error::InvalidSpec`] for a seccomp profile that cannot be compiled.
    pub fn from_spec(spec: &Spec) -> Result<Self, Error> {
        let _ = spec;
        Ok(Self::default())
    }
}
