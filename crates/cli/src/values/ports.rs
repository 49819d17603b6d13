//! `-p`, `--publish`, `--expose`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use berth_api::container::{Empty, PortBinding, PortMap, PortSet};

use crate::flags::parse_uint;

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl PortRange {
    /// Reads `80` or `80-90`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| parse_decimal(text).map(|number| u16::try_from(number).unwrap_or(u16::MAX));
        if text.is_empty() {
            return Err("empty string specified for ports.".to_owned());
        }
        let Some((first, last)) = text.split_once('-') else {
            let port = number(text)?;
            return Ok(Self { first: port, last: port });
        };
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(format!("invalid range specified for port: {text}"));
        }
        Ok(Self { first, last })
    }

    fn size(self) -> u16 {
        self.last - self.first
    }

    fn is_single(self) -> bool {
        self.first == self.last
    }
}

/// A port is always decimal, also with a zero before it.
fn parse_decimal(text: &str) -> Result<u64, String> {
    let digits = text.trim_start_matches('0');
    let digits = if digits.is_empty() && !text.is_empty() { "0" } else { digits };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("strconv.ParseUint: parsing {}: invalid syntax", crate::flags::quote(text)));
    }
    parse_uint(digits, 16)
        .map_err(|error| error.replace(&crate::flags::quote(digits), &crate::flags::quote(text)))
}

/// Reads all `-p` values into the exposed and the published ports.
///
/// # Errors
/// Docker's text for the first value that is wrong.
pub(crate) fn parse_published(specs: &[String]) -> Result<(PortSet, PortMap), String> {
    let (mut exposed, mut published) = (PortSet::new(), PortMap::new());
    for spec in specs {
        let spec = if spec.contains('=') { from_long_form(spec)? } else { spec.clone() };
        for (port, binding) in parse_spec(&spec)? {
            exposed.insert(port.clone(), Empty {});
            published.entry(port).or_default().get_or_insert_default().push(binding);
        }
    }
    Ok((exposed, published))
}

/// `[address:][host port or range:]port or range[/protocol]`.
fn parse_spec(spec: &str) -> Result<Vec<(String, PortBinding)>, String> {
    let (rest, protocol) = match spec.split_once('/') {
        Some((rest, protocol)) => (rest, protocol.split('/').next().unwrap_or_default()),
        None => (spec, ""),
    };
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    let (address, host, container) = split(rest);
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let address = parse_address(address)?;
    let ports = PortRange::parse(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let host_ports = match host {
        "" => None,
        host => Some(PortRange::parse(host).map_err(|_| format!("invalid hostPort: {host}"))?),
    };
    if let Some(host_ports) = host_ports
        && host_ports.size() != ports.size()
        && !ports.is_single()
    {
        return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    let protocol = protocol.to_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("invalid proto: {protocol}"));
    }
    let mappings = (0..=ports.size()).map(|offset| {
        let host_port = match host_ports {
            None => String::new(),
            // One port inside and several outside: the engine takes a free one of them.
            Some(range) if ports.is_single() && !range.is_single() => {
                format!("{}-{}", range.first, range.last)
            }
            Some(range) => (range.first + offset).to_string(),
        };
        let port = format!("{}/{protocol}", ports.first + offset);
        (port, PortBinding { host_ip: address.clone(), host_port })
    });
    Ok(mappings.collect())
}

/// Address, host port and container port; an IPv6 address has colons of its own.
fn split(spec: &str) -> (&str, &str, &str) {
    match spec.rsplitn(3, ':').collect::<Vec<_>>().as_slice() {
        [container] => ("", "", container),
        [container, host] => ("", host, container),
        [container, host, address] => (address, host, container),
        _ => ("", "", ""),
    }
}

fn parse_address(text: &str) -> Result<String, String> {
    let bare = match text.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((bare, "")) => bare,
            // In the words of Go, which looks for a host and a port in what is left.
            Some(_) => {
                return Err(format!(
                    "invalid IP address {text}: address {text}:: too many colons in address"
                ));
            }
            None => {
                return Err(format!("invalid IP address {text}: address {text}:: missing ']' in address"));
            }
        },
        None => text,
    };
    let zone_less = bare.split('%').next().unwrap_or_default();
    if !bare.is_empty() && zone_less.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    Ok(bare.to_owned())
}

