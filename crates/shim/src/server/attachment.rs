//! One client of a process's streams.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use berth_oci::keys::Watcher;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};

use super::poll::{Poller, Token, Watch};
use crate::protocol::AttachRequest;

/// A client: gets output, gives input. All sending and receiving is non-blocking by flag, because the socket may be
/// somebody else's too.
#[derive(Debug)]
pub(super) struct Attachment {
    /// Its part in tokens.
    pub(super) part: u32,
    /// Its name in events.
    pub(super) id: u64,
    socket: OwnedFd,
    wants: [bool; 2],
    framed: bool,
    input: Input,
    /// Output that the client did not take yet. While there is some, the process is not read from.
    pending: Vec<u8>,
    sent: usize,
    ending: bool,
    hung_up: bool,
    watch: Watch,
}

#[derive(Debug)]
enum Input {
    /// None is wanted, or it has ended.
    Closed,
    Open(Option<Watcher>),
}

/// What a client's input gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Nothing now.
    Nothing,
    /// Input.
    Some,
    /// Input, and then the detach keys.
    Detached,
    /// The end of it.
    End,
}

impl Attachment {
    pub(super) fn new(request: AttachRequest, socket: OwnedFd, part: u32, terminal: bool) -> Attachment {
        let input = match (request.stdin, terminal) {
            (false, _) => Input::Closed,
            (true, true) => Input::Open(Some(Watcher::new(request.detach_keys))),
            (true, false) => Input::Open(None),
        };
        Attachment {
            part,
            id: request.id,
            socket,
            wants: [request.stdout, request.stderr && !terminal],
            framed: !terminal,
            input,
            pending: Vec::new(),
            sent: 0,
            ending: false,
            hung_up: false,
            watch: Watch::default(),
        }
    }

    /// Whether output waits for the client.
    fn is_busy(&self) -> bool {
        self.sent < self.pending.len()
    }

    /// Whether input may still come.
    pub(super) fn has_input(&self) -> bool {
        matches!(self.input, Input::Open(_))
    }

    /// Whether the process has to wait for the client.
    pub(super) fn holds_back(&self) -> bool {
        self.is_busy() && !self.ending
    }

    /// Whether the client has closed its connection.
    pub(super) fn is_gone(&self) -> bool {
        self.hung_up
    }

    /// Sends output, or keeps what the client does not take now. False if the client is gone.
    pub(super) fn output(&mut self, stream: usize, data: &[u8]) -> bool {
        if !self.wants[stream] || self.ending || self.hung_up {
            return true;
        }
        let mut header = [stream as u8 + 1, 0, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&(data.len() as u32).to_be_bytes());
        let header = if self.framed { &header[..] } else { &[] };
        let sent = match self.is_busy() {
            true => 0,
            false => match self.send(&[IoSlice::new(header), IoSlice::new(data)]) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => 0,
                Err(_) => return false,
            },
        };
        let whole = header.len() + data.len();
        if sent < whole {
            self.pending.extend_from_slice(&header[sent.min(header.len())..]);
            self.pending.extend_from_slice(&data[sent.saturating_sub(header.len())..]);
        }
        true
    }

    /// Sends what is pending. False if the client is gone, or had only waited for this.
    pub(super) fn flush(&mut self) -> bool {
        while self.is_busy() {
            match self.send(&[IoSlice::new(&self.pending[self.sent..])]) {
                Ok(sent) => self.sent += sent,
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        self.pending = Vec::new();
        self.sent = 0;
        !self.ending
    }

    fn send(&self, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        loop {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::sendmsg(&self.socket, slices, &mut SendAncillaryBuffer::default(), flags) {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Reads input into `buffer`, which is empty and has room.
    pub(super) fn receive(&mut self, buffer: &mut Vec<u8>) -> Received {
        if !self.has_input() {
            return Received::Nothing;
        }
        let flags = RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.socket, rustix::buffer::spare_capacity(buffer), flags) {
            Ok((1.., _)) => self.filter(buffer),
            Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
            Ok(_) | Err(_) => Received::End,
        }
    }

    /// Looks for the detach keys in input.
    pub(super) fn filter(&mut self, buffer: &mut Vec<u8>) -> Received {
        let found = match &mut self.input {
            Input::Open(Some(keys)) => {
                let mut passed = Vec::with_capacity(buffer.len());
                let found = keys.pass(buffer, &mut passed);
                buffer.clear();
                buffer.extend_from_slice(&passed);
                found
            }
            Input::Open(None) | Input::Closed => false,
        };
        if found { Received::Detached } else { Received::Some }
    }

    /// No more is read from the client.
    pub(super) fn end_input(&mut self) {
        self.input = Input::Closed;
    }

    /// The client gets what is pending and then the end. False if that is now.
    pub(super) fn end(&mut self) -> bool {
        self.ending = true;
        self.input = Input::Closed;
        self.is_busy()
    }

    /// The client is gone, although its last input may not be read yet: nothing is sent any more. False if there is no
    /// such input.
    pub(super) fn hang_up(&mut self) -> bool {
        self.hung_up = true;
        self.pending = Vec::new();
        self.sent = 0;
        self.has_input()
    }

    /// Watches for what the client may do next; `reads` says whether its input can be taken now.
    pub(super) fn rearm(&mut self, poller: &Poller, owner: u32, reads: bool) {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, reads && self.has_input());
        wanted.set(EventFlags::OUT, self.is_busy());
        // A hang-up is reported for ever: once it is known, only input is waited for.
        let wanted = (!self.hung_up || !wanted.is_empty()).then_some(wanted);
        poller.set(&self.socket, &mut self.watch, Token { owner, part: self.part }, wanted);
    }

    /// Closes the connection. Others may hold the socket too, so its peer is told.
    pub(super) fn close(mut self, poller: &Poller) {
        poller.set(&self.socket, &mut self.watch, Token { owner: 0, part: 0 }, None);
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
    }
}
