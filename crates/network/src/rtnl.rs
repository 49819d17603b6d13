//! Links, addresses and routes: what is asked of rtnetlink, one function a question.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, BorrowedFd},
};

use rustix::io::Errno;

use crate::{
    MacAddr, Stats, Subnet4, Subnet6,
    netlink::{Messages, Refusal, Reply, Socket, consts::*, integer},
};

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_BRIDGE: u8 = 7;
const AF_INET6: u8 = 10;
const IFF_UP: u32 = 1;
const IF_OPER_UP: u8 = 6;
/// Index of the loopback interface in every namespace.
const LOOPBACK: u32 = 1;
const REQUEST: u16 = NLM_F_REQUEST;

/// A link as the kernel lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    pub(crate) mtu: u32,
    /// Index of the bridge it is plugged into, or 0.
    pub(crate) master: u32,
    /// `bridge`, `veth` …; empty for hardware.
    pub(crate) kind: String,
    /// It passes frames: its carrier has been noticed.
    pub(crate) operational: bool,
}

/// Addresses and default routes of the container's end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interface {
    pub(crate) ipv4: Subnet4,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) ipv6: Option<(Subnet6, Ipv6Addr)>,
}

/// A veth pair to be made: one end on the bridge, the other in a namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VethPair<'a> {
    /// Name of the host's end.
    pub(crate) name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    pub(crate) netns: BorrowedFd<'a>,
    /// Hardware address of the container's end, `eth0`.
    pub(crate) mac: MacAddr,
}

/// How a bridge treats a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Port {
    /// No frames to or from other such ports: only the host.
    pub(crate) isolated: bool,
    /// Frames may go back to where they came from.
    pub(crate) hairpin: bool,
}

/// All links of the namespace.
pub(crate) fn links(socket: &mut Socket) -> Result<Vec<Link>, Refusal> {
    let mut request = Messages::new();
    request.begin(RTM_GETLINK, REQUEST | NLM_F_DUMP, &link_header(AF_UNSPEC, 0, None));
    request.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    socket.dump(&mut request, |links: &mut Vec<Link>, reply| {
        if reply.kind == RTM_NEWLINK {
            links.push(read_link(&reply));
        }
    })
}

/// One link by name; `None` if there is none.
pub(crate) fn link_by_name(socket: &mut Socket, name: &str) -> Result<Option<Link>, Refusal> {
    let mut request = Messages::new();
    request.begin(RTM_GETLINK, REQUEST, &link_header(AF_UNSPEC, 0, None));
    request.string(IFLA_IFNAME, name).u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    match socket.get(&mut request, |reply| read_link(&reply)) {
        Ok(link) => Ok(Some(link)),
        Err(Refusal { errno: Errno::NODEV, .. }) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

fn read_link(reply: &Reply<'_>) -> Link {
    let attributes = reply.attributes(16);
    Link {
        index: reply.header_u32(4),
        name: attributes.string(IFLA_IFNAME).unwrap_or_default().to_owned(),
        up: reply.header_u32(8) & IFF_UP != 0,
        mtu: attributes.u32(IFLA_MTU).unwrap_or(0),
        master: attributes.u32(IFLA_MASTER).unwrap_or(0),
        operational: attributes.find(IFLA_OPERSTATE) == Some(&[IF_OPER_UP]),
        kind: attributes.nested(IFLA_LINKINFO).string(IFLA_INFO_KIND).unwrap_or_default().to_owned(),
    }
}

/// All addresses of the namespace with their prefix lengths, and the index of their link.
pub(crate) fn addresses(socket: &mut Socket) -> Result<Vec<(u32, IpAddr, u8)>, Refusal> {
    let mut request = Messages::new();
    request.begin(RTM_GETADDR, REQUEST | NLM_F_DUMP, &[0; 8]);
    socket.dump(&mut request, |addresses: &mut Vec<(u32, IpAddr, u8)>, reply| {
        let attributes = reply.attributes(8);
        let bytes = attributes.find(IFA_LOCAL).or_else(|| attributes.find(IFA_ADDRESS));
        if let Some(address) = bytes.and_then(read_address) {
            addresses.push((reply.header_u32(4), address, reply.header_u8(1)));
        }
    })
}

/// Destinations of all routes of all tables, but default routes and those of the loopback and multicast ranges.
pub(crate) fn route_destinations(socket: &mut Socket) -> Result<Vec<(IpAddr, u8)>, Refusal> {
    let mut request = Messages::new();
    request.begin(RTM_GETROUTE, REQUEST | NLM_F_DUMP, &[0; 12]);
    socket.dump(&mut request, |routes: &mut Vec<(IpAddr, u8)>, reply| {
        let prefix_len = reply.header_u8(1);
        if let Some(address) = reply.attributes(12).find(RTA_DST).and_then(read_address)
            && prefix_len > 0
            && !address.is_loopback()
            && !address.is_multicast()
        {
            routes.push((address, prefix_len));
        }
    })
}

fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => integer::<4>(bytes, 0).map(|octets| IpAddr::V4(octets.into())),
        16 => integer::<16>(bytes, 0).map(|octets| IpAddr::V6(octets.into())),
        _ => None,
    }
}

