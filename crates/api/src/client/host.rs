//! Where an engine listens: `unix:///run/berth.sock`, `tcp://127.0.0.1:2375`.

use std::fmt;
use std::path::PathBuf;

/// The port that an address without one means.
const DEFAULT_PORT: u16 = 2375;

/// A parsed `-H` value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP address, and the path that comes before every request's path (`""` or `/base`).
    Tcp {
        /// Host name or address.
        name: String,
        /// Port.
        port: u16,
        /// Path prefix.
        base: String,
    },
}

/// A host that cannot be used; the text is what Docker prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Neither `unix://` nor `tcp://`, or the address in it is malformed.
    #[error("invalid bind address format: {0}")]
    Format(String),
    /// The protocol exists, but this client does not speak it.
    #[error("{0} hosts are not supported yet: {1}")]
    Protocol(&'static str, String),
}

impl Host {
    /// Reads a host as Docker's `-H` and `DOCKER_HOST` are read.
    ///
    /// # Errors
    /// [`HostError::Format`] for anything that is not an address.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let text = text.trim();
        match text.split_once("://") {
            Some(("unix", path)) => Ok(Self::Unix(if path.is_empty() {
                PathBuf::from("/var/run/docker.sock")
            } else {
                PathBuf::from(path)
            })),
            Some(("tcp" | "http", address)) => parse_tcp(text, address),
            Some(("ssh", _)) => Err(HostError::Protocol("ssh", text.to_owned())),
            Some(("npipe", _)) => Err(HostError::Protocol("npipe", text.to_owned())),
            Some(("fd", _)) => Err(HostError::Protocol("fd", text.to_owned())),
            Some(_) => Err(HostError::Format(text.to_owned())),
            None => parse_tcp(text, text),
        }
    }
}

fn parse_tcp(whole: &str, address: &str) -> Result<Host, HostError> {
    let malformed = || HostError::Format(whole.to_owned());
    let (authority, base) = match address.find('/') {
        Some(at) => (&address[..at], address[at..].trim_end_matches('/')),
        None => (address, ""),
    };
    let (name, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (name, rest) = rest.split_once(']').ok_or_else(malformed)?;
        (name, rest.strip_prefix(':').unwrap_or(""))
    } else {
        authority.rsplit_once(':').unwrap_or((authority, ""))
    };
    let port = if port.is_empty() { DEFAULT_PORT } else { port.parse().map_err(|_| malformed())? };
    let name = if name.is_empty() { "localhost" } else { name };
    if port == 0 || name.contains(char::is_whitespace) {
        return Err(malformed());
    }
    Ok(Host::Tcp { name: name.to_owned(), port, base: base.to_owned() })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { name, port, base } if name.contains(':') => write!(f, "tcp://[{name}]:{port}{base}"),
            Self::Tcp { name, port, base } => write!(f, "tcp://{name}:{port}{base}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_docker_reads_them() {
        let check = |text: &str, expect: &str| {
            let got = match Host::parse(text) {
                Ok(host) => host.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expect, "{text}");
        };
        check("unix:///run/berth.sock", "unix:///run/berth.sock");
        check("unix://", "unix:///var/run/docker.sock");
        check("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375");
        check("tcp://127.0.0.1", "tcp://127.0.0.1:2375");
        check("tcp://:5555", "tcp://localhost:5555");
        check("tcp://[::1]:5555/base/", "tcp://[::1]:5555/base");
        check("localhost:80", "tcp://localhost:80");
        check("foo://bar", "invalid bind address format: foo://bar");
        check("tcp://h:99999", "invalid bind address format: tcp://h:99999");
        check("ssh://me@there", "ssh hosts are not supported yet: ssh://me@there");
    }
}
