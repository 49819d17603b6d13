//! Errors of this crate.

use std::{io, net::IpAddr};

use crate::{Protocol, Subnet4};

/// Why the network could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another container has the port. Docker's text.
    #[error("Bind for {host_ip}:{port} failed: port is already allocated", host_ip = bracketed(host_ip))]
    PortAllocated {
        /// Address asked for.
        host_ip: IpAddr,
        /// Port asked for.
        port: u16,
    },
    /// A program of the host has the port, or the address is not the host's. Docker's text.
    #[error(
        "failed to bind host port for {host_ip}:{port}:{container_ip}:{container_port}/{protocol}: {reason}",
        host_ip = bracketed(host_ip)
    )]
    PortBind {
        /// Address asked for.
        host_ip: IpAddr,
        /// Port asked for; the last one tried of a range.
        port: u16,
        /// Address of the container.
        container_ip: IpAddr,
        /// Port of the container.
        container_port: u16,
        /// Protocol of both.
        protocol: Protocol,
        /// `address already in use`, `cannot assign requested address` …
        reason: String,
    },
    /// An SCTP port is to be published on an IPv6 address for a container that has none.
    #[error(
        "cannot publish port {port}/{protocol} on {host_ip}: the container has no IPv6 address, and {protocol} is not \
         relayed to IPv4"
    )]
    NoIpv6 {
        /// Address asked for.
        host_ip: IpAddr,
        /// Port of the container.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
    },
    /// A fixed address is taken. Docker's text.
    #[error("Address already in use")]
    AddressInUse(IpAddr),
    /// A fixed address is not in the bridge's subnet.
    #[error("invalid address {0}: it does not belong to any of this network's subnets")]
    AddressOutside(IpAddr),
    /// All addresses of the subnet are taken. Docker's text.
    #[error("no available IPv4 addresses on this network's address pools: {bridge} ({subnet})")]
    NoFreeAddress {
        /// Name of the bridge.
        bridge: String,
        /// Its subnet.
        subnet: Subnet4,
    },
    /// Each subnet of the pools overlaps a route, an address or a name server of the host.
    #[error(
        "could not find an available, non-overlapping IPv4 address pool for the bridge {bridge}: give it one with --bip"
    )]
    NoFreeSubnet {
        /// Name of the bridge.
        bridge: String,
    },
    /// Another engine has the bridge.
    #[error("bridge {bridge} is in use by another engine: give this one its own with --bridge")]
    BridgeInUse {
        /// Name of the bridge.
        bridge: String,
    },
    /// The configuration cannot work.
    #[error("{0}")]
    InvalidConfig(String),
    /// The request cannot work.
    #[error("{0}")]
    InvalidRequest(String),
    /// The engine runs with `--bridge none`.
    #[error("the default bridge is disabled (--bridge none)")]
    Disabled,
    /// The kernel refused a step.
    #[error("cannot {doing}")]
    Kernel {
        /// The step, as in `create the veth pair veth0a1b2c3`.
        doing: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn kernel(doing: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error::Kernel { doing: doing.into(), source: source.into() }
    }
}

fn bracketed(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
