//! The listener of a system call filter with `SCMP_ACT_NOTIFY`: who decides on calls in the container's stead.
//!
//! The caller connects to `listenerPath` before the process is made; the process sends the descriptor itself, right
//! after the filter is in force. So a filter must let `sendmsg` pass without asking.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use berth_oci::runtime::{ContainerProcessState, LinuxSeccomp, LinuxSeccompAction, State, VERSION};
use rustix::fs::readlinkat;

use crate::Error;
use crate::channel::send_bytes;
use crate::error::init;

/// A listener that is connected.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    message: ContainerProcessState,
}

impl Listener {
    /// Connects, if the profile asks anybody.
    ///
    /// # Errors
    /// `InvalidSpec` without a path or when `sendmsg` would have to be decided on, `System` when nobody listens.
    pub(crate) fn connect(profile: &LinuxSeccomp, state: State) -> Result<Option<Self>, Error> {
        let mut asking =
            profile.syscalls.iter().filter(|rule| rule.action == LinuxSeccompAction::Notify).peekable();
        if asking.peek().is_none() {
            return Ok(None);
        }
        let invalid = |message: &str| Err(Error::InvalidSpec(message.to_owned()));
        if asking.flat_map(|rule| &rule.names).any(|name| name == "sendmsg") {
            return invalid("SCMP_ACT_NOTIFY cannot be used for the sendmsg syscall");
        }
        if profile.listener_path.is_empty() {
            return invalid("SCMP_ACT_NOTIFY needs a listenerPath");
        }
        let socket = UnixStream::connect(&profile.listener_path).map_err(|error| {
            Error::system(format!("connect to the seccomp listener {}", profile.listener_path), error)
        })?;
        let message = ContainerProcessState {
            oci_version: VERSION.to_owned(),
            fds: vec!["seccompFd".to_owned()],
            pid: 0,
            metadata: profile.listener_metadata.clone(),
            state,
        };
        Ok(Some(Self { socket: socket.into(), message }))
    }

    /// Completes the message with the pid of the calling process, as the host numbers it.
    pub(crate) fn prepare(&self, proc: BorrowedFd<'_>) -> Result<Vec<u8>, Error> {
        let link = readlinkat(proc, "self", Vec::new()).map_err(|errno| init("read /proc/self", errno))?;
        let pid = link.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut message = self.message.clone();
        message.pid = pid;
        if message.state.pid == 0 {
            message.state.pid = pid;
        }
        serde_json::to_vec(&message)
            .map_err(|error| Error::Init { message: format!("seccomp listener: {error}"), errno: None })
    }

    /// The descriptor of the socket.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The descriptor, to be moved elsewhere.
    pub(crate) fn socket_mut(&mut self) -> &mut OwnedFd {
        &mut self.socket
    }
}

/// Sends the filter's descriptor to the listener.
pub(crate) fn send(socket: BorrowedFd<'_>, message: &[u8], notifications: &OwnedFd) -> Result<(), Error> {
    send_bytes(socket, message, Some(notifications.as_fd()))
        .map_err(|errno| init("send the seccomp descriptor to its listener", errno))
}
