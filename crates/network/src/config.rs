//! What the engine decides about its default network, once.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use crate::{Subnet4, Subnet6};

/// The default bridge network of one engine.
///
/// `Default` is what an engine without any network flags uses.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Name of the bridge; `None` for `--bridge none`: only sandboxes without a network can be made.
    ///
    /// Created if missing, adopted with its address if there.
    pub bridge: Option<String>,
    /// `--bip`: address of the bridge with its prefix length. `None` chooses a free subnet.
    pub bip: Option<Subnet4>,
    /// `--bip6`: IPv6 address of the bridge with its prefix length.
    pub bip6: Option<Subnet6>,
    /// `--fixed-cidr`: containers get their addresses from this part of the subnet.
    pub fixed_cidr: Option<Subnet4>,
    /// `--fixed-cidr-v6`: the IPv6 subnet of the bridge.
    pub fixed_cidr_v6: Option<Subnet6>,
    /// `--default-gateway`: the default route of containers, when it is not the bridge.
    pub default_gateway: Option<Ipv4Addr>,
    /// `--default-gateway-v6`.
    pub default_gateway_v6: Option<Ipv6Addr>,
    /// `--ipv6`: containers get an IPv6 address too, from `fixed_cidr_v6` or a generated local prefix.
    pub ipv6: bool,
    /// `--mtu`. `None` leaves the kernel's 1500.
    pub mtu: Option<u32>,
    /// `--icc`: containers may reach each other without a published port.
    pub icc: bool,
    /// `--ip-forward`: turn on forwarding of the host when it is off.
    pub ip_forward: bool,
    /// `--ip-masq`: connections of containers leave with the host's address.
    pub ip_masq: bool,
    /// `--ip`: where ports are published that name no host address. Unspecified means all addresses, IPv6 too.
    pub default_binding: IpAddr,
    /// `--host-gateway-ip`: what `host-gateway` means. `None` is the bridge's address.
    pub host_gateway: Option<IpAddr>,
    /// Directory of the lock files that keep two engines off one bridge. The same for all engines of a host.
    pub lock_dir: PathBuf,
    /// Ask the kernel to keep other programs off our nftables table while the engine runs (Linux 6.9; older kernels
    /// are asked in vain and the table is watched instead).
    pub own_table: bool,
}

impl Default for NetworkConfig {
    fn default() -> NetworkConfig {
        NetworkConfig {
            bridge: Some("berth0".to_owned()),
            bip: None,
            bip6: None,
            fixed_cidr: None,
            fixed_cidr_v6: None,
            default_gateway: None,
            default_gateway_v6: None,
            ipv6: false,
            mtu: None,
            icc: true,
            ip_forward: true,
            ip_masq: true,
            default_binding: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            host_gateway: None,
            lock_dir: PathBuf::from("/run/berth-network"),
            own_table: true,
        }
    }
}
