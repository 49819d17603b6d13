//! The public face of making a container: [`create`], [`Created::start`], and [`run`] for both at once.

use std::os::fd::OwnedFd;
use std::path::Path;

use berth_oci::runtime::{Hook, State, Status};
use berth_oci::{Mount, Spec};
use rustix::process::{Signal, pidfd_send_signal};

use crate::cgroup::Cgroup;
use crate::channel::Message;
use crate::init::Gate;
use crate::launch::{Launched, launch};
use crate::{Error, ExecProfile, hooks};

/// What a container is made from.
#[derive(Debug)]
pub struct Create<'a> {
    /// Its id: names it in hooks and in the kernel's keyring.
    pub id: &'a str,
    /// Its configuration.
    pub spec: &'a Spec,
    /// Where relative paths of the configuration start from; what hooks are told. Absolute.
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
/// The process is a child of the caller, who reaps it. It ends by itself when the value is dropped without
/// [`start`](Self::start); [`kill`](Self::kill) cleans up after it as well.
#[derive(Debug)]
pub struct Created {
    /// The process, as the host numbers it.
    pub pid: i32,
    /// Master of the pseudo-terminal, when `process.terminal`. To be taken.
    pub console: Option<OwnedFd>,
    launched: Launched,
    profile: ExecProfile,
    poststart: Vec<Hook>,
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
    /// The container's cgroup, open.
    pub cgroup: Option<Cgroup>,
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
pub fn create(request: &Create<'_>) -> Result<Created, Error> {
    with_gate(request, Gate::Message, None)
}

/// [`create`] and [`Created::start`] without a stop between them: the fastest way to a running container.
///
/// # Errors
/// Everything in [`Error`]; nothing is left behind.
///
/// # Blocking
/// Until `execve` succeeded. The caller must have one thread only.
pub fn run(request: &Create<'_>) -> Result<Running, Error> {
    with_gate(request, Gate::Open, None)?.started()
}

/// Is told the pid and the cgroup of a container as soon as they are there; its error ends the container.
pub(crate) type Watcher<'w> = &'w mut dyn FnMut(i32, &str) -> Result<(), String>;

/// [`create`] with another gate: a FIFO is opened by a later `start`, when the caller is gone.
pub(crate) fn with_gate(
    request: &Create<'_>,
    gate: Gate,
    watcher: Option<Watcher<'_>>,
) -> Result<Created, Error> {
    let mut launched = launch(request, gate, watcher)?;
    let profile = ExecProfile::new(request.spec, launched.filter.take(), request.options.no_new_keyring);
    let poststart = request.spec.hooks.as_ref().map(|hooks| hooks.poststart.clone());
    Ok(Created {
        pid: launched.pid,
        console: launched.console.take(),
        launched,
        profile,
        poststart: poststart.unwrap_or_default(),
    })
}

impl Created {
    /// Executes the process; `startContainer` and `poststart` hooks run.
    ///
    /// # Errors
    /// [`Error::Exec`] with the answer of `execve`, [`Error::Hook`], [`Error::Init`]; the process has been reaped and
    /// the cgroup removed.
    ///
    /// # Blocking
    /// Until `execve` succeeded.
    pub fn start(self) -> Result<Running, Error> {
        let told = self.launched.channel.send(&Message::Start);
        let answer = self.launched.channel.receive();
        match (told, answer) {
            (_, Ok(Some(Message::Failed(error)))) => {
                self.launched.undo();
                Err(error)
            }
            (Ok(()), Ok(None)) => self.started(),
            (Err(errno), _) | (_, Err(errno)) => {
                self.launched.undo();
                Err(Error::system("start the container's process", errno))
            }
            (Ok(()), Ok(Some(other))) => {
                self.launched.undo();
                Err(Error::Init { message: format!("unexpected {other:?} at the start"), errno: None })
            }
        }
    }

    /// Kills the waiting process, reaps it and removes its cgroup.
    pub fn kill(self) {
        self.launched.undo();
    }

    pub(crate) fn undo(&self) {
        self.launched.undo();
    }

    /// The process, for `waitid`, `poll` and `pidfd_send_signal`.
    #[must_use]
    pub fn pidfd(&self) -> &OwnedFd {
        &self.launched.pidfd
    }

    /// The container's cgroup.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.launched.cgroup.as_ref()
    }

    /// The process runs already: `poststart` hooks.
    pub(crate) fn started(self) -> Result<Running, Error> {
        let state = State { status: Status::Running, ..self.launched.state.clone() };
        if let Err(error) = hooks::run("poststart", &self.poststart, &state) {
            let _ = pidfd_send_signal(&self.launched.pidfd, Signal::KILL);
            self.launched.undo();
            return Err(error);
        }
        let Launched { pid, pidfd, cgroup, .. } = self.launched;
        Ok(Running { pid, pidfd, console: self.console, cgroup, profile: self.profile })
    }
}
