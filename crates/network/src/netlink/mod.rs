//! Netlink as the kernel speaks it: messages are built in one buffer and sent in one call.
//!
//! Source: netlink(7), rtnetlink(7), `include/uapi/linux/netlink.h`.

pub(crate) mod consts;
pub(crate) mod message;
mod socket;

pub(crate) use message::{Messages, Reply, integer};
pub(crate) use socket::{Refusal, Socket};
