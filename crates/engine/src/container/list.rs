//! Lists of containers, by Docker's filters.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use berth_oci::container::{Port, Protocol};
use regex_automata::nfa::thompson::{self, pikevm::PikeVM};

use super::{Container, ListOptions, Status};
use crate::Inner;
use crate::error::{Error, Result};
use crate::filters::Filters;
use crate::time::Time;

/// Keys that `filters` may have.
const KEYS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATUSES: [&str; 7] = ["paused", "restarting", "removing", "running", "dead", "created", "exited"];
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];
/// A pattern may take so much memory when it is compiled.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Inner {
    /// The containers that fit, newest first.
    pub(crate) fn list(&self, options: &ListOptions) -> Result<Vec<Arc<Container>>> {
        let wanted = Wanted::new(self, options)?;
        let mut containers: Vec<Arc<Container>> = self.registry.all().iter().map(|slot| slot.get()).collect();
        containers.retain(|container| wanted.fits(container));
        containers.sort_by_key(|container| std::cmp::Reverse(container.record.created));
        if options.limit > 0 {
            containers.truncate(options.limit);
        }
        Ok(containers)
    }
}

/// Filters, read once.
struct Wanted<'a> {
    filters: &'a Filters,
    stopped_too: bool,
    names: Patterns,
    ids: Patterns,
    before: Option<Time>,
    since: Option<Time>,
    exited: Vec<i32>,
    ancestors: Option<HashSet<String>>,
    publish: Option<BTreeSet<Port>>,
    expose: Option<BTreeSet<Port>>,
}

impl<'a> Wanted<'a> {
    fn new(engine: &Inner, options: &'a ListOptions) -> Result<Wanted<'a>> {
        let filters = &options.filters;
        filters.validate(&KEYS)?;
        if let Some(bad) = filters.get("status").iter().find(|status| !STATUSES.contains(&status.as_str())) {
            return Err(Error::invalid(format!("invalid filter 'status={bad}'")));
        }
        if let Some(bad) = filters.get("health").iter().find(|health| !HEALTHS.contains(&health.as_str())) {
            return Err(Error::invalid(format!("unrecognized filter value for health: {bad}")));
        }
        filters.boolean("is-task", false)?;
        // Of several, the last one holds.
        let created = |key: &str| match filters.get(key).last() {
            Some(reference) => Ok(Some(engine.registry.find(reference)?.get().record.created)),
            None => Ok::<_, Error>(None),
        };
        let code = |text: &String| {
            let bad =
                || format!("invalid filter 'exited={text}': strconv.Atoi: parsing {text:?}: invalid syntax");
            text.parse::<i32>().map_err(|_| Error::invalid(bad()))
        };
        Ok(Wanted {
            stopped_too: options.all || options.limit > 0 || filters.contains("status"),
            names: Patterns::new(filters.get("name")),
            ids: Patterns::new(filters.get("id")),
            before: created("before")?,
            since: created("since")?,
            exited: filters.get("exited").iter().map(code).collect::<Result<_>>()?,
            ancestors: filters.contains("ancestor").then(|| ancestors(engine, filters.get("ancestor"))),
            publish: ports(filters, "publish")?,
            expose: ports(filters, "expose")?,
            filters,
        })
    }

    fn fits(&self, container: &Container) -> bool {
        let (record, state) = (&container.record, &container.state);
        let empty = std::collections::BTreeMap::new();
        let health = state.health.as_ref().map_or("none", |health| health.status.as_str());
        let ended_with = |code: &i32| *code == state.exit_code && has_ended(container);
        (self.stopped_too || state.status.is_running())
            && self.before.is_none_or(|before| record.created < before)
            && self.since.is_none_or(|since| record.created > since)
            && (self.names.fit(&record.name) || self.names.fit(&format!("/{}", record.name)))
            && self.ids.fit(&record.id)
            && self.filters.get("id").first().is_none_or(|id| !id.is_empty())
            && self.filters.labels("label", record.config.labels.as_ref().unwrap_or(&empty))
            && self.filters.exact("status", state.status.as_str())
            && self.filters.exact("health", health)
            && self.filters.get("is-task").iter().all(|value| matches!(value.as_str(), "0" | "false"))
            && (self.exited.is_empty() || self.exited.iter().any(ended_with))
            && self.ancestors.as_ref().is_none_or(|images| images.contains(&record.image))
            && self.volume_fits(container)
            && self.network_fits(container)
            && self.publish.as_ref().is_none_or(|wanted| is_published(container, wanted))
            && self.expose.as_ref().is_none_or(|wanted| is_exposed(container, wanted))
    }

    fn volume_fits(&self, container: &Container) -> bool {
        let wanted = self.filters.get("volume");
        let has = |want: &String| {
            container.record.mounts.iter().any(|point| {
                let inside = want.trim_end_matches('/');
                point.name.as_ref() == Some(want) || point.source == *want || point.destination == inside
            })
        };
        wanted.is_empty() || wanted.iter().any(has)
    }

    fn network_fits(&self, container: &Container) -> bool {
        let wanted = self.filters.get("network");
        let on = |want: &String| {
            container.state.network.endpoints.iter().any(|(name, settings)| {
                name == want
                    || (!settings.network_id.is_empty() && settings.network_id.starts_with(want.as_str()))
            })
        };
        wanted.is_empty() || wanted.iter().any(on)
    }
}

/// Patterns, each Go's regular expression or the whole text; none fit everything.
pub(crate) struct Patterns {
    exact: Vec<String>,
    compiled: Vec<PikeVM>,
}

impl Patterns {
    pub(crate) fn new(values: &[String]) -> Patterns {
        let compile = |value: &String| {
            let limits = thompson::Config::new().nfa_size_limit(Some(PATTERN_BYTES_MAX));
            // What is no pattern fits nothing but itself.
            PikeVM::builder().thompson(limits).build(value).ok()
        };
        Patterns { exact: values.to_vec(), compiled: values.iter().filter_map(compile).collect() }
    }

