//! Names and addresses: `--add-host`, `--dns`, `--dns-search`, `--link`, `--mac-address`.

use std::net::IpAddr;

use crate::flags::quote;

/// Reads one `--add-host`: `name:address` or `name=address`.
pub(crate) fn extra_host(value: &str) -> Result<String, String> {
    let pair = value.split_once('=').or_else(|| value.split_once(':'));
    let Some((name, address)) = pair.filter(|(name, _)| !name.is_empty()) else {
        return Err(format!("bad format for add-host: {}", quote(value)));
    };
    if address == "host-gateway" {
        return Ok(format!("{name}:{address}"));
    }
    let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    match bare.parse::<IpAddr>() {
        Ok(address) => Ok(format!("{name}:{address}")),
        Err(_) => Err(format!("invalid IP address in add-host: {}", quote(address))),
    }
}

/// Reads one `--dns`.
pub(crate) fn address(value: &str) -> Result<String, String> {
    match value.trim().parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {value}")),
    }
}

/// Reads one `--dns-search`; a dot alone means: none.
pub(crate) fn search_domain(value: &str) -> Result<String, String> {
    let trimmed = value.trim();
    if trimmed == "." {
        return Ok(trimmed.to_owned());
    }
    let is_label = |label: &str| {
        let alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        alphanumeric(label.bytes().next())
            && alphanumeric(label.bytes().last())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let domain = trimmed.strip_suffix('.').unwrap_or(trimmed);
    let has_letter = trimmed.bytes().any(|byte| byte.is_ascii_alphabetic());
    if has_letter && domain.len() < 255 && domain.split('.').all(is_label) {
        return Ok(domain.to_owned());
    }
    Err(format!("{value} is not a valid domain"))
}

/// Checks one `--link`: `name[:alias]`.
pub(crate) fn link(value: &str) -> Result<String, String> {
    match value.split(':').count() {
        _ if value.is_empty() => Err("empty string specified for links".to_owned()),
        1 | 2 => Ok(value.to_owned()),
        _ => Err(format!("bad format for links: {value}")),
    }
}

/// Checks `--mac-address`: six, eight or twenty bytes in hexadecimal.
pub(crate) fn mac_address(value: &str) -> Result<String, String> {
    let value = value.trim();
    let groups = |separator: char, width: usize, counts: &[usize]| {
        let parts: Vec<&str> = value.split(separator).collect();
        counts.contains(&parts.len())
            && parts
                .iter()
                .all(|part| part.len() == width && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10]) {
        return Ok(value.to_owned());
    }
    Err(format!("{value} is not a valid mac address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(extra_host("a:1.2.3.4").unwrap(), "a:1.2.3.4");
        assert_eq!(extra_host("a=::1").unwrap(), "a:::1");
        assert_eq!(extra_host("a:[::1]").unwrap(), "a:::1");
        assert_eq!(extra_host("a:host-gateway").unwrap(), "a:host-gateway");
        assert_eq!(extra_host("foo").unwrap_err(), r#"bad format for add-host: "foo""#);
        assert_eq!(extra_host("a:b").unwrap_err(), r#"invalid IP address in add-host: "b""#);
    }

    #[test]
    fn names_and_addresses() {
        assert_eq!(address("foo").unwrap_err(), "IP address is not correctly formatted: foo");
        assert_eq!(search_domain("example.com.").unwrap(), "example.com");
        assert_eq!(search_domain(".").unwrap(), ".");
        assert_eq!(search_domain("..").unwrap_err(), ".. is not a valid domain");
        assert_eq!(search_domain("-x").unwrap_err(), "-x is not a valid domain");
        assert_eq!(link("a:b:c").unwrap_err(), "bad format for links: a:b:c");
        assert_eq!(mac_address("92:d0:c6:0a:29:33").unwrap(), "92:d0:c6:0a:29:33");
        assert_eq!(mac_address("foo").unwrap_err(), "foo is not a valid mac address");
    }
}
