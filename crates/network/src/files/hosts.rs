//! `/etc/hosts` and `/etc/hostname`.

use std::net::IpAddr;

/// One line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// Its names, separated by blanks.
    pub names: String,
}

/// What makes up a container's `/etc/hosts`.
#[derive(Debug, Clone, Default)]
pub struct HostsFile<'a> {
    /// Addresses of the container itself, in order; none for `--net none`.
    pub addresses: &'a [IpAddr],
    /// `--hostname`.
    pub hostname: &'a str,
    /// `--domainname`, or empty.
    pub domainname: &'a str,
    /// `--add-host`, resolved by [`parse_add_host`].
    pub extra: &'a [HostEntry],
    /// What `host.docker.internal` is to mean, if the container is to know it.
    pub host_gateway: Option<IpAddr>,
    /// Whether the container has IPv6 on its loopback.
    pub ipv6: bool,
}

/// The text of `/etc/hosts`.
#[must_use]
pub fn hosts(_file: &HostsFile<'_>) -> String {
    String::new()
}

/// The text of `/etc/hostname`.
#[must_use]
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// Parses `--add-host`'s `name:address` or `name=address`; the address may be `host-gateway`.
///
/// # Errors
/// Docker's text, when there is no name, no valid address, or `host-gateway` is unknown.
pub fn parse_add_host(text: &str, _host_gateway: Option<IpAddr>) -> Result<HostEntry, String> {
    Err(format!("bad format for add-host: {text:?}"))
}
