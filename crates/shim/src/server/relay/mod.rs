//! Published ports that the kernel cannot redirect: connections are relayed to the container, in the shim's own loop.
//!
//! ```text
//! client ══ accepted socket ══► pipe ══► connected socket ══ container     (TCP: splice, nothing is copied)
//! client ── datagram ─► bound socket ──► connected socket ── container     (UDP: one socket a client)
//! ```
//!
//! A connection that is idle is two sockets and some hundred bytes here. A pipe is lent to it while one side has sent
//! what the other has not taken yet; then the sending side is not read from. Where descriptors run out, connections
//! wait in the kernel's queue until some have ended.

mod datagram;
mod stream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::poll::{Poller, Token, Watch};
use super::{LISTENERS, TRAFFIC};
use datagram::Flow;
use stream::Stream;

/// How many connections are accepted, or datagrams read, before others have their turn.
const TURNS: usize = 32;
/// How long a port is left alone when descriptors have run out.
const PAUSE_NANOS: u64 = 200_000_000;
/// Idle pipes that are kept for the next connection.
const PIPES_MAX: usize = 4;

/// A port of the host and where it leads.
#[derive(Debug)]
struct Port {
    socket: OwnedFd,
    target: SocketAddr,
    is_udp: bool,
    watch: Watch,
}

/// All ports of a container, and what goes through them.
#[derive(Debug, Default)]
pub(in crate::server) struct Relay {
    ports: Vec<Port>,
    traffic: BTreeMap<u32, Traffic>,
    flows: datagram::Index,
    pipes: Pipes,
    next: u32,
    /// Descriptors have run out: nobody is let in before this moment.
    resume: Option<u64>,
    /// When flows without traffic are looked for.
    sweep: Option<u64>,
}

#[derive(Debug)]
enum Traffic {
    Stream(Stream),
    Flow(Flow),
}

/// What happened to a part of the traffic.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    GoesOn,
    Over,
}

/// A pipe.
#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// Empty pipes.
#[derive(Debug, Default)]
struct Pipes(Vec<Pipe>);

/// Which of the two sockets of a part of the traffic a token is about.
const CLIENT: u32 = 0;
const SERVER: u32 = 1;

impl Relay {
    /// Adds a port.
    pub(in crate::server) fn add(&mut self, socket: OwnedFd, target: SocketAddr, is_udp: bool) {
        if is_udp {
            // Without it answers come from an address of the kernel's choice.
            let _ = berth_sys::datagram::tell_destinations(&socket);
        }
        self.ports.push(Port { socket, target, is_udp, watch: Watch::default() });
    }

    /// Lets clients in.
    pub(in crate::server) fn open(&mut self, poller: &Poller) {
        self.resume = None;
        for (number, port) in self.ports.iter_mut().enumerate() {
            let token = Token { owner: LISTENERS, part: number as u32 };
            poller.set(&port.socket, &mut port.watch, token, Some(EventFlags::IN));
        }
    }

    /// When something is due that nobody else reports.
    pub(in crate::server) fn due(&self) -> Option<u64> {
        self.resume.into_iter().chain(self.sweep).min()
    }

    /// Does what is due.
    pub(in crate::server) fn tick(&mut self, now: u64, poller: &Poller) {
        if self.resume.is_some_and(|due| due <= now) {
            self.open(poller);
        }
        if self.sweep.is_some_and(|due| due <= now) {
            self.sweep_flows(now);
        }
    }

    /// Somebody knocks at a port. `buffer` is for datagrams.
    pub(in crate::server) fn knock(&mut self, part: u32, now: u64, poller: &Poller, buffer: &mut [u8]) {
        let Some(port) = self.ports.get(part as usize) else { return };
        let result = if port.is_udp {
            self.take_datagrams(part as usize, now, poller, buffer)
        } else {
            self.accept(part as usize, poller)
        };
        if result == Err(Errno::MFILE) {
            self.close_doors(now, poller);
        }
    }

    /// Traffic on one of the sockets of a part.
    pub(in crate::server) fn event(
        &mut self,
        part: u32,
        flags: EventFlags,
        now: u64,
        poller: &Poller,
        buffer: &mut [u8],
    ) {
        let number = part / 2;
        let outcome = match self.traffic.get_mut(&number) {
            Some(Traffic::Stream(stream)) => {
                let outcome = stream.event(part % 2, flags, &mut self.pipes);
                if outcome == Outcome::GoesOn {
                    stream.rearm(number, poller);
                }
                outcome
            }
            Some(Traffic::Flow(flow)) => {
                let Some(port) = self.ports.get(flow.port) else { return };
                flow.answers(&port.socket, now, buffer);
                Outcome::GoesOn
            }
            None => return,
        };
        if outcome == Outcome::Over {
            // Closing a socket takes it out of the poller: nobody else holds it.
            self.traffic.remove(&number);
        }
    }

    /// Gives back what a burst needed.
    pub(in crate::server) fn shrink(&mut self) {
        self.pipes = Pipes::default();
    }

    fn accept(&mut self, port: usize, poller: &Poller) -> Result<(), Errno> {
        for _ in 0..TURNS {
            let port = &self.ports[port];
            let mut stream = match Stream::accept(&port.socket, port.target) {
                Ok(Some(stream)) => stream,
                Ok(None) => continue,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            };
            let number = self.number();
            stream.rearm(number, poller);
            self.traffic.insert(number, Traffic::Stream(stream));
        }
        Ok(())
    }

    /// A number that nothing has.
    fn number(&mut self) -> u32 {
        loop {
            self.next = (self.next + 1) % (u32::MAX / 2);
            if !self.traffic.contains_key(&self.next) {
                return self.next;
            }
        }
    }

    /// Nobody is let in for a moment: there are no descriptors left.
    fn close_doors(&mut self, now: u64, poller: &Poller) {
        self.pipes = Pipes::default();
        self.resume = Some(now + PAUSE_NANOS);
        for (number, port) in self.ports.iter_mut().enumerate() {
            let token = Token { owner: LISTENERS, part: number as u32 };
            poller.set(&port.socket, &mut port.watch, token, None);
        }
    }
}

impl Pipes {
    fn take(&mut self) -> Result<Pipe, Errno> {
        if let Some(pipe) = self.0.pop() {
            return Ok(pipe);
        }
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Pipe { reader, writer })
    }

    fn give_back(&mut self, pipe: Pipe) {
        if self.0.len() < PIPES_MAX {
            self.0.push(pipe);
        }
    }
}

/// The token of a socket of a part of the traffic.
fn token(number: u32, side: u32) -> Token {
    Token { owner: TRAFFIC, part: number * 2 + side }
}

/// That a process has no descriptors left is told in several ways.
fn exhausted(error: Errno) -> Errno {
    match error {
        Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Errno::MFILE,
        other => other,
    }
}