/// Makes a bridge, up.
pub(crate) fn create_bridge(
    socket: &mut Socket,
    name: &str,
    mac: MacAddr,
    mtu: Option<u32>,
) -> Result<(), Refusal> {
    let mut messages = Messages::new();
    messages
        .begin(RTM_NEWLINK, REQUEST | NLM_F_CREATE | NLM_F_EXCL, &link_header(AF_UNSPEC, 0, Some(true)))
        .string(IFLA_IFNAME, name)
        // A bridge without an address of its own takes that of its lowest port, and changes it with the ports.
        .attr(IFLA_ADDRESS, &mac.0);
    if let Some(mtu) = mtu {
        messages.u32(IFLA_MTU, mtu);
    }
    messages
        .nested(IFLA_LINKINFO, |info| {
            info.string(IFLA_INFO_KIND, "bridge");
        })
        .acknowledge();
    socket.transact(&mut messages)
}

/// Sets a link up, with an MTU if one is given.
pub(crate) fn set_up(socket: &mut Socket, index: u32, mtu: Option<u32>) -> Result<(), Refusal> {
    let mut messages = Messages::new();
    messages.begin(RTM_SETLINK, REQUEST, &link_header(AF_UNSPEC, index, Some(true)));
    if let Some(mtu) = mtu {
        messages.u32(IFLA_MTU, mtu);
    }
    messages.acknowledge();
    socket.transact(&mut messages)
}

/// Adds an address to a link; it may be there already.
pub(crate) fn add_address(
    socket: &mut Socket,
    index: u32,
    address: IpAddr,
    prefix_len: u8,
) -> Result<(), Refusal> {
    let mut messages = Messages::new();
    push_address(&mut messages, NLM_F_REPLACE, index, address, prefix_len);
    messages.acknowledge();
    socket.transact(&mut messages)
}

/// Lets packets to an address in by a link as the host's own; it may be so already. Other routes to it come first.
pub(crate) fn add_local_route(socket: &mut Socket, index: u32, address: Ipv6Addr) -> Result<(), Refusal> {
    const RT_TABLE_LOCAL: u8 = 255;
    const RTN_LOCAL: u8 = 2;
    const PRIORITY: u32 = 4096;
    let header = [AF_INET6, 128, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_LOCAL, 0, 0, 0, 0];
    let mut messages = Messages::new();
    messages.begin(RTM_NEWROUTE, REQUEST | NLM_F_CREATE | NLM_F_EXCL, &header);
    messages.attr(RTA_DST, &address.octets()).u32(RTA_OIF, index).u32(RTA_PRIORITY, PRIORITY).acknowledge();
    ignore(socket.transact(&mut messages), &[Errno::EXIST])
}

/// Takes an address off a link.
pub(crate) fn remove_address(
    socket: &mut Socket,
    index: u32,
    address: IpAddr,
    prefix_len: u8,
) -> Result<(), Refusal> {
    let mut messages = Messages::new();
    messages.begin(RTM_DELADDR, REQUEST, &address_header(index, address, prefix_len, 0));
    messages.attr(IFA_LOCAL, &octets(address)).acknowledge();
    socket.transact(&mut messages)
}

