//! A bridge with its containers: what [`Network`](crate::Network) is when it has a bridge.
//!
//! Each lock is held for a moment only, and never two at once but `containers` before `firewall`:
//!
//! - `bridge`: the bridge as it was last seen.
//! - `containers`: endpoints of running containers by id. Held over a repair, so that none comes or goes meanwhile.
//! - `firewall`: the socket that the table belongs to.
//! - `sockets`: rtnetlink sockets that are not in use.

mod repair;

use std::{
    collections::HashMap,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use crate::{
    Bridge, Endpoint, Error, MacAddr, NetworkConfig, PortBinding, Protocol, Request, Started, Stats, Subnet4,
    Subnet6, Watch,
    bridge::{self, Lock},
    conntrack,
    ipam::Ipam,
    janitor::{Dead, Janitor, Task},
    netlink::Socket,
    nft::{Firewall, TableState, table_name},
    publish::{PortTable, Targets},
    rtnl::{self, Interface, Port},
    sandbox::{Blank, Plug},
    sysctl,
    watch::Ours,
};

/// Group of links that are about to be deleted together. Any number that nobody else uses.
const DOOMED_GROUP: u32 = 0x6265_7274;

#[derive(Debug)]
pub(crate) struct Live {
    config: NetworkConfig,
    bridge: Mutex<Bridge>,
    /// Index of the bridge, for the watch.
    ifindex: Arc<AtomicU32>,
    containers: Mutex<HashMap<String, Endpoint>>,
    ports: PortTable,
    firewall: Mutex<Firewall>,
    sockets: Mutex<Vec<Socket>>,
    /// Forwarding was off before us.
    guard: AtomicBool,
    adopted: AtomicBool,
    lock: Lock,
}

/// Addresses of a container that does not run yet; given back when dropped.
struct Addresses<'a> {
    ipam: &'a Mutex<Option<Ipam>>,
    taken: Vec<IpAddr>,
}

impl Live {
    pub(crate) fn open(config: NetworkConfig, name: &str) -> Result<Live, Error> {
        bridge::check(&config, name)?;
        let lock = bridge::lock(&config, name)?;
        let mut socket = open_socket()?;
        let (bridge, _) = bridge::ensure(&config, &mut socket, name, None)?;
        let mut firewall = Firewall::open(table_name(name), config.own_table)?;
        let turned_on = repair::forward(&config)?;
        let guard = turned_on || firewall.state()? == TableState::Whole { guard: true };
        tracing::debug!(bridge = %bridge.name, subnet = %bridge.subnet, "bridge is ready");
        Ok(Live {
            ifindex: Arc::new(AtomicU32::new(bridge.ifindex)),
            bridge: Mutex::new(bridge),
            containers: Mutex::default(),
            ports: PortTable::default(),
            firewall: Mutex::new(firewall),
            sockets: Mutex::new(vec![socket]),
            guard: AtomicBool::new(guard),
            adopted: AtomicBool::new(false),
            config,
            lock,
        })
    }

    pub(crate) fn bridge(&self) -> Bridge {
        held(&self.bridge).clone()
    }

