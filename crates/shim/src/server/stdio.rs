//! The streams of one process: its pipes or its terminal, and the clients attached to them.
//!
//! ```text
//! clients ── input ──► Sink ──► stdin │ terminal
//! clients ◄─ frames ── read ◄── stdout, stderr │ terminal
//!                        ╰────► log
//! ```
//!
//! Bounded on both ways: output is not read while a client has not taken the last of it, input is not read while the
//! process has not taken the last of it.

use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::attachment::{Attachment, Received};
use super::poll::{Poller, Token, Watch};
use super::sink::Sink;
use crate::log::Log;
use crate::protocol::{Answer, AttachRequest};

/// Parts of tokens; clients follow.
const STDIN: u32 = 2;
const FIRST_CLIENT: u32 = 3;
/// The size of the pipe of a process that writes more than we take, and of one read from it: the fewer, the less the two
/// wait for each other.
const FLOOD: usize = 256 * 1024;
/// The most that is read of a process that has ended while another still writes to its pipe.
const LEFT_OVER_MAX: usize = 4 << 20;

/// The streams of one process.
#[derive(Debug)]
pub(super) struct Stdio {
    owner: u32,
    terminal: Option<Terminal>,
    outputs: [Option<Output>; 2],
    sink: Option<Sink>,
    /// The end of a client's input is the end of the process's.
    closes_stdin: bool,
    clients: Vec<Attachment>,
    next_part: u32,
}

#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    watch: Watch,
    /// It was full once: the pipe was made larger, and more is read at once.
    floods: bool,
}

#[derive(Debug)]
struct Terminal {
    master: OwnedFd,
    /// Our own hold on the other side, so that the master does not fail when nobody in the container has it open.
    _peer: Option<OwnedFd>,
}

impl Output {
    fn new(fd: OwnedFd) -> Output {
        Output { fd, watch: Watch::default(), floods: false }
    }
}

/// The ends that the process gets.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// What work on streams needs of the shim.
pub(super) struct Context<'a> {
    pub(super) poller: &'a Poller,
    /// An empty buffer with room.
    pub(super) scratch: &'a mut Vec<u8>,
    pub(super) log: Option<&'a mut Log>,
    pub(super) events: &'a mut Vec<Answer>,
}