/// `target=80,published=8080,protocol=udp` as `8080:80/udp`.
fn from_long_form(spec: &str) -> Result<String, String> {
    let (mut target, mut published, mut protocol) = ("", "", "tcp");
    for parameter in spec.split(',') {
        let Some((key, value)) = parameter.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("invalid publish opts format (should be name=value but got '{parameter}')"));
        };
        match key {
            "target" => target = value,
            "published" => published = value,
            "protocol" => protocol = value,
            _ => {}
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// Adds all `--expose` values.
///
/// # Errors
/// Docker's text for the first value that is wrong.
pub(crate) fn parse_exposed(specs: &[String], exposed: &mut BTreeMap<String, Empty>) -> Result<(), String> {
    for spec in specs {
        if spec.contains(':') {
            return Err(format!("invalid port format for --expose: {spec}"));
        }
        let (ports, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
        let protocol = if protocol.is_empty() { "tcp" } else { protocol };
        let range = PortRange::parse(ports)
            .map_err(|error| format!("invalid range format for --expose: {spec}, error: {error}"))?;
        exposed.extend((range.first..=range.last).map(|port| (format!("{port}/{protocol}"), Empty {})));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, expect: &str) {
        let got = match parse_published(&[spec.to_owned()]) {
            Err(error) => error,
            Ok((exposed, published)) => {
                assert_eq!(exposed.len(), published.len());
                let ports = published.into_iter().flat_map(|(port, bindings)| {
                    let bindings = bindings.unwrap_or_default().into_iter();
                    bindings.map(move |binding| format!("{}|{}>{port}", binding.host_ip, binding.host_port))
                });
                ports.collect::<Vec<_>>().join(" ")
            }
        };
        assert_eq!(got, expect, "{spec}");
    }

    #[test]
    fn every_form_of_publish() {
        check("80", "|>80/tcp");
        check("8080:80", "|8080>80/tcp");
        check("127.0.0.1:8080:80/udp", "127.0.0.1|8080>80/udp");
        check("127.0.0.1::80", "127.0.0.1|>80/tcp");
        check("[::1]:8080:80", "::1|8080>80/tcp");
        check("::1:8080:80", "::1|8080>80/tcp");
        check("8000-8001:80-81/SCTP", "|8000>80/sctp |8001>81/sctp");
        check("8000-8010:80", "|8000-8010>80/tcp");
        check("80-81", "|>80/tcp |>81/tcp");
        check("target=80,published=8080,protocol=udp", "|8080>80/udp");
        check("target=80", "|>80/tcp");
    }

    #[test]
    fn wrong_values_have_docker_s_words() {
        check("99999:80", "invalid hostPort: 99999");
        check("foo", "invalid containerPort: foo");
        check("80:80:80:80", "invalid IP address: 80:80");
        check("80:", "no port specified: 80:<empty>");
        check("80/foo", "invalid proto: foo");
        check(
            "8000-8001:80-82",
            "invalid ranges specified for container and host Ports: 80-82 and 8000-8001",
        );
        check("90-80:90-80", "invalid containerPort: 90-80");
        check("published=80", "no port specified: 80:/tcp<empty>");
        check("=x", "invalid publish opts format (should be name=value but got '=x')");
    }

    #[test]
    fn exposed_ports() {
        let mut exposed = BTreeMap::new();
        parse_exposed(&["80".to_owned(), "90-91/udp".to_owned()], &mut exposed).unwrap();
        assert_eq!(exposed.into_keys().collect::<Vec<_>>(), ["80/tcp", "90/udp", "91/udp"]);
        let error = parse_exposed(&["foo".to_owned()], &mut BTreeMap::new()).unwrap_err();
        assert_eq!(
            error,
            r#"invalid range format for --expose: foo, error: strconv.ParseUint: parsing "foo": invalid syntax"#
        );
    }
}
