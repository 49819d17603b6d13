//! A container's own files under `/etc`: written in its directory on the host, mounted inside.

use std::net::IpAddr;
use std::path::PathBuf;

use berth_network::Endpoint;
use berth_network::files::{
    DnsOptions, HostEntry, HostsFile, host_resolv_conf_path, hostname, hosts, parse_add_host, resolv_conf,
};
use berth_oci::container::NetworkMode;

use crate::Inner;
use crate::container::Record;
use crate::error::{Error, Result};

/// The files, by path inside and name on the host.
const FILES: [(&str, &str); 3] =
    [("/etc/resolv.conf", "resolv.conf"), ("/etc/hostname", "hostname"), ("/etc/hosts", "hosts")];

/// Which files are mounted where. A container in another's network has the other's files.
pub(crate) fn mounts(engine: &Inner, record: &Record) -> Result<Vec<(&'static str, String)>> {
    let directory = directory(engine, record)?;
    let text = |name: &str| directory.join(name).to_string_lossy().into_owned();
    Ok(FILES.into_iter().map(|(inside, name)| (inside, text(name))).collect())
}

fn directory(engine: &Inner, record: &Record) -> Result<PathBuf> {
    match record.host_config.network() {
        NetworkMode::Container(other) => {
            let other = engine.registry.find(other)?.get();
            // A chain of joined containers leads to the one that has a network of its own.
            if other.record.id == record.id {
                Ok(record.directory.clone())
            } else {
                directory(engine, &other.record)
            }
        }
        _ => Ok(record.directory.clone()),
    }
}

/// Writes a container's files.
///
/// Errors: Docker's text for an option that cannot be followed; a full disk.
pub(crate) fn write(engine: &Inner, record: &Record, endpoint: Option<&Endpoint>) -> Result<()> {
    let is_host = matches!(record.host_config.network(), NetworkMode::Host);
    let put = |name: &str, text: &str| {
        let path = record.directory.join(name);
        std::fs::write(&path, text).map_err(Error::io(format!("cannot write {}", path.display())))
    };
    let mut extra = extra_hosts(engine, record)?;
    for linked in engine.linked(record)? {
        let (address, names) = linked.hosts();
        extra.extend(address.parse().map(|address| HostEntry { address, names }));
    }
    let hosts = if is_host { host_hosts(&extra) } else { own_hosts(engine, record, endpoint, &extra) };
    put("hosts", &hosts)?;
    put("hostname", &hostname(&record.config.hostname))?;
    put("resolv.conf", &resolver(engine, record, endpoint)?)
}

fn extra_hosts(engine: &Inner, record: &Record) -> Result<Vec<HostEntry>> {
    let gateway = engine.network.host_gateway();
    let entries = record.host_config.extra_hosts.iter().flatten();
    entries.map(|entry| parse_add_host(entry, gateway).map_err(Error::InvalidParameter)).collect()
}

/// The host's own list, with what was asked for.
fn host_hosts(extra: &[HostEntry]) -> String {
    let mut text = crate::host::read("/etc/hosts");
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in extra {
        text.push_str(&format!("{}\t{}\n", entry.address, entry.names));
    }
    text
}

fn own_hosts(engine: &Inner, record: &Record, endpoint: Option<&Endpoint>, extra: &[HostEntry]) -> String {
    let addresses: Vec<IpAddr> = endpoint
        .into_iter()
        .flat_map(|endpoint| [Some(IpAddr::V4(endpoint.ipv4)), endpoint.ipv6.map(IpAddr::V6)])
        .flatten()
        .collect();
    hosts(&HostsFile {
        addresses: &addresses,
        hostname: &record.config.hostname,
        domainname: &record.config.domainname,
        extra,
        host_gateway: endpoint.and_then(|_| engine.network.host_gateway()),
    })
}

fn resolver(engine: &Inner, record: &Record, endpoint: Option<&Endpoint>) -> Result<String> {
    let own = &record.host_config;
    let servers = own.dns.iter().flatten().map(|server| {
        let bad = || {
            Error::Refused(format!(
                "bad nameserver address {server}: ParseAddr({server:?}): unable to parse IP"
            ))
        };
        server.parse::<IpAddr>().map_err(|_| bad())
    });
    let servers = servers.collect::<Result<Vec<_>>>()?;
    let or_engine = |own: &Option<Vec<String>>, engine: &[String]| match own {
        Some(own) if !own.is_empty() => own.clone(),
        _ => engine.to_vec(),
    };
    let search = or_engine(&own.dns_search, &engine.config.dns_search);
    let options = or_engine(&own.dns_options, &engine.config.dns_options);
    let options = DnsOptions {
        servers: if servers.is_empty() { &engine.config.dns } else { &servers },
        search: &search,
        options: &options,
        ipv6: endpoint.is_none_or(|endpoint| endpoint.ipv6.is_some()),
    };
    let path = host_resolv_conf_path(&crate::host::read("/etc/resolv.conf"));
    Ok(resolv_conf(&crate::host::read(path), &options))
}
