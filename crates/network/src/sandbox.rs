//! Network namespaces of containers.
//!
//! A namespace is made on a fresh thread that ends at once; that takes most of the time of a start, so some are made
//! ahead of need ([`Blank`]). Plugging one into the bridge is two messages: one to the host's rtnetlink, which makes the
//! veth pair, and one over a socket that was opened inside. No thread enters the namespace for it.

use std::{
    fs::File,
    io,
    net::Ipv4Addr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    thread,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{
    Error, MacAddr,
    netlink::{Refusal, Socket},
    rtnl::{self, Interface, Port, VethPair},
};

/// The threads do little.
const STACK_LEN: usize = 64 * 1024;
/// 169.254.0.0/16.
const LINK_LOCAL_PREFIX: u8 = 16;
/// A link that is not up by then, within half a second, comes up later.
const CARRIER_TRIES: u32 = 1000;
const CARRIER_PAUSE: Duration = Duration::from_micros(500);

/// A namespace with its loopback interface up and nothing else.
#[derive(Debug)]
pub(crate) struct Blank {
    netns: OwnedFd,
    inside: Inside,
}

/// What reaches into a namespace from outside.
#[derive(Debug)]
struct Inside {
    socket: Socket,
    /// Whether new interfaces have IPv6. `None` where the kernel has no IPv6.
    disable_ipv6: Option<File>,
}

/// The bridge's side of a new sandbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plug<'a> {
    /// Name of the host's end.
    pub(crate) link: &'a str,
    /// Index of the bridge.
    pub(crate) bridge: u32,
    pub(crate) bridge_name: &'a str,
    pub(crate) mtu: u32,
    pub(crate) port: Port,
    pub(crate) mac: MacAddr,
    /// Further addresses of the container's end.
    pub(crate) link_local: &'a [Ipv4Addr],
    pub(crate) interface: Interface,
}

impl Blank {
    /// Makes a namespace.
    pub(crate) fn create() -> Result<Blank, Error> {
        on_thread(|| {
            berth_sys::net::unshare_network()
                .map_err(|errno| Error::kernel("make a network namespace", errno))?;
            let netns = open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| Error::kernel("open the new network namespace", errno))?;
            let mut inside = Inside::open()?;
            rtnl::set_loopback_up(&mut inside.socket)
                .map_err(|refusal| Error::kernel("set the loopback interface up", refusal))?;
            Ok(Blank { netns, inside })
        })
    }

    /// The namespace as it is.
    pub(crate) fn into_netns(self) -> OwnedFd {
        self.netns
    }

    /// Makes `eth0` on the bridge. Returns the index of the host's end.
    ///
    /// On an error nothing is left but, at most, a link in this namespace, which goes with it.
    pub(crate) fn plug_in(&mut self, host: &mut Socket, plug: &Plug<'_>) -> Result<u32, Error> {
        self.inside.plug_in(host, self.netns.as_fd(), plug)
    }
}

/// Makes `eth0` again in a namespace that lost it.
pub(crate) fn replug(host: &mut Socket, netns: BorrowedFd<'_>, plug: &Plug<'_>) -> Result<u32, Error> {
    let mut inside = on_thread(|| {
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
            .map_err(|errno| Error::kernel("enter the container's network namespace", errno))?;
        Inside::open()
    })?;
    inside.plug_in(host, netns, plug)
}

impl Inside {
    /// On a thread inside the namespace; what it opens stays there.
    fn open() -> Result<Inside, Error> {
        let socket = Socket::route(0).map_err(|errno| Error::kernel("open a socket to rtnetlink", errno))?;
        let disable_ipv6 =
            match File::options().write(true).open("/proc/sys/net/ipv6/conf/default/disable_ipv6") {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(Error::kernel("open the container's IPv6 settings", error)),
            };
        Ok(Inside { socket, disable_ipv6 })
    }

