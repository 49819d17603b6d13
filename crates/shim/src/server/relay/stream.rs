//! One TCP connection and its twin.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, ipproto, sockopt};
use rustix::pipe::SpliceFlags;

use super::{CLIENT, Outcome, Pipe, Pipes, SERVER, exhausted, token};
use crate::server::poll::{Poller, Watch};

/// The most that is moved at once; what a pipe holds.
const CHUNK: usize = 64 * 1024;
/// How often one event moves that much, before others have their turn.
const ROUNDS: usize = 16;
/// After so long without traffic, and again as often, a peer is asked whether it is still there. As Docker's proxy does.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A connection of a client, and the one to the container.
#[derive(Debug)]
pub(super) struct Stream {
    sides: [Side; 2],
    /// What goes to the container, and what comes from it.
    lanes: [Lane; 2],
    is_connected: bool,
}

#[derive(Debug)]
struct Side {
    socket: OwnedFd,
    watch: Watch,
    /// The kernel says that nothing comes any more; it would go on saying so.
    hung_up: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    /// What was read and not written yet.
    pipe: Option<Pipe>,
    pending: usize,
    /// The sender has said all, and the receiver was told.
    is_over: bool,
}

impl Stream {
    /// Accepts a connection and begins the one to the container. None if either side is gone already.
    ///
    /// # Errors
    /// `AGAIN` when nobody waits, `MFILE` when there are no descriptors left.
    pub(super) fn accept(listener: &OwnedFd, target: SocketAddr) -> Result<Option<Stream>, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let client = match rustix::net::accept_with(listener, flags) {
            Ok(client) => client,
            Err(error @ Errno::AGAIN) => return Err(error),
            Err(error) => {
                let error = exhausted(error);
                return if error == Errno::MFILE { Err(error) } else { Ok(None) };
            }
        };
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let server = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
            .map_err(exhausted)?;
        for socket in [&client, &server] {
            // Without these a connection is slower, or found dead later.
            let _ = sockopt::set_tcp_nodelay(socket, true);
            let _ = sockopt::set_socket_keepalive(socket, true);
            let _ = sockopt::set_tcp_keepidle(socket, KEEPALIVE);
            let _ = sockopt::set_tcp_keepintvl(socket, KEEPALIVE);
        }
        match rustix::net::connect(&server, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => return Ok(None),
        }
        let side = |socket| Side { socket, watch: Watch::default(), hung_up: false };
        Ok(Some(Stream {
            sides: [side(client), side(server)],
            lanes: [Lane::default(), Lane::default()],
            is_connected: false,
        }))
    }

    /// Moves what can be moved after something happened to one side.
    pub(super) fn event(&mut self, side: u32, flags: EventFlags, pipes: &mut Pipes) -> Outcome {
        if side == SERVER && !self.is_connected {
            if !matches!(sockopt::socket_error(&self.sides[1].socket), Ok(Ok(()))) {
                return Outcome::Over;
            }
            self.is_connected = flags.contains(EventFlags::OUT);
        }
        self.sides[side as usize].hung_up |= flags.contains(EventFlags::HUP);
        if flags.contains(EventFlags::ERR) {
            return Outcome::Over;
        }
        if !self.is_connected {
            return Outcome::GoesOn;
        }
        let [client, server] = &self.sides;
        let [there, back] = &mut self.lanes;
        let moved = there
            .run(&client.socket, &server.socket, pipes)
            .and_then(|()| back.run(&server.socket, &client.socket, pipes));
        match moved {
            Ok(()) if !(there.is_over && back.is_over) => Outcome::GoesOn,
            _ => Outcome::Over,
        }
    }

    /// Watches for what can be done next.
    pub(super) fn rearm(&mut self, number: u32, poller: &Poller) {
        let [there, back] = &self.lanes;
        let mut wanted = [wants(there, back), wants(back, there)];
        if !self.is_connected {
            wanted = [EventFlags::empty(), EventFlags::OUT];
        }
        for (name, (side, wanted)) in [CLIENT, SERVER].into_iter().zip(self.sides.iter_mut().zip(wanted)) {
            let wanted = (!side.hung_up || !wanted.is_empty()).then_some(wanted);
            poller.set(&side.socket, &mut side.watch, token(number, name), wanted);
        }
    }
}

/// What a socket is watched for that sends into one lane and receives from the other.
fn wants(outgoing: &Lane, incoming: &Lane) -> EventFlags {
    let mut wanted = EventFlags::empty();
    wanted.set(EventFlags::IN, !outgoing.is_over && outgoing.pending == 0);
    wanted.set(EventFlags::OUT, incoming.pending > 0);
    wanted
}

impl Lane {
    /// Moves what can be moved now.
    fn run(&mut self, from: &OwnedFd, to: &OwnedFd, pipes: &mut Pipes) -> Result<(), Errno> {
        for _ in 0..ROUNDS {
            if self.is_over || !self.empty(to, pipes)? {
                break;
            }
            let pipe = pipes.take()?;
            match splice(from, &pipe.writer, CHUNK) {
                Ok(0) => {
                    pipes.give_back(pipe);
                    self.is_over = true;
                    // The other side may be gone; then its own lane notices.
                    let _ = rustix::net::shutdown(to, Shutdown::Write);
                }
                Ok(read) => {
                    self.pending = read;
                    self.pipe = Some(pipe);
                }
                Err(error) => {
                    pipes.give_back(pipe);
                    return if error == Errno::AGAIN { Ok(()) } else { Err(error) };
                }
            }
        }
        self.empty(to, pipes).map(drop)
    }

    /// Writes what is in the pipe; says whether that was all.
    fn empty(&mut self, to: &OwnedFd, pipes: &mut Pipes) -> Result<bool, Errno> {
        while let Some(pipe) = self.pipe.take() {
            match splice(&pipe.reader, to, self.pending) {
                Ok(written) => self.pending -= written.min(self.pending),
                Err(Errno::AGAIN) => {
                    self.pipe = Some(pipe);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
            if self.pending == 0 {
                pipes.give_back(pipe);
            } else {
                self.pipe = Some(pipe);
            }
        }
        Ok(true)
    }
}

fn splice(from: &OwnedFd, to: &OwnedFd, length: usize) -> Result<usize, Errno> {
    loop {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match rustix::pipe::splice(from, None, to, None, length, flags) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
