//! The container's process and what makes more of them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use berth_oci::runtime::{Hook, Process, State};
use berth_runtime::{ExecProfile, Target};

use super::directory;
use super::foreign::Foreign;
use super::group::Group;
use super::stdio::Ends;
use crate::protocol::Failure;
use crate::types::ExitStatus;

/// A container that runs, or has.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    pub(super) group: Group,
    pub(super) maker: Maker,
    pub(super) exit_file: PathBuf,
    /// The exit file, until it is synced.
    pub(super) unsynced: Option<OwnedFd>,
}

/// What makes processes.
#[derive(Debug)]
pub(super) enum Maker {
    /// The runtime that is linked in; the hooks to run in the end, and what they are told, if there are any.
    Linked(ExecProfile, Option<Box<(Vec<Hook>, State)>>),
    /// Another one.
    Foreign(Foreign),
}

/// A process that was made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    pub(super) console: Option<OwnedFd>,
}

impl Container {
    /// Makes another process. Streams without a pipe are `/dev/null`.
    pub(super) fn exec(&self, process: &Process, ends: Ends) -> Result<Made, Failure> {
        let profile = match &self.maker {
            Maker::Linked(profile, _) => profile,
            Maker::Foreign(runtime) => return runtime.exec(process, ends),
        };
        let target = Target {
            id: &self.id,
            pid: self.pid.cast_signed(),
            pidfd: self.pidfd.as_fd(),
            cgroup: self.group.cgroup(),
            profile,
        };
        let stdio =
            ends.into_stdio(process.terminal).map_err(|error| other("cannot open /dev/null", &error))?;
        match berth_runtime::exec(&target, process, &stdio, &[]) {
            Ok(exec) => Ok(Made { pid: exec.pid.cast_unsigned(), pidfd: exec.pidfd, console: exec.console }),
            Err(error) => Err(refused("exec", &error)),
        }
    }

    /// Kills every process of the container.
    pub(super) fn kill(&self) {
        let _ = berth_sys::supervisor::send_signal(self.pidfd.as_fd(), 9);
        self.group.kill();
    }

    /// Writes down how it ended; not synced yet.
    pub(super) fn record_exit(&mut self, status: &ExitStatus) {
        // A disk that is full loses the record, not the event: the engine hears it from us.
        if let Ok(content) = serde_json::to_vec(status) {
            self.unsynced = directory::replace_file(&self.exit_file, &content).ok();
        }
    }

    /// Nobody wants to know how it ended.
    pub(super) fn forget_exit(&mut self) {
        if self.unsynced.take().is_some() {
            let _ = rustix::fs::unlink(&self.exit_file);
        }
    }

    /// What is left to do when the container is gone.
    pub(super) fn delete(&mut self) {
        match &self.maker {
            Maker::Linked(_, None) => {}
            Maker::Linked(_, Some(last)) => {
                // The container is gone whatever they say.
                let _ = berth_runtime::run_hooks("poststop", &last.0, &last.1);
            }
            Maker::Foreign(runtime) => runtime.delete(),
        }
    }

    /// Makes the record last.
    pub(super) fn sync_exit(&mut self) {
        let Some(file) = self.unsynced.take() else { return };
        let _ = rustix::fs::fsync(&file);
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let parent =
            self.exit_file.parent().map(|parent| rustix::fs::open(parent, flags, rustix::fs::Mode::empty()));
        if let Some(Ok(directory)) = parent {
            let _ = rustix::fs::fsync(&directory);
        }
    }
}

impl Ends {
    /// What the runtime takes. With a terminal the streams are that.
    pub(super) fn into_stdio(self, terminal: bool) -> io::Result<berth_runtime::Stdio> {
        if terminal {
            return Ok(berth_runtime::Stdio::Inherit);
        }
        let or_null = |end: Option<OwnedFd>| match end {
            Some(end) => Ok(end),
            // Our own standard streams are all /dev/null.
            None => io::stdin().as_fd().try_clone_to_owned(),
        };
        Ok(berth_runtime::Stdio::Descriptors {
            stdin: or_null(self.stdin)?,
            stdout: or_null(self.stdout)?,
            stderr: or_null(self.stderr)?,
        })
    }
}

/// A refusal of the runtime, in the words that Docker's clients know.
pub(super) fn refused(verb: &str, error: &berth_runtime::Error) -> Failure {
    let what = if verb == "exec" { "exec failed" } else { "runc create failed" };
    let message = format!("OCI runtime {verb} failed: {what}: {}: unknown", chain(error));
    Failure::Runtime { code: u8::try_from(error.exit_code()).unwrap_or(128), message }
}

/// An error and its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

pub(super) fn other(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::Other { message: format!("{what}: {error}") }
}
