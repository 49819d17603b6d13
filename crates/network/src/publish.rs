//! Reserves published ports: a bound socket keeps other programs off, a table keeps our own containers apart.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with, sockopt},
};

use crate::{Error, PortBinding, PortSpec, Protocol, Relay};

/// How often a port is asked of the kernel that must be free on both families.
const RANDOM_ATTEMPTS: usize = 32;

/// A port that was just given back may be held for a moment longer: by a process that is being started, which has all
/// descriptors until it executes its program, or by a shim that is about to end.
const LINGER: Duration = Duration::from_secs(2);

/// Ports of the containers of this engine.
#[derive(Debug, Default)]
pub(crate) struct PortTable {
    /// Whether the host takes IPv6 connections at all; asked once.
    has_ipv6: OnceLock<bool>,
    taken: Mutex<HashMap<(Protocol, u16), Vec<IpAddr>>>,
    given_back: Mutex<HashMap<(Protocol, u16), Instant>>,
}

/// Where a container's ports lead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets {
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Option<Ipv6Addr>,
    /// For ports without a host address.
    pub(crate) default_binding: IpAddr,
}

/// Ports that are reserved and not yet given to a container: given back when dropped.
#[derive(Debug)]
pub(crate) struct Reserved<'a> {
    table: &'a PortTable,
    pub(crate) bindings: Vec<PortBinding>,
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) relays: Vec<Relay>,
    kept: bool,
}

/// What holds a port.
enum Holder {
    /// A socket that nothing is read from.
    Socket(OwnedFd),
    /// A socket whose connections are to be relayed.
    Relay(OwnedFd),
    /// The kernel does not have the protocol: nothing.
    Nothing,
}

impl Targets {
    /// The container's address that a binding leads to.
    pub(crate) fn of(&self, binding: &PortBinding) -> Option<IpAddr> {
        match binding.host_ip {
            IpAddr::V4(_) => Some(self.ipv4.into()),
            IpAddr::V6(_) => self.ipv6.map(IpAddr::V6),
        }
    }
}

impl PortTable {
    /// Reserves all ports or none.
    pub(crate) fn reserve(&self, specs: &[PortSpec], targets: &Targets) -> Result<Reserved<'_>, Error> {
        let mut reserved = Reserved::none_of(self);
        for spec in specs {
            let addresses = host_addresses(spec, targets, || *self.has_ipv6.get_or_init(host_has_ipv6))?;
            self.reserve_one(spec, &addresses, targets, &mut reserved)?;
        }
        Ok(reserved)
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Marks the ports of a container that runs already; its shim holds the sockets.
    pub(crate) fn adopt(&self, bindings: &[PortBinding]) {
        for binding in bindings {
            self.mark(binding);
        }
    }

