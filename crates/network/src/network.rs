//! The default network of one engine: the public face of this crate.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
};

use crate::{
    Adopt, Adopted, Endpoint, Error, NetworkConfig, Repaired, Request, Started, Stats, Subnet4, Subnet6,
    Watch,
    janitor::{Janitor, Task},
    live::Live,
};

/// The default bridge network of one engine.
///
/// Dropping it leaves bridge, links and rules as they are: running containers go on.
#[derive(Debug)]
pub struct Network {
    /// Dropped last: it finishes what the other part left to be done.
    live: Option<Live>,
    host_gateway: Option<IpAddr>,
    janitor: Janitor,
}

/// The bridge as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Its IPv4 subnet, without host part.
    pub subnet: Subnet4,
    /// Its own address: the host as containers see it.
    pub address: Ipv4Addr,
    /// The default route of containers.
    pub gateway: Ipv4Addr,
    /// Its IPv6 subnet and address.
    pub ipv6: Option<(Subnet6, Ipv6Addr)>,
    /// The IPv6 default route of containers.
    pub gateway_v6: Option<Ipv6Addr>,
    /// MTU of containers.
    pub mtu: u32,
}

impl Network {
    /// Makes or takes up the bridge, and turns on forwarding.
    ///
    /// Rules of an earlier engine stay in force, with the ports of its containers, until [`Network::adopt`] is called;
    /// it must be called once before the first [`Network::start`], with an empty list if nothing runs.
    ///
    /// # Errors
    /// `BridgeInUse`, `NoFreeSubnet`, `InvalidConfig`, `Kernel`.
    pub fn open(config: NetworkConfig) -> Result<Network, Error> {
        let janitor = Janitor::start()?;
        let host_gateway = config.host_gateway;
        let live = match config.bridge.clone() {
            Some(bridge) => Some(Live::open(config, &bridge)?),
            None => None,
        };
        let host_gateway = host_gateway.or_else(|| live.as_ref().map(|live| live.bridge().address.into()));
        Ok(Network { live, host_gateway, janitor })
    }

    /// The bridge; `None` with `--bridge none`.
    #[must_use]
    pub fn bridge(&self) -> Option<Bridge> {
        self.live.as_ref().map(Live::bridge)
    }

    /// What `host-gateway` and `host.docker.internal` stand for: as configured, or the bridge's address.
    #[must_use]
    pub fn host_gateway(&self) -> Option<IpAddr> {
        self.host_gateway
    }

    /// Takes up containers that run, and removes what is left of those that do not.
    ///
    /// Their addresses and ports are reserved again, missing links and rules are made again, links and rules of
    /// anything else on the bridge are removed. Ports answer all the while.
    ///
    /// # Errors
    /// `Kernel`; a single container that cannot be taken up is no error but in [`Adopted::lost`].
    pub fn adopt(&self, containers: &[Adopt<'_>]) -> Result<Adopted, Error> {
        let adopted = match &self.live {
            Some(live) => live.adopt(containers, &self.janitor)?,
            None => Adopted::default(),
        };
        self.janitor.leave(Task::Refill);
        Ok(adopted)
    }

    /// Makes a sandbox with its `eth0` on the bridge and publishes its ports.
    ///
    /// Nothing is left behind on an error.
    ///
    /// # Errors
    /// `PortAllocated`, `PortBind`, `NoIpv6`, `AddressInUse`, `AddressOutside`, `NoFreeAddress`, `InvalidRequest`,
    /// `Disabled`, `Kernel`.
    pub fn start(&self, request: Request<'_>) -> Result<Started, Error> {
        let started = self.live()?.start(&request, &self.janitor);
        self.janitor.leave(Task::Refill);
        started
    }

    /// A namespace with nothing but its loopback interface, up: `--net none`. Also with `--bridge none`.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn sandbox_none(&self) -> Result<OwnedFd, Error> {
        let blank = self.janitor.blank();
        self.janitor.leave(Task::Refill);
        Ok(blank?.into_netns())
    }

    /// Gives back a container's address and ports: when it returns, the ports can be published again.
    ///
    /// To be called when the container's processes are dead. Waits for nothing but the rule change. The link goes with
    /// its namespace, whose descriptor is best handed over here: it is closed when the container is cut off.
    pub fn release(&self, endpoint: &Endpoint, netns: Option<OwnedFd>) {
        match &self.live {
            Some(live) => live.release(endpoint, netns, &self.janitor),
            None => netns.into_iter().for_each(|netns| self.discard(netns)),
        }
    }

    /// Closes a namespace's descriptor on a thread of its own: the last one to be closed may take a while.
    pub fn discard(&self, netns: OwnedFd) {
        self.janitor.leave(Task::Close(netns));
    }

    /// Traffic of a container.
    ///
    /// # Errors
    /// `Kernel`, with `ENODEV` when its link is gone.
    pub fn stats(&self, endpoint: &Endpoint) -> Result<Stats, Error> {
        self.live()?.stats(endpoint)
    }

    /// A watch over what is ours; `None` with `--bridge none`. To be opened after [`Network::adopt`].
    ///
    /// # Errors
    /// `Kernel`.
    pub fn watch(&self) -> Result<Option<Watch>, Error> {
        self.live.as_ref().map(Live::watch).transpose()
    }

    /// Looks at bridge, forwarding and table, and puts right what is not as it should be.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn repair(&self) -> Result<Repaired, Error> {
        self.live.as_ref().map_or_else(|| Ok(Repaired::default()), Live::repair)
    }

    /// What the operator should know: another program's firewall that cuts our bridge, forwarding that is off. For
    /// `info`.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.live.as_ref().map(Live::warnings).unwrap_or_default()
    }

    /// The engine stops, and nothing of it runs: the table goes, and the file that keeps other engines off the bridge.
    /// The bridge stays, as one that was made by hand would. Does nothing while there are containers, whose ports need
    /// the table, or where the table keeps the host from being a router that it was not before.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn retire(&self) -> Result<(), Error> {
        self.live.as_ref().map_or(Ok(()), Live::retire)
    }

    /// Removes bridge and table. For an engine that is uninstalled, and for tests.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn remove(self) -> Result<(), Error> {
        self.live.as_ref().map_or(Ok(()), Live::remove)
    }

    fn live(&self) -> Result<&Live, Error> {
        self.live.as_ref().ok_or(Error::Disabled)
    }
}
