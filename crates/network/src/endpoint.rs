//! One container's place in the network: what is asked for, what is given, what is kept in its record.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{BorrowedFd, OwnedFd},
};

use serde::{Deserialize, Serialize};

use crate::{MacAddr, PortBinding, PortSpec, Protocol};

/// What a container asks of the default network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// Full id of the container.
    pub container_id: &'a str,
    /// A fixed address; `None` takes the lowest free one.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// A fixed hardware address; `None` derives one from the IPv4 address.
    pub mac: Option<MacAddr>,
    /// Further IPv4 addresses of `eth0`, of 169.254.0.0/16 (RFC 3927).
    pub link_local: &'a [Ipv4Addr],
    /// Ports to publish.
    pub ports: &'a [PortSpec],
}

/// A sandbox that is ready for a process: addresses set, links up, ports published.
#[derive(Debug)]
pub struct Started {
    /// The network namespace. It and all in it goes when the last descriptor and process goes.
    pub netns: OwnedFd,
    /// What the engine keeps in the container's record, and hands back to [`Network::release`](crate::Network::release)
    /// or [`Network::adopt`](crate::Network::adopt).
    pub endpoint: Endpoint,
    /// Bound sockets that keep the published ports from other programs. To be held by something that lives as long as
    /// the container (its shim); never to be read.
    pub port_sockets: Vec<OwnedFd>,
    /// Published ports whose connections the kernel cannot lead to the container: somebody that lives as long as the
    /// container (its shim) is to relay them.
    pub relays: Vec<Relay>,
}

/// A published port with connections that the kernel cannot redirect: from IPv6 to a container that has IPv4 only, or
/// from `::1` where bridged frames pass the firewall.
#[derive(Debug)]
pub struct Relay {
    /// Bound to the host's address; a TCP socket listens. Non-blocking.
    pub socket: OwnedFd,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where connections and datagrams go: the container.
    pub target: SocketAddr,
}

/// A container's connection to the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Full id of the container.
    pub container_id: String,
    /// The bridge it is plugged into.
    pub bridge: String,
    /// Name of the host's end of the veth pair. The container's end is `eth0`.
    pub link: String,
    /// Index of the host's end.
    pub ifindex: u32,
    /// Hardware address of `eth0`.
    pub mac: MacAddr,
    /// Address of `eth0`.
    pub ipv4: Ipv4Addr,
    /// Prefix length of the IPv4 subnet.
    pub prefix_len: u8,
    /// The container's IPv4 default route.
    pub gateway: Ipv4Addr,
    /// IPv6 address of `eth0`, when the bridge has IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// Prefix length of the IPv6 subnet; 0 without IPv6.
    #[serde(default)]
    pub prefix_len_v6: u8,
    /// The container's IPv6 default route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_v6: Option<Ipv6Addr>,
    /// Further IPv4 addresses of `eth0`, of 169.254.0.0/16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<Ipv4Addr>,
    /// Published ports as they are bound now, in the order of the request.
    #[serde(default)]
    pub ports: Vec<PortBinding>,
}

/// A container that was running when the engine stopped, to be taken up again.
#[derive(Debug, Clone, Copy)]
pub struct Adopt<'a> {
    /// From the container's record.
    pub endpoint: &'a Endpoint,
    /// Its network namespace (`/proc/<pid>/ns/net`), needed to make its link again if somebody deleted it.
    pub netns: Option<BorrowedFd<'a>>,
}

/// What [`Network::adopt`](crate::Network::adopt) found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Containers whose link had to be plugged in or made again.
    pub repaired: Vec<String>,
    /// Containers that stay without network: the link is gone and no namespace was given, or the address is taken.
    pub lost: Vec<String>,
    /// Links of dead containers that were removed from the bridge.
    pub stale_links: usize,
}
