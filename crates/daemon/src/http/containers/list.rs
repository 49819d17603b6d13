//! `GET /containers/json`

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use berth_api::Version;
use berth_api::container::{
    EndpointSettings, HealthSummary, HostConfigSummary, LIST_CHANGES, Map, NetworkSettingsSummary, Port,
    PortMap, PortSummary, Summary,
};
use berth_engine::{Container, ContainerSize, ListOptions, State, Status, Time};
use bytes::Bytes;
use hyper::StatusCode;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;
use super::super::time::human;

pub(crate) async fn list(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let limit: Option<i64> = call.query.number_or_failure("limit")?;
    let options = ListOptions {
        all: call.query.flag("all"),
        limit: limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0),
        filters: call.query.filters()?,
    };
    let containers = server.engine.container_list(&options)?;
    if !call.query.flag("size") {
        return brief(&server, &containers, call.version);
    }
    let mut list = Vec::with_capacity(containers.len());
    let mut names = Names::default();
    for container in &containers {
        let size = size_of(&server, &container.record.id).await?;
        let mut summary = Summary { image: names.of(&server, container), ..summary(container, size) };
        summary.names.extend(link_names(&server, container));
        list.push(summary);
    }
    Answer::json_for(&list, call.version, LIST_CHANGES)
}

/// The list without sizes, from texts that are kept until what they tell changes.
fn brief(server: &Server, containers: &[Arc<Container>], version: Version) -> Result<Answer, Error> {
    let now = Time::now();
    let mut names = Names::default();
    let mut text = Vec::with_capacity(containers.len() * 1024 + 3);
    text.push(b'[');
    for container in containers {
        if text.len() > 1 {
            text.push(b',');
        }
        let told = Told {
            image: names.of(server, container),
            status: status(&container.state, now),
            links: link_names(server, container).collect(),
        };
        server.summaries.add(container, version, told, &mut text)?;
    }
    text.extend_from_slice(b"]\n");
    Ok(Answer::whole(StatusCode::OK, Some("application/json"), text.into()))
}

/// The texts of containers in lists. Most of a list is the same as a moment ago.
#[derive(Default)]
pub(crate) struct Summaries(RwLock<HashMap<(String, Version), Kept>>);

/// A container's text, and what it was made of.
struct Kept {
    container: Arc<Container>,
    told: Told,
    text: Bytes,
}

/// What depends on more than the container.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    /// The image as it is called now.
    image: String,
    /// The words for the state, which depend on the time.
    status: String,
    /// The names that others gave it.
    links: Vec<String>,
}

/// What others call a container.
fn link_names(server: &Server, container: &Container) -> impl Iterator<Item = String> {
    server.engine.container_link_names(container).into_iter().map(|name| format!("/{name}"))
}

impl Kept {
    fn fits(&self, container: &Arc<Container>, told: &Told) -> bool {
        Arc::ptr_eq(&self.container, container) && self.told == *told
    }
}

impl Summaries {
    /// Appends a container's text.
    fn add(
        &self,
        container: &Arc<Container>,
        version: Version,
        told: Told,
        to: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let key = (container.record.id.clone(), version);
        if let Some(kept) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key)
            && kept.fits(container, &told)
        {
            to.extend_from_slice(&kept.text);
            return Ok(());
        }
        let summary = summary(container, None);
        let names = summary.names.iter().chain(&told.links).cloned().collect();
        let summary = Summary { names, image: told.image.clone(), status: told.status.clone(), ..summary };
        let list = berth_api::version::to_vec(&[summary], version, LIST_CHANGES)?;
        let text = &list[1..list.len() - 1];
        to.extend_from_slice(text);
        let kept = Kept { container: container.clone(), told, text: Bytes::copy_from_slice(text) };
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() == all.capacity() {
            // What nobody but this map has any more was removed, or is told anew.
            all.retain(|_, kept| Arc::strong_count(&kept.container) > 1);
        }
        all.insert(key, kept);
        Ok(())
    }
}

/// What images' names stand for now, each looked up once.
#[derive(Default)]
struct Names<'c>(HashMap<&'c str, Option<String>>);

impl<'c> Names<'c> {
    /// The image as the user named it, or its id if the name is another image's by now.
    fn of(&mut self, server: &Server, container: &'c Container) -> String {
        let record = &container.record;
        let name = record.config.image.as_str();
        let id = self.0.entry(name).or_insert_with(|| server.engine.image_id(name));
        if id.as_ref() == Some(&record.image) { name.to_owned() } else { record.image.clone() }
    }
}

