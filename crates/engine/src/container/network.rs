//! A container's place on the network: which sandbox it gets, which ports are published, what `inspect` shows of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use berth_network::{Endpoint, Network, PortSpec, Request, Subnet4, Subnet6};
use berth_oci::container::{
    EndpointIpamConfig, EndpointSettings, HostConfig, NetworkMode, Port, PortBinding, PortMap, Protocol,
};

use super::{Container, NetworkState, Record, Status};
use crate::Inner;
use crate::error::{Error, Result};

/// What a container asks for; made into a [`Sandbox`] by a thread that may block.
pub(crate) enum Plan {
    /// A namespace on the default bridge.
    Bridge(Wishes),
    /// A namespace with nothing but loopback.
    Isolated,
    /// The host's own.
    Host,
    /// Another container's.
    Joined(OwnedFd),
}

/// What is asked of the bridge.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    container_id: String,
    container_name: String,
    ipv4: Option<Ipv4Addr>,
    link_local: Vec<Ipv4Addr>,
    mac: Option<berth_network::MacAddr>,
    ports: Vec<PortSpec>,
}

/// What a container got.
#[derive(Debug, Default)]
pub(crate) struct Sandbox {
    /// The namespace to join; `None`: the host's.
    pub(crate) netns: Option<OwnedFd>,
    /// The place on the bridge.
    pub(crate) endpoint: Option<Endpoint>,
    /// Sockets that keep the published ports.
    pub(crate) sockets: Vec<OwnedFd>,
    /// Published ports that the supervisor relays.
    pub(crate) relays: Vec<berth_network::Relay>,
    /// The namespace is the container's own.
    pub(crate) own: bool,
}

/// Decides what a container gets.
///
/// Errors: Docker's text for what it cannot get.
pub(crate) fn plan(engine: &Inner, record: &Record) -> Result<Plan> {
    if record.config.network_disabled {
        return Ok(Plan::Isolated);
    }
    match record.host_config.network() {
        NetworkMode::Default => Ok(Plan::Bridge(wishes(record)?)),
        NetworkMode::Host => Ok(Plan::Host),
        NetworkMode::None => Ok(Plan::Isolated),
        NetworkMode::Container(other) => {
            let pid = process_to_join(engine, other, "network")?;
            let path = format!("/proc/{pid}/ns/net");
            let file = std::fs::File::open(&path).map_err(Error::io(format!("cannot open {path}")))?;
            Ok(Plan::Joined(file.into()))
        }
        NetworkMode::Named(name) => match engine.network_ids.kind(name) {
            Some("bridge") => Ok(Plan::Bridge(wishes(record)?)),
            Some("host") => Ok(Plan::Host),
            Some("none") => Ok(Plan::Isolated),
            _ => Err(Error::NotFound(format!("network {name} not found"))),
        },
    }
}

/// The first process of a container whose namespace is to be joined.
///
/// Errors: Docker's text if it does not run.
pub(crate) fn process_to_join(engine: &Inner, container: &str, what: &str) -> Result<u32> {
    let other = engine.registry.find(container)?.get();
    let id = &other.record.id;
    let restarting = format!("Container {id} is restarting, wait until the container is running");
    let joining = format!("failed to join {what} namespace");
    match (other.state.status, what) {
        (Status::Running | Status::Paused, _) => Ok(other.state.pid),
        (Status::Restarting, "network") => Err(Error::Conflict(restarting)),
        (Status::Restarting, _) => Err(Error::Conflict(format!("{joining}: {restarting}"))),
        (_, "network") => {
            Err(Error::Conflict(format!("cannot join network of a non running container: {id}")))
        }
        _ => Err(Error::Conflict(format!("{joining}: container {id} is not running"))),
    }
}