/// Makes a veth pair: the host's end plugged into the bridge and up, the other one in the namespace as `eth0`.
///
/// One message; moving a link between namespaces, or plugging it in afterwards, costs a hundred times as much.
pub(crate) fn create_veth(socket: &mut Socket, pair: &VethPair<'_>) -> Result<(), Refusal> {
    let mut messages = Messages::new();
    messages
        .begin(RTM_NEWLINK, REQUEST | NLM_F_CREATE | NLM_F_EXCL, &link_header(AF_UNSPEC, 0, Some(true)))
        .string(IFLA_IFNAME, pair.name)
        .u32(IFLA_MTU, pair.mtu)
        .u32(IFLA_MASTER, pair.bridge)
        // Without a number each end gets a queue for each processor, with its files in sysfs.
        .u32(IFLA_NUM_TX_QUEUES, 1)
        .u32(IFLA_NUM_RX_QUEUES, 1)
        .nested(IFLA_LINKINFO, |info| {
            info.string(IFLA_INFO_KIND, "veth").nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| {
                    // It cannot be up before its other end exists.
                    peer.raw(&link_header(AF_UNSPEC, 0, None))
                        .string(IFLA_IFNAME, "eth0")
                        .u32(IFLA_MTU, pair.mtu)
                        .u32(IFLA_NUM_TX_QUEUES, 1)
                        .u32(IFLA_NUM_RX_QUEUES, 1)
                        .attr(IFLA_ADDRESS, &pair.mac.0)
                        .u32(IFLA_NET_NS_FD, pair.netns.as_raw_fd().cast_unsigned());
                });
            });
        })
        .acknowledge();
    socket.transact(&mut messages)
}

/// Sets the loopback interface of the socket's namespace up.
pub(crate) fn set_loopback_up(socket: &mut Socket) -> Result<(), Refusal> {
    set_up(socket, LOOPBACK, None)
}

/// Sets `eth0` up with its addresses and default routes: over a socket in the container's namespace.
pub(crate) fn configure(socket: &mut Socket, eth0: u32, interface: &Interface) -> Result<(), Refusal> {
    let mut messages = Messages::new();
    messages.begin(RTM_SETLINK, REQUEST, &link_header(AF_UNSPEC, eth0, Some(true)));
    push_address(&mut messages, 0, eth0, interface.ipv4.address.into(), interface.ipv4.prefix_len);
    push_default_route(&mut messages, eth0, interface.gateway.into());
    if let Some((subnet, gateway)) = interface.ipv6 {
        push_address(&mut messages, 0, eth0, subnet.address.into(), subnet.prefix_len);
        push_default_route(&mut messages, eth0, gateway.into());
    }
    messages.acknowledge();
    socket.transact(&mut messages)
}

/// Plugs links into a bridge and sets them up.
pub(crate) fn plug_in(socket: &mut Socket, index: u32, bridge: u32) -> Result<(), Refusal> {
    let mut messages = Messages::new();
    messages.begin(RTM_SETLINK, REQUEST, &link_header(AF_UNSPEC, index, Some(true)));
    messages.u32(IFLA_MASTER, bridge).acknowledge();
    socket.transact(&mut messages)
}