/// The size of a container; nothing if it went away meanwhile.
async fn size_of(server: &Server, id: &str) -> Result<Option<ContainerSize>, Error> {
    match server.engine.container_size(id).await {
        Ok(size) => Ok(Some(size)),
        Err(error) if error.class() == berth_engine::Class::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A container as lists show it.
pub(crate) fn summary(container: &Container, size: Option<ContainerSize>) -> Summary {
    let (record, state) = (&container.record, &container.state);
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mounts = record.mounts.iter().map(super::inspect::mount_point);
    let health = state
        .health
        .as_ref()
        .map(|health| HealthSummary { status: health.status.clone(), failing_streak: health.failing_streak });
    Summary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image: record.config.image.clone(),
        image_id: record.image.clone(),
        command: command_line(&record.path, &record.args),
        created: record.created.unix_seconds(),
        ports: ports(&state.network.ports),
        size_rw: size.map(|size| signed(size.writable)),
        size_root_fs: size.map(|size| signed(size.root_fs)),
        labels: record.config.labels.clone().unwrap_or_default(),
        state: state.status.as_str().to_owned(),
        status: status(state, Time::now()),
        host_config: HostConfigSummary {
            network_mode: record.host_config.network_mode.clone(),
            annotations: record.host_config.annotations.clone().unwrap_or_default(),
        },
        network_settings: NetworkSettingsSummary { networks: networks(container) },
        mounts: mounts.collect(),
        health,
    }
}

/// A command as one line: an argument with a space in it stands in quotes.
fn command_line(path: &str, args: &[String]) -> String {
    let mut line = path.to_owned();
    for arg in args {
        line.push(' ');
        if arg.contains(' ') {
            line.push('\'');
            line.push_str(arg);
            line.push('\'');
        } else {
            line.push_str(arg);
        }
    }
    line
}

/// Published and exposed ports, one by one.
fn ports(map: &PortMap) -> Vec<PortSummary> {
    let mut list = Vec::new();
    for (port, bindings) in map {
        let Ok(Port { number, protocol }) = port.parse() else { continue };
        let bare =
            || PortSummary { private_port: number, kind: protocol.to_string(), ..PortSummary::default() };
        match bindings {
            Some(bindings) if !bindings.is_empty() => {
                list.extend(bindings.iter().map(|binding| PortSummary {
                    ip: binding.host_ip.clone(),
                    public_port: binding.host_port.parse().unwrap_or_default(),
                    ..bare()
                }));
            }
            _ => list.push(bare()),
        }
    }
    list
}

/// The ends of a container's networks, with what they have and without what was asked for.
fn networks(container: &Container) -> Map<EndpointSettings> {
    let live = &container.state.network.endpoints;
    let wanted = &container.record.endpoints;
    let names = wanted.keys().chain(live.keys().filter(|name| !wanted.contains_key(*name)));
    let endpoint = |name: &String| {
        let settings = live.get(name).or_else(|| wanted.get(name)).cloned().unwrap_or_default();
        EndpointSettings {
            ipam_config: None,
            links: None,
            aliases: None,
            driver_opts: None,
            dns_names: None,
            ..settings
        }
    };
    names.map(|name| (name.clone(), endpoint(name))).collect()
}

/// The state for people.
fn status(state: &State, now: Time) -> String {
    let up = || format!("Up {}", human(now.since(state.started_at)));
    let ended = || human(now.since(state.finished_at));
    match state.status {
        Status::Paused => format!("{} (Paused)", up()),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, ended()),
        Status::Running => match state.health.as_ref().map(|health| health.status.as_str()) {
            None => up(),
            Some("starting") => format!("{} (health: starting)", up()),
            Some(health) => format!("{} ({health})", up()),
        },
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Created | Status::Exited if state.started_at.is_never() => "Created".to_owned(),
        Status::Created | Status::Exited if state.finished_at.is_never() => String::new(),
        Status::Created | Status::Exited => format!("Exited ({}) {} ago", state.exit_code, ended()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_api::container::PortBinding;

    #[test]
    fn commands_are_written_as_one_line() {
        let line =
            |args: &[&str]| command_line("sh", &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert_eq!(line(&[]), "sh");
        assert_eq!(line(&["-c", "echo a; exit"]), "sh -c 'echo a; exit'");
    }

    #[test]
    fn states_are_told_as_docker_tells_them() {
        let second = |number: i64| Time::from_unix_nanos(number * 1_000_000_000);
        let state = |status, exit_code, started, finished| State {
            status,
            exit_code,
            started_at: second(started),
            finished_at: second(finished),
            ..State::default()
        };
        let check = |state: State, expect: &str| assert_eq!(status(&state, second(1000)), expect);
        check(state(Status::Created, 0, 0, 0), "Created");
        check(state(Status::Running, 0, 995, 0), "Up 5 seconds");
        check(state(Status::Paused, 0, 995, 0), "Up 5 seconds (Paused)");
        check(state(Status::Exited, 137, 100, 940), "Exited (137) About a minute ago");
        check(state(Status::Restarting, 1, 100, 999), "Restarting (1) 1 second ago");
        check(state(Status::Removing, 0, 1, 1), "Removal In Progress");
        check(state(Status::Dead, 0, 1, 1), "Dead");
        // A start that failed leaves a container that never ran.
        check(state(Status::Exited, 127, 0, 0), "Created");
        let mut healthy = state(Status::Running, 0, 995, 0);
        healthy.health =
            Some(berth_engine::container::Health { status: "starting".into(), ..Default::default() });
        check(healthy, "Up 5 seconds (health: starting)");
    }

    #[test]
    fn ports_are_listed_one_by_one() {
        let binding = |ip: &str, port: &str| PortBinding { host_ip: ip.into(), host_port: port.into() };
        let map = PortMap::from([
            ("80/tcp".to_owned(), Some(vec![binding("0.0.0.0", "8080"), binding("::", "8080")])),
            ("81/udp".to_owned(), None),
        ]);
        let list: Vec<_> = ports(&map)
            .into_iter()
            .map(|port| (port.ip, port.public_port, port.private_port, port.kind))
            .collect();
        assert_eq!(
            list,
            [
                ("0.0.0.0".into(), 8080, 80, "tcp".to_owned()),
                ("::".into(), 8080, 80, "tcp".to_owned()),
                (String::new(), 0, 81, "udp".to_owned())
            ]
        );
    }
}