    pub(crate) fn fit(&self, text: &str) -> bool {
        self.exact.is_empty()
            || self.exact.iter().any(|exact| exact == text)
            || self.compiled.iter().any(|pattern| pattern.is_match(&mut pattern.create_cache(), text))
    }
}

fn has_ended(container: &Container) -> bool {
    !container.state.status.is_running()
        && container.state.status != Status::Created
        && !container.state.started_at.is_never()
}

/// The ids of the images named and of all that were made from them.
fn ancestors(engine: &Inner, references: &[String]) -> HashSet<String> {
    let images = engine.store.images();
    let mut wanted: HashSet<String> = references
        .iter()
        .filter_map(|reference| images.get(reference).ok())
        .map(|image| image.id.to_string())
        .collect();
    if wanted.is_empty() {
        return wanted;
    }
    let all = images.list(true);
    loop {
        let before = wanted.len();
        for listed in &all {
            if listed.image.parent.as_ref().is_some_and(|parent| wanted.contains(parent.as_str())) {
                wanted.insert(listed.image.id.to_string());
            }
        }
        if wanted.len() == before {
            return wanted;
        }
    }
}

/// The ports of a filter: `80`, `80/udp`, `8000-8010/tcp`.
fn ports(filters: &Filters, key: &str) -> Result<Option<BTreeSet<Port>>> {
    if filters.get(key).is_empty() {
        return Ok(None);
    }
    let mut wanted = BTreeSet::new();
    for text in filters.get(key) {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |part: &str| {
            let why = match part.parse::<u64>() {
                Ok(number) if number <= u64::from(u16::MAX) => return Ok(number as u16),
                Err(_) if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) => {
                    "invalid syntax"
                }
                _ => "value out of range",
            };
            let why = format!("strconv.ParseUint: parsing {part:?}: {why}");
            Err(Error::Refused(format!("error while looking up for {key} {text}: {why}")))
        };
        let (first, last) = (number(first)?, number(last)?);
        // No port has another protocol.
        if let Ok(protocol) = protocol.parse::<Protocol>() {
            wanted.extend((first..=last).map(|number| Port { number, protocol }));
        }
    }
    Ok(Some(wanted))
}

fn is_published(container: &Container, wanted: &BTreeSet<Port>) -> bool {
    let ports = container.state.network.ports.iter();
    ports.filter(|(_, bindings)| bindings.is_some()).any(|(port, bindings)| {
        let Ok(port) = port.parse::<Port>() else { return false };
        bindings.iter().flatten().any(|binding| {
            let number = binding.host_port.parse::<u16>();
            number.is_ok_and(|number| wanted.contains(&Port { number, ..port }))
        })
    })
}

fn is_exposed(container: &Container, wanted: &BTreeSet<Port>) -> bool {
    let exposed = container.record.config.exposed_ports.iter().flatten();
    exposed.filter_map(|(port, _)| port.parse::<Port>().ok()).any(|port| wanted.contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_go() {
        let check = |pattern: &str, text: &str, expect: bool| {
            assert_eq!(Patterns::new(&[pattern.to_owned()]).fit(text), expect, "{pattern} {text}");
        };
        check("web", "my-web-1", true);
        check("^web$", "my-web-1", false);
        check("^web$", "web", true);
        check("w.b|db", "adb", true);
        check("(", "web", false);
        check("(", "(", true);
        assert!(Patterns::new(&[]).fit("anything"));
        check("(a{1000}){1000}", "a", false);
    }

    #[test]
    fn ports_of_filters() {
        let set = |text: &str| {
            let mut filters = Filters::new();
            filters.add("publish", text);
            ports(&filters, "publish").map(|ports| ports.unwrap().len())
        };
        assert_eq!(set("80").unwrap(), 1);
        assert_eq!(set("80-89/udp").unwrap(), 10);
        assert_eq!(set("80/foo").unwrap(), 0, "no port has that protocol");
        assert!(set("x").is_err() && set("65536").is_err() && set("9-x").is_err());
    }
}
