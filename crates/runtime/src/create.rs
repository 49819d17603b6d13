//! The public face of making a container: [`create`], [`Created::start`], and [`run`] for both at once.

use std::os::fd::OwnedFd;
use std::path::Path;

use berth_oci::{Mount, Spec};

use crate::{Error, ExecProfile};

/// What a container is made from.
#[derive(Debug)]
pub struct Create<'a> {
    /// Its id: names it in hooks and in the kernel's keyring.
    pub id: &'a str,
    /// Its configuration.
    pub spec: &'a Spec,
    /// Where relative paths of the configuration start from; what hooks are told.
    pub bundle: &'a Path,
    /// Mounts that make the root filesystem at `root.path`, inside the container's own mount namespace; when empty,
    /// `root.path` itself is the root filesystem.
    pub rootfs: &'a [Mount],
    /// Standard input, output and error.
    pub stdio: Stdio,
    /// Descriptors that the process receives as 3, 4, … besides standard input, output and error.
    pub preserve_fds: Vec<OwnedFd>,
    /// How, in detail.
    pub options: Options,
}

/// Standard input, output and error of a process without a terminal (with one, they are the terminal).
#[derive(Debug, Default)]
pub enum Stdio {
    /// Those of the caller.
    #[default]
    Inherit,
    /// These three.
    Descriptors {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
}

/// How a container is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Move the root with `MS_MOVE` and `chroot` (for a root on an initial RAM file system).
    pub no_pivot: bool,
    /// `cgroupsPath` is `slice:prefix:name`, and systemd makes the cgroup.
    pub systemd_cgroup: bool,
    /// Keep the session keyring of the caller.
    pub no_new_keyring: bool,
}

/// A container whose process waits before `execve`.
///
/// The process is a child of the caller, who reaps it. Dropping the value without [`start`](Self::start) leaves it
/// waiting; [`kill`](Self::kill) ends it.
#[derive(Debug)]
pub struct Created {
    /// The process, as the host numbers it.
    pub pid: i32,
    /// The process, for `waitid`, `poll` and `pidfd_send_signal`.
    pub pidfd: OwnedFd,
    /// Master of the pseudo-terminal, when `process.terminal`.
    pub console: Option<OwnedFd>,
    /// What later processes in the container need.
    pub profile: ExecProfile,
}

/// A container whose process has been executed.
#[derive(Debug)]
pub struct Running {
    /// The process, as the host numbers it.
    pub pid: i32,
    /// The process, for `waitid`, `poll` and `pidfd_send_signal`.
    pub pidfd: OwnedFd,
    /// Master of the pseudo-terminal, when `process.terminal`.
    pub console: Option<OwnedFd>,
    /// What later processes in the container need.
    pub profile: ExecProfile,
}

/// Makes a container up to the point before `execve`; `createRuntime` and `createContainer` hooks have run.
///
/// # Errors
/// Everything in [`Error`]; nothing is left behind.
///
/// # Blocking
/// Until the container's own set-up is done. The caller must have one thread only.
pub fn create(request: Create<'_>) -> Result<Created, Error> {
    let _ = request;
    Err(Error::InvalidSpec("create is not there yet".to_owned()))
}

/// [`create`] and [`Created::start`] without a stop between them: the fastest way to a running container.
///
/// # Errors
/// Everything in [`Error`]; nothing is left behind.
pub fn run(request: Create<'_>) -> Result<Running, Error> {
    create(request)?.start()
}

impl Created {
    /// Executes the process; `startContainer` and `poststart` hooks run.
    ///
    /// # Errors
    /// [`Error::Exec`] with the answer of `execve`, [`Error::Hook`], [`Error::Init`]; the process has been reaped and
    /// the cgroup removed.
    pub fn start(self) -> Result<Running, Error> {
        Err(Error::InvalidSpec("start is not there yet".to_owned()))
    }

    /// Kills the waiting process, reaps it and removes its cgroup.
    pub fn kill(self) {}
}
