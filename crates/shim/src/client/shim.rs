//! Talking to a running shim, and finding one again.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use berth_oci::runtime::LinuxResources;
use berth_runtime::cgroup::{Cgroup, Stats};
use rustix::fs::{Mode, OFlags};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::cleanup::{self, blocking, cgroup, read_state};
use super::connection::{self, Connection, FIRST, Handle};
use super::{
    Attach, Error, Event, ExecStart, ExecStarted, Exit, ExitStatus, StartError, Started, State, Streams,
};
use crate::frame::{FDS_MAX, Outgoing};
use crate::protocol::{Answer, ExecRequest, Failure, Request, SOCKET, StartedAnswer, TAKEN};
use crate::types::Target;

/// A shim that does not answer for so long is not one.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
/// How long a killed engine can seem to be connected: a child that it was just making has its connections, too, until it
/// runs its program.
const HEIRS: Duration = Duration::from_secs(2);

/// A handle on a shim and its container; cheap to clone.
///
/// What concerns processes and streams is asked of the shim; what concerns the cgroup is done here, so that a shim
/// sleeps while its container is measured.
#[derive(Clone, Debug)]
pub struct Shim {
    handle: Handle,
    pid: u32,
    cgroup: std::sync::Arc<str>,
}

/// What [`reconnect`] found.
#[derive(Debug)]
pub enum Found {
    /// The container runs, or has ended and waits for [`Shim::shutdown`] (then the first event is its exit).
    Running(Shim, Started),
    /// The shim is gone, after it had recorded the exit.
    Exited(ExitStatus),
    /// The shim is gone without a record of the exit. [`clean_up`](super::clean_up) ends what is left of the
    /// container.
    Gone(Option<State>),
}

/// Takes up a shim again by its directory. `exit_file` is that of [`Start`](super::Start).
///
/// # Errors
/// The shim answers nonsense or not at all, or another engine holds it.
pub async fn reconnect(dir: &Path, exit_file: &Path) -> Result<Found, Error> {
    let give_up_at = tokio::time::Instant::now() + HEIRS;
    loop {
        match resume(dir, exit_file).await {
            Err(Error::Refused { message })
                if message == TAKEN && tokio::time::Instant::now() < give_up_at =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            found => return found,
        }
    }
}

/// One try to take it up.
async fn resume(dir: &Path, exit_file: &Path) -> Result<Found, Error> {
    let lost = || {
        let recorded =
            std::fs::read(exit_file).ok().and_then(|content| serde_json::from_slice(&content).ok());
        recorded.map_or_else(|| Found::Gone(read_state(dir)), Found::Exited)
    };
    let mut socket = connect(dir).await?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // A shim that has just lost its engine, on a machine that has much to do, may not have made its socket yet.
    while socket.is_none() && is_running(dir).await && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(PAUSE).await;
        socket = connect(dir).await?;
    }
    let Some(socket) = socket else { return Ok(lost()) };
    let Connection { handle, events, mut answers } = connection::open(socket, None);
    handle.send(Outgoing::new(FIRST, &Request::Resume, Vec::new())?);
    let answer = tokio::time::timeout(PATIENCE, answers.recv()).await;
    match answer.map_err(|_| Error::Io(io::ErrorKind::TimedOut.into()))? {
        Some((_, Answer::Started(started))) => {
            let shim = Shim::new(handle, &started);
            Ok(Found::Running(shim, Started::new(&started, events)))
        }
        Some((_, Answer::Failed(Failure::Other { message }))) => Err(Error::Refused { message }),
        Some(_) => {
            Err(Error::Refused { message: "the supervisor of the container answers nonsense".to_owned() })
        }
        // It ended rather than answer: nobody had taken its container.
        None => Ok(lost()),
    }
}

/// Whether there is a process that calls itself the shim of this directory.
async fn is_running(dir: &Path) -> bool {
    let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    blocking(move || Ok(supervised().contains(&id))).await.unwrap_or(false)
}

/// The ids of all containers of this host that have a shim, whoever's they are. Blocking.
pub fn supervised() -> HashSet<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter(|entry| {
        let name = entry.file_name();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
    });
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter_map(|line| {
            let id = line.strip_prefix(b"berth\0shim\0")?.strip_suffix(b"\0")?;
            Some(String::from_utf8_lossy(id).into_owned())
        })
        .collect()
}

/// Connects to the socket in a directory; none if nobody listens. The path may be longer than a socket address can
/// be, so it goes by descriptor.
async fn connect(dir: &Path) -> Result<Option<UnixStream>, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(dir, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Error::Io(error.into())),
    };
    let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
    match UnixStream::connect(path).await {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => Err(Error::Io(error)),
    }
}

impl Shim {
    pub(super) fn new(handle: Handle, started: &StartedAnswer) -> Shim {
        Shim { handle, pid: started.pid, cgroup: started.cgroup.as_str().into() }
    }

    /// The container's first process, in the host's numbers.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The container's cgroup, from the root of the hierarchies; empty if it has none of its own.
    pub fn cgroup_path(&self) -> &str {
        &self.cgroup
    }

    /// Attaches a client; gives the engine's end.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Gone`].
    pub async fn attach(&self, streams: Streams) -> Result<UnixStream, Error> {
        let (attach, ours) = Attach::pair(streams)?;
        self.attach_socket(attach).await?;
        Ok(ours)
    }

    /// Attaches a client by its own socket.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Gone`].
    pub async fn attach_socket(&self, attach: Attach) -> Result<(), Error> {
        let (request, socket) = attach.into_request();
        self.handle.demand(&Request::Attach(request), vec![socket]).await
    }

