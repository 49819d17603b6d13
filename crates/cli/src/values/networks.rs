//! `--network` and the flags that speak of one network: `--ip`, `--network-alias`, `--mac-address`, …

use berth_api::container::{EndpointIpamConfig, EndpointSettings, Map, NetworkingConfig};

use super::{csv, names};

/// One `--network`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) target: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) driver_options: Map<String>,
    pub(crate) links: Vec<String>,
    pub(crate) ipv4: String,
    pub(crate) ipv6: String,
    pub(crate) link_local: Vec<String>,
    pub(crate) mac_address: String,
    pub(crate) gateway_priority: i32,
}

/// Reads one `--network`: a name, or `name=…,alias=…,ip=…`.
///
/// # Errors
/// Docker's text.
pub(crate) fn parse(value: &str) -> Result<Attachment, String> {
    // A name cannot have an equals sign, so one with it is the long form.
    if !value.contains('=') {
        return Ok(Attachment { target: value.to_owned(), ..Attachment::default() });
    }
    let mut network = Attachment::default();
    let mut has_name = false;
    for field in csv::fields(value)? {
        let Some((key, value)) = field.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("invalid field {field}"));
        };
        match key.trim().to_lowercase().as_str() {
            "name" => {
                has_name = true;
                value.clone_into(&mut network.target);
            }
            "alias" => network.aliases.push(value.to_owned()),
            "ip" => value.clone_into(&mut network.ipv4),
            "ip6" => value.clone_into(&mut network.ipv6),
            "mac-address" => value.clone_into(&mut network.mac_address),
            "link-local-ip" => network.link_local.push(value.to_owned()),
            "driver-opt" => {
                let Some((key, value)) = value.split_once('=') else {
                    return Err("invalid key value pair format in driver options".to_owned());
                };
                network.driver_options.insert(key.trim().to_lowercase(), value.trim().to_owned());
            }
            "gw-priority" => {
                network.gateway_priority =
                    value.parse().map_err(|_| format!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            key => return Err(format!("invalid field key {key}")),
        }
    }
    if !has_name {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(network)
}

/// The flags that speak of the only or first network.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes<'a> {
    pub(crate) aliases: &'a [String],
    pub(crate) links: &'a [String],
    pub(crate) ipv4: &'a str,
    pub(crate) ipv6: &'a str,
    pub(crate) link_local: &'a [String],
    pub(crate) mac_address: &'a str,
}

/// The network mode and the ends of all networks.
///
/// # Errors
/// Docker's text for wishes that no network can have.
pub(crate) fn plan(
    networks: &[Attachment],
    wishes: &Wishes<'_>,
) -> Result<(String, NetworkingConfig), String> {
    let default = [Attachment { target: "default".to_owned(), ..Attachment::default() }];
    let is_explicit = !networks.is_empty();
    let networks = if is_explicit { networks } else { &default };
    let mut ends = Map::new();
    let mut has_user_defined = false;
    let mut has_other = false;
    for (index, network) in networks.iter().enumerate() {
        let mut network = network.clone();
        if is_user_defined(&network.target) {
            has_user_defined = true;
        } else {
            has_other = true;
        }
        if index == 0 {
            grant(&mut network, wishes)?;
        }
        if network.target.is_empty() {
            return Err("no name set for network".to_owned());
        }
        if !is_user_defined(&network.target) && !network.aliases.is_empty() {
            return Err("network-scoped aliases are only supported for user-defined networks".to_owned());
        }
        if !is_user_defined(&network.target)
            && !network.links.is_empty()
            && network.target != "default"
            && network.target != "bridge"
        {
            return Err("links are only supported for user-defined networks".to_owned());
        }
        if ends.contains_key(&network.target) {
            return Err(format!(
                "network {} is specified multiple times",
                crate::flags::quote(&network.target)
            ));
        }
        let end = end(&network)?;
        // An end without wishes in the only network is left to the engine.
        if !(is_explicit && networks.len() == 1 && end == EndpointSettings::default()) {
            ends.insert(network.target.clone(), Some(end));
        }
    }
    if has_user_defined && has_other && networks.len() > 1 {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                .to_owned(),
        );
    }
    Ok((networks[0].target.clone(), NetworkingConfig { endpoints_config: Some(ends) }))
}

