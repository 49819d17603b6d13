//! The bridge: made or taken up, with its addresses and settings.

use std::{
    fs::{self, DirBuilder, File},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    Bridge, Error, MacAddr, NetworkConfig, Subnet4, Subnet6,
    choose::{self, InUse},
    files,
    netlink::{Refusal, Socket},
    rtnl, sysctl,
};

/// Docker's.
const DEFAULT_MTU: u32 = 1500;

/// Keeps other engines off the bridge while it is held.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// The engine ends: the file goes. It must be the last thing done with the bridge, for whoever makes a new one holds
    /// another lock.
    pub(crate) fn retire(&self) {
        if same_file(&self.file, &self.path) {
            // What stays is taken up by the next engine.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is just being made has the descriptor, too, until it runs its program.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Locks the bridge for this engine. Bridges of the same name in other network namespaces are others.
pub(crate) fn lock(config: &NetworkConfig, bridge: &str) -> Result<Lock, Error> {
    let namespace = fs::read_link("/proc/thread-self/ns/net")
        .map_err(|error| Error::kernel("read the name of the network namespace", error))?;
    let digits: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    let name = format!("{digits}-{bridge}.lock");
    loop {
        let file = open_lock_file(config, &name)?;
        match berth_sys::file::lock(&file) {
            Ok(true) => {}
            Ok(false) => return Err(Error::BridgeInUse { bridge: bridge.to_owned() }),
            Err(errno) => return Err(Error::kernel(format!("lock the bridge {bridge}"), errno)),
        }
        let path = config.lock_dir.join(&name);
        // The engine before us may have removed the file between our opening and our locking it.
        if same_file(&file, &path) {
            return Ok(Lock { file, path });
        }
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(open), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

fn open_lock_file(config: &NetworkConfig, name: &str) -> Result<File, Error> {
    let path = config.lock_dir.join(name);
    // For root only: whoever can open a file can lock it.
    let created = DirBuilder::new().recursive(true).mode(0o700).create(&config.lock_dir);
    created
        .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path))
        .map_err(|error| Error::kernel(format!("open {}", path.display()), error))
}

/// Refuses settings that contradict each other.
pub(crate) fn check(config: &NetworkConfig, name: &str) -> Result<(), Error> {
    let invalid = |text: String| Err(Error::InvalidConfig(text));
    // IFNAMSIZ is 16 with the NUL.
    if name.is_empty() || name.len() > 15 || name.contains(['/', ' ', ':']) || matches!(name, "." | "..") {
        return invalid(format!("invalid bridge name {name:?}"));
    }
    if let Some(bip) = config.bip
        && (bip.prefix_len > 30 || bip.address == bip.network() || bip.address == bip.broadcast())
    {
        return invalid(format!("--bip {bip} is no address that a bridge with containers can have"));
    }
    if let Some(mtu) = config.mtu
        && !(68..=65535).contains(&mtu)
    {
        return invalid(format!("invalid MTU {mtu}"));
    }
    Ok(())
}

/// Makes or takes up the bridge. `known` is what it was before somebody removed or changed it. Whether anything had to
/// be done.
pub(crate) fn ensure(
    config: &NetworkConfig,
    socket: &mut Socket,
    name: &str,
    known: Option<&Bridge>,
) -> Result<(Bridge, bool), Error> {
    let failed = |doing: &str, refusal: Refusal| Error::kernel(format!("{doing} the bridge {name}"), refusal);
    // Two engines that start together must not choose the same subnet.
    let choosing = open_lock_file(config, "subnets.lock")?;
    flock(&choosing, FlockOperation::LockExclusive)
        .map_err(|errno| Error::kernel("lock the choice of subnets", errno))?;
    let mut changed = false;
    let link = match rtnl::link_by_name(socket, name).map_err(|refusal| failed("look for", refusal))? {
        Some(link) if link.kind == "bridge" => link,
        Some(_) => return Err(Error::InvalidConfig(format!("{name} is there, but it is no bridge"))),
        None => {
            changed = true;
            rtnl::create_bridge(socket, name, random_mac()?, config.mtu)
                .map_err(|refusal| failed("create", refusal))?;
            let link = rtnl::link_by_name(socket, name).map_err(|refusal| failed("look for", refusal))?;
            link.ok_or_else(|| failed("find", rustix::io::Errno::NODEV.into()))?
        }
    };
    let mtu = config.mtu.unwrap_or(DEFAULT_MTU);
    if !link.up || config.mtu.is_some_and(|mtu| mtu != link.mtu) {
        changed = true;
        rtnl::set_up(socket, link.index, config.mtu).map_err(|refusal| failed("set up", refusal))?;
    }
    let addresses = rtnl::addresses(socket).map_err(|refusal| failed("list the addresses of", refusal))?;
    let own: Vec<(IpAddr, u8)> = addresses
        .iter()
        .filter(|(index, ..)| *index == link.index)
        .map(|(_, address, prefix_len)| (*address, *prefix_len))
        .collect();
    let known_v4 = known.map(|bridge| Subnet4::new(bridge.address, bridge.subnet.prefix_len));
    let v4 = ensure_v4(config, socket, name, link.index, &own, known_v4, &mut changed)?;
    let v6 = ensure_v6(
        config,
        socket,
        name,
        link.index,
        &own,
        known.and_then(|bridge| bridge.ipv6),
        &mut changed,
    )?;
    // Replies to connections from the host's loopback come in here with its address as their destination.
    match sysctl::ensure(&format!("net/ipv4/conf/{name}/route_localnet"), "1") {
        Ok(was_off) => changed |= was_off,
        Err(error) => tracing::warn!(%error, "published ports are not reached by 127.0.0.1"),
    }
    if let Some(range) = config.fixed_cidr
        && (!v4.overlaps(range) || range.prefix_len < v4.prefix_len)
    {
        let subnet = v4.masked();
        return Err(Error::InvalidConfig(format!(
            "--fixed-cidr {range} is not part of {name}'s subnet {subnet}"
        )));
    }
    let bridge = Bridge {
        name: name.to_owned(),
        ifindex: link.index,
        subnet: v4.masked(),
        address: v4.address,
        gateway: config.default_gateway.unwrap_or(v4.address),
        ipv6: v6.map(|subnet| (subnet.masked(), subnet.address)),
        gateway_v6: v6.map(|subnet| config.default_gateway_v6.unwrap_or(subnet.address)),
        mtu,
    };
    Ok((bridge, changed))
}

/// The bridge's IPv4 address: as configured, as it was before, as it is, or chosen; in this order.
fn ensure_v4(
    config: &NetworkConfig,
    socket: &mut Socket,
    name: &str,
    index: u32,
    own: &[(IpAddr, u8)],
    known: Option<Subnet4>,
    changed: &mut bool,
) -> Result<Subnet4, Error> {
    let current: Vec<Subnet4> = own
        .iter()
        .filter_map(|(address, prefix_len)| match address {
            IpAddr::V4(address) => Some(Subnet4::new(*address, *prefix_len)),
            IpAddr::V6(_) => None,
        })
        .collect();
    let wanted = match (config.bip.or(known), current.first(), config.fixed_cidr) {
        (Some(subnet), ..) | (None, Some(&subnet), _) => subnet,
        (None, None, Some(range)) => Subnet4::new(first_host(range), range.prefix_len),
        (None, None, None) => choose::subnet(&in_use(socket, name, index)?)
            .ok_or_else(|| Error::NoFreeSubnet { bridge: name.to_owned() })?,
    };
    if current.contains(&wanted) {
        return Ok(wanted);
    }
    *changed = true;
    if config.bip.is_some() {
        for old in &current {
            let _ = rtnl::remove_address(socket, index, old.address.into(), old.prefix_len);
        }
    }
    rtnl::add_address(socket, index, wanted.address.into(), wanted.prefix_len)
        .map_err(|refusal| Error::kernel(format!("give the bridge {name} the address {wanted}"), refusal))?;
    Ok(wanted)
}

fn ensure_v6(
    config: &NetworkConfig,
    socket: &mut Socket,
    name: &str,
    index: u32,
    own: &[(IpAddr, u8)],
    known: Option<(Subnet6, Ipv6Addr)>,
    changed: &mut bool,
) -> Result<Option<Subnet6>, Error> {
    if !config.ipv6 {
        return Ok(None);
    }
    let current = own.iter().find_map(|(address, prefix_len)| match address {
        IpAddr::V6(address) if !address.is_unicast_link_local() => Some(Subnet6::new(*address, *prefix_len)),
        _ => None,
    });
    let wanted = match (config.bip6, config.fixed_cidr_v6, known, current) {
        (Some(bip), ..) => bip,
        (None, Some(range), ..) => {
            Subnet6::new(Ipv6Addr::from(u128::from(range.network()) | 1), range.prefix_len)
        }
        (None, None, Some((subnet, address)), _) => Subnet6::new(address, subnet.prefix_len),
        (None, None, None, Some(current)) => current,
        (None, None, None, None) => {
            let in_use = in_use(socket, name, index)?;
            let chosen = (0..8).find_map(|_| choose::subnet6(&in_use, random().ok()?));
            chosen.ok_or_else(|| Error::NoFreeSubnet { bridge: name.to_owned() })?
        }
    };
    sysctl::ensure(&format!("net/ipv6/conf/{name}/disable_ipv6"), "0")?;
    if loopback6() {
        // Replies to connections from `::1` come in here: IPv6's way of route_localnet.
        rtnl::add_local_route(socket, index, Ipv6Addr::LOCALHOST).map_err(|refusal| {
            Error::kernel(format!("let replies to ::1 in by the bridge {name}"), refusal)
        })?;
    }
    if current != Some(wanted) {
        *changed = true;
        rtnl::add_address(socket, index, wanted.address.into(), wanted.prefix_len).map_err(|refusal| {
            Error::kernel(format!("give the bridge {name} the address {wanted}"), refusal)
        })?;
    }
    Ok(Some(wanted))
}

/// Whether connections to `::1` can be redirected. Not where bridged frames pass the firewall: a reply then has its
/// destination `::1` back before the host's IPv6 sees it, which drops such packets.
pub(crate) fn loopback6() -> bool {
    !matches!(sysctl::read("net/bridge/bridge-nf-call-ip6tables"), Ok(Some(value)) if value == "1")
}

/// What a new subnet must not overlap.
fn in_use(socket: &mut Socket, name: &str, index: u32) -> Result<InUse, Error> {
    let failed = |refusal| Error::kernel(format!("list routes to find a subnet for {name}"), refusal);
    let mut in_use = InUse::default();
    for (address, prefix_len) in rtnl::route_destinations(socket).map_err(failed)? {
        in_use.add(address, prefix_len);
    }
    for (of, address, prefix_len) in rtnl::addresses(socket).map_err(failed)? {
        if of != index {
            in_use.add(address, prefix_len);
        }
    }
    let etc = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for server in files::name_servers(&etc) {
        in_use.add(server, if server.is_ipv4() { 32 } else { 128 });
    }
    Ok(in_use)
}

fn first_host(subnet: Subnet4) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) | 1)
}

fn random_mac() -> Result<MacAddr, Error> {
    let [a, b, c, d, ..]: [u8; 5] = random()?;
    Ok(MacAddr([0x02, 0x42, a, b, c, d]))
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|_| Error::kernel("read random bytes", std::io::Error::from(std::io::ErrorKind::Other)))?;
    Ok(bytes)
}
