//! How registries are reached: mirrors, insecure ones, certificates, proxies, limits.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::error::Error;

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings by the host (and port) of a registry as it stands in image names: `docker.io`, `example.com:5000`.
    pub registries: BTreeMap<String, Registry>,
    /// Registries, as `host[:port]` or as a network in CIDR form, whose certificate need not be right and that may
    /// speak plain HTTP. Loopback is always among them.
    pub insecure: Vec<String>,
    /// Directories with `<host[:port]>/{*.crt, *.cert, *.key}`: authorities and client certificates of a registry,
    /// read anew whenever they have changed.
    pub certificates: Vec<PathBuf>,
    /// The proxies to use.
    pub proxies: Proxies,
    /// Layers that are downloaded at once, over all pulls.
    pub downloads: usize,
    /// Layers that are uploaded at once, over all pushes.
    pub uploads: usize,
    /// How often a request is tried before it fails, counted anew whenever data came in earnest.
    pub attempts: u32,
    /// How long a registry may bring, or take, nothing to speak of while a layer is on its way.
    pub patience: Duration,
    /// The `User-Agent` of requests.
    pub user_agent: String,
}

/// Settings of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Base URLs that are asked before the registry itself, in order.
    pub mirrors: Vec<String>,
}

impl Registry {
    /// Checks the settings before they are used.
    ///
    /// Errors: a mirror that is no URL to ask.
    pub fn check(&self) -> Result<(), Error> {
        self.mirrors.iter().try_for_each(|url| Endpoint::mirror(url).map(drop))
    }
}

/// What a registry may be told about who asks.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password or access token.
    pub password: String,
    /// An OAuth refresh token, instead of user and password.
    pub identity_token: String,
    /// A ready bearer token, instead of all others.
    pub registry_token: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Whether there is nothing in them.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Proxies by scheme, as in `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: Option<String>,
    /// For `https` URLs.
    pub https: Option<String>,
    /// Hosts, domains and networks that are reached without one.
    pub none: Vec<String>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct InvalidOption {
    /// The setting.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            registries: BTreeMap::new(),
            insecure: Vec::new(),
            certificates: vec![PathBuf::from("/etc/berth/certs.d"), PathBuf::from("/etc/docker/certs.d")],
            proxies: Proxies::default(),
            downloads: 3,
            uploads: 5,
            attempts: 5,
            patience: Duration::from_secs(30),
            user_agent: concat!("berth/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl Options {
    /// Whether a registry may be without a certificate that is right.
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        let name = without_port(host);
        if name == "localhost" || parse_ip(name).is_some_and(|ip| ip.is_loopback()) {
            return true;
        }
        self.insecure.iter().any(|entry| match entry.split_once('/') {
            Some((network, bits)) => in_network(name, network, bits),
            None => entry == host || entry == name,
        })
    }
}

impl Proxies {
    /// The proxies of this process's environment, in either case of the names.
    pub fn from_environment() -> Self {
        let get = |name: &str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .iter()
                .filter_map(|name| std::env::var(name).ok())
                .find(|value| !value.is_empty())
        };
        let none = get("NO_PROXY").unwrap_or_default();
        Self {
            http: get("HTTP_PROXY"),
            https: get("HTTPS_PROXY"),
            none: none
                .split(',')
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect(),
        }
    }

    /// The proxy for a host, if one is to be used.
    pub(crate) fn choose(&self, is_https: bool, host: &str, port: u16) -> Option<&str> {
        let proxy = if is_https { self.https.as_deref() } else { self.http.as_deref() }?;
        let name = host.trim_matches(['[', ']']);
        if name == "localhost" || parse_ip(name).is_some_and(|ip| ip.is_loopback()) {
            return None;
        }
        let direct = self.none.iter().any(|entry| {
            if entry == "*" {
                return true;
            }
            if let Some((network, bits)) = entry.split_once('/') {
                return in_network(name, network, bits);
            }
            let (entry, wanted) = match entry.rsplit_once(':') {
                Some((entry, number)) if number.parse::<u16>().is_ok() => (entry, number.parse().ok()),
                _ => (entry.as_str(), None),
            };
            let domain = entry.trim_start_matches("*.").trim_start_matches('.');
            let fits = name == domain || name.ends_with(&format!(".{domain}"));
            fits && wanted.is_none_or(|wanted: u16| wanted == port)
        });
        (!direct).then_some(proxy)
    }
}

/// A host without its port, and without the brackets of an IPv6 address.
pub(crate) fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.split(':').next().unwrap_or(host)
}

fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn in_network(host: &str, network: &str, bits: &str) -> bool {
    let (Some(ip), Some(network), Ok(bits)) = (parse_ip(host), parse_ip(network), bits.parse::<u32>()) else {
        return false;
    };
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            (ip.to_bits() ^ network.to_bits()) & mask == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            (ip.to_bits() ^ network.to_bits()) & mask == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insecure_by_name_port_and_network() {
        let insecure = vec!["plain.example:5000".to_owned(), "10.0.0.0/8".to_owned(), "fd00::/8".to_owned()];
        let options = Options { insecure, ..Options::default() };
        for (host, expect) in [
            ("localhost:5000", true),
            ("127.0.0.1", true),
            ("[::1]:5000", true),
            ("plain.example:5000", true),
            ("plain.example", false),
            ("10.2.3.4:443", true),
            ("11.2.3.4", false),
            ("[fd01::1]:5000", true),
            ("docker.io", false),
        ] {
            assert_eq!(options.is_insecure(host), expect, "{host}");
        }
    }

    #[test]
    fn proxies_are_left_aside_where_asked() {
        let proxies = Proxies {
            http: Some("http://p:1".to_owned()),
            https: Some("http://p:2".to_owned()),
            none: [".inner.example", "direct.example:5000", "10.0.0.0/8"].map(str::to_owned).to_vec(),
        };
        for (host, port, expect) in [
            ("outer.example", 443, Some("http://p:2")),
            ("a.inner.example", 443, None),
            ("inner.example", 443, None),
            ("direct.example", 5000, None),
            ("direct.example", 443, Some("http://p:2")),
            ("10.1.1.1", 443, None),
            ("localhost", 443, None),
        ] {
            assert_eq!(proxies.choose(true, host, port), expect, "{host}:{port}");
        }
        assert_eq!(proxies.choose(false, "outer.example", 80), Some("http://p:1"));
    }
}