    pub(crate) fn start(&self, request: &Request<'_>, janitor: &Janitor) -> Result<Started, Error> {
        if !self.adopted.load(Ordering::Acquire) {
            return Err(Error::InvalidRequest("containers that run have not been taken up yet".to_owned()));
        }
        if let Some(mac) = request.mac.filter(|mac| !mac.is_unicast()) {
            return Err(Error::InvalidRequest(format!("invalid MAC address {mac}: it is no interface's")));
        }
        let bridge = self.bridge();
        let mut addresses = Addresses { ipam: &janitor.shared().ipam, taken: Vec::new() };
        let mut endpoint = addresses.take(request, &bridge)?;
        let targets = Targets {
            ipv4: endpoint.ipv4,
            ipv6: endpoint.ipv6,
            default_binding: self.config.default_binding,
        };
        let reserved = self.ports.reserve(request.ports, &targets)?;
        let mut blank = janitor.blank()?;
        endpoint.ports.clone_from(&reserved.bindings);
        endpoint.ifindex = self.plug_in(&mut blank, &endpoint, &bridge)?;
        if let Err(error) = self.enter(&endpoint) {
            // Its addresses are free only when its link is cut off.
            janitor.leave(Task::Dead(addresses.dead(&endpoint, Some(blank.into_netns()))));
            return Err(error);
        }
        // A new bridge was made meanwhile, maybe before this container was known.
        if self.bridge().ifindex != bridge.ifindex
            && let Err(error) = self.repair()
        {
            tracing::warn!(%error, container.id = request.container_id, "it may be on a bridge that is gone");
        }
        let (port_sockets, relays) = reserved.keep();
        addresses.taken.clear();
        let udp: Vec<u16> = published(&endpoint, Protocol::Udp).collect();
        if !udp.is_empty()
            && let Ok(mut socket) = Socket::netfilter(0)
        {
            udp.into_iter().for_each(|port| conntrack::forget_udp_port(&mut socket, port));
        }
        Ok(Started { netns: blank.into_netns(), endpoint, port_sockets, relays })
    }

    pub(crate) fn release(&self, endpoint: &Endpoint, netns: Option<OwnedFd>, janitor: &Janitor) {
        let known = {
            let mut containers = held(&self.containers);
            match containers.get(&endpoint.container_id) {
                // A link has a new name in each life of a container. In an earlier one its addresses were others.
                Some(known) if known.link == endpoint.link => containers.remove(&endpoint.container_id),
                _ => None,
            }
        };
        let Some(known) = known else {
            netns.into_iter().for_each(|netns| janitor.leave(Task::Close(netns)));
            return;
        };
        if !known.ports.is_empty() {
            let result = held(&self.firewall).unpublish(&publications(&known));
            if let Err(error) = result {
                tracing::warn!(%error, container.id = %known.container_id, "ports stay open until the next repair");
            }
            self.ports.give_back(&known.ports);
        }
        let addresses = std::iter::once(IpAddr::V4(known.ipv4)).chain(known.ipv6.map(IpAddr::V6)).collect();
        let published = !known.ports.is_empty();
        janitor.leave(Task::Dead(Dead { port: Some(known.ifindex), addresses, published, netns }));
    }

    pub(crate) fn stats(&self, endpoint: &Endpoint) -> Result<Stats, Error> {
        // The link may have been made again since the record was written.
        let known = held(&self.containers).get(&endpoint.container_id).map(|known| known.ifindex);
        self.with_socket(|socket| {
            rtnl::stats(socket, known.unwrap_or(endpoint.ifindex))
                .map_err(|refusal| Error::kernel(format!("read the counters of {}", endpoint.link), refusal))
        })
    }

    pub(crate) fn watch(&self) -> Result<Watch, Error> {
        let (port, owned) = {
            let firewall = held(&self.firewall);
            (firewall.port()?, firewall.owned())
        };
        let ours = Ours {
            table: table_name(&self.bridge().name),
            port,
            bridge: Arc::clone(&self.ifindex),
            ip_forward: self.config.ip_forward,
        };
        Watch::open(ours, !owned)
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Ok(Some(value)) = sysctl::read(sysctl::FORWARD_V4)
            && value == "0"
        {
            warnings.push("WARNING: IPv4 forwarding is disabled".to_owned());
        }
        let bridge = self.bridge().name;
        let chains = held(&self.firewall).foreign_forward_drops().unwrap_or_default();
        for chain in chains {
            warnings.push(format!(
                "WARNING: the firewall chain {chain} drops forwarded packets by policy: containers on {bridge} reach other \
                 hosts, and are reached by them, only as far as it allows"
            ));
        }
        warnings
    }

    pub(crate) fn retire(&self) -> Result<(), Error> {
        let containers = held(&self.containers);
        if !containers.is_empty() || !self.adopted.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        if !self.guard.load(Ordering::Relaxed) {
            held(&self.firewall).remove()?;
        }
        self.lock.retire();
        Ok(())
    }

