//! Which subnet a new bridge gets. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Subnet4, Subnet6};

/// What the host uses already: routes, addresses, name servers.
#[derive(Debug, Clone, Default)]
pub(crate) struct InUse {
    pub(crate) v4: Vec<Subnet4>,
    pub(crate) v6: Vec<Subnet6>,
}

impl InUse {
    pub(crate) fn add(&mut self, address: IpAddr, prefix_len: u8) {
        match address {
            IpAddr::V4(address) => self.v4.push(Subnet4::new(address, prefix_len)),
            IpAddr::V6(address) => self.v6.push(Subnet6::new(address, prefix_len)),
        }
    }
}

/// The first subnet of Docker's pools that overlaps nothing in use, as the address of the bridge: `172.17.0.1/16` to
/// `172.31.0.1/16`, then `192.168.0.1/20` to `192.168.240.1/20`.
pub(crate) fn subnet(in_use: &InUse) -> Option<Subnet4> {
    let large = (17..=31).map(|second| Subnet4::new(Ipv4Addr::new(172, second, 0, 1), 16));
    let small = (0..=240).step_by(16).map(|third| Subnet4::new(Ipv4Addr::new(192, 168, third, 1), 20));
    large.chain(small).find(|candidate| !in_use.v4.iter().any(|used| used.overlaps(*candidate)))
}

/// A local IPv6 prefix (RFC 4193) made from 40 random bits, as the address of the bridge; `None` if it is in use.
pub(crate) fn subnet6(in_use: &InUse, random: [u8; 5]) -> Option<Subnet6> {
    let [a, b, c, d, e] = random;
    let address = Ipv6Addr::from([0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let candidate = Subnet6::new(address, 64);
    (!in_use.v6.iter().any(|used| used.overlaps(candidate))).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(used: &[&str], expect: Option<&str>) {
        let in_use = InUse { v4: used.iter().map(|text| text.parse().unwrap()).collect(), v6: Vec::new() };
        assert_eq!(subnet(&in_use).map(|subnet| subnet.to_string()).as_deref(), expect, "{used:?}");
    }

    #[test]
    fn takes_the_first_free_one() {
        check(&[], Some("172.17.0.1/16"));
        check(&["192.0.2.2/24"], Some("172.17.0.1/16"));
        // Another engine's bridge, a VPN's route into the middle of a pool, a name server.
        check(&["172.17.0.1/16"], Some("172.18.0.1/16"));
        check(&["172.17.0.0/16", "172.18.99.0/24", "172.19.0.53/32"], Some("172.20.0.1/16"));
        check(&["172.16.0.0/12"], Some("192.168.0.1/20"));
        check(&["172.16.0.0/12", "192.168.1.0/24"], Some("192.168.16.1/20"));
        check(&["172.16.0.0/12", "192.168.0.0/16"], None);
        check(&["128.0.0.0/1"], None);
    }

    #[test]
    fn the_local_prefix_avoids_what_is_there() {
        let mut in_use = InUse::default();
        let subnet = subnet6(&in_use, [1, 2, 3, 4, 5]).unwrap();
        assert_eq!(subnet.to_string(), "fd01:203:405::1/64");
        in_use.add(subnet.address.into(), 48);
        assert_eq!(subnet6(&in_use, [1, 2, 3, 4, 5]), None);
    }
}
