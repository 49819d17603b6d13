//! Addresses of one bridge. In memory: an engine that starts again rebuilds it from its records.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{Error, Subnet4, Subnet6};

/// The addresses of a bridge's subnets.
#[derive(Debug)]
pub(crate) struct Ipam {
    pub(crate) bridge: String,
    pub(crate) subnet: Subnet4,
    v4: Pool,
    v6: Option<(Subnet6, Pool)>,
}

/// Numbers from `first` to `last`, the lowest free one first. Taking and giving back cost the same however many there
/// are.
#[derive(Debug)]
struct Pool {
    last: u128,
    /// All below are taken, but those in `freed`.
    next: u128,
    freed: BTreeSet<u128>,
    /// Taken ones from `next` on, or outside the range.
    ahead: BTreeSet<u128>,
    first: u128,
}

impl Ipam {
    /// Addresses come from `range`, which is part of the subnet. The reserved ones are never given.
    pub(crate) fn new(bridge: &str, subnet: Subnet4, range: Subnet4, reserved: &[Ipv4Addr]) -> Ipam {
        let first = u128::from(u32::from(range.network()));
        let last = u128::from(u32::from(range.broadcast()));
        let mut v4 = Pool::new(first, last);
        // The network's own address and the broadcast address are no host's.
        if subnet.prefix_len < 31 {
            v4.take(number4(subnet.network()));
            v4.take(number4(subnet.broadcast()));
        }
        for &address in reserved {
            v4.take(number4(address));
        }
        Ipam { bridge: bridge.to_owned(), subnet: subnet.masked(), v4, v6: None }
    }

    /// Adds an IPv6 subnet.
    pub(crate) fn with_ipv6(mut self, subnet: Subnet6, reserved: &[Ipv6Addr]) -> Ipam {
        let first = u128::from(subnet.network());
        let mut pool = Pool::new(first, first | !subnet.mask());
        // The subnet-router anycast address.
        pool.take(first);
        for &address in reserved {
            pool.take(u128::from(address));
        }
        self.v6 = Some((subnet.masked(), pool));
        self
    }

    /// Takes an IPv4 address: the one asked for, or the lowest free one.
    pub(crate) fn take_v4(&mut self, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, Error> {
        match wanted {
            Some(address) if !self.subnet.contains(address) => Err(Error::AddressOutside(address.into())),
            Some(address) if self.v4.take(number4(address)) => Ok(address),
            Some(address) => Err(Error::AddressInUse(address.into())),
            None => match self.v4.take_lowest() {
                Some(number) => Ok(Ipv4Addr::from(u32::try_from(number).expect("the pool is made of u32"))),
                None => Err(Error::NoFreeAddress { bridge: self.bridge.clone(), subnet: self.subnet }),
            },
        }
    }

    /// Takes an IPv6 address, if the bridge has any.
    pub(crate) fn take_v6(&mut self, wanted: Option<Ipv6Addr>) -> Result<Option<Ipv6Addr>, Error> {
        let Some((subnet, pool)) = &mut self.v6 else {
            return wanted.map_or(Ok(None), |address| Err(Error::AddressOutside(address.into())));
        };
        match wanted {
            Some(address) if !subnet.contains(address) => Err(Error::AddressOutside(address.into())),
            Some(address) if pool.take(address.into()) => Ok(Some(address)),
            Some(address) => Err(Error::AddressInUse(address.into())),
            None => match pool.take_lowest() {
                Some(number) => Ok(Some(number.into())),
                None => Err(Error::NoFreeAddress { bridge: self.bridge.clone(), subnet: self.subnet }),
            },
        }
    }

    /// Gives an address back. One that was not taken is no error.
    pub(crate) fn give_back(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.v4.give_back(number4(address)),
            IpAddr::V6(address) => {
                if let Some((_, pool)) = &mut self.v6 {
                    pool.give_back(address.into());
                }
            }
        }
    }
}

impl Pool {
    fn new(first: u128, last: u128) -> Pool {
        Pool { first, last, next: first, freed: BTreeSet::new(), ahead: BTreeSet::new() }
    }

    fn take_lowest(&mut self) -> Option<u128> {
        if let Some(number) = self.freed.pop_first() {
            return Some(number);
        }
        while self.next <= self.last {
            let number = self.next;
            self.next = self.next.checked_add(1)?;
            if !self.ahead.remove(&number) {
                return Some(number);
            }
        }
        None
    }

    /// Whether it was free.
    fn take(&mut self, number: u128) -> bool {
        if (self.first..self.next).contains(&number) {
            self.freed.remove(&number)
        } else {
            self.ahead.insert(number)
        }
    }