impl Plan {
    /// Makes the sandbox. Blocking.
    pub(crate) fn make(self, network: &Network) -> Result<Sandbox> {
        match self {
            Plan::Host => Ok(Sandbox::default()),
            Plan::Joined(netns) => Ok(Sandbox { netns: Some(netns), ..Sandbox::default() }),
            Plan::Isolated => {
                let netns = network.sandbox_none().map_err(|error| network_error(&error))?;
                Ok(Sandbox { netns: Some(netns), own: true, ..Sandbox::default() })
            }
            Plan::Bridge(wishes) => {
                let request = Request {
                    container_id: &wishes.container_id,
                    ipv4: wishes.ipv4,
                    ipv6: None,
                    mac: wishes.mac,
                    link_local: &wishes.link_local,
                    ports: &wishes.ports,
                };
                let started = network.start(request).map_err(|error| endpoint_error(&wishes, &error))?;
                Ok(Sandbox {
                    netns: Some(started.netns),
                    endpoint: Some(started.endpoint),
                    sockets: started.port_sockets,
                    relays: started.relays,
                    own: true,
                })
            }
        }
    }
}

impl Sandbox {
    /// Gives back what a container had that did not come to run after all.
    pub(crate) fn undo(self, network: &Network) {
        match (self.endpoint, self.netns) {
            (Some(endpoint), netns) => network.release(&endpoint, netns),
            (None, Some(netns)) if self.own => network.discard(netns),
            _ => {}
        }
    }
}

/// The text of a failure that is not about one endpoint.
pub(crate) fn network_error(error: &berth_network::Error) -> Error {
    Error::Internal(crate::error::chain(error))
}

/// The text that Docker puts around a failure to connect a container.
fn endpoint_error(wishes: &Wishes, error: &berth_network::Error) -> Error {
    use berth_network::Error as E;
    let text = crate::error::chain(error);
    match error {
        E::PortAllocated { .. } | E::PortBind { .. } => {
            let Wishes { container_id, container_name, .. } = wishes;
            Error::Refused(format!(
                "driver failed programming external connectivity on endpoint {container_name} ({container_id}): {text}"
            ))
        }
        E::InvalidRequest(_) | E::NoIpv6 { .. } => Error::invalid(text),
        _ => Error::Internal(text),
    }
}

fn wishes(record: &Record) -> Result<Wishes> {
    let mac = match record.endpoints.get("bridge").map_or("", |settings| settings.mac_address.as_str()) {
        "" => None,
        text => Some(parse_mac("bridge", text)?),
    };
    Ok(Wishes {
        container_id: record.id.clone(),
        container_name: record.name.clone(),
        ipv4: None,
        link_local: link_local(record)?,
        mac,
        ports: port_specs(record)?,
    })
}

/// The further addresses asked for on the bridge.
///
/// Errors: Docker's text for one that is not of 169.254.0.0/16.
fn link_local(record: &Record) -> Result<Vec<Ipv4Addr>> {
    let settings = record.endpoints.get("bridge").and_then(|settings| settings.ipam_config.as_ref());
    let asked = settings.and_then(|ipam| ipam.link_local_ips.as_deref()).unwrap_or_default();
    let parse = |text: &String| {
        let address = text.parse::<Ipv4Addr>().ok().filter(Ipv4Addr::is_link_local);
        address.ok_or_else(|| Error::invalid(format!("invalid link local IP address: {text}")))
    };
    asked.iter().map(parse).collect()
}

fn parse_mac(network: &str, text: &str) -> Result<berth_network::MacAddr> {
    let bad = |_| Error::invalid(format!("invalid config for network {network}: invalid MAC address {text}"));
    text.parse().map_err(bad)
}

/// Checks what is asked of the networks that are always there.
///
/// Errors: `InvalidParameter` with Docker's text.
pub(crate) fn check_endpoints(
    endpoints: &BTreeMap<String, EndpointSettings>,
    networks: &Network,
) -> Result<()> {
    for (network, settings) in
        endpoints.iter().filter(|(name, _)| ["bridge", "host", "none"].contains(&name.as_str()))
    {
        if !settings.mac_address.is_empty() {
            parse_mac(network, &settings.mac_address)?;
        }
        let Some(ipam) = &settings.ipam_config else { continue };
        let bridge = if network == "bridge" { networks.bridge() } else { None };
        let (subnet, subnet_v6) = bridge.map_or((None, None), |bridge| (Some(bridge.subnet), bridge.ipv6));
        let reasons = wrong_addresses(ipam, subnet, subnet_v6);
        let reasons = match reasons.as_slice() {
            [] => continue,
            [only] => format!("\n{only}"),
            several => several.iter().map(|reason| format!("\n* {reason}")).collect(),
        };
        return Err(Error::invalid(format!(
            "invalid config for network {network}: invalid endpoint settings:{reasons}"
        )));
    }
    Ok(())
}

