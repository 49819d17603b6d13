//! Starting shims.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use berth_sys::mount::{Attributes, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use rustix::fs::{Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use super::connection::{self, Connection};
use super::{Attach, Shim, Start, StartError, Started, clean_up};
use crate::frame::{FDS_MAX, Outgoing};
use crate::protocol::{Answer, AttachRequest, Failure, LAST_WORDS, RelayRequest, Request, StartRequest};
use crate::time;

/// Starts shims from our own executable, through a descriptor that cannot be opened for writing.
///
/// The kernel shows the executable of a running program as `/proc/<pid>/exe`, and the first process of a container is
/// our executable until its own `execve` (CVE-2019-5736). So shims are executed through a read-only clone of the mount
/// that our executable is on, which is attached nowhere: what opens it for writing gets `EROFS`, whoever it is.
#[derive(Debug)]
pub struct Launcher {
    executable: OwnedFd,
    is_sealed: bool,
    null: File,
    boot_id: String,
}

impl Launcher {
    /// Shims run `/proc/self/exe shim …`.
    ///
    /// # Errors
    /// Our own executable cannot be opened. (A kernel that refuses the read-only mount is no error.)
    pub fn new() -> io::Result<Launcher> {
        Launcher::of(Path::new("/proc/self/exe"))
    }

    /// Shims run `program shim …`; for tests.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn of(program: &Path) -> io::Result<Launcher> {
        let (executable, is_sealed) = match sealed(program) {
            Ok(executable) => (executable, true),
            Err(_) => {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                (rustix::fs::open(program, flags, Mode::empty())?, false)
            }
        };
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok(Launcher { executable, is_sealed, null, boot_id: super::cleanup::boot_id()? })
    }

    /// Whether `/proc/<pid>/exe` of shims is on a mount that cannot be written to.
    pub fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// Creates and starts a container.
    ///
    /// # Cancel
    /// Dropping the future ends whatever has come to be: the shim sees that nobody waits and cleans up.
    ///
    /// # Errors
    /// See [`StartError`]; nothing of the container is left then.
    pub async fn start(&self, start: Start) -> Result<(Shim, Started), StartError> {
        let dir = start.dir.clone();
        let cgroup = start.spec.linux.as_ref().map(|linux| linux.cgroups_path.clone()).unwrap_or_default();
        let (ours, theirs) = UnixStream::pair().map_err(StartError::Spawn)?;
        ours.set_nonblocking(true).map_err(StartError::Spawn)?;
        let (mut frames, id) = self.frames(start).map_err(StartError::Spawn)?;
        // What fits into the socket is there before the shim is, so it never waits for us.
        while let Some(frame) = frames.first_mut() {
            match frame.send(ours.as_fd()) {
                Ok(()) => drop(frames.remove(0)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(StartError::Spawn(error)),
            }
        }
        let child = self.spawn(&id, theirs.into()).map_err(StartError::Spawn)?;
        let socket = tokio::net::UnixStream::from_std(ours).map_err(StartError::Spawn)?;
        let Connection { handle, events, mut answers } = connection::open(socket, Some(child));
        for frame in frames {
            handle.send(frame);
        }
        match answers.recv().await {
            Some((_, Answer::Started(started))) => {
                // A shim that is gone by now is told as an event.
                let _ = handle.acknowledge();
                let shim = Shim::new(handle, &started);
                Ok((shim, Started::new(&started, events)))
            }
            Some((_, Answer::Failed(failure))) => Err(StartError::from(failure)),
            _ => {
                let detail = last_words(&dir);
                // What cannot be ended now is in the way of the next start, which then says so.
                let _ = clean_up(&dir, &cgroup).await;
                Err(StartError::Died { detail })
            }
        }
    }

    fn frames(&self, start: Start) -> io::Result<(Vec<Outgoing>, String)> {
        let Start {
            id,
            dir,
            bundle,
            spec,
            rootfs,
            stdin,
            log,
            exit_file,
            netns,
            attach,
            hold,
            relays,
            runtime,
            memo,
        } = start;
        let mut frames = Vec::new();
        let mut hold = hold.into_iter().peekable();
        while hold.peek().is_some() {
            let some = hold.by_ref().take(FDS_MAX).collect();
            frames.push(Outgoing::new(0, &Request::Hold, some)?);
        }
        let mut relays = relays.into_iter().peekable();
        while relays.peek().is_some() {
            let some = relays.by_ref().take(FDS_MAX);
            let (ports, sockets) = some
                .map(|relay| (RelayRequest { udp: relay.is_udp, target: relay.target }, relay.socket))
                .unzip();
            frames.push(Outgoing::new(0, &Request::Relay(ports), sockets)?);
        }
        let has_netns = netns.is_some();
        let (attach, sockets): (Vec<_>, Vec<_>) = attach.into_iter().map(Attach::into_request).unzip();
        let fds = netns.into_iter().chain(sockets).collect();
        let request = StartRequest {
            id: id.clone(),
            dir,
            bundle,
            spec,
            rootfs,
            stdin,
            log,
            exit_file,
            runtime,
            netns: has_netns,
            attach,
            boot_id: self.boot_id.clone(),
            spawned_at_nanos: time::monotonic_nanos(),
            memo,
        };
        frames.push(Outgoing::new(1, &Request::Start(Box::new(request)), fds)?);
        Ok((frames, id))
    }

    fn spawn(&self, id: &str, socket: OwnedFd) -> io::Result<Child> {
        // Nothing here needs code to run between fork and exec, so the standard library uses posix_spawn: no page
        // table of the engine is copied.
        Command::new(format!("/proc/self/fd/{}", self.executable.as_raw_fd()))
            .arg0("berth")
            .args(["shim", id])
            .env_clear()
            .stdin(Stdio::from(socket))
            .stdout(Stdio::from(self.null.try_clone()?))
            .stderr(Stdio::from(self.null.try_clone()?))
            .spawn()
    }
}

/// A descriptor of the program on a read-only mount of its own, attached nowhere.
fn sealed(program: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, program, flags)?;
    let attributes = Attributes { set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, ..Attributes::default() };
    berth_sys::mount::mount_setattr(&tree, false, attributes)?;
    Ok(tree)
}

impl Attach {
    pub(super) fn into_request(self) -> (AttachRequest, OwnedFd) {
        let request = AttachRequest {
            id: self.id,
            stdin: self.streams.stdin,
            stdout: self.streams.stdout,
            stderr: self.streams.stderr,
            detach_keys: self.streams.detach_keys,
            input: self.input,
        };
        (request, self.socket)
    }
}

impl From<Failure> for StartError {
    fn from(failure: Failure) -> StartError {
        match failure {
            Failure::Runtime { code, message } => StartError::Runtime { code, message },
            Failure::Log { message } => StartError::Log { message },
            Failure::NotRunning => StartError::NotRunning,
            Failure::Other { message } => StartError::Runtime { code: 128, message },
            Failure::NoSuchExec | Failure::NoTerminal => StartError::NotRunning,
        }
    }
}

/// Why the shim failed, if it had the time to say so.
pub(super) fn last_words(dir: &Path) -> String {
    std::fs::read_to_string(dir.join(LAST_WORDS)).map(|words| format!(": {words}")).unwrap_or_default()
}
