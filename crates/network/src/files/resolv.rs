//! `/etc/resolv.conf`.

use std::{fmt::Write, net::IpAddr, path::Path};

/// `--dns`, `--dns-search`, `--dns-option` of the container, or of the engine where the container says nothing.
#[derive(Debug, Clone, Default)]
pub struct DnsOptions<'a> {
    /// Replace the host's name servers, when any are given.
    pub servers: &'a [IpAddr],
    /// Replace the host's search list, when any are given; `.` alone empties it.
    pub search: &'a [String],
    /// Replace the host's options, when any are given.
    pub options: &'a [String],
    /// Whether the container has IPv6: without it IPv6 name servers of the host are left out.
    pub ipv6: bool,
}

/// What is asked when the host has no name server that a container could reach. Docker's choice.
const PUBLIC_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const PUBLIC_SERVERS_V6: [&str; 2] = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/// The file of the host to start from: systemd-resolved's list of real servers when `/etc/resolv.conf` names only its
/// stub at 127.0.0.53.
#[must_use]
pub fn host_resolv_conf_path(etc_resolv_conf: &str) -> &'static Path {
    let stub: IpAddr = [127, 0, 0, 53].into();
    if name_servers(etc_resolv_conf) == [stub] {
        Path::new("/run/systemd/resolve/resolv.conf")
    } else {
        Path::new("/etc/resolv.conf")
    }
}

/// The name servers of a `resolv.conf`, in order. What is no address, or has a zone, is left out.
#[must_use]
pub fn name_servers(resolv_conf: &str) -> Vec<IpAddr> {
    lines(resolv_conf)
        .filter(|(keyword, _)| *keyword == "nameserver")
        .filter_map(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .collect()
}

/// The text of a container's `/etc/resolv.conf`, from the text of the host's.
///
/// A container has a loopback of its own, so name servers on the host's are left out, unless they are asked for.
#[must_use]
pub fn resolv_conf(host: &str, options: &DnsOptions<'_>) -> String {
    let mut text = String::from("# Made by Berth for this container, which may change it.\n\n");
    let mut write = |keyword: &str, values: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{keyword} {values}");
    };
    for server in servers(host, options) {
        write("nameserver", &server);
    }
    let search = match options.search {
        [] => host_search(host),
        [dot] if dot == "." => Vec::new(),
        search => search.to_vec(),
    };
    if !search.is_empty() {
        write("search", &search.join(" "));
    }
    let kept = match options.options {
        [] => lines(host)
            .filter(|(keyword, _)| *keyword == "options")
            .flat_map(|(_, rest)| rest.split_whitespace().map(str::to_owned))
            .collect(),
        given => given.to_vec(),
    };
    if !kept.is_empty() {
        write("options", &kept.join(" "));
    }
    text
}

fn servers(host: &str, options: &DnsOptions<'_>) -> Vec<String> {
    if !options.servers.is_empty() {
        return options.servers.iter().map(IpAddr::to_string).collect();
    }
    let reachable: Vec<String> = name_servers(host)
        .into_iter()
        .filter(|server| {
            !server.is_loopback() && !server.is_unspecified() && (options.ipv6 || server.is_ipv4())
        })
        .map(|server| server.to_string())
        .collect();
    if !reachable.is_empty() {
        return reachable;
    }
    let v6 = if options.ipv6 { &PUBLIC_SERVERS_V6[..] } else { &[] };
    PUBLIC_SERVERS.iter().chain(v6).map(ToString::to_string).collect()
}

/// The last of `search` and `domain` counts.
fn host_search(host: &str) -> Vec<String> {
    let last = lines(host).filter(|(keyword, _)| matches!(*keyword, "search" | "domain")).last();
    let names = last.map(|(_, rest)| rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    names.unwrap_or_default().into_iter().filter(|name| name != ".").collect()
}

/// Keyword and rest of each line that is no comment.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            return None;
        }
        line.split_once(char::is_whitespace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, options: &DnsOptions<'_>, expect: &str) {
        let text = resolv_conf(host, options);
        let body: Vec<&str> =
            text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert_eq!(body.join("\n"), expect, "from {host:?} with {options:?}");
    }

    #[test]
    fn the_hosts_file_without_its_loopback_servers() {
        let none = DnsOptions::default();
        check("nameserver 10.1.1.53\n", &none, "nameserver 10.1.1.53");
        check(
            "# x\nnameserver 127.0.0.1\nnameserver 10.1.1.53 # y\nnameserver ::1\nsearch a b\noptions ndots:2 edns0\n",
            &none,
            "nameserver 10.1.1.53\nsearch a b\noptions ndots:2 edns0",
        );
        check("search first\ndomain last\nnameserver 9.9.9.9", &none, "nameserver 9.9.9.9\nsearch last");
        check(
            "nameserver\nnameserver nonsense\nnameserver fe80::1%eth0\nnameserver 9.9.9.9",
            &none,
            "nameserver 9.9.9.9",
        );
        check("nameserver fd00::53\nnameserver 9.9.9.9", &none, "nameserver 9.9.9.9");
        let ipv6 = DnsOptions { ipv6: true, ..DnsOptions::default() };
        check("nameserver fd00::53\nnameserver 9.9.9.9", &ipv6, "nameserver fd00::53\nnameserver 9.9.9.9");
    }

    #[test]
    fn public_servers_where_none_is_left() {
        let none = DnsOptions::default();
        check("", &none, "nameserver 8.8.8.8\nnameserver 8.8.4.4");
        check("nameserver 127.0.0.53\nsearch a", &none, "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch a");
        let ipv6 = DnsOptions { ipv6: true, ..DnsOptions::default() };
        assert!(resolv_conf("", &ipv6).contains("2001:4860:4860::8844"));
    }

    #[test]
    fn overrides_replace_the_hosts() {
        let host = "nameserver 10.1.1.53\nsearch a\noptions edns0";
        let servers = ["127.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let dot = [".".to_owned()];
        let given = ["ndots:3".to_owned()];
        let options = DnsOptions { servers: &servers, search: &dot, options: &given, ipv6: false };
        check(host, &options, "nameserver 127.0.0.1\nnameserver fd00::1\noptions ndots:3");
        let search = ["x".to_owned(), "y".to_owned()];
        let options = DnsOptions { search: &search, ..DnsOptions::default() };
        check(host, &options, "nameserver 10.1.1.53\nsearch x y\noptions edns0");
    }

    #[test]
    fn the_stub_of_systemd_resolved_is_looked_behind() {
        let path = |text| host_resolv_conf_path(text).to_str().unwrap();
        assert_eq!(path("nameserver 127.0.0.53\n"), "/run/systemd/resolve/resolv.conf");
        assert_eq!(path("nameserver 127.0.0.53\nnameserver 9.9.9.9"), "/etc/resolv.conf");
        assert_eq!(path(""), "/etc/resolv.conf");
    }
}