/// What is wrong with the addresses asked for on a network with these subnets.
fn wrong_addresses(
    ipam: &EndpointIpamConfig,
    subnet: Option<Subnet4>,
    subnet_v6: Option<(Subnet6, Ipv6Addr)>,
) -> Vec<String> {
    let (v4, v6) = (ipam.ipv4_address.as_str(), ipam.ipv6_address.as_str());
    let (parsed, parsed_v6) = (v4.parse::<Ipv4Addr>().ok(), v6.parse::<Ipv6Addr>().ok());
    let mut reasons = Vec::new();
    if !(v4.is_empty() && v6.is_empty()) {
        reasons.push("user specified IP address is supported on user defined networks only".to_owned());
    }
    if !v4.is_empty() && parsed.is_none_or(|address| address.is_unspecified()) {
        reasons.push(format!("invalid IPv4 address: {v4}"));
    }
    if !v6.is_empty() && parsed_v6.is_none_or(|address| address.is_unspecified()) {
        reasons.push(format!("invalid IPv6 address: {v6}"));
    }
    for text in ipam.link_local_ips.iter().flatten() {
        if text.parse::<std::net::IpAddr>().map_or(true, |address| address.is_unspecified()) {
            reasons.push(format!("invalid link-local IP address: {text}"));
        }
    }
    let in_v4 = subnet.map(|subnet| parsed.is_some_and(|address| subnet.contains(address)));
    let in_v6 = subnet_v6.map(|(subnet, _)| parsed_v6.is_some_and(|address| subnet.contains(address)));
    for (text, is_in) in [(v4, in_v4), (v6, in_v6)] {
        match is_in {
            _ if text.is_empty() => {}
            None => reasons.push(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
                    .to_owned(),
            ),
            Some(false) => reasons.push(format!("no configured subnet or ip-range contain the IP address {text}")),
            Some(true) => {}
        }
    }
    reasons
}

/// The ports to publish, sorted by port: those bound, and with `-P` those exposed.
pub(crate) fn port_specs(record: &Record) -> Result<Vec<PortSpec>> {
    let host = &record.host_config;
    let mut wanted: BTreeMap<Port, Vec<PortBinding>> = BTreeMap::new();
    for (port, bindings) in host.port_bindings.iter().flatten() {
        // Docker passes over what it cannot read here.
        let (Ok(port), Some(bindings)) = (port.parse(), bindings) else { continue };
        wanted.entry(port).or_default().extend(bindings.iter().cloned());
    }
    if host.publish_all_ports {
        for port in record.config.exposed_ports.iter().flatten().filter_map(|(port, _)| port.parse().ok()) {
            let bindings = wanted.entry(port).or_default();
            if bindings.is_empty() {
                bindings.push(PortBinding::default());
            }
        }
    }
    let mut specs = Vec::new();
    for (port, bindings) in wanted {
        for binding in bindings {
            specs.push(PortSpec {
                container_port: port.number,
                protocol: protocol(port.protocol),
                host_ip: host_ip(&binding.host_ip)?,
                host_ports: host_ports(&binding.host_port)?,
            });
        }
    }
    Ok(specs)
}

