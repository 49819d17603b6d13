//! The way into a process: the writing end of its standard input, or its terminal.

use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::poll::{Poller, Token, Watch};

/// Standard input. Takes one buffer of input at a time; until that is written the clients are not read from.
#[derive(Debug)]
pub(super) struct Sink {
    fd: OwnedFd,
    pending: Vec<u8>,
    written: usize,
    closing: bool,
    watch: Watch,
}

impl Sink {
    /// The descriptor must not block.
    pub(super) fn new(fd: OwnedFd) -> Sink {
        Sink { fd, pending: Vec::new(), written: 0, closing: false, watch: Watch::default() }
    }

    /// Whether input waits to be written.
    pub(super) fn is_busy(&self) -> bool {
        self.written < self.pending.len()
    }

    /// Writes, or keeps what cannot be written now. False when nobody will ever read it, or all is said.
    pub(super) fn write(&mut self, input: &[u8]) -> bool {
        self.pending.extend_from_slice(input);
        self.flush()
    }

    /// Writes what is kept. False as in [`Self::write`].
    pub(super) fn flush(&mut self) -> bool {
        while self.is_busy() {
            match rustix::io::write(&self.fd, &self.pending[self.written..]) {
                Ok(written) => self.written += written,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        self.pending = Vec::new();
        self.written = 0;
        !self.closing
    }

    /// No more input comes: closes when all is written. False if that is now.
    pub(super) fn close(&mut self) -> bool {
        self.closing = true;
        self.is_busy()
    }

    pub(super) fn rearm(&mut self, poller: &Poller, token: Token) {
        let wanted = self.is_busy().then_some(EventFlags::OUT);
        poller.set(&self.fd, &mut self.watch, token, wanted);
    }
}
