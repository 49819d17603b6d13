//! Bridges, veth pairs, IPAM, nftables and published ports of Berth.