    pub(crate) fn remove(&self) -> Result<(), Error> {
        held(&self.firewall).remove()?;
        let bridge = self.bridge();
        self.with_socket(|socket| {
            let links = rtnl::links(socket).map_err(|refusal| Error::kernel("list links", refusal))?;
            let doomed: Vec<u32> =
                links.iter().filter(|link| link.master == bridge.ifindex).map(|link| link.index).collect();
            rtnl::delete_links(socket, &doomed, DOOMED_GROUP)
                .and_then(|()| rtnl::delete_link(socket, bridge.ifindex))
                .map_err(|refusal| Error::kernel(format!("delete the bridge {}", bridge.name), refusal))
        })
    }

    /// Enters a container that is plugged in, and opens its ports.
    fn enter(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let id = &endpoint.container_id;
        {
            let mut containers = held(&self.containers);
            if containers.contains_key(id) {
                return Err(Error::InvalidRequest(format!(
                    "container {id} is connected to {} already",
                    endpoint.bridge
                )));
            }
            // First: a repair from now on opens the ports too, and to open them twice is no error.
            containers.insert(id.clone(), endpoint.clone());
        }
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        let opened = held(&self.firewall).publish(&publications(endpoint));
        let Err(error) = opened else { return Ok(()) };
        // Somebody removed the table and the notice has not been dealt with yet.
        tracing::warn!(%error, "writing the firewall table anew");
        let mut containers = held(&self.containers);
        self.write_table(&containers).inspect_err(|_| {
            containers.remove(id);
        })
    }

    /// Plugs a blank namespace into the bridge; where somebody removed the bridge, into a new one.
    fn plug_in(&self, blank: &mut Blank, endpoint: &Endpoint, bridge: &Bridge) -> Result<u32, Error> {
        let first = self.with_socket(|socket| blank.plug_in(socket, &self.plug(endpoint, bridge)));
        let Err(error) = first else { return first };
        let link = self.with_socket(|socket| {
            rtnl::link_by_name(socket, &bridge.name)
                .map_err(|refusal| Error::kernel(format!("look for the bridge {}", bridge.name), refusal))
        })?;
        if link.is_some_and(|link| link.index == bridge.ifindex) {
            return Err(error);
        }
        self.repair()?;
        let repaired = self.bridge();
        self.with_socket(|socket| blank.plug_in(socket, &self.plug(endpoint, &repaired)))
    }

    fn plug<'a>(&self, endpoint: &'a Endpoint, bridge: &'a Bridge) -> Plug<'a> {
        let ipv6 = endpoint.ipv6.zip(endpoint.gateway_v6);
        Plug {
            link: &endpoint.link,
            bridge: bridge.ifindex,
            bridge_name: &bridge.name,
            mtu: bridge.mtu,
            port: self.port(endpoint),
            mac: endpoint.mac,
            link_local: &endpoint.link_local,
            interface: Interface {
                ipv4: Subnet4::new(endpoint.ipv4, endpoint.prefix_len),
                gateway: endpoint.gateway,
                ipv6: ipv6.map(|(address, gateway)| (Subnet6::new(address, endpoint.prefix_len_v6), gateway)),
            },
        }
    }

    /// How the bridge is to treat a container's port. It depends on whether frames from port to port pass the firewall
    /// (`br_netfilter`).
    ///
    /// If they do, our rules keep containers apart where `icc` is off, and a frame that was redirected goes from port
    /// to port without being routed: the bridge must neither stop it, nor keep it from a container that reaches itself
    /// through the host. If they do not, it is the bridge that keeps containers apart.
    fn port(&self, endpoint: &Endpoint) -> Port {
        if self.config.icc && endpoint.ports.is_empty() {
            return Port::default();
        }
        let on = |key: &str| sysctl::read(key).ok().flatten().as_deref() == Some("1");
        let filtered = on("net/bridge/bridge-nf-call-iptables");
        let filtered6 = endpoint.ipv6.is_some() && on("net/bridge/bridge-nf-call-ip6tables");
        Port {
            isolated: !self.config.icc && !filtered,
            hairpin: !endpoint.ports.is_empty() && (filtered || filtered6),
        }
    }

