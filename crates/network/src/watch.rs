//! Notices when somebody else changes what is ours.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::event::epoll;

use crate::{
    Error,
    netlink::{Reply, Socket, consts::*},
};

/// Becomes readable when our table, bridge or forwarding may have been changed by another program.
///
/// The engine waits for it (`AsFd`), calls [`Watch::harmed`], and then
/// [`Network::repair`](crate::Network::repair) if it says so.
#[derive(Debug)]
pub struct Watch {
    poll: OwnedFd,
    route: Socket,
    /// Not needed where the kernel keeps others off our table.
    netfilter: Option<Socket>,
    ours: Ours,
}

/// What notices are compared with.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) table: String,
    /// Port of the socket by which we change the table ourselves.
    pub(crate) port: u32,
    pub(crate) bridge: Arc<AtomicU32>,
    pub(crate) ip_forward: bool,
}

/// What [`Network::repair`](crate::Network::repair) put right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The bridge, its address, its settings or links that were no longer plugged in.
    pub bridge: bool,
    /// The nftables table.
    pub table: bool,
    /// Forwarding of the host.
    pub forwarding: bool,
}

impl Watch {
    pub(crate) fn open(ours: Ours, table: bool) -> Result<Watch, Error> {
        let failed = |errno| Error::kernel("watch for changes of the network", errno);
        let route = Socket::route(RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_NETCONF).map_err(failed)?;
        let netfilter = table.then(|| Socket::netfilter(NFNL_GROUP_NFTABLES)).transpose().map_err(failed)?;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        for socket in [Some(&route), netfilter.as_ref()].into_iter().flatten() {
            epoll::add(&poll, socket, epoll::EventData::new_u64(0), epoll::EventFlags::IN).map_err(failed)?;
        }
        Ok(Watch { poll, route, netfilter, ours })
    }

    /// Reads all notices that have come in; whether one of them asks for a repair. Does not block.
    ///
    /// # Errors
    /// When the kernel's notices cannot be read.
    pub fn harmed(&mut self) -> Result<bool, Error> {
        let failed = |errno| Error::kernel("read notices of changes of the network", errno);
        let mut harmed = false;
        let ours = &self.ours;
        let complete = self.route.notices(|notice| harmed |= ours.route_harmed(&notice)).map_err(failed)?;
        harmed |= !complete;
        if let Some(netfilter) = &mut self.netfilter {
            let complete =
                netfilter.notices(|notice| harmed |= ours.table_harmed(&notice)).map_err(failed)?;
            harmed |= !complete;
        }
        Ok(harmed)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

impl Ours {
    /// The bridge or its address is gone, or forwarding is off.
    fn route_harmed(&self, notice: &Reply<'_>) -> bool {
        let bridge = self.bridge.load(Ordering::Relaxed);
        match notice.kind {
            RTM_DELADDR => notice.header_u32(4) == bridge,
            RTM_DELNETCONF => notice.attributes(1).u32(NETCONFA_IFINDEX) == Some(bridge),
            RTM_NEWNETCONF => {
                let attributes = notice.attributes(1);
                let all = attributes.u32(NETCONFA_IFINDEX) == Some(NETCONFA_IFINDEX_ALL);
                self.ip_forward && all && attributes.u32(NETCONFA_FORWARDING) == Some(0)
            }
            _ => false,
        }
    }

    /// Somebody else changed something in our table. Its name is the first attribute in all of these messages.
    fn table_harmed(&self, notice: &Reply<'_>) -> bool {
        let nf_tables = notice.kind >> 8 == NFNL_SUBSYS_NFTABLES;
        nf_tables && notice.port != self.port && notice.attributes(4).string(1) == Some(&self.table)
    }
}
