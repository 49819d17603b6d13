//! Where the daemon listens: `-H`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// A socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A path.
    Unix(PathBuf),
    /// An address.
    Tcp(SocketAddr),
    /// The sockets that systemd has opened: all of them, or the one with this number.
    Fd(Option<i32>),
}

impl Host {
    /// The socket that is listened on if nobody says otherwise.
    pub(super) const DEFAULT: &'static str = "unix:///run/berth.sock";

    /// Reads `unix:///path`, `tcp://127.0.0.1:2375`, `fd://` and their short forms. With `tls` a TCP address without a
    /// port is 2376's.
    ///
    /// Errors: Docker's text for what is none of them.
    pub(super) fn parse(text: &str, tls: bool) -> Result<Self, String> {
        let trimmed = text.trim();
        let (proto, rest) = match trimmed.split_once("://") {
            Some((proto, rest)) => (proto, rest),
            None if trimmed.is_empty() => ("unix", ""),
            None => ("tcp", trimmed),
        };
        match proto {
            "unix" => {
                let path = if rest.is_empty() { Self::DEFAULT.trim_start_matches("unix://") } else { rest };
                Ok(Self::Unix(PathBuf::from(path)))
            }
            "tcp" => tcp(text, rest, tls),
            "fd" => match rest {
                "" | "*" => Ok(Self::Fd(None)),
                number => number
                    .parse()
                    .map(|number| Self::Fd(Some(number)))
                    .map_err(|_| format!("failed to parse systemd fd address: should be a number: {number}")),
            },
            other => Err(format!("invalid bind address ({text}): unsupported proto '{other}'")),
        }
    }

    /// Says whether only this machine reaches the socket.
    pub(crate) fn is_local(&self) -> bool {
        !matches!(self, Self::Tcp(address) if !address.ip().is_loopback())
    }
}

fn tcp(text: &str, rest: &str, tls: bool) -> Result<Host, String> {
    let invalid = |why: String| format!("invalid bind address ({text}): {why}");
    let address = rest.trim_end_matches('/');
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (address, if tls { "2376" } else { "2375" }),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port
        .parse()
        .map_err(|_| invalid(format!("parse \"tcp://{rest}\": invalid port \":{port}\" after host")))?;
    let ip = match host {
        "" | "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().map_err(|_| invalid("should be an IP address".to_owned()))?,
    };
    Ok(Host::Tcp(SocketAddr::new(ip, port)))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Fd(None) => f.write_str("fd://"),
            Self::Fd(Some(number)) => write!(f, "fd://{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        let check = |text: &str, expect: &str| {
            assert_eq!(Host::parse(text, false).unwrap().to_string(), expect, "{text}");
        };
        check("unix:///a/b", "unix:///a/b");
        check("unix://", "unix:///run/berth.sock");
        check("", "unix:///run/berth.sock");
        check("tcp://127.0.0.1:99", "tcp://127.0.0.1:99");
        check("tcp://localhost", "tcp://127.0.0.1:2375");
        check(":2375", "tcp://127.0.0.1:2375");
        check("tcp://[::1]:99", "tcp://[::1]:99");
        check("tcp://[::1]", "tcp://[::1]:2375");
        check("tcp://0.0.0.0:2375", "tcp://0.0.0.0:2375");
        check("fd://", "fd://");
        check("fd://*", "fd://");
        check("fd://4", "fd://4");
        assert_eq!(Host::parse("tcp://", true).unwrap().to_string(), "tcp://127.0.0.1:2376");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let error = |text: &str| Host::parse(text, false).unwrap_err();
        assert_eq!(error("foo://bar"), "invalid bind address (foo://bar): unsupported proto 'foo'");
        assert_eq!(
            error("tcp://h:x"),
            "invalid bind address (tcp://h:x): parse \"tcp://h:x\": invalid port \":x\" after host"
        );
        assert_eq!(error("tcp://host:1"), "invalid bind address (tcp://host:1): should be an IP address");
        assert!(error("fd://x").contains("should be a number"));
    }

    #[test]
    fn only_loopback_and_paths_are_local() {
        let local = |text: &str| Host::parse(text, false).unwrap().is_local();
        assert!(local("unix:///a") && local("tcp://127.0.0.9:1") && local("tcp://[::1]:1"));
        assert!(!local("tcp://0.0.0.0:1") && !local("tcp://[::]:1") && !local("tcp://10.0.0.1:1"));
    }
}
