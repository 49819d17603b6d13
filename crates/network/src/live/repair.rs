//! Taking up what an earlier engine left, and putting right what another program changed.

use std::{collections::HashMap, sync::atomic::Ordering};

use super::{DOOMED_GROUP, Live, held, publications};
use crate::{
    Adopt, Adopted, Bridge, Endpoint, Error, NetworkConfig, Repaired, bridge,
    ipam::Ipam,
    janitor::Janitor,
    netlink::Socket,
    nft::{Rules, TableState},
    rtnl, sandbox, sysctl,
};

impl Live {
    pub(crate) fn adopt(&self, containers: &[Adopt<'_>], janitor: &Janitor) -> Result<Adopted, Error> {
        let bridge = self.bridge();
        let mut known = held(&self.containers);
        known.clear();
        self.ports.clear();
        let mut ipam = new_ipam(&self.config, &bridge);
        let mut adopted = Adopted::default();
        let links = self.with_socket(|socket| {
            rtnl::links(socket)
                .map_err(|refusal| Error::kernel("list links to find those of containers", refusal))
        })?;
        for container in containers {
            let mut endpoint = container.endpoint.clone();
            let id = endpoint.container_id.clone();
            let plugged = ipam
                .take_v4(Some(endpoint.ipv4))
                .and_then(|_| self.check_link(&mut endpoint, container, &links, &bridge));
            match plugged {
                Ok(repaired) => {
                    if repaired {
                        adopted.repaired.push(id.clone());
                    }
                    if endpoint.ipv6.is_some() && ipam.take_v6(endpoint.ipv6).is_err() {
                        tracing::warn!(container.id = %id, "its IPv6 address does not belong to the bridge any more");
                    }
                    self.ports.adopt(&endpoint.ports);
                    known.insert(id, endpoint);
                }
                Err(error) => {
                    tracing::warn!(%error, container.id = %id, "a running container has lost its network");
                    adopted.lost.push(id);
                }
            }
        }
        let stale: Vec<u32> = links
            .iter()
            .filter(|link| link.master == bridge.ifindex && link.kind == "veth")
            .map(|link| link.index)
            .filter(|index| !known.values().any(|endpoint| endpoint.ifindex == *index))
            .collect();
        if !stale.is_empty() {
            self.with_socket(|socket| {
                rtnl::delete_links(socket, &stale, DOOMED_GROUP)
                    .map_err(|refusal| Error::kernel("delete links of dead containers", refusal))
            })?;
        }
        adopted.stale_links = stale.len();
        *held(&janitor.shared().ipam) = Some(ipam);
        self.write_table(&known)?;
        self.adopted.store(true, Ordering::Release);
        Ok(adopted)
    }

    pub(crate) fn repair(&self) -> Result<Repaired, Error> {
        if !self.adopted.load(Ordering::Acquire) {
            // What is there is an earlier engine's, whose containers are not known yet.
            return Ok(Repaired::default());
        }
        let known = held(&self.containers);
        let before = self.bridge();
        let forwarding = forward(&self.config)?;
        if forwarding {
            self.guard.store(true, Ordering::Relaxed);
        }
        let (bridge, mut changed) =
            self.with_socket(|socket| bridge::ensure(&self.config, socket, &before.name, Some(&before)))?;
        self.ifindex.store(bridge.ifindex, Ordering::Relaxed);
        *held(&self.bridge) = bridge.clone();
        self.with_socket(|socket| {
            let links = rtnl::links(socket).map_err(|refusal| Error::kernel("list links", refusal))?;
            for endpoint in known.values() {
                let link =
                    links.iter().find(|link| link.index == endpoint.ifindex && link.name == endpoint.link);
                if link.is_some_and(|link| link.master != bridge.ifindex || !link.up) {
                    changed = true;
                    self.plug_back(socket, endpoint, &bridge)?;
                }
            }
            Ok(())
        })?;
        let table = !matches!(held(&self.firewall).state()?, TableState::Whole { .. });
        // Elements may be missing all the same.
        self.write_table(&known)?;
        Ok(Repaired { bridge: changed, table, forwarding })
    }

    pub(super) fn write_table(&self, containers: &HashMap<String, Endpoint>) -> Result<(), Error> {
        let bridge = self.bridge();
        let rules = Rules {
            bridge: bridge.name,
            subnet: bridge.subnet,
            subnet6: bridge.ipv6.map(|(subnet, _)| subnet),
            icc: self.config.icc,
            masquerade: self.config.ip_masq,
            guard: self.guard.load(Ordering::Relaxed),
            loopback6: bridge::loopback6(),
        };
        let publications: Vec<_> = containers.values().flat_map(publications).collect();
        held(&self.firewall).replace(&rules, &publications)
    }

    /// Checks the link of a running container and mends it. Whether it had to.
    fn check_link(
        &self,
        endpoint: &mut Endpoint,
        container: &Adopt<'_>,
        links: &[rtnl::Link],
        bridge: &Bridge,
    ) -> Result<bool, Error> {
        match links.iter().find(|link| link.name == endpoint.link) {
            Some(link) if link.index == endpoint.ifindex && link.master == bridge.ifindex && link.up => {
                Ok(false)
            }
            Some(link) => {
                endpoint.ifindex = link.index;
                self.with_socket(|socket| self.plug_back(socket, endpoint, bridge))?;
                Ok(true)
            }
            None => {
                let Some(netns) = container.netns else {
                    return Err(Error::kernel(
                        format!("find the link {}", endpoint.link),
                        std::io::Error::from(rustix::io::Errno::NODEV),
                    ));
                };
                let plug = self.plug(endpoint, bridge);
                endpoint.ifindex = self.with_socket(|socket| sandbox::replug(socket, netns, &plug))?;
                Ok(true)
            }
        }
    }

    fn plug_back(&self, socket: &mut Socket, endpoint: &Endpoint, bridge: &Bridge) -> Result<(), Error> {
        rtnl::plug_in(socket, endpoint.ifindex, bridge.ifindex)
            .and_then(|()| rtnl::set_port(socket, endpoint.ifindex, self.port(endpoint)))
            .map_err(|refusal| {
                Error::kernel(format!("plug {} into {}", endpoint.link, bridge.name), refusal)
            })?;
        sandbox::await_bridge(socket, &bridge.name)
    }
}

fn new_ipam(config: &NetworkConfig, bridge: &Bridge) -> Ipam {
    let range = config.fixed_cidr.unwrap_or(bridge.subnet);
    let ipam = Ipam::new(&bridge.name, bridge.subnet, range, &[bridge.address, bridge.gateway]);
    match bridge.ipv6 {
        Some((subnet, address)) => {
            let reserved: Vec<_> = std::iter::once(address).chain(bridge.gateway_v6).collect();
            ipam.with_ipv6(subnet, &reserved)
        }
        None => ipam,
    }
}

/// Turns on forwarding, if it is asked for. Whether it was off.
pub(super) fn forward(config: &NetworkConfig) -> Result<bool, Error> {
    if !config.ip_forward {
        return Ok(false);
    }
    let v4 = sysctl::ensure(sysctl::FORWARD_V4, "1")?;
    let v6 = config.ipv6 && sysctl::forward_v6()?;
    Ok(v4 || v6)
}
