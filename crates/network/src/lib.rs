//! Bridges, veth pairs, IPAM, nftables and published ports of Berth.
//!
//! Owns: the default bridge and its addresses, one network namespace per container with its `eth0`, one nftables table,
//! the sockets that reserve published ports, and the text of a container's `/etc/resolv.conf`, `/etc/hosts` and
//! `/etc/hostname`. Does not own: containers, records, files. Never spawns a process: rtnetlink and nfnetlink are
//! spoken over plain sockets.
//!
//! ```text
//! Network::open ─► adopt(endpoints of running containers) ─► start / release / stats …
//!                                                            watch ─► repair
//! ```
//!
//! A container's link lives as long as its network namespace, and the namespace lives as long as somebody holds its
//! descriptor (the engine, the shim) or a process in it: nothing is bind-mounted on the host.
//!
//! All calls are synchronous and may be made from any number of threads at once.
//!
//! What the kernel cannot do:
//!
//! - An IPv6 connection is not led to a container that has only IPv4. Such a port comes back as a [`Relay`], for the
//!   container's supervisor to serve. So does one with IPv6, for `::1` where bridged frames pass the firewall
//!   (`net.bridge.bridge-nf-call-ip6tables`); all else goes to it by the kernel.
//! - Another firewall's drop is final: one that drops forwarded packets cuts the bridge from outside. See
//!   [`Network::warnings`].
#![forbid(unsafe_code)]

mod bridge;
mod choose;
mod config;
mod conntrack;
mod endpoint;
mod error;
pub mod files;
#[doc(hidden)]
pub mod fuzz;
mod ipam;
mod janitor;
mod live;
mod mac;
mod netlink;
mod network;
mod nft;
mod port;
mod publish;
mod rtnl;
mod sandbox;
mod stats;
mod subnet;
mod sysctl;
mod watch;

pub use config::NetworkConfig;
pub use endpoint::{Adopt, Adopted, Endpoint, Relay, Request, Started};
pub use error::Error;
pub use mac::{MacAddr, ParseMacError};
pub use network::{Bridge, Network};
pub use port::{PortBinding, PortSpec, Protocol};
pub use stats::Stats;
pub use subnet::{ParseSubnetError, Subnet4, Subnet6};
pub use watch::{Repaired, Watch};
