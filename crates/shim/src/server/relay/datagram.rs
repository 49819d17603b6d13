//! UDP: a socket to the container for each client, so that answers find their way.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;

use berth_sys::datagram::{self, Local};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

use super::{Relay, SERVER, TURNS, Traffic, exhausted, token};
use crate::server::poll::{Poller, Watch};

/// A client that was not heard of for so long, nor answered, is forgotten. As with Docker's proxy.
const IDLE_NANOS: u64 = 90_000_000_000;
/// The most clients; for another one the longest silent is forgotten.
const FLOWS_MAX: usize = 1024;

/// Which flow a client of a port has.
pub(super) type Index = BTreeMap<Client, u32>;

/// A client of a port, and the address of ours that it speaks to.
pub(super) type Client = (usize, SocketAddrV6, Local);

/// What one client and the container say to each other.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) port: usize,
    client: SocketAddrV6,
    local: Local,
    socket: OwnedFd,
    used: u64,
}

impl Flow {
    fn connect(port: usize, client: SocketAddrV6, local: Local, target: SocketAddr) -> Result<Flow, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))
            .map_err(exhausted)?;
        rustix::net::connect(&socket, &target)?;
        Ok(Flow { port, client, local, socket, used: 0 })
    }

    /// Hands on what the container answers. What cannot be sent now is lost, as datagrams may be.
    pub(super) fn answers(&mut self, to: &OwnedFd, now: u64, buffer: &mut [u8]) {
        self.used = now;
        for _ in 0..TURNS {
            match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, length)) => drop(datagram::send(to, &buffer[..length], self.local, self.client)),
                Err(Errno::AGAIN) => return,
                // The container refuses: reading has taken the error away.
                Err(_) => {}
            }
        }
    }
}

impl Relay {
    /// Hands on what clients of a port send.
    pub(super) fn take_datagrams(
        &mut self,
        port: usize,
        now: u64,
        poller: &Poller,
        buffer: &mut [u8],
    ) -> Result<(), Errno> {
        for _ in 0..TURNS {
            let arrival = match datagram::receive(&self.ports[port].socket, buffer) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => continue,
            };
            let number = match self.flows.get(&(port, arrival.from, arrival.to)) {
                Some(&number) => number,
                None => match self.begin_flow((port, arrival.from, arrival.to), now, poller) {
                    Ok(number) => number,
                    Err(error @ Errno::MFILE) => return Err(error),
                    Err(_) => continue,
                },
            };
            if let Some(Traffic::Flow(flow)) = self.traffic.get_mut(&number) {
                flow.used = now;
                // The first attempt after a refusal reports that, and sends nothing.
                let data = &buffer[..arrival.length];
                for _ in 0..2 {
                    match rustix::net::send(&flow.socket, data, SendFlags::DONTWAIT) {
                        Err(Errno::CONNREFUSED) => {}
                        _ => break,
                    }
                }
            }
        }
        Ok(())
    }

    fn begin_flow(&mut self, client: Client, now: u64, poller: &Poller) -> Result<u32, Errno> {
        if self.flows.len() >= FLOWS_MAX {
            self.end_flows(|flows| {
                flows.min_by_key(|(_, used)| *used).map(|(client, _)| client).into_iter().collect()
            });
        }
        let (port, from, local) = client;
        let flow = Flow::connect(port, from, local, self.ports[port].target)?;
        let number = self.number();
        // Watched as long as it lives.
        poller.set(&flow.socket, &mut Watch::default(), token(number, SERVER), Some(EventFlags::IN));
        self.traffic.insert(number, Traffic::Flow(flow));
        self.flows.insert(client, number);
        self.sweep.get_or_insert(now + IDLE_NANOS);
        Ok(number)
    }

    /// Forgets clients that are silent.
    pub(super) fn sweep_flows(&mut self, now: u64) {
        self.end_flows(|flows| {
            flows.filter(|(_, used)| used + IDLE_NANOS <= now).map(|(client, _)| client).collect()
        });
        let oldest = self.flows.values().filter_map(|number| self.used(*number)).min();
        self.sweep = oldest.map(|used| used + IDLE_NANOS);
    }

    fn used(&self, number: u32) -> Option<u64> {
        match self.traffic.get(&number) {
            Some(Traffic::Flow(flow)) => Some(flow.used),
            _ => None,
        }
    }

    fn end_flows(&mut self, choose: impl FnOnce(&mut dyn Iterator<Item = (Client, u64)>) -> Vec<Client>) {
        let mut flows = self.flows.iter().map(|(client, number)| (*client, self.used(*number).unwrap_or(0)));
        for client in choose(&mut flows) {
            if let Some(number) = self.flows.remove(&client) {
                self.traffic.remove(&number);
            }
        }
    }
}