    /// Lends a socket that is not in use, or a new one.
    fn with_socket<T>(&self, work: impl FnOnce(&mut Socket) -> Result<T, Error>) -> Result<T, Error> {
        let idle = held(&self.sockets).pop();
        let mut socket = idle.map_or_else(open_socket, Ok)?;
        let result = work(&mut socket)?;
        // After an error an answer may still be on its way; only a socket without one is lent again.
        held(&self.sockets).push(socket);
        Ok(result)
    }
}

impl Addresses<'_> {
    /// Takes the addresses of a container, and names everything that follows from them.
    fn take(&mut self, request: &Request<'_>, bridge: &Bridge) -> Result<Endpoint, Error> {
        let (ipv4, ipv6) = {
            let mut ipam = held(self.ipam);
            let ipam = ipam.as_mut().ok_or(Error::Disabled)?;
            let ipv4 = ipam.take_v4(request.ipv4)?;
            self.taken.push(ipv4.into());
            let ipv6 = ipam.take_v6(request.ipv6).inspect_err(|_| ipam.give_back(ipv4.into()));
            if ipv6.is_err() {
                self.taken.clear();
            }
            (ipv4, ipv6?)
        };
        self.taken.extend(ipv6.map(IpAddr::V6));
        let subnet6 = bridge.ipv6.filter(|_| ipv6.is_some());
        Ok(Endpoint {
            container_id: request.container_id.to_owned(),
            bridge: bridge.name.clone(),
            link: link_name()?,
            ifindex: 0,
            mac: request.mac.unwrap_or_else(|| MacAddr::from_ipv4(ipv4)),
            ipv4,
            prefix_len: bridge.subnet.prefix_len,
            gateway: bridge.gateway,
            ipv6,
            prefix_len_v6: subnet6.map_or(0, |(subnet, _)| subnet.prefix_len),
            gateway_v6: bridge.gateway_v6.filter(|_| ipv6.is_some()),
            link_local: request.link_local.to_vec(),
            ports: Vec::new(),
        })
    }

    /// Leaves the addresses to be given back when the link is cut off.
    fn dead(&mut self, endpoint: &Endpoint, netns: Option<OwnedFd>) -> Dead {
        let addresses = std::mem::take(&mut self.taken);
        Dead { port: Some(endpoint.ifindex), addresses, published: false, netns }
    }
}

impl Drop for Addresses<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty()
            && let Some(ipam) = held(self.ipam).as_mut()
        {
            self.taken.drain(..).for_each(|address| ipam.give_back(address));
        }
    }
}

/// Published ports of a container with the addresses they lead to.
fn publications(endpoint: &Endpoint) -> Vec<(&PortBinding, IpAddr)> {
    let target = |binding: &PortBinding| match binding.host_ip {
        IpAddr::V4(_) => Some(endpoint.ipv4.into()),
        IpAddr::V6(_) => endpoint.ipv6.map(IpAddr::V6),
    };
    endpoint.ports.iter().filter_map(|binding| Some((binding, target(binding)?))).collect()
}

fn published(endpoint: &Endpoint, protocol: Protocol) -> impl Iterator<Item = u16> {
    endpoint.ports.iter().filter(move |binding| binding.protocol == protocol).map(|binding| binding.host_port)
}

/// A name that no link has: one of a dead container may live a moment longer than its container.
fn link_name() -> Result<String, Error> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)
        .map_err(|_| Error::kernel("read random bytes", std::io::Error::from(std::io::ErrorKind::Other)))?;
    Ok(format!("veth{:07x}", u32::from_ne_bytes(bytes) >> 4))
}

fn open_socket() -> Result<Socket, Error> {
    Socket::route(0).map_err(|errno| Error::kernel("open a socket to rtnetlink", errno))
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
