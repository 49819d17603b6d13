//! What the caller and the container's process tell each other before `execve`.
//!
//! A pair of sequenced-packet sockets, closed on exec: when the caller reads the end after [`Message::Ready`], the
//! program runs. A message is a tag, a number and text.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::Error;
use crate::error::ExecFailure;

/// Longest message; longer text is cut.
const LENGTH_MAX: usize = 8192;

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// To the child: its ids are mapped.
    Mapped,
    /// To the child: its cgroup is there, with its limits.
    Cgroup,
    /// To the caller: the namespaces and the root are there, hooks of the runtime's side may run.
    RunHooks,
    /// To the child: they have.
    HooksRan,
    /// To the caller: the master of the terminal.
    Console(OwnedFd),
    /// To the caller: the process that goes on in the place of the one that was cloned.
    Process { pid: i32, pidfd: OwnedFd },
    /// To the caller: only `execve` is left.
    Ready,
    /// To the child: execute.
    Start,
    /// To the caller: nothing comes of it.
    Failed(Error),
}

impl Channel {
    /// Both ends: the caller's and the child's.
    pub(crate) fn pair() -> Result<(Self, Self), Errno> {
        let (caller, child) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(caller), Self(child)))
    }

    pub(crate) fn send(&self, message: &Message) -> Result<(), Errno> {
        let mut bytes = Vec::with_capacity(64);
        let mut descriptor = None;
        match message {
            Message::Mapped => bytes.push(b'M'),
            Message::Cgroup => bytes.push(b'G'),
            Message::RunHooks => bytes.push(b'H'),
            Message::HooksRan => bytes.push(b'h'),
            Message::Ready => bytes.push(b'R'),
            Message::Start => bytes.push(b'S'),
            Message::Console(master) => {
                bytes.push(b'C');
                descriptor = Some(master.as_fd());
            }
            Message::Process { pid, pidfd } => {
                bytes.push(b'P');
                bytes.extend(pid.to_ne_bytes());
                descriptor = Some(pidfd.as_fd());
            }
            Message::Failed(error) => return self.send_failure(error),
        }
        send_bytes(&self.0, &bytes, descriptor)
    }

    /// Sends [`Message::Failed`].
    pub(crate) fn send_failure(&self, error: &Error) -> Result<(), Errno> {
        let mut bytes = error_bytes(error);
        bytes.truncate(LENGTH_MAX);
        send_bytes(&self.0, &bytes, None)
    }

    /// The next message; `None` when the other end is closed.
    pub(crate) fn receive(&self) -> Result<Option<Message>, Errno> {
        let mut bytes = [0_u8; LENGTH_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut reset = false;
        let count = loop {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.0, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received.bytes,
                Err(Errno::INTR) => {}
                // The other end was closed before it read everything. That is told once, ahead of what it has sent.
                Err(Errno::CONNRESET) if !reset => reset = true,
                Err(Errno::CONNRESET) => return Ok(None),
                Err(errno) => return Err(errno),
            }
        };
        let mut descriptors = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptor = descriptors.next().and_then(|mut descriptors| descriptors.next());
        let Some((tag, rest)) = bytes[..count].split_first() else { return Ok(None) };
        decode(*tag, rest, descriptor).map(Some).ok_or(Errno::BADMSG)
    }

    /// The socket, to be moved to another number.
    pub(crate) fn as_mut(&mut self) -> &mut OwnedFd {
        &mut self.0
    }
}