    /// Forgets ports.
    pub(crate) fn give_back(&self, bindings: &[PortBinding]) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        given_back.retain(|_, at| at.elapsed() < LINGER);
        for binding in bindings {
            given_back.insert((binding.protocol, binding.host_port), Instant::now());
            let key = (binding.protocol, binding.host_port);
            if let Some(addresses) = taken.get_mut(&key) {
                if let Some(at) = addresses.iter().position(|address| *address == binding.host_ip) {
                    addresses.swap_remove(at);
                }
                if addresses.is_empty() {
                    taken.remove(&key);
                }
            }
        }
    }

    /// The first port of the range that is free on all addresses.
    fn reserve_one(
        &self,
        spec: &PortSpec,
        addresses: &[IpAddr],
        targets: &Targets,
        reserved: &mut Reserved<'_>,
    ) -> Result<(), Error> {
        let mut refusal = None;
        let candidates: Box<dyn Iterator<Item = u16>> = match &spec.host_ports {
            Some(range) => Box::new(range.clone()),
            None => Box::new(std::iter::repeat_n(0, RANDOM_ATTEMPTS)),
        };
        for port in candidates {
            match self.reserve_port(spec, addresses, port, targets, reserved) {
                Ok(()) => return Ok(()),
                Err(error @ (Error::PortAllocated { .. } | Error::PortBind { .. })) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            Error::InvalidRequest(format!(
                "invalid host port range for {}/{}",
                spec.container_port, spec.protocol
            ))
        }))
    }

    /// One port on all addresses, or none of them.
    fn reserve_port(
        &self,
        spec: &PortSpec,
        addresses: &[IpAddr],
        port: u16,
        targets: &Targets,
        reserved: &mut Reserved<'_>,
    ) -> Result<(), Error> {
        let mut attempt = Reserved::none_of(self);
        let mut port = port;
        for &host_ip in addresses {
            let mut binding = PortBinding {
                container_port: spec.container_port,
                protocol: spec.protocol,
                host_ip,
                host_port: port,
            };
            if port != 0 && !self.mark(&binding) {
                return Err(Error::PortAllocated { host_ip, port });
            }
            let marked = port != 0;
            match self.patiently(&binding) {
                Ok((holder, bound_port)) => {
                    binding.host_port = bound_port;
                    attempt.hold(holder, &binding, targets);
                }
                Err(errno) => {
                    if marked {
                        self.give_back(std::slice::from_ref(&binding));
                    }
                    return Err(refused(&binding, targets, errno));
                }
            }
            if !marked && !self.mark(&binding) {
                return Err(Error::PortAllocated { host_ip, port: binding.host_port });
            }
            port = binding.host_port;
            attempt.bindings.push(binding);
        }
        reserved.bindings.append(&mut attempt.bindings);
        reserved.sockets.append(&mut attempt.sockets);
        reserved.relays.append(&mut attempt.relays);
        Ok(())
    }

    /// Binds a socket; one that was just given back is waited for.
    fn patiently(&self, binding: &PortBinding) -> Result<(Holder, u16), Errno> {
        loop {
            match reserve_socket(binding) {
                Err(Errno::ADDRINUSE) if self.lingers(binding) => thread::sleep(Duration::from_millis(2)),
                result => return result,
            }
        }
    }

    fn lingers(&self, binding: &PortBinding) -> bool {
        let given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        given_back.get(&(binding.protocol, binding.host_port)).is_some_and(|at| at.elapsed() < LINGER)
    }

    /// Whether no container of ours has the port on an address that includes this one.
    fn mark(&self, binding: &PortBinding) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = taken.entry((binding.protocol, binding.host_port)).or_default();
        let free = !addresses.iter().any(|address| overlap(*address, binding.host_ip));
        if free {
            addresses.push(binding.host_ip);
        }
        free
    }
}

impl Reserved<'_> {
    fn none_of(table: &PortTable) -> Reserved<'_> {
        Reserved { table, bindings: Vec::new(), sockets: Vec::new(), relays: Vec::new(), kept: false }
    }

    fn hold(&mut self, holder: Holder, binding: &PortBinding, targets: &Targets) {
        match holder {
            Holder::Socket(socket) => self.sockets.push(socket),
            Holder::Relay(socket) => {
                let address = targets.of(binding).unwrap_or(targets.ipv4.into());
                let target = SocketAddr::new(address, binding.container_port);
                self.relays.push(Relay { socket, protocol: binding.protocol, target });
            }
            Holder::Nothing => {}
        }
    }

    /// Leaves the ports to the container; the caller gives them back at its end.
    pub(crate) fn keep(mut self) -> (Vec<OwnedFd>, Vec<Relay>) {
        self.kept = true;
        (std::mem::take(&mut self.sockets), std::mem::take(&mut self.relays))
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.sockets.clear();
            self.relays.clear();
            self.table.give_back(&self.bindings);
        }
    }
}

