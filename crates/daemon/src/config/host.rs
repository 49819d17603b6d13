//! Where the daemon listens: `-H`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// A socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A path.
    Unix(PathBuf),
    /// A loopback address: without TLS, whoever reaches it is root.
    Tcp(SocketAddr),
}

impl Host {
    /// The socket that is listened on if nobody says otherwise.
    pub(super) const DEFAULT: &'static str = "unix:///run/berth.sock";

    /// Reads `unix:///path`, `tcp://127.0.0.1:2375` and their short forms.
    ///
    /// Errors: Docker's text for what is none of them; a reason for what is not served.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let (proto, rest) = match trimmed.split_once("://") {
            Some((proto, rest)) => (proto, rest),
            None if trimmed.is_empty() => return Self::parse(Self::DEFAULT),
            None => ("tcp", trimmed),
        };
        match proto {
            "unix" => {
                let path = if rest.is_empty() { Self::DEFAULT.trim_start_matches("unix://") } else { rest };
                Ok(Self::Unix(PathBuf::from(path)))
            }
            "tcp" => tcp(text, rest),
            "fd" => Err(format!("invalid bind address ({text}): sockets of systemd are not taken over yet")),
            other => Err(format!("invalid bind address ({text}): unsupported proto '{other}'")),
        }
    }
}

fn tcp(text: &str, rest: &str) -> Result<Host, String> {
    let invalid = |why: &str| format!("invalid bind address ({text}): {why}");
    let address = rest.trim_end_matches('/');
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (address, "2375"),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = match host {
        "" | "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().map_err(|_| invalid("should be an IP address"))?,
    };
    let port = port.parse().map_err(|_| invalid("should be a port"))?;
    if !ip.is_loopback() {
        return Err(invalid(
            "whoever reaches the Engine API is root, and TLS is not built yet: only loopback addresses are served",
        ));
    }
    Ok(Host::Tcp(SocketAddr::new(ip, port)))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        let check =
            |text: &str, expect: &str| assert_eq!(Host::parse(text).unwrap().to_string(), expect, "{text}");
        check("unix:///a/b", "unix:///a/b");
        check("unix://", "unix:///run/berth.sock");
        check("", "unix:///run/berth.sock");
        check("tcp://127.0.0.1:99", "tcp://127.0.0.1:99");
        check("tcp://localhost", "tcp://127.0.0.1:2375");
        check(":2375", "tcp://127.0.0.1:2375");
        check("tcp://[::1]:99", "tcp://[::1]:99");
        check("tcp://[::1]", "tcp://[::1]:2375");
    }

    #[test]
    fn what_is_not_served_is_refused() {
        assert_eq!(
            Host::parse("foo://bar").unwrap_err(),
            "invalid bind address (foo://bar): unsupported proto 'foo'"
        );
        for text in [
            "tcp://0.0.0.0:2375",
            "tcp://10.0.0.1:2375",
            "tcp://[::]:1",
            "fd://",
            "tcp://host:1",
            "tcp://127.0.0.1:x",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }
}