/// Sends bytes and perhaps a descriptor over a socket.
pub(crate) fn send_bytes<Fd: AsFd>(
    socket: Fd,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: [BorrowedFd<'_>; 1];
    if let Some(descriptor) = descriptor {
        descriptors = [descriptor];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    loop {
        match sendmsg(socket.as_fd(), &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Errors of the child: the kinds it can have, a number, and text.
fn encode(error: &Error, bytes: &mut Vec<u8>) {
    let (tag, number, text) = match error {
        Error::Exec { program, failure: ExecFailure::NotInPath } => (b'n', 0, program.clone()),
        Error::Exec { program, failure: ExecFailure::Stat(errno) } => {
            (b't', errno.raw_os_error(), program.clone())
        }
        Error::Exec { program, failure: ExecFailure::System(errno) } => {
            (b'e', errno.raw_os_error(), program.clone())
        }
        Error::Init { message, errno } => (b'i', errno.map_or(0, Errno::raw_os_error), message.clone()),
        Error::Hook { kind, index, message } => {
            let number = i32::try_from(*index).unwrap_or(i32::MAX);
            (if *kind == START_CONTAINER { b'x' } else { b'y' }, number, message.clone())
        }
        Error::InvalidSpec(text) => (b'v', 0, text.clone()),
        other => (b'i', 0, other.to_string()),
    };
    bytes.push(tag);
    bytes.extend(number.to_ne_bytes());
    bytes.extend(text.into_bytes());
}

/// Hooks that run in the child.
pub(crate) const CREATE_CONTAINER: &str = "createContainer";
/// See [`CREATE_CONTAINER`].
pub(crate) const START_CONTAINER: &str = "startContainer";

fn decode(tag: u8, rest: &[u8], descriptor: Option<OwnedFd>) -> Option<Message> {
    let simple = match tag {
        b'M' => Some(Message::Mapped),
        b'G' => Some(Message::Cgroup),
        b'H' => Some(Message::RunHooks),
        b'h' => Some(Message::HooksRan),
        b'R' => Some(Message::Ready),
        b'S' => Some(Message::Start),
        b'C' => Some(Message::Console(descriptor?)),
        b'P' => {
            let pid = i32::from_ne_bytes(rest.get(..4)?.try_into().ok()?);
            return Some(Message::Process { pid, pidfd: descriptor? });
        }
        _ => None,
    };
    if simple.is_some() {
        return simple;
    }
    decode_error(tag, rest).map(Message::Failed)
}

/// Reads what [`encode`] wrote.
fn decode_error(tag: u8, rest: &[u8]) -> Option<Error> {
    let number = i32::from_ne_bytes(rest.get(..4)?.try_into().ok()?);
    let text = String::from_utf8_lossy(rest.get(4..)?).into_owned();
    // Only some kinds carry an error of the system.
    let errno = if (1..4096).contains(&number) { Errno::from_raw_os_error(number) } else { Errno::IO };
    let index = usize::try_from(number).unwrap_or(0);
    Some(match tag {
        b'n' => Error::Exec { program: text, failure: ExecFailure::NotInPath },
        b't' => Error::Exec { program: text, failure: ExecFailure::Stat(errno) },
        b'e' => Error::Exec { program: text, failure: ExecFailure::System(errno) },
        b'i' => Error::Init { message: text, errno: (number != 0).then_some(errno) },
        b'x' => Error::Hook { kind: START_CONTAINER, index, message: text },
        b'y' => Error::Hook { kind: CREATE_CONTAINER, index, message: text },
        b'v' => Error::InvalidSpec(text),
        _ => return None,
    })
}

/// An error as bytes, for the FIFO of a container that `start` waits on.
pub(crate) fn error_bytes(error: &Error) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(error, &mut bytes);
    bytes
}

/// Reads what [`error_bytes`] wrote.
pub(crate) fn error_from_bytes(bytes: &[u8]) -> Option<Error> {
    let (tag, rest) = bytes.split_first()?;
    decode_error(*tag, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(message: &Message) -> Message {
        let (caller, child) = Channel::pair().unwrap();
        child.send(message).unwrap();
        caller.receive().unwrap().unwrap()
    }

    #[test]
    fn errors_arrive_as_they_were_sent() {
        for error in [
            Error::Exec { program: "a b".to_owned(), failure: ExecFailure::NotInPath },
            Error::Exec { program: "/x".to_owned(), failure: ExecFailure::Stat(Errno::NOENT) },
            Error::Exec { program: "/x".to_owned(), failure: ExecFailure::System(Errno::NOEXEC) },
            Error::Init { message: "m".to_owned(), errno: Some(Errno::PERM) },
            Error::Init { message: "m".to_owned(), errno: None },
            Error::Hook { kind: START_CONTAINER, index: 2, message: "h".to_owned() },
            Error::InvalidSpec("v".to_owned()),
        ] {
            let text = format!("{error:?}");
            let Message::Failed(arrived) = there_and_back(&Message::Failed(error)) else { panic!() };
            assert_eq!(format!("{arrived:?}"), text);
        }
    }

    #[test]
    fn descriptors_are_carried() {
        let (pipe, _write) = rustix::pipe::pipe().unwrap();
        assert!(matches!(there_and_back(&Message::Console(pipe)), Message::Console(_)));
    }

    #[test]
    fn a_closed_end_is_the_end() {
        let (caller, child) = Channel::pair().unwrap();
        drop(child);
        assert!(caller.receive().unwrap().is_none());
        assert_eq!(caller.send(&Message::Start), Err(Errno::PIPE));
    }

    #[test]
    fn the_last_word_of_a_process_that_did_not_listen_is_heard() {
        let (caller, child) = Channel::pair().unwrap();
        caller.send(&Message::Cgroup).unwrap();
        child.send(&Message::Ready).unwrap();
        drop(child);
        assert!(matches!(caller.receive(), Ok(Some(Message::Ready))));
        assert!(matches!(caller.receive(), Ok(None)));
    }

    #[test]
    fn foreign_bytes_are_no_message() {
        let (caller, child) = Channel::pair().unwrap();
        send_bytes(&child.0, b"?", None).unwrap();
        assert_eq!(caller.receive().unwrap_err(), Errno::BADMSG);
        assert!(error_from_bytes(b"e").is_none());
    }
}