/// Checks the ports of a request.
///
/// Errors: `InvalidParameter` with Docker's text.
pub(crate) fn check_ports(host: &HostConfig) -> Result<()> {
    for port in host.port_bindings.iter().flatten().map(|(port, _)| port) {
        let number = port.split('/').next().unwrap_or_default();
        if number.parse::<u16>().is_err() {
            return Err(Error::invalid(format!("invalid port specification: {number:?}")));
        }
    }
    for binding in host.port_bindings.iter().flatten().filter_map(|(_, bindings)| bindings.as_ref()).flatten()
    {
        host_ports(&binding.host_port)?;
        host_ip(&binding.host_ip)?;
    }
    Ok(())
}

fn host_ip(text: &str) -> Result<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    // Docker takes a malformed address for "all of them", which publishes more than was asked for.
    text.parse()
        .map(Some)
        .map_err(|_| Error::invalid(format!("invalid IP address in port binding: {text:?}")))
}

fn host_ports(text: &str) -> Result<Option<std::ops::RangeInclusive<u16>>> {
    if text.is_empty() {
        return Ok(None);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(0), Ok(0)) => Ok(None),
        (Ok(first), Ok(last)) if first <= last => Ok(Some(first..=last)),
        _ => Err(Error::invalid(format!("invalid port specification: {text:?}"))),
    }
}

fn protocol(protocol: Protocol) -> berth_network::Protocol {
    match protocol {
        Protocol::Tcp => berth_network::Protocol::Tcp,
        Protocol::Udp => berth_network::Protocol::Udp,
        Protocol::Sctp => berth_network::Protocol::Sctp,
    }
}

/// What `inspect` shows of a container that does not run: the networks that it will be on.
pub(crate) fn at_rest(
    record: &Record,
    network_id: impl Fn(&str) -> String,
    connected_before: bool,
) -> NetworkState {
    let mut endpoints = record.endpoints.clone();
    if connected_before {
        for (name, settings) in &mut endpoints {
            settings.network_id = network_id(name);
        }
    }
    NetworkState { endpoints, ..NetworkState::default() }
}

impl NetworkState {
    /// The container's first process is known now, and with it the name of the sandbox.
    pub(crate) fn set_process(&mut self, record: &Record, pid: u32) {
        self.sandbox_key = match record.host_config.network() {
            NetworkMode::Container(_) => return,
            NetworkMode::Host => "/proc/1/ns/net".to_owned(),
            _ => format!("/proc/{pid}/ns/net"),
        };
    }
}

/// What `inspect` shows of a running container, but for what depends on its process.
pub(crate) fn in_use(
    engine: &Inner,
    container: &Container,
    endpoint: Option<&Endpoint>,
) -> Result<NetworkState> {
    let record = &container.record;
    if let NetworkMode::Container(_) = record.host_config.network() {
        return Ok(NetworkState::default());
    }
    let mut state = at_rest(record, |name| engine.network_ids.id(name), true);
    state.sandbox_id = crate::names::random_id()?;
    for settings in state.endpoints.values_mut() {
        settings.endpoint_id = crate::names::random_id()?;
        if let Some(endpoint) = endpoint {
            fill(settings, endpoint);
        }
    }
    state.ports = ports(record, endpoint);
    state.endpoint = endpoint.cloned();
    Ok(state)
}

fn fill(settings: &mut EndpointSettings, endpoint: &Endpoint) {
    settings.gateway = endpoint.gateway.to_string();
    settings.ip_address = endpoint.ipv4.to_string();
    settings.ip_prefix_len = i32::from(endpoint.prefix_len);
    settings.mac_address = endpoint.mac.to_string();
    let text = |address: Option<Ipv6Addr>| address.map_or_else(String::new, |address| address.to_string());
    settings.ipv6_gateway = text(endpoint.gateway_v6);
    settings.global_ipv6_address = text(endpoint.ipv6);
    settings.global_ipv6_prefix_len = i32::from(endpoint.prefix_len_v6);
}

