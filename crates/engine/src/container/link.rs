//! Links (`--link`): a container of the default bridge knows another one by names of its own, and by variables.
//!
//! A link is part of the record of the container that asked for it. What it stands for is looked up at each start and
//! exec; should the other container come back with another address, `/etc/hosts` follows.

use std::collections::{BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock};

use berth_oci::container::{HostConfig, NetworkMode, Port, Protocol};
use serde::{Deserialize, Serialize};

use super::registry::Registry;
use super::{Container, Record};
use crate::Inner;
use crate::error::{Error, Result};

/// A link as its container's record has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The id of the other container.
    pub container: String,
    /// What the other one was called when the link was made.
    pub name: String,
    /// What it is called here.
    pub alias: String,
}

/// Which containers link to which: by the id of the one that is linked to.
#[derive(Default)]
pub(crate) struct Links(RwLock<HashMap<String, BTreeSet<String>>>);

impl Links {
    /// Notes a container's links.
    pub(crate) fn hold(&self, record: &Record) {
        if record.links.is_empty() {
            return;
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for link in &record.links {
            all.entry(link.container.clone()).or_default().insert(record.id.clone());
        }
    }

    /// Forgets the links of a container that is gone, or of one that has others now.
    pub(crate) fn release(&self, record: &Record) {
        if record.links.is_empty() {
            return;
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, parents| {
            parents.remove(&record.id);
            !parents.is_empty()
        });
    }

    /// The containers that link to this one.
    fn parents(&self, id: &str) -> Vec<String> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(id).into_iter().flatten().cloned().collect()
    }
}

/// Reads the links that a request asks for.
///
/// Errors: Docker's texts.
pub(crate) fn resolve(registry: &Registry, host: &HostConfig) -> Result<Vec<Link>> {
    let mut links: Vec<Link> = Vec::new();
    for text in host.links.iter().flatten() {
        if text.is_empty() {
            return Err(Error::Refused("empty string specified for links".to_owned()));
        }
        let mut parts = text.split(':');
        let (name, alias, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        if more.is_some() {
            return Err(Error::Refused(format!("bad format for links: {text}")));
        }
        let missing = |why: &dyn std::fmt::Display| {
            Error::invalid(format!("could not get container for {name}: {why}"))
        };
        if name.is_empty() {
            return Err(missing(&"invalid name or ID supplied: \"\""));
        }
        let mut other = registry.find(name).map_err(|error| missing(&error))?.get();
        // What has another's network is met there.
        while let NetworkMode::Container(next) = other.record.host_config.network() {
            other = registry.find(next).map_err(|error| missing(&error))?.get();
        }
        if other.record.host_config.network() == NetworkMode::Host {
            return Err(Error::invalid(
                "conflicting options: host type networking can't be used with links. This would result in undefined \
                 behavior",
            ));
        }
        let alias =
            alias.filter(|alias| !alias.is_empty()).unwrap_or(name).trim_start_matches('/').to_owned();
        links.retain(|link| link.alias != alias);
        links.push(Link { container: other.record.id.clone(), name: other.record.name.clone(), alias });
    }
    Ok(links)
}

/// A container that is linked to, and runs.
pub(crate) struct Linked<'l> {
    link: &'l Link,
    other: std::sync::Arc<Container>,
    address: String,
}