    fn give_back(&mut self, number: u128) {
        if (self.first..self.next).contains(&number) {
            self.freed.insert(number);
        } else {
            self.ahead.remove(&number);
        }
    }
}

fn number4(address: Ipv4Addr) -> u128 {
    u32::from(address).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn docker0() -> Ipam {
        let subnet: Subnet4 = "172.17.0.1/16".parse().unwrap();
        Ipam::new("berth0", subnet, subnet, &[subnet.address])
    }

    #[test]
    fn the_lowest_free_address_is_given_first_and_again() {
        let mut ipam = docker0();
        let given: Vec<_> = (0..3).map(|_| ipam.take_v4(None).unwrap().to_string()).collect();
        assert_eq!(given, ["172.17.0.2", "172.17.0.3", "172.17.0.4"]);
        ipam.give_back(ip("172.17.0.3").into());
        ipam.give_back(ip("172.17.0.2").into());
        assert_eq!(ipam.take_v4(None).unwrap(), ip("172.17.0.2"));
        assert_eq!(ipam.take_v4(None).unwrap(), ip("172.17.0.3"));
        assert_eq!(ipam.take_v4(None).unwrap(), ip("172.17.0.5"));
    }

    #[test]
    fn fixed_addresses_are_skipped_refused_and_given_back() {
        let mut ipam = docker0();
        assert_eq!(ipam.take_v4(Some(ip("172.17.0.3"))).unwrap(), ip("172.17.0.3"));
        assert_eq!(ipam.take_v4(None).unwrap(), ip("172.17.0.2"));
        assert_eq!(ipam.take_v4(None).unwrap(), ip("172.17.0.4"));
        for taken in ["172.17.0.3", "172.17.0.2", "172.17.0.1", "172.17.0.0", "172.17.255.255"] {
            assert!(matches!(ipam.take_v4(Some(ip(taken))), Err(Error::AddressInUse(_))), "{taken}");
        }
        assert!(matches!(ipam.take_v4(Some(ip("172.18.0.2"))), Err(Error::AddressOutside(_))));
        ipam.give_back(ip("172.17.0.3").into());
        ipam.give_back(ip("172.17.0.3").into());
        assert_eq!(ipam.take_v4(None).unwrap(), ip("172.17.0.3"));
        assert_eq!(ipam.take_v4(None).unwrap(), ip("172.17.0.5"));
    }

    #[test]
    fn a_full_subnet_says_so_and_recovers() {
        let subnet: Subnet4 = "10.0.0.1/29".parse().unwrap();
        let mut ipam = Ipam::new("berth0", subnet, subnet, &[subnet.address]);
        for last in 2..=6 {
            assert_eq!(ipam.take_v4(None).unwrap(), Ipv4Addr::new(10, 0, 0, last));
        }
        assert!(matches!(ipam.take_v4(None), Err(Error::NoFreeAddress { .. })));
        ipam.give_back(ip("10.0.0.4").into());
        assert_eq!(ipam.take_v4(None).unwrap(), ip("10.0.0.4"));
    }

    #[test]
    fn a_fixed_range_bounds_the_choice_but_not_the_wish() {
        let subnet: Subnet4 = "10.0.0.1/24".parse().unwrap();
        let mut ipam = Ipam::new("berth0", subnet, "10.0.0.128/25".parse().unwrap(), &[subnet.address]);
        assert_eq!(ipam.take_v4(None).unwrap(), ip("10.0.0.128"));
        assert_eq!(ipam.take_v4(Some(ip("10.0.0.9"))).unwrap(), ip("10.0.0.9"));
        assert!(ipam.take_v4(Some(ip("10.0.0.9"))).is_err());
        ipam.give_back(ip("10.0.0.9").into());
        assert!(ipam.take_v4(Some(ip("10.0.0.9"))).is_ok());
    }

    #[test]
    fn ipv6_starts_after_the_bridge() {
        let subnet: Subnet6 = "fd00:1::1/64".parse().unwrap();
        let mut ipam = docker0().with_ipv6(subnet, &[subnet.address]);
        assert_eq!(ipam.take_v6(None).unwrap().unwrap(), "fd00:1::2".parse::<Ipv6Addr>().unwrap());
        assert!(ipam.take_v6(Some("fd00:2::2".parse().unwrap())).is_err());
        assert_eq!(docker0().take_v6(None).unwrap(), None);
        assert!(docker0().take_v6(Some("fd00::2".parse().unwrap())).is_err());
    }

    #[test]
    fn the_whole_ipv6_space_does_not_overflow() {
        let mut pool = Pool::new(u128::MAX - 1, u128::MAX);
        assert_eq!(pool.take_lowest(), Some(u128::MAX - 1));
        assert_eq!(pool.take_lowest(), None);
    }
}
