//! The connection to the engine.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::net::RecvFlags;

use super::poll::{Poller, Token, Watch};
use crate::frame::{Frame, Outgoing, Reader};
use crate::protocol::Answer;

/// A connection, as the bootstrap socket or accepted later.
#[derive(Debug)]
pub(super) struct Link {
    socket: OwnedFd,
    reader: Reader,
    queue: VecDeque<Outgoing>,
    watch: Watch,
    /// The engine on the other side knows that the container runs.
    pub(super) acknowledged: bool,
    /// Events are sent here: the connection has said what it is.
    pub(super) listens: bool,
}

impl Link {
    pub(super) fn new(socket: OwnedFd) -> Link {
        Link {
            socket,
            reader: Reader::default(),
            queue: VecDeque::new(),
            watch: Watch::default(),
            acknowledged: false,
            listens: false,
        }
    }

    /// Makes reading non-blocking, as it has to be once the container runs.
    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.socket, true)?)
    }

    /// A whole frame; none at the end of the connection.
    pub(super) fn read(&mut self) -> io::Result<Option<Frame>> {
        self.reader.read(self.socket.as_fd())
    }

    /// Sends a message, or queues it while the engine does not read.
    pub(super) fn send(&mut self, sequence: u32, answer: &Answer) -> io::Result<()> {
        self.queue.push_back(Outgoing::new(sequence, answer, Vec::new())?);
        self.flush()
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(first) = self.queue.front_mut() {
            match first.send(self.socket.as_fd()) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.queue.shrink_to_fit();
        Ok(())
    }

    /// Whether the other side is gone, although nothing was read from it yet.
    pub(super) fn is_dead(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.socket, &mut [0u8; 1][..], flags) {
            Ok((_, read)) => read == 0,
            Err(error) => error != rustix::io::Errno::AGAIN && error != rustix::io::Errno::INTR,
        }
    }

    pub(super) fn rearm(&mut self, poller: &Poller, token: Token) {
        let mut wanted = EventFlags::IN;
        wanted.set(EventFlags::OUT, !self.queue.is_empty());
        poller.set(&self.socket, &mut self.watch, token, Some(wanted));
    }

    /// Closes the connection; the engine may hold its end elsewhere too.
    pub(super) fn close(mut self, poller: &Poller) {
        poller.set(&self.socket, &mut self.watch, Token { owner: 0, part: 0 }, None);
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}