/// Exposed ports, with where they are published.
fn ports(record: &Record, endpoint: Option<&Endpoint>) -> PortMap {
    let mut ports = PortMap::new();
    for port in record.config.exposed_ports.iter().flatten().filter_map(|(port, _)| port.parse::<Port>().ok())
    {
        ports.insert(port.to_string(), None);
    }
    for bound in endpoint.iter().flat_map(|endpoint| &endpoint.ports) {
        let key = format!("{}/{}", bound.container_port, bound.protocol);
        let binding =
            PortBinding { host_ip: bound.host_ip.to_string(), host_port: bound.host_port.to_string() };
        ports.entry(key).or_default().get_or_insert_default().push(binding);
    }
    ports
}

/// The ids of the networks that are always there. Kept in the data root: they stay the same for ever.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct NetworkIds {
    bridge: String,
    host: String,
    none: String,
}

impl berth_store::Record for NetworkIds {
    const TABLE: &'static str = "network-ids";
    const VERSION: u32 = 1;
}

impl NetworkIds {
    /// Those of this engine; made up the first time.
    pub(crate) fn load(database: &berth_store::Database) -> Result<NetworkIds> {
        if let Some(ids) = database.get("default").map_err(crate::volumes::database_error)? {
            return Ok(ids);
        }
        let id = crate::names::random_id;
        let ids = NetworkIds { bridge: id()?, host: id()?, none: id()? };
        drop(database.put("default", &ids).map_err(crate::volumes::database_error)?);
        Ok(ids)
    }

    /// The id of a network by name; empty for one that is not there.
    pub(crate) fn id(&self, name: &str) -> String {
        match name {
            "bridge" | "default" => self.bridge.clone(),
            "host" => self.host.clone(),
            "none" => self.none.clone(),
            _ => String::new(),
        }
    }

    /// The driver (which is the name) of a network by its id or a prefix of it.
    fn kind(&self, id: &str) -> Option<&'static str> {
        let fits = |full: &str| !id.is_empty() && full.starts_with(id);
        [("bridge", &self.bridge), ("host", &self.host), ("none", &self.none)]
            .into_iter()
            .find(|(_, full)| fits(full))
            .map(|(kind, _)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(host: &str, exposed: &str) -> Record {
        let mut record = Record { host_config: serde_json::from_str(host).unwrap(), ..Record::default() };
        record.config.exposed_ports = serde_json::from_str(exposed).unwrap();
        record
    }

    #[test]
    fn ports_to_publish() {
        let check = |host: &str, exposed: &str, expect: &[&str]| {
            let specs = port_specs(&record(host, exposed)).unwrap();
            let shown: Vec<String> = specs
                .iter()
                .map(|spec| {
                    let PortSpec { container_port, protocol, host_ip, host_ports } = spec;
                    format!("{host_ip:?} {host_ports:?} {container_port}/{protocol}")
                })
                .collect();
            assert_eq!(shown, expect, "{host}");
        };
        check(
            r#"{"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}}"#,
            "null",
            &["None Some(8080..=8080) 80/tcp"],
        );
        check(
            r#"{"PortBindings":{"53/udp":[{"HostIp":"127.0.0.1","HostPort":""},{"HostPort":"53-55"}]}}"#,
            "null",
            &["Some(127.0.0.1) None 53/udp", "None Some(53..=55) 53/udp"],
        );
        check(
            r#"{"PublishAllPorts":true,"PortBindings":{"80/tcp":[{"HostPort":"1"}]}}"#,
            r#"{"80/tcp":{},"81":{}}"#,
            &["None Some(1..=1) 80/tcp", "None None 81/tcp"],
        );
        check(r#"{"PortBindings":{"80/foo":[{"HostPort":"80"}]}}"#, "null", &[]);
        for (bad, expect) in [
            (r#"{"HostPort":"x"}"#, "invalid port specification: \"x\""),
            (r#"{"HostPort":"9-8"}"#, "invalid port specification: \"9-8\""),
            (r#"{"HostIp":"1.2.3"}"#, "invalid IP address in port binding: \"1.2.3\""),
        ] {
            let host = format!(r#"{{"PortBindings":{{"80/tcp":[{bad}]}}}}"#);
            assert_eq!(check_ports(&record(&host, "null").host_config).unwrap_err().to_string(), expect);
        }
    }
}