impl Inner {
    /// What a container's links stand for now.
    ///
    /// Errors: Docker's texts where one does not run or is not on the default bridge.
    pub(crate) fn linked<'l>(&self, record: &'l Record) -> Result<Vec<Linked<'l>>> {
        if !on_default_bridge(record) {
            return Ok(Vec::new());
        }
        record.links.iter().map(|link| self.linked_one(record, link)).collect()
    }

    fn linked_one<'l>(&self, record: &Record, link: &'l Link) -> Result<Linked<'l>> {
        let other = self.registry.find(&link.container).map(|slot| slot.get());
        let name = other.as_ref().map_or(link.name.as_str(), |other| other.record.name.as_str());
        let stopped = || {
            let (parent, alias) = (&record.name, &link.alias);
            Error::Refused(format!("Cannot link to a non running container: /{name} AS /{parent}/{alias}"))
        };
        let other = other.as_ref().map_err(|_| stopped())?.clone();
        if !other.state.status.is_running() {
            return Err(stopped());
        }
        let address = other.state.network.endpoints.get("bridge").map(|end| end.ip_address.clone());
        let address = address.filter(|address| !address.is_empty()).ok_or_else(|| {
            Error::Refused(format!("Cannot link to /{name}, as it does not belong to the default network"))
        })?;
        Ok(Linked { link, other, address })
    }

    /// A container's links as `inspect` shows them: `/other:/container/alias`.
    pub(crate) fn link_texts(&self, record: &Record) -> Vec<String> {
        let text = |link: &Link| {
            let other = self.registry.find(&link.container).map(|slot| slot.get().record.name.clone());
            let name = other.unwrap_or_else(|_| link.name.clone());
            format!("/{name}:/{}/{}", record.name, link.alias)
        };
        record.links.iter().map(text).collect()
    }

    /// What others call a container: `parent/alias`.
    pub(crate) fn link_names(&self, id: &str) -> Vec<String> {
        let parents = self.links.parents(id).into_iter();
        let parents = parents.filter_map(|parent| Some(self.registry.find(&parent).ok()?.get()));
        let names = parents.flat_map(|parent| {
            let links = parent.record.links.iter().filter(|link| link.container == id);
            links.map(|link| format!("{}/{}", parent.record.name, link.alias)).collect::<Vec<_>>()
        });
        names.collect()
    }

    /// Tells those that link to a container where it is now.
    pub(crate) fn tell_linking(&self, container: &Container) {
        for parent in self.links.parents(&container.record.id) {
            let Ok(parent) = self.registry.find(&parent).map(|slot| slot.get()) else { continue };
            if !parent.state.status.is_running() {
                continue;
            }
            for link in parent.record.links.iter().filter(|link| link.container == container.record.id) {
                let Ok(linked) = self.linked_one(&parent.record, link) else { continue };
                self.rewrite_hosts(&parent.record, &linked, true);
            }
        }
    }

    /// Takes a link's names out of a container's `/etc/hosts`.
    pub(crate) fn forget_linked(&self, record: &Record, link: &Link) {
        if let Ok(linked) = self.linked_one(record, link) {
            self.rewrite_hosts(record, &linked, false);
        }
    }

    /// The file is mounted inside: it is changed in place.
    fn rewrite_hosts(&self, record: &Record, linked: &Linked<'_>, keep: bool) {
        // The other one's name may have changed since.
        let names = format!("{} {}", linked.link.alias, linked.other.record.config.hostname);
        let address = keep.then_some(linked.address.as_str());
        let path = record.directory.join("hosts");
        let changed = std::fs::read_to_string(&path)
            .map(|text| with_address(&text, &names, address))
            .and_then(|text| std::fs::write(&path, text));
        if let Err(error) = changed {
            tracing::warn!(container.id = %record.id, "{} does not follow a link: {error}", path.display());
        }
    }
}

impl Linked<'_> {
    /// The address and the names for `/etc/hosts`.
    pub(crate) fn hosts(&self) -> (String, String) {
        let record = &self.other.record;
        let mut names = format!("{} {}", self.link.alias, record.config.hostname);
        if self.link.alias != record.name {
            names = format!("{names} {}", record.name);
        }
        (self.address.clone(), names)
    }

    /// The variables.
    pub(crate) fn environment(&self, parent: &str) -> Vec<String> {
        let config = &self.other.record.config;
        let alias = self.link.alias.to_uppercase().replace('-', "_");
        let ports = config.exposed_ports.iter().flatten();
        let mut ports: Vec<Port> = ports.filter_map(|(port, _)| port.parse().ok()).collect();
        ports.sort_by_key(|port| (port.number, port.protocol != Protocol::Tcp));
        let mut env = Vec::new();
        if let Some(first) = ports.first() {
            env.push(format!("{alias}_PORT={}", self.place(first)));
        }
        for range in
            ports.chunk_by(|one, next| next.number == one.number + 1 && next.protocol == one.protocol)
        {
            if let [first, .., last] = range {
                let name = variable(&alias, first);
                env.push(format!("{name}_START={}", self.place(first)));
                env.push(format!("{name}_PORT_START={}", first.number));
                env.push(format!("{name}_END={}", self.place(last)));
                env.push(format!("{name}_PORT_END={}", last.number));
            }
        }
        for port in &ports {
            let name = variable(&alias, port);
            env.push(format!("{name}={}", self.place(port)));
            env.push(format!("{name}_ADDR={}", self.address));
            env.push(format!("{name}_PORT={}", port.number));
            env.push(format!("{name}_PROTO={}", port.protocol));
        }
        env.push(format!("{alias}_NAME=/{parent}/{}", self.link.alias));
        let own = config.env.iter().flatten().filter_map(|variable| variable.split_once('='));
        let own = own.filter(|(name, _)| !matches!(*name, "HOME" | "PATH"));
        env.extend(own.map(|(name, value)| format!("{alias}_ENV_{name}={value}")));
        env
    }

    fn place(&self, port: &Port) -> String {
        format!("{}://{}:{}", port.protocol, self.address, port.number)
    }
}