impl Stdio {
    /// Pipes for the streams that are asked for; with a terminal none, see [`Self::set_terminal`].
    pub(super) fn pipes(owner: u32, wanted: [bool; 3], closes_stdin: bool) -> Result<(Stdio, Ends), Errno> {
        let mut stdio = Stdio {
            owner,
            terminal: None,
            outputs: [None, None],
            sink: None,
            closes_stdin,
            clients: Vec::new(),
            next_part: FIRST_CLIENT,
        };
        let mut ends = Ends::default();
        if wanted[0] {
            let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK)?;
            stdio.sink = Some(Sink::new(writer));
            ends.stdin = Some(reader);
        }
        for (stream, end) in [&mut ends.stdout, &mut ends.stderr].into_iter().enumerate() {
            if wanted[stream + 1] {
                let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
                stdio.outputs[stream] = Some(Output::new(reader));
                *end = Some(writer);
            }
        }
        Ok((stdio, ends))
    }

    /// The process has a terminal: this is its master.
    pub(super) fn set_terminal(&mut self, master: OwnedFd) -> Result<(), Errno> {
        let flags = rustix::fs::fcntl_getfl(&master)? | OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&master, flags)?;
        let peer_flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let peer = rustix::pty::ioctl_tiocgptpeer(&master, peer_flags).ok();
        self.outputs = [Some(Output::new(rustix::io::fcntl_dupfd_cloexec(&master, 3)?)), None];
        self.sink = Some(Sink::new(rustix::io::fcntl_dupfd_cloexec(&master, 3)?));
        self.terminal = Some(Terminal { master, _peer: peer });
        self.closes_stdin = false;
        Ok(())
    }

    /// Sets the size of the terminal; false without one.
    pub(super) fn resize(&self, rows: u16, cols: u16) -> bool {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        self.terminal
            .as_ref()
            .is_some_and(|terminal| rustix::termios::tcsetwinsize(&terminal.master, size).is_ok())
    }

    /// Adds a client. The caller then calls [`Self::rearm`].
    pub(super) fn attach(&mut self, mut request: AttachRequest, socket: OwnedFd, context: &mut Context<'_>) {
        let mut input = std::mem::take(&mut request.input);
        let mut client = Attachment::new(request, socket, self.next_part, self.terminal.is_some());
        self.next_part += 1;
        let received = if input.is_empty() || !client.has_input() {
            Received::Nothing
        } else {
            client.filter(&mut input)
        };
        self.clients.push(client);
        self.take_input(self.clients.len() - 1, &received, &input, context);
    }

    /// Something happened to a part.
    pub(super) fn event(&mut self, part: u32, flags: EventFlags, context: &mut Context<'_>) {
        match part {
            0 | 1 => {
                self.read_output(part as usize, context);
            }
            STDIN => {
                if self.sink.as_mut().is_some_and(|sink| !sink.flush()) {
                    self.sink = None;
                }
            }
            _ => self.client_event(part, flags, context),
        }
        self.rearm(context.poller);
    }

    /// Whether all that the process could say was read.
    pub(super) fn is_drained(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }

    /// Whether no client waits for output.
    pub(super) fn is_idle(&self) -> bool {
        self.clients.is_empty()
    }

    /// The process is gone: its terminal ends when nobody else in the container has it.
    pub(super) fn process_ended(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            terminal._peer = None;
        }
        self.sink = None;
    }

    /// Reads what is left, without waiting for more or for slow clients, and ends all clients.
    pub(super) fn finish(&mut self, context: &mut Context<'_>) {
        for stream in 0..2 {
            let mut total = 0;
            while total < LEFT_OVER_MAX {
                match self.read_output(stream, context) {
                    0 => break,
                    read => total += read,
                }
            }
            self.end_output(stream, context);
        }
        self.sink = None;
        self.terminal = None;
        for client in std::mem::take(&mut self.clients) {
            self.end_client(client, context.poller);
        }
        self.rearm(context.poller);
    }

    /// Closes all connections, whatever waits for their clients.
    pub(super) fn abandon(&mut self, poller: &Poller) {
        for client in std::mem::take(&mut self.clients) {
            client.close(poller);
        }
    }

    /// Brings the poller up to what is wanted now.
    pub(super) fn rearm(&mut self, poller: &Poller) {
        let owner = self.owner;
        let held = self.clients.iter().any(Attachment::holds_back);
        for (stream, output) in self.outputs.iter_mut().enumerate() {
            if let Some(output) = output {
                let wanted = (!held).then_some(EventFlags::IN);
                poller.set(&output.fd, &mut output.watch, Token { owner, part: stream as u32 }, wanted);
            }
        }
        let mut reads = true;
        if let Some(sink) = &mut self.sink {
            reads = !sink.is_busy();
            sink.rearm(poller, Token { owner, part: STDIN });
        }
        for client in &mut self.clients {
            client.rearm(poller, owner, reads);
        }
    }

    /// Reads output once and hands it on; gives how much it was.
    fn read_output(&mut self, stream: usize, context: &mut Context<'_>) -> usize {
        let Some(output) = &mut self.outputs[stream] else { return 0 };
        context.scratch.clear();
        if output.floods {
            context.scratch.reserve_exact(FLOOD);
        }
        match rustix::io::read(&output.fd, rustix::buffer::spare_capacity(context.scratch)) {
            Err(Errno::AGAIN | Errno::INTR) => return 0,
            // A terminal that nobody holds any more fails with EIO.
            Ok(0) | Err(_) => {
                self.end_output(stream, context);
                return 0;
            }
            Ok(_) => {}
        }
        if context.scratch.len() == context.scratch.capacity() && !output.floods {
            output.floods = true;
            // A terminal is no pipe, and where memory for pipes is short it stays as it is.
            let _ = rustix::pipe::fcntl_setpipe_size(&output.fd, FLOOD);
        }
        if let Some(log) = &mut context.log {
            log.write(stream, context.scratch);
        }
        let mut at = 0;
        while at < self.clients.len() {
            if self.clients[at].output(stream, context.scratch) {
                at += 1;
            } else {
                self.lose_client(at, context.poller);
            }
        }
        context.scratch.len()
    }

    fn end_output(&mut self, stream: usize, context: &mut Context<'_>) {
        if self.outputs[stream].take().is_some()
            && let Some(log) = &mut context.log
        {
            log.end(stream);
        }
    }

    fn client_event(&mut self, part: u32, flags: EventFlags, context: &mut Context<'_>) {
        let Some(at) = self.clients.iter().position(|client| client.part == part) else { return };
        let client = &mut self.clients[at];
        if flags.contains(EventFlags::OUT) && !client.flush() {
            let client = self.clients.remove(at);
            return client.close(context.poller);
        }
        let gone = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if gone && !client.hang_up() {
            return self.lose_client(at, context.poller);
        }
        let can_take = self.sink.as_ref().is_none_or(|sink| !sink.is_busy());
        if can_take && client.has_input() {
            context.scratch.clear();
            let received = client.receive(context.scratch);
            let input = std::mem::take(context.scratch);
            self.take_input(at, &received, &input, context);
            *context.scratch = input;
        }
    }

    /// Hands a client's input to the process.
    fn take_input(&mut self, at: usize, received: &Received, input: &[u8], context: &mut Context<'_>) {
        match received {
            Received::Nothing => return,
            Received::End => return self.end_input(at, context.poller),
            Received::Some | Received::Detached => {}
        }
        // Input that the process does not want is read all the same, so that its end is seen.
        if self.sink.as_mut().is_some_and(|sink| !sink.write(input)) {
            self.sink = None;
        }
        if *received == Received::Detached {
            let client = self.clients.remove(at);
            context.events.push(Answer::Detached { id: client.id });
            self.end_client(client, context.poller);
        }
    }

    /// A client's input has ended. If that is not to end the process's input, it ends the client, as with Docker.
    fn end_input(&mut self, at: usize, poller: &Poller) {
        self.clients[at].end_input();
        if self.closes_stdin {
            if self.sink.as_mut().is_some_and(|sink| !sink.close()) {
                self.sink = None;
            }
            if !self.clients[at].is_gone() {
                return;
            }
        }
        let client = self.clients.remove(at);
        self.end_client(client, poller);
    }

    /// Ends a client once it has taken what is pending.
    fn end_client(&mut self, mut client: Attachment, poller: &Poller) {
        if client.end() {
            self.clients.push(client);
        } else {
            client.close(poller);
        }
    }

    /// A client is gone. Its input is at an end too.
    fn lose_client(&mut self, at: usize, poller: &Poller) {
        let client = self.clients.remove(at);
        if client.has_input() && self.closes_stdin && self.sink.as_mut().is_some_and(|sink| !sink.close()) {
            self.sink = None;
        }
        client.close(poller);
    }
}
