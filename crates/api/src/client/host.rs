//! Where an engine listens: `unix:///run/berth.sock`, `tcp://127.0.0.1:2375`, `ssh://user@machine`.

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
    /// Another machine that `ssh` reaches; its own client connects to its engine.
    Ssh(SshHost),
}

/// The parts of `ssh://user@host:port/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    /// Who to be there; empty: as ssh is configured.
    pub user: String,
    /// The machine.
    pub name: String,
    /// The port of its ssh; `None`: as ssh is configured.
    pub port: Option<u16>,
    /// The socket of the engine there; empty: the usual one.
    pub path: String,
}

impl SshHost {
    fn parse(whole: &str, rest: &str) -> Result<Self, HostError> {
        let wrong = |reason: &str| HostError::Ssh(reason.to_owned());
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], rest[at..].trim_end_matches('/')),
            None => (rest, ""),
        };
        let (user, machine) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') {
            return Err(wrong("plain-text password is not supported"));
        }
        let (name, port) = match machine.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(|| HostError::Format(whole.to_owned()))?,
            None => machine.split_once(':').unwrap_or((machine, "")),
        };
        let port = port.strip_prefix(':').unwrap_or(port);
        if name.is_empty() {
            return Err(wrong("no host specified"));
        }
        if name.starts_with('-') || user.starts_with('-') {
            return Err(wrong("names that begin with a dash would be options of ssh"));
        }
        if path.contains(['?', '#']) {
            return Err(wrong("extra query or fragment after the host"));
        }
        let port = match port {
            "" => None,
            port => Some(port.parse().map_err(|_| HostError::Format(whole.to_owned()))?),
        };
        Ok(Self { user: user.to_owned(), name: name.to_owned(), port, path: path.to_owned() })
    }

    /// The arguments of `ssh`.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["-o", "ConnectTimeout=30", "-T"].map(str::to_owned).into();
        if !self.user.is_empty() {
            arguments.extend(["-l".to_owned(), self.user.clone()]);
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        arguments.extend(["--".to_owned(), self.name.clone(), "docker".to_owned()]);
        if !self.path.is_empty() {
            // The words become a line for the shell there.
            let quoted = self.path.replace('\'', r"'\''");
            let is_plain =
                self.path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte));
            let path = if is_plain { self.path.clone() } else { format!("'{quoted}'") };
            arguments.extend(["--host".to_owned(), format!("unix://{path}")]);
        }
        arguments.extend(["system".to_owned(), "dial-stdio".to_owned()]);
        arguments
    }
}

impl fmt::Display for SshHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if !self.user.is_empty() {
            write!(f, "{}@", self.user)?;
        }
        if self.name.contains(':') {
            write!(f, "[{}]", self.name)?;
        } else {
            f.write_str(&self.name)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

/// A host that cannot be used; the text is what Docker prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Neither `unix://` nor `tcp://`, or the address in it is malformed.
    #[error("invalid bind address format: {0}")]
    Format(String),
    /// An `ssh://` address that is none.
    #[error("ssh host connection is not valid: {0}")]
    Ssh(String),
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
            Some(("ssh", rest)) => Ok(Self::Ssh(SshHost::parse(text, rest)?)),
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
            Self::Ssh(host) => host.fmt(f),
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
        check("ssh://me@there:22/run/x.sock", "ssh://me@there:22/run/x.sock");
        check("ssh://[::1]", "ssh://[::1]");
        check(
            "ssh://me:secret@there",
            "ssh host connection is not valid: plain-text password is not supported",
        );
        check("ssh://me@", "ssh host connection is not valid: no host specified");
        check(
            "ssh://-oProxyCommand=x",
            "ssh host connection is not valid: names that begin with a dash would be options of ssh",
        );
    }

    #[test]
    fn ssh_is_called_as_docker_calls_it() {
        let check = |text: &str, expect: &str| match Host::parse(text) {
            Ok(Host::Ssh(host)) => assert_eq!(host.arguments().join(" "), expect),
            other => panic!("{other:?}"),
        };
        check("ssh://there", "-o ConnectTimeout=30 -T -- there docker system dial-stdio");
        check(
            "ssh://me@there:2222/run/a b.sock",
            "-o ConnectTimeout=30 -T -l me -p 2222 -- there docker --host unix://'/run/a b.sock' system dial-stdio",
        );
    }
}
