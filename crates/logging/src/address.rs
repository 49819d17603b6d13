//! Addresses of destinations: `proto://host:port`, `unix:///path`.

use std::path::PathBuf;

use crate::Error;

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Udp,
    Tcp,
    Tls,
}

/// Where a destination is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Network {
        scheme: Scheme,
        host: String,
        port: u16,
    },
    /// A stream.
    Unix(PathBuf),
    /// Datagrams.
    Unixgram(PathBuf),
}

/// Takes a scheme off; none is `None`.
pub(crate) fn split(address: &str) -> (Option<&str>, &str) {
    match address.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, address),
    }
}

/// The scheme of a host's address.
pub(crate) fn scheme(name: &str) -> Option<Scheme> {
    match name {
        "udp" => Some(Scheme::Udp),
        "tcp" => Some(Scheme::Tcp),
        "tcp+tls" => Some(Scheme::Tls),
        _ => None,
    }
}

/// Reads `host`, `host:port` or `[v6]:port`. A path behind it is cut off.
///
/// Errors: Go's text for a port that is none, with the whole address as `url` has it.
pub(crate) fn host_and_port(url: &str, rest: &str) -> Result<(String, Option<u16>), Error> {
    let authority = rest.split('/').next().unwrap_or(rest);
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let missing = || Error::new(format!("parse {url:?}: missing ']' in host"));
            let (host, port) = bracketed.split_once(']').ok_or_else(missing)?;
            (host, port.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let invalid = |port: &str| Error::new(format!("parse {url:?}: invalid port \":{port}\" after host"));
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse::<u16>().map_err(|_| invalid(port))?),
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_ports_or_not() {
        let read = |text: &str| host_and_port(text, split(text).1).map_err(|error| error.to_string());
        assert_eq!(read("tcp://h:1"), Ok(("h".to_owned(), Some(1))));
        assert_eq!(read("tcp://h"), Ok(("h".to_owned(), None)));
        assert_eq!(read("udp://[::1]:5/x"), Ok(("::1".to_owned(), Some(5))));
        assert_eq!(read("[::1]"), Ok(("::1".to_owned(), None)));
        assert_eq!(
            read("tcp://h:70000"),
            Err("parse \"tcp://h:70000\": invalid port \":70000\" after host".to_owned())
        );
        assert_eq!(read("tcp://[::1"), Err("parse \"tcp://[::1\": missing ']' in host".to_owned()));
    }
}
