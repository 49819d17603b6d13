//! Network namespaces of containers.
//!
//! Each is made on a fresh thread that ends at once: a thread that has been in a namespace of a container does nothing
//! else afterwards.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    thread,
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{
    Error, MacAddr,
    netlink::Socket,
    rtnl::{self, Interface, VethPair},
};

/// The threads do little.
const STACK_LEN: usize = 64 * 1024;

/// The bridge's side of a new sandbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plug<'a> {
    /// Name of the host's end.
    pub(crate) link: &'a str,
    /// Index of the bridge.
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    /// No frames to or from other ports of the bridge.
    pub(crate) isolated: bool,
    pub(crate) mac: MacAddr,
    pub(crate) interface: Interface,
}

/// Makes a namespace with its loopback up and, with a plug, `eth0` on the bridge. Returns the index of the host's end.
///
/// On an error nothing is left: a link that was made goes with the namespace.
pub(crate) fn create(plug: Option<&Plug<'_>>) -> Result<(OwnedFd, u32), Error> {
    on_thread(|| {
        // Opened before the thread leaves the engine's namespace: it creates and looks at the host's end.
        let mut host = plug.map(|_| open_socket()).transpose()?;
        berth_sys::net::unshare_network()
            .map_err(|errno| Error::kernel("make a network namespace", errno))?;
        let netns = open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::kernel("open the new network namespace", errno))?;
        let ifindex = fill(host.as_mut().zip(plug), netns.as_fd())?;
        Ok((netns, ifindex))
    })
}

/// Makes `eth0` again in a namespace that lost it.
pub(crate) fn replug(netns: BorrowedFd<'_>, plug: &Plug<'_>) -> Result<u32, Error> {
    on_thread(|| {
        let mut host = open_socket()?;
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
            .map_err(|errno| Error::kernel("enter the container's network namespace", errno))?;
        fill(Some((&mut host, plug)), netns)
    })
}

/// On a thread inside the namespace.
fn fill(outside: Option<(&mut Socket, &Plug<'_>)>, netns: BorrowedFd<'_>) -> Result<u32, Error> {
    let mut inside = open_socket()?;
    let Some((host, plug)) = outside else {
        rtnl::configure(&mut inside, None)
            .map_err(|refusal| Error::kernel("set the loopback interface up", refusal))?;
        return Ok(0);
    };
    if plug.interface.ipv6.is_none() {
        // Links take the value over when they are made; changing it afterwards would have to wait for the kernel's
        // lock of all links. A kernel without IPv6 has no such file.
        write_if_there("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
            .map_err(|error| Error::kernel("turn off IPv6 in the container", error))?;
    }
    let pair = VethPair { name: plug.link, bridge: plug.bridge, mtu: plug.mtu, netns, mac: plug.mac };
    rtnl::create_veth(host, &pair)
        .map_err(|refusal| Error::kernel(format!("create the veth pair {}", plug.link), refusal))?;
    let configured = connect(host, &mut inside, plug);
    if configured.is_err()
        && let Ok(index) = rtnl::index_of(host, plug.link)
    {
        // The namespace of an existing container would keep the link.
        let _ = rtnl::delete_link(host, index);
    }
    configured
}

fn connect(host: &mut Socket, inside: &mut Socket, plug: &Plug<'_>) -> Result<u32, Error> {
    let index_of = |socket: &Socket, name: &str| {
        rtnl::index_of(socket, name).map_err(|error| Error::kernel(format!("find the link {name}"), error))
    };
    let ifindex = index_of(host, plug.link)?;
    let eth0 = index_of(inside, "eth0")?;
    rtnl::configure(inside, Some((eth0, &plug.interface)))
        .map_err(|refusal| Error::kernel(format!("configure eth0 with {}", plug.interface.ipv4), refusal))?;
    if plug.isolated {
        rtnl::isolate_port(host, ifindex)
            .map_err(|refusal| Error::kernel(format!("isolate the bridge port {}", plug.link), refusal))?;
    }
    Ok(ifindex)
}

fn open_socket() -> Result<Socket, Error> {
    Socket::route(0).map_err(|errno| Error::kernel("open a socket to rtnetlink", errno))
}

fn write_if_there(path: &str, value: &str) -> Result<(), io::Error> {
    match File::options().write(true).open(path) {
        Ok(mut file) => io::Write::write_all(&mut file, value.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
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