/// Whether the name is that of a network somebody has made.
fn is_user_defined(target: &str) -> bool {
    !matches!(target, "default" | "bridge" | "host" | "none") && !target.starts_with("container:")
}

/// Puts the flags into the first network, where it does not say the same itself.
fn grant(network: &mut Attachment, wishes: &Wishes<'_>) -> Result<(), String> {
    let conflict = |flag: &str| {
        Err(format!("conflicting options: cannot specify both --{flag} and per-network {}", flag_of(flag)))
    };
    if !network.aliases.is_empty() && !wishes.aliases.is_empty() {
        return conflict("network-alias");
    }
    if !network.ipv4.is_empty() && !wishes.ipv4.is_empty() {
        return conflict("ip");
    }
    if !network.ipv6.is_empty() && !wishes.ipv6.is_empty() {
        return conflict("ip6");
    }
    if !network.mac_address.is_empty() && !wishes.mac_address.is_empty() {
        return conflict("mac-address");
    }
    if !network.link_local.is_empty() && !wishes.link_local.is_empty() {
        return conflict("link-local-ip");
    }
    network.aliases.extend_from_slice(wishes.aliases);
    if is_user_defined(&network.target) {
        network.links.extend_from_slice(wishes.links);
    }
    network.link_local.extend_from_slice(wishes.link_local);
    for (own, wish) in [
        (&mut network.ipv4, wishes.ipv4),
        (&mut network.ipv6, wishes.ipv6),
        (&mut network.mac_address, wishes.mac_address),
    ] {
        if !wish.is_empty() {
            wish.clone_into(own);
        }
    }
    Ok(())
}

fn flag_of(flag: &str) -> &str {
    match flag {
        "network-alias" => "alias",
        "ip" => "IPv4 address",
        "ip6" => "IPv6 address",
        "mac-address" => "MAC address",
        _ => "link-local IP addresses",
    }
}

fn end(network: &Attachment) -> Result<EndpointSettings, String> {
    let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let has_addresses =
        !network.ipv4.is_empty() || !network.ipv6.is_empty() || !network.link_local.is_empty();
    let mac_address = if network.mac_address.is_empty() {
        String::new()
    } else {
        names::mac_address(&network.mac_address)?
    };
    Ok(EndpointSettings {
        ipam_config: has_addresses.then(|| EndpointIpamConfig {
            ipv4_address: network.ipv4.clone(),
            ipv6_address: network.ipv6.clone(),
            link_local_ips: list(&network.link_local),
        }),
        links: list(&network.links),
        aliases: list(&network.aliases),
        mac_address,
        driver_opts: (!network.driver_options.is_empty()).then(|| network.driver_options.clone()),
        gw_priority: network.gateway_priority,
        ..EndpointSettings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let check = |value: &str, expect: &str| assert_eq!(parse(value).unwrap_err(), expect, "{value}");
        check("foo=1", "invalid field key foo");
        check("alias=b", "network name/id is not specified");
        check("name=a,gw-priority=x", "invalid gw-priority (x): invalid syntax");
        check("name=a,driver-opt=x", "invalid key value pair format in driver options");
        let network = parse("name=a,alias=b,driver-opt=x=y").unwrap();
        assert_eq!((network.target.as_str(), network.driver_options["x"].as_str()), ("a", "y"));
    }

    #[test]
    fn plans() {
        let (mode, config) = plan(&[], &Wishes::default()).unwrap();
        assert_eq!(mode, "default");
        assert!(config.endpoints_config.unwrap().contains_key("default"));
        let host = [parse("host").unwrap()];
        let aliases = ["x".to_owned()];
        let wishes = Wishes { aliases: &aliases, ..Wishes::default() };
        assert_eq!(
            plan(&host, &wishes).unwrap_err(),
            "network-scoped aliases are only supported for user-defined networks"
        );
        assert_eq!(plan(&[parse("").unwrap()], &Wishes::default()).unwrap_err(), "no name set for network");
    }
}
