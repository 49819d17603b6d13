//! Talking to a running shim.

use std::os::fd::OwnedFd;
use std::path::Path;

use berth_oci::runtime::LinuxResources;
use tokio::net::UnixStream;

use super::{
    Attach, Error, ExecStart, ExecStarted, Exit, ExitStatus, StartError, Started, State, Streams, Target,
};

/// A handle on a shim and its container; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shim {}

/// What [`reconnect`] found.
#[derive(Debug)]
pub enum Found {
    /// The container runs, or has ended and waits for [`Shim::shutdown`] (then the first event is its exit).
    Running(Shim, Started),
    /// The shim is gone, after it had recorded the exit.
    Exited(ExitStatus),
    /// The shim is gone without a record of the exit. [`clean_up`] ends what is left of the container.
    Gone(Option<State>),
}

/// Takes up a shim again by its directory.
///
/// # Errors
/// The shim answers nonsense, or another engine holds it.
pub async fn reconnect(_dir: &Path) -> Result<Found, Error> {
    Err(Error::Gone)
}

/// Ends what a killed shim left: kills the container's processes through its cgroup, removes the cgroup and the
/// shim's directory. Does nothing where nothing is left.
///
/// # Errors
/// Processes are left that cannot be killed.
pub async fn clean_up(_dir: &Path) -> Result<(), Error> {
    Err(Error::Gone)
}

impl Shim {
    /// The container's first process, in the host's numbers.
    pub fn pid(&self) -> u32 {
        0
    }

    /// Attaches a client; gives the engine's end.
    pub async fn attach(&self, _streams: Streams) -> Result<UnixStream, Error> {
        Err(Error::Gone)
    }

    /// Attaches a client by its own socket.
    pub async fn attach_socket(&self, _attach: Attach) -> Result<(), Error> {
        Err(Error::Gone)
    }

    /// Starts another process in the container.
    pub async fn exec(&self, _exec: ExecStart) -> Result<ExecStarted, StartError> {
        Err(StartError::NotRunning)
    }

    /// Sets the size of a terminal.
    pub async fn resize(&self, _target: &Target, _rows: u16, _cols: u16) -> Result<(), Error> {
        Err(Error::Gone)
    }

    /// Sends a signal to the first process of the container or of an exec.
    pub async fn signal(&self, _target: &Target, _signal: i32) -> Result<(), Error> {
        Err(Error::Gone)
    }

    /// Sends a signal to all processes of the container.
    pub async fn signal_all(&self, _signal: i32) -> Result<(), Error> {
        Err(Error::Gone)
    }

    /// Freezes all processes of the container.
    pub async fn pause(&self) -> Result<(), Error> {
        Err(Error::Gone)
    }

    /// Thaws them.
    pub async fn resume(&self) -> Result<(), Error> {
        Err(Error::Gone)
    }

    /// Changes the container's limits.
    pub async fn update(&self, _resources: &LinuxResources) -> Result<(), Error> {
        Err(Error::Gone)
    }

    /// All processes of the container, in the host's numbers.
    pub async fn pids(&self) -> Result<Vec<u32>, Error> {
        Err(Error::Gone)
    }

    /// Gives the shim more descriptors to keep open.
    pub async fn hold(&self, _fds: Vec<OwnedFd>) -> Result<(), Error> {
        Err(Error::Gone)
    }

    /// Waits for the container's end. Any number may wait.
    pub async fn wait(&self) -> Exit {
        Exit::Gone
    }

    /// The exit is recorded: the shim removes its directory and ends. Returns when it has.
    pub async fn shutdown(&self) -> Result<(), Error> {
        Err(Error::Gone)
    }
}