/// The addresses of the host that a port is published on.
fn host_addresses(
    spec: &PortSpec,
    targets: &Targets,
    host_has_ipv6: impl FnOnce() -> bool,
) -> Result<Vec<IpAddr>, Error> {
    if spec.container_port == 0 {
        return Err(Error::InvalidRequest("invalid container port 0".to_owned()));
    }
    let wanted = spec.host_ip.unwrap_or(targets.default_binding);
    // Nobody relays SCTP.
    let reaches_ipv6 = targets.ipv6.is_some() || spec.protocol != Protocol::Sctp;
    match wanted {
        // No address named: all of them, of both families.
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) if spec.host_ip.is_none() && reaches_ipv6 && host_has_ipv6() => {
            Ok(vec![wanted, Ipv6Addr::UNSPECIFIED.into()])
        }
        IpAddr::V6(_) if !reaches_ipv6 => {
            Err(Error::NoIpv6 { host_ip: wanted, port: spec.container_port, protocol: spec.protocol })
        }
        _ => Ok(vec![wanted]),
    }
}

/// Whether connections to the host over IPv6 are possible: the kernel may lack it, or have it switched off.
fn host_has_ipv6() -> bool {
    let loopback = PortBinding {
        container_port: 0,
        protocol: Protocol::Tcp,
        host_ip: Ipv6Addr::LOCALHOST.into(),
        host_port: 0,
    };
    bound_socket(&loopback, None).is_ok()
}

/// How many connections may wait for a relay to accept them.
const RELAY_BACKLOG: i32 = 4096;

/// Binds what holds a port.
fn reserve_socket(binding: &PortBinding) -> Result<(Holder, u16), Errno> {
    let held = |(socket, port)| (Holder::Socket(socket), port);
    let relayed = |(socket, port)| (Holder::Relay(socket), port);
    match (binding.protocol, binding.host_ip) {
        // All connections are redirected before they come to the socket. It listens, because only a listening socket
        // keeps off others that set SO_REUSEADDR too, and because `ss -l` shows it.
        (Protocol::Tcp, IpAddr::V4(_)) => bound_socket(binding, Some(0)).map(held),
        // What comes to the socket the kernel could not redirect: to a container without IPv6, or from `::1` where
        // bridged frames pass the firewall.
        (Protocol::Tcp, IpAddr::V6(_)) => bound_socket(binding, Some(RELAY_BACKLOG)).map(relayed),
        (Protocol::Udp, IpAddr::V6(_)) => bound_socket(binding, None).map(relayed),
        (Protocol::Sctp, _) => match bound_socket(binding, None) {
            Err(Errno::PROTONOSUPPORT) if binding.host_port != 0 => Ok((Holder::Nothing, binding.host_port)),
            result => result.map(held),
        },
        (Protocol::Udp, IpAddr::V4(_)) => {
            let bound = bound_socket(binding, None)?;
            // What comes in by mistake shall not take up memory.
            sockopt::set_socket_recv_buffer_size(&bound.0, 0)?;
            Ok(held(bound))
        }
    }
}

/// A bound socket, which listens if it is given how many connections may wait.
fn bound_socket(binding: &PortBinding, backlog: Option<i32>) -> Result<(OwnedFd, u16), Errno> {
    let family = if binding.host_ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, protocol) = match binding.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, Some(protocol))?;
    if binding.host_ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if backlog.is_some() {
        // Connections of an earlier program that are in TIME_WAIT do not hinder; a listening one does.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(binding.host_ip, binding.host_port))?;
    if let Some(backlog) = backlog {
        listen(&socket, backlog)?;
    }
    let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
    Ok((socket, port))
}

fn refused(binding: &PortBinding, targets: &Targets, errno: Errno) -> Error {
    Error::PortBind {
        host_ip: binding.host_ip,
        port: binding.host_port,
        container_ip: targets.of(binding).unwrap_or(targets.ipv4.into()),
        container_port: binding.container_port,
        protocol: binding.protocol,
        reason: match errno {
            Errno::ADDRINUSE => "address already in use".to_owned(),
            Errno::ADDRNOTAVAIL => "cannot assign requested address".to_owned(),
            Errno::ACCESS => "permission denied".to_owned(),
            errno => std::io::Error::from(errno).to_string().to_lowercase(),
        },
    }
}

/// Whether two host addresses have a port in common: the same, or one stands for all of its family.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
}