/// Tells the host who has an address, so that it need not ask.
pub(crate) fn introduce(
    socket: &mut Socket,
    index: u32,
    address: Ipv6Addr,
    mac: MacAddr,
) -> Result<(), Refusal> {
    // Of use until it is found wrong.
    const NUD_STALE: u8 = 0x04;
    let mut header = [AF_INET6, 0, 0, 0, 0, 0, 0, 0, NUD_STALE, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut messages = Messages::new();
    messages.begin(RTM_NEWNEIGH, REQUEST | NLM_F_CREATE | NLM_F_REPLACE, &header);
    messages.attr(NDA_DST, &address.octets()).attr(NDA_LLADDR, &mac.0).acknowledge();
    socket.transact(&mut messages)
}

/// Sets what is out of the ordinary about a bridge port.
pub(crate) fn set_port(socket: &mut Socket, index: u32, port: Port) -> Result<(), Refusal> {
    let mut messages = Messages::new();
    messages.begin(RTM_SETLINK, REQUEST, &link_header(AF_BRIDGE, index, None));
    messages.nested(IFLA_PROTINFO, |info| {
        info.u8(IFLA_BRPORT_ISOLATED, port.isolated.into()).u8(IFLA_BRPORT_MODE, port.hairpin.into());
    });
    messages.acknowledge();
    socket.transact(&mut messages)
}

/// Cuts bridge ports off and forgets what was learned on them: their containers are dead, but their namespaces may
/// live a moment longer and would answer for addresses that are given to others. Links that are gone are no error.
pub(crate) fn cut_ports(socket: &mut Socket, indices: &[u32]) -> Result<(), Refusal> {
    let mut messages = Messages::new();
    for &index in indices {
        messages.begin(RTM_SETLINK, REQUEST, &link_header(AF_BRIDGE, index, None));
        messages.nested(IFLA_PROTINFO, |port| {
            port.u8(IFLA_BRPORT_STATE, BR_STATE_DISABLED).attr(IFLA_BRPORT_FLUSH, &[]);
        });
    }
    messages.acknowledge();
    ignore(socket.transact(&mut messages), &[Errno::NODEV, Errno::OPNOTSUPP, Errno::INVAL])
}

/// Deletes one link.
pub(crate) fn delete_link(socket: &mut Socket, index: u32) -> Result<(), Refusal> {
    let mut messages = Messages::new();
    messages.begin(RTM_DELLINK, REQUEST, &link_header(AF_UNSPEC, index, None)).acknowledge();
    ignore(socket.transact(&mut messages), &[Errno::NODEV])
}

/// Deletes links together: one at a time each would wait for the kernel to quiesce.
pub(crate) fn delete_links(socket: &mut Socket, indices: &[u32], group: u32) -> Result<(), Refusal> {
    let mut messages = Messages::new();
    for &index in indices {
        messages.begin(RTM_SETLINK, REQUEST, &link_header(AF_UNSPEC, index, None)).u32(IFLA_GROUP, group);
    }
    messages
        .begin(RTM_DELLINK, REQUEST, &link_header(AF_UNSPEC, 0, None))
        .u32(IFLA_GROUP, group)
        .acknowledge();
    ignore(socket.transact(&mut messages), &[Errno::NODEV])
}

/// Counters of the host's end of a pair, turned round: what it sends the container receives.
pub(crate) fn stats(socket: &mut Socket, index: u32) -> Result<Stats, Refusal> {
    let mut request = Messages::new();
    let mut header = [0; 12];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&(1_u32 << (IFLA_STATS_LINK_64 - 1)).to_ne_bytes());
    request.begin(RTM_GETSTATS, REQUEST, &header);
    let stats = socket.get(&mut request, |reply| {
        let counters = reply.attributes(12).find(IFLA_STATS_LINK_64)?;
        let counter = |at: usize| integer(counters, at * 8).map(u64::from_ne_bytes);
        Some(Stats {
            rx_packets: counter(1)?,
            tx_packets: counter(0)?,
            rx_bytes: counter(3)?,
            tx_bytes: counter(2)?,
            rx_errors: counter(5)?,
            tx_errors: counter(4)?,
            rx_dropped: counter(7)?,
            tx_dropped: counter(6)?,
        })
    })?;
    stats.ok_or(Errno::BADMSG.into())
}

fn push_address(messages: &mut Messages, flags: u16, index: u32, address: IpAddr, prefix_len: u8) {
    let nodad = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
    let header = address_header(index, address, prefix_len, nodad);
    messages.begin(RTM_NEWADDR, REQUEST | NLM_F_CREATE | flags, &header);
    messages.attr(IFA_LOCAL, &octets(address)).attr(IFA_ADDRESS, &octets(address));
    if let IpAddr::V4(address) = address
        && prefix_len < 31
    {
        messages.attr(IFA_BROADCAST, &Subnet4::new(address, prefix_len).broadcast().octets());
    }
}

fn push_default_route(messages: &mut Messages, index: u32, gateway: IpAddr) {
    let header =
        [family(gateway), 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0, 0, 0, 0];
    messages.begin(RTM_NEWROUTE, REQUEST | NLM_F_CREATE, &header);
    messages.attr(RTA_GATEWAY, &octets(gateway)).u32(RTA_OIF, index);
}

/// `struct ifinfomsg`; `up` sets or clears `IFF_UP` when given.
fn link_header(family: u8, index: u32, up: Option<bool>) -> [u8; 16] {
    let mut header = [0; 16];
    header[0] = family;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if let Some(up) = up {
        header[8..12].copy_from_slice(&u32::from(up).to_ne_bytes());
        header[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    header
}

/// `struct ifaddrmsg`.
fn address_header(index: u32, address: IpAddr, prefix_len: u8, flags: u8) -> [u8; 8] {
    let mut header = [family(address), prefix_len, flags, RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn ignore(result: Result<(), Refusal>, harmless: &[Errno]) -> Result<(), Refusal> {
    match result {
        Err(refusal) if harmless.contains(&refusal.errno) => Ok(()),
        result => result,
    }
}

/// The index of a link in the namespace of a socket, without taking the kernel's lock of all links.
pub(crate) fn index_of(socket: &Socket, name: &str) -> Result<u32, Errno> {
    rustix::net::netdevice::name_to_index(socket, name)
}