    fn plug_in(&mut self, host: &mut Socket, netns: BorrowedFd<'_>, plug: &Plug<'_>) -> Result<u32, Error> {
        let without_ipv6 = plug.interface.ipv6.is_none();
        if without_ipv6 {
            // A link takes the value over when it is made. To change it afterwards is to wait for the kernel's lock of
            // all links.
            self.disable_ipv6("1")?;
        }
        let pair = VethPair { name: plug.link, bridge: plug.bridge, mtu: plug.mtu, netns, mac: plug.mac };
        let made = rtnl::create_veth(host, &pair)
            .map_err(|refusal| Error::kernel(format!("create the veth pair {}", plug.link), refusal));
        if without_ipv6 {
            self.disable_ipv6("0")?;
        }
        made?;
        let connected = self.connect(host, plug);
        if connected.is_err()
            && let Ok(index) = rtnl::index_of(host, plug.link)
        {
            let _ = rtnl::delete_link(host, index);
        }
        connected
    }

    fn connect(&mut self, host: &mut Socket, plug: &Plug<'_>) -> Result<u32, Error> {
        let eth0 = rtnl::index_of(&self.socket, "eth0").map_err(|errno| Error::kernel("find eth0", errno))?;
        rtnl::configure(&mut self.socket, eth0, &plug.interface).map_err(|refusal| {
            Error::kernel(format!("configure eth0 with {}", plug.interface.ipv4), refusal)
        })?;
        for &address in plug.link_local {
            rtnl::add_address(&mut self.socket, eth0, address.into(), LINK_LOCAL_PREFIX)
                .map_err(|refusal| Error::kernel(format!("configure eth0 with {address}"), refusal))?;
        }
        let ifindex = await_carrier(host, plug.link)?;
        await_bridge(host, plug.bridge_name)?;
        if let Some((subnet, _)) = plug.interface.ipv6 {
            // The container hears who is looked for only when the kernel has joined the group for it, some time later,
            // and the host would ask again only after a second.
            rtnl::introduce(host, plug.bridge, subnet.address, plug.mac)
                .map_err(|refusal| Error::kernel(format!("make {} known", subnet.address), refusal))?;
        }
        if plug.port != Port::default() {
            rtnl::set_port(host, ifindex, plug.port)
                .map_err(|refusal| Error::kernel(format!("set up the bridge port {}", plug.link), refusal))?;
        }
        Ok(ifindex)
    }

    fn disable_ipv6(&self, value: &str) -> Result<(), Error> {
        let Some(file) = self.disable_ipv6.as_ref() else { return Ok(()) };
        // A setting is taken from the start of the file only.
        file.write_all_at(value.as_bytes(), 0).map_err(|error| Error::kernel("turn off IPv6 for eth0", error))
    }
}

/// Waits until a link passes frames, and returns its index.
///
/// Its carrier came with another link. The kernel acts on that some time later, up to a second, and drops what is sent
/// before: the first ARP request, which is sent again only after a second. To be asked about the link makes it act at
/// once (Linux 6.8; before that it takes a few tries).
fn await_carrier(host: &mut Socket, name: &str) -> Result<u32, Error> {
    let failed = |refusal: Refusal| Error::kernel(format!("look at the link {name}"), refusal);
    let mut tries = 0;
    loop {
        let link =
            rtnl::link_by_name(host, name).map_err(failed)?.ok_or_else(|| failed(Errno::NODEV.into()))?;
        if link.operational || tries == CARRIER_TRIES {
            return Ok(link.index);
        }
        tries += 1;
        thread::sleep(CARRIER_PAUSE);
    }
}

/// Waits until a bridge passes frames: it has a carrier while one of its ports has.
pub(crate) fn await_bridge(host: &mut Socket, name: &str) -> Result<(), Error> {
    if berth_sys::net::link_is_running(&*host, name) == Ok(true) {
        return Ok(());
    }
    await_carrier(host, name).map(|_| ())
}

/// Runs the closure on a thread of its own, whose namespace may be changed.
fn on_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("sandbox".to_owned()).stack_size(STACK_LEN);
        let thread = thread
            .spawn_scoped(scope, work)
            .map_err(|error| Error::kernel("start a thread for a network namespace", error))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::kernel("make a sandbox: its thread panicked", Errno::CANCELED)))
    })
}
