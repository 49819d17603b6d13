//! Our nftables table: its rules, its maps, and the socket that owns it.
//!
//! Source: `include/uapi/linux/netfilter/nf_tables.h`; the meaning of each expression as in nft(8).

mod encode;
mod firewall;
mod rules;

pub(crate) use firewall::{Firewall, TableState};
pub(crate) use rules::{Rules, table_name};
