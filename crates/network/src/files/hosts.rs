//! `/etc/hosts` and `/etc/hostname`.

use std::{fmt::Write, net::IpAddr};

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
    /// `--hostname`; may be a full name with its domain.
    pub hostname: &'a str,
    /// `--domainname`, or empty.
    pub domainname: &'a str,
    /// `--add-host`, resolved by [`parse_add_host`].
    pub extra: &'a [HostEntry],
    /// What `host.docker.internal` is to mean, if the container is to know it. A name given by `extra` wins.
    pub host_gateway: Option<IpAddr>,
}

const HOST_NAME: &str = "host.docker.internal";

/// The part that is the same in all containers.
const COMMON: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

/// The text of `/etc/hosts`: the common part, `--add-host`, the host, the container itself.
#[must_use]
pub fn hosts(file: &HostsFile<'_>) -> String {
    let mut text = String::from(COMMON);
    let mut write = |address: &IpAddr, names: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{names}");
    };
    for entry in file.extra {
        write(&entry.address, &entry.names);
    }
    let given = file.extra.iter().any(|entry| entry.names.split_whitespace().any(|name| name == HOST_NAME));
    if let Some(gateway) = file.host_gateway.filter(|_| !given) {
        write(&gateway, HOST_NAME);
    }
    let names = own_names(file.hostname, file.domainname);
    for address in file.addresses {
        write(address, &names);
    }
    text
}

/// Full name and short name, or the one that there is.
fn own_names(hostname: &str, domainname: &str) -> String {
    match hostname.split_once('.') {
        _ if !domainname.is_empty() => format!("{hostname}.{domainname} {hostname}"),
        Some((short, _)) if !short.is_empty() => format!("{hostname} {short}"),
        _ => hostname.to_owned(),
    }
}

/// The text of `/etc/hostname`.
#[must_use]
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// Parses an `ExtraHosts` entry, `name:address` (or `name=address`); the address may be `host-gateway`, and an IPv6
/// address may be in brackets.
///
/// # Errors
/// Docker's text, when there is no name, no valid address, or `host-gateway` is unknown.
pub fn parse_add_host(text: &str, host_gateway: Option<IpAddr>) -> Result<HostEntry, String> {
    let separator = if text.contains('=') { '=' } else { ':' };
    let parts = text.split_once(separator).filter(|(name, _)| !name.is_empty());
    let (name, address) = parts.ok_or_else(|| format!("bad format for add-host: {text:?}"))?;
    // A name that is more than one word, or a line, would make entries of its own.
    if name
        .contains(|character: char| character.is_whitespace() || character.is_control() || character == '#')
    {
        return Err(format!("bad format for add-host: {text:?}"));
    }
    if address == "host-gateway" {
        let address = host_gateway.ok_or("unable to derive the IP value for host-gateway")?;
        return Ok(HostEntry { address, names: name.to_owned() });
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let address = bare.parse().map_err(|_| format!("invalid IP address in add-host: {address:?}"))?;
    Ok(HostEntry { address, names: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn check(file: &HostsFile<'_>, expect: &str) {
        let text = hosts(file);
        assert_eq!(text.strip_prefix(COMMON), Some(expect), "{file:?}");
    }

    #[test]
    fn the_container_itself_comes_last() {
        let own = [ip("172.17.0.2")];
        let file = HostsFile { addresses: &own, hostname: "h1", ..HostsFile::default() };
        check(&file, "172.17.0.2\th1\n");
        check(&HostsFile { domainname: "ex.org", ..file.clone() }, "172.17.0.2\th1.ex.org h1\n");
        check(&HostsFile { hostname: "foo.bar.com", ..file.clone() }, "172.17.0.2\tfoo.bar.com foo\n");
        let extra = [HostEntry { address: ip("1.2.3.4"), names: "a".to_owned() }];
        let file = HostsFile { extra: &extra, host_gateway: Some(ip("172.17.0.1")), ..file };
        check(&file, "1.2.3.4\ta\n172.17.0.1\thost.docker.internal\n172.17.0.2\th1\n");
    }

    #[test]
    fn a_given_host_docker_internal_wins() {
        let extra = [parse_add_host("host.docker.internal:10.0.0.9", None).unwrap()];
        let file = HostsFile { extra: &extra, host_gateway: Some(ip("172.17.0.1")), ..HostsFile::default() };
        check(&file, "10.0.0.9\thost.docker.internal\n");
    }

    #[test]
    fn without_a_network_only_the_common_part() {
        check(&HostsFile { hostname: "h", ..HostsFile::default() }, "");
    }

    #[test]
    fn add_host_is_parsed_as_docker_does() {
        let gateway = Some(ip("172.17.0.1"));
        let entry =
            |text| parse_add_host(text, gateway).map(|entry| (entry.names, entry.address.to_string()));
        let ok = |name: &str, address: &str| Ok((name.to_owned(), address.to_owned()));
        assert_eq!(entry("a:1.2.3.4"), ok("a", "1.2.3.4"));
        assert_eq!(entry("a=1.2.3.4"), ok("a", "1.2.3.4"));
        assert_eq!(entry("a:::1"), ok("a", "::1"));
        assert_eq!(entry("a=[2001:db8::1]"), ok("a", "2001:db8::1"));
        assert_eq!(entry("hg:host-gateway"), ok("hg", "172.17.0.1"));
        assert_eq!(entry("a:1.2.3"), Err("invalid IP address in add-host: \"1.2.3\"".to_owned()));
        for bad in ["", "a", ":1.2.3.4", "a b:1.2.3.4", "a\n6.6.6.6 bank:1.2.3.4"] {
            assert_eq!(entry(bad), Err(format!("bad format for add-host: {bad:?}")), "{bad:?}");
        }
        assert!(parse_add_host("hg:host-gateway", None).unwrap_err().contains("host-gateway"));
    }
}
