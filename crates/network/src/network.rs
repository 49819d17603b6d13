//! The default network of one engine.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
};

use crate::{
    Adopt, Adopted, Endpoint, Error, NetworkConfig, Repaired, Request, Started, Stats, Subnet4, Subnet6,
    Watch,
};

/// The default bridge network of one engine.
///
/// Dropping it leaves bridge, links and rules as they are: running containers go on.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
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
    /// Its MTU.
    pub mtu: u32,
}

impl Network {
    /// Makes or takes up the bridge and its table, and turns on forwarding.
    ///
    /// Rules of an earlier engine stay in force, with the ports of its containers, until [`Network::adopt`] is called;
    /// it must be called once before the first [`Network::start`], with an empty list if nothing runs.
    ///
    /// # Errors
    /// `BridgeInUse`, `NoFreeSubnet`, `InvalidConfig`, `Kernel`.
    pub fn open(config: NetworkConfig) -> Result<Network, Error> {
        Ok(Network { config })
    }

    /// The bridge; `None` with `--bridge none`.
    #[must_use]
    pub fn bridge(&self) -> Option<Bridge> {
        None
    }

    /// What `host-gateway` and `host.docker.internal` stand for.
    #[must_use]
    pub fn host_gateway(&self) -> Option<IpAddr> {
        self.config.host_gateway
    }

    /// Takes up containers that run, and removes what is left of those that do not.
    ///
    /// Their addresses and ports are reserved again, missing links and rules are made again, links and rules of
    /// anything else on the bridge are removed.
    ///
    /// # Errors
    /// `Kernel`; a single container that cannot be taken up is no error but in [`Adopted::lost`].
    pub fn adopt(&self, _containers: &[Adopt<'_>]) -> Result<Adopted, Error> {
        Err(Error::Disabled)
    }

    /// Makes a sandbox with its `eth0` on the bridge and publishes its ports.
    ///
    /// Nothing is left behind on an error.
    ///
    /// # Errors
    /// `PortAllocated`, `PortBind`, `NoIpv6`, `AddressInUse`, `AddressOutside`, `NoFreeAddress`, `InvalidRequest`,
    /// `Disabled`, `Kernel`.
    pub fn start(&self, _request: Request<'_>) -> Result<Started, Error> {
        Err(Error::Disabled)
    }

    /// A namespace with nothing but its loopback interface, up: `--net none`. Also with `--bridge none`.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn sandbox_none(&self) -> Result<OwnedFd, Error> {
        Err(Error::Disabled)
    }

    /// Gives back a container's address and ports: when it returns, the ports can be published again.
    ///
    /// To be called when the container's processes are dead. Waits for nothing but the rule change; the link goes with
    /// its namespace, whose descriptor is best handed over here: see [`Network::discard`].
    pub fn release(&self, _endpoint: &Endpoint, _netns: Option<OwnedFd>) {}

    /// Closes a namespace's descriptor later, together with others: the kernel takes as long for one as for many, and
    /// starts of other containers wait for it meanwhile.
    pub fn discard(&self, _netns: OwnedFd) {}

    /// Traffic of a container.
    ///
    /// # Errors
    /// `Kernel`, with `ENODEV` when its link is gone.
    pub fn stats(&self, _endpoint: &Endpoint) -> Result<Stats, Error> {
        Err(Error::Disabled)
    }

    /// A watch over what is ours; `None` with `--bridge none`.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn watch(&self) -> Result<Option<Watch>, Error> {
        Ok(None)
    }

    /// Looks at bridge, forwarding and table, and puts right what is not as it should be.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn repair(&self) -> Result<Repaired, Error> {
        Err(Error::Disabled)
    }

    /// What the operator should know: another program's firewall that cuts our bridge, forwarding that is off. For
    /// `info`.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Removes bridge and table. For an engine that is uninstalled, and for tests.
    ///
    /// # Errors
    /// `Kernel`.
    pub fn remove(self) -> Result<(), Error> {
        Ok(())
    }
}