fn variable(alias: &str, port: &Port) -> String {
    format!("{alias}_PORT_{}_{}", port.number, port.protocol.to_string().to_uppercase())
}

fn on_default_bridge(record: &Record) -> bool {
    match record.host_config.network() {
        NetworkMode::Default => true,
        NetworkMode::Named(name) => name == "bridge",
        _ => false,
    }
}

/// The text of a hosts file with another address in the line whose names begin so, or without the line.
fn with_address(text: &str, names: &str, address: Option<&str>) -> String {
    let mut changed = String::with_capacity(text.len());
    let fits =
        |found: &str| found.strip_prefix(names).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    for line in text.lines() {
        match (line.split_once('\t'), address) {
            (Some((_, found)), Some(address)) if fits(found) => {
                changed.push_str(&format!("{address}\t{found}\n"));
            }
            (Some((_, found)), None) if fits(found) => {}
            _ => {
                changed.push_str(line);
                changed.push('\n');
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::State;
    use std::sync::Arc;

    #[test]
    fn variables_are_dockers() {
        let mut record = Record { name: "db".to_owned(), ..Record::default() };
        record.config.env = Some(["A=1", "PATH=/x", "HOME=/y", "B"].map(str::to_owned).into());
        let ports = ["80/tcp", "8000/tcp", "8001/tcp", "53/udp"];
        record.config.exposed_ports = serde_json::from_value(
            ports.iter().map(|port| ((*port).to_owned(), serde_json::json!({}))).collect(),
        )
        .unwrap();
        let other = Container { record: Arc::new(record), state: State::default(), exec_ids: Vec::new() };
        let link = Link { alias: "d-b".to_owned(), ..Link::default() };
        let linked = Linked { link: &link, other: Arc::new(other), address: "1.2.3.4".to_owned() };
        let env = linked.environment("web");
        let named = |start: &str| {
            let fits = |line: &&String| line.starts_with(start);
            env.iter().filter(fits).map(String::as_str).collect::<Vec<_>>()
        };
        assert_eq!(named("D_B_PORT="), ["D_B_PORT=udp://1.2.3.4:53"]);
        assert_eq!(
            named("D_B_PORT_80_TCP"),
            [
                "D_B_PORT_80_TCP=tcp://1.2.3.4:80",
                "D_B_PORT_80_TCP_ADDR=1.2.3.4",
                "D_B_PORT_80_TCP_PORT=80",
                "D_B_PORT_80_TCP_PROTO=tcp",
            ]
        );
        assert_eq!(named("D_B_PORT_8000_TCP_PORT_END"), ["D_B_PORT_8000_TCP_PORT_END=8001"]);
        assert_eq!(named("D_B_PORT_8000_TCP_END"), ["D_B_PORT_8000_TCP_END=tcp://1.2.3.4:8001"]);
        assert_eq!(named("D_B_NAME"), ["D_B_NAME=/web/d-b"]);
        assert_eq!(named("D_B_ENV"), ["D_B_ENV_A=1"]);
    }

    #[test]
    fn addresses_in_hosts_files_follow() {
        let text = "127.0.0.1\tlocalhost\n1.2.3.4\tx h db\n1.2.3.4\tother\n";
        let moved = "127.0.0.1\tlocalhost\n5.6.7.8\tx h db\n1.2.3.4\tother\n";
        assert_eq!(with_address(text, "x h", Some("5.6.7.8")), moved);
        assert_eq!(with_address(text, "x h", None), "127.0.0.1\tlocalhost\n1.2.3.4\tother\n");
    }
}