    /// Starts another process in the container.
    ///
    /// # Errors
    /// [`StartError::Runtime`] when it cannot be executed, [`StartError::NotRunning`], [`StartError::Died`].
    pub async fn exec(&self, exec: ExecStart) -> Result<ExecStarted, StartError> {
        let ExecStart { id, process, attach } = exec;
        let (attach, socket) = attach.map(Attach::into_request).unzip();
        let Some(exit) = self.handle.expect_exec(&id) else {
            return Err(StartError::Runtime { code: 128, message: format!("exec {id} already runs") });
        };
        let request = Request::Exec(Box::new(ExecRequest { id: id.clone(), process, attach }));
        let error = match self.handle.ask(&request, socket.into_iter().collect()).await {
            Ok(Answer::ExecStarted { pid }) => return Ok(ExecStarted { pid, exit }),
            Ok(Answer::Failed(failure)) => StartError::from(failure),
            Ok(_) | Err(_) => StartError::Died { detail: String::new() },
        };
        self.handle.forget_exec(&id);
        Err(error)
    }

    /// Sets the size of a terminal.
    ///
    /// # Errors
    /// [`Error::NoTerminal`], [`Error::NotRunning`], [`Error::NoSuchExec`], [`Error::Gone`].
    pub async fn resize(&self, target: &Target, rows: u16, cols: u16) -> Result<(), Error> {
        self.handle.demand(&Request::Resize { target: target.clone(), rows, cols }, Vec::new()).await
    }

    /// Sends a signal to the first process of the container or of an exec.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NoSuchExec`], [`Error::Gone`]; [`Error::Refused`] for a number that is none.
    pub async fn signal(&self, target: &Target, signal: i32) -> Result<(), Error> {
        self.handle.demand(&Request::Signal { target: target.clone(), signal }, Vec::new()).await
    }

    /// Sends a signal to all processes of the container. `SIGKILL` reaches frozen ones too.
    ///
    /// # Errors
    /// [`Error::Cgroup`], [`Error::Refused`] for a number that is none.
    pub async fn signal_all(&self, signal: i32) -> Result<(), Error> {
        self.cgroup(move |group| {
            if signal == rustix::process::Signal::KILL.as_raw() {
                return group.kill_all().map_err(cgroup);
            }
            for pid in group.pids().map_err(cgroup)? {
                let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else {
                    continue;
                };
                match berth_sys::supervisor::send_signal(std::os::fd::AsFd::as_fd(&pidfd), signal) {
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                        return Err(Error::Refused { message: format!("there is no signal {signal}") });
                    }
                    // Gone in between.
                    Ok(()) | Err(_) => {}
                }
            }
            Ok(())
        })
        .await
    }

    /// Freezes all processes of the container.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub async fn pause(&self) -> Result<(), Error> {
        self.cgroup(|group| group.freeze().map_err(cgroup)).await
    }

    /// Thaws them.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub async fn resume(&self) -> Result<(), Error> {
        self.cgroup(|group| group.thaw().map_err(cgroup)).await
    }

    /// Changes the container's limits.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub async fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        let resources = resources.clone();
        self.cgroup(move |group| group.update(&resources).map_err(cgroup)).await
    }

    /// What the container uses.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.cgroup(|group| group.stats().map_err(cgroup)).await
    }

    /// All processes of the container, in the host's numbers.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub async fn pids(&self) -> Result<Vec<u32>, Error> {
        self.cgroup(|group| {
            let pids = group.pids().map_err(cgroup)?;
            Ok(pids.into_iter().map(|pid| pid.as_raw_pid().cast_unsigned()).collect())
        })
        .await
    }

    /// Gives the shim more descriptors to keep open.
    ///
    /// # Errors
    /// They are too many for one message, more than 250.
    pub fn hold(&self, fds: Vec<OwnedFd>) -> Result<(), Error> {
        debug_assert!(fds.len() <= FDS_MAX, "whoever publishes that many ports does it at the start");
        self.handle.send(Outgoing::new(0, &Request::Hold, fds)?);
        Ok(())
    }

    /// Waits for the container's end. Any number may wait.
    pub async fn wait(&self) -> Exit {
        self.handle.wait().await
    }

    /// The exit is recorded: the shim removes its directory and ends. Returns when the directory is gone.
    ///
    /// # Errors
    /// [`Error::Refused`] while the container runs. A shim that is gone already is no error.
    pub async fn shutdown(&self) -> Result<(), Error> {
        match self.handle.demand(&Request::Shutdown, Vec::new()).await {
            Err(Error::Gone) => Ok(()),
            other => other,
        }
    }

    /// Waits until the connection to the shim has ended, for whatever reason.
    pub async fn closed(&self) {
        self.handle.closed().await;
    }

    async fn cgroup<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Cgroup) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let path = std::sync::Arc::clone(&self.cgroup);
        blocking(move || work(&cleanup::reopen(&path)?)).await
    }
}

impl Started {
    pub(super) fn new(answer: &StartedAnswer, events: mpsc::UnboundedReceiver<Event>) -> Started {
        Started {
            pid: answer.pid,
            start_time: answer.start_time,
            started_at_nanos: answer.started_at_nanos,
            shim_pid: answer.shim_pid,
            execs: answer.execs.clone(),
            events,
            timings: answer.timings,
            warnings: answer.warnings.clone(),
            memo: answer.memo.clone(),
        }
    }
}
