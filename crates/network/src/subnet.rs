//! An address with its prefix length, IPv4 and IPv6.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text is no address with a prefix length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct ParseSubnetError(pub String);

/// An IPv4 address and its prefix length, as in `172.17.0.1/16`. The host part is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet4 {
    /// The address as written.
    pub address: Ipv4Addr,
    /// 0 to 32.
    pub prefix_len: u8,
}

/// An IPv6 address and its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet6 {
    /// The address as written.
    pub address: Ipv6Addr,
    /// 0 to 128.
    pub prefix_len: u8,
}

// === impl Subnet4 ===

impl Subnet4 {
    /// The address with this prefix length, which is at most 32.
    #[must_use]
    pub const fn new(address: Ipv4Addr, prefix_len: u8) -> Subnet4 {
        Subnet4 { address, prefix_len }
    }

    /// The network mask as a number.
    #[must_use]
    pub fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix_len)).unwrap_or(0)
    }

    /// First address: the host part is zero.
    #[must_use]
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) & self.mask())
    }

    /// Last address: the host part is all ones.
    #[must_use]
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) | !self.mask())
    }

    /// The same subnet without the host part.
    #[must_use]
    pub fn masked(self) -> Subnet4 {
        Subnet4 { address: self.network(), prefix_len: self.prefix_len }
    }

    /// Whether the address is in the subnet.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.network())
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(self, other: Subnet4) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }
}

impl fmt::Display for Subnet4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl FromStr for Subnet4 {
    type Err = ParseSubnetError;

    fn from_str(text: &str) -> Result<Subnet4, ParseSubnetError> {
        let (address, prefix_len) = split(text, 32)?;
        Ok(Subnet4 { address, prefix_len })
    }
}

// === impl Subnet6 ===

impl Subnet6 {
    /// The address with this prefix length, which is at most 128.
    #[must_use]
    pub const fn new(address: Ipv6Addr, prefix_len: u8) -> Subnet6 {
        Subnet6 { address, prefix_len }
    }

    /// The network mask as a number.
    #[must_use]
    pub fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.prefix_len)).unwrap_or(0)
    }

    /// First address: the host part is zero.
    #[must_use]
    pub fn network(self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.address) & self.mask())
    }

    /// The same subnet without the host part.
    #[must_use]
    pub fn masked(self) -> Subnet6 {
        Subnet6 { address: self.network(), prefix_len: self.prefix_len }
    }

    /// Whether the address is in the subnet.
    #[must_use]
    pub fn contains(self, address: Ipv6Addr) -> bool {
        u128::from(address) & self.mask() == u128::from(self.network())
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(self, other: Subnet6) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl FromStr for Subnet6 {
    type Err = ParseSubnetError;

    fn from_str(text: &str) -> Result<Subnet6, ParseSubnetError> {
        let (address, prefix_len) = split(text, 128)?;
        Ok(Subnet6 { address, prefix_len })
    }
}

fn split<A: FromStr>(text: &str, longest: u8) -> Result<(A, u8), ParseSubnetError> {
    let error = || ParseSubnetError(text.to_owned());
    let (address, prefix_len) = text.split_once('/').ok_or_else(error)?;
    let address = address.parse().map_err(|_| error())?;
    let digits = !prefix_len.is_empty() && prefix_len.bytes().all(|digit| digit.is_ascii_digit());
    let prefix_len: u8 = prefix_len.parse().map_err(|_| error())?;
    if digits && prefix_len <= longest { Ok((address, prefix_len)) } else { Err(error()) }
}

macro_rules! serde_as_text {
    ($kind:ty) => {
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$kind, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

serde_as_text!(Subnet4);
serde_as_text!(Subnet6);

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> Subnet4 {
        text.parse().unwrap()
    }

    #[test]
    fn arithmetic_holds_at_the_edges() {
        assert_eq!(v4("172.17.3.4/16").masked(), v4("172.17.0.0/16"));
        assert_eq!(v4("172.17.3.4/16").broadcast(), Ipv4Addr::new(172, 17, 255, 255));
        assert_eq!(v4("0.0.0.0/0").broadcast(), Ipv4Addr::BROADCAST);
        assert_eq!(v4("10.0.0.1/32").network(), v4("10.0.0.1/32").broadcast());
        assert!(v4("0.0.0.0/0").contains(Ipv4Addr::new(8, 8, 8, 8)));
        let all: Subnet6 = "::/0".parse().unwrap();
        assert!(all.contains("fd00::1".parse().unwrap()));
        let one: Subnet6 = "fd00::1/128".parse().unwrap();
        assert!(!one.contains("fd00::2".parse().unwrap()));
    }

    #[test]
    fn overlap_is_symmetric() {
        for (a, b, expect) in [
            ("172.17.0.0/16", "172.17.9.0/24", true),
            ("172.17.0.0/16", "172.18.0.0/16", false),
            ("192.0.2.0/24", "0.0.0.0/0", true),
        ] {
            assert_eq!(v4(a).overlaps(v4(b)), expect, "{a} {b}");
            assert_eq!(v4(b).overlaps(v4(a)), expect, "{b} {a}");
        }
    }

    #[test]
    fn bad_text_is_refused() {
        for bad in
            ["", "172.17.0.1", "172.17.0.1/33", "172.17.0.1/+8", "172.17.0/16", "fd00::/64", "1.2.3.4/"]
        {
            assert_eq!(bad.parse::<Subnet4>(), Err(ParseSubnetError(bad.to_owned())), "{bad}");
        }
        assert!("fd00::/129".parse::<Subnet6>().is_err());
    }
}
