//! Names that exist now: of containers, images and the like. No engine is started to ask for them.

use berth_api::client::{Client, Error, ListOptions, Query};
use berth_api::filters::Filters;
use berth_api::network::Network;

use crate::context::{Context, DEFAULT_CONTEXT};
use crate::outcome::Failure;

/// What fits a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Nothing,
    Files,
    /// Containers in these states; all if there are none.
    Containers(&'static [&'static str]),
    Images,
    /// Whatever can be inspected.
    Anything,
    Volumes,
    Networks,
    Contexts,
    Words(&'static [&'static str]),
}

const RUNNING: &[&str] = &["running"];
const ALL: &[&str] = &[];

/// What the argument at a place of a command is.
pub(super) fn of_argument(path: &[&str], place: usize) -> Names {
    let (group, command) = match path {
        [command] => ("", *command),
        [group, command] => (*group, *command),
        _ => return Names::Nothing,
    };
    match (group, command, place) {
        ("context", "create" | "show" | "ls", _) | ("context", "import", 0) => Names::Nothing,
        ("context", "export", 1) | ("context", "import", _) => Names::Files,
        ("context", ..) => Names::Contexts,
        ("volume", "inspect" | "rm" | "update", _) => Names::Volumes,
        ("image", "inspect" | "rm" | "history" | "save", _) | ("", "rmi" | "history" | "save", _) => {
            Names::Images
        }
        ("", "inspect", _) => Names::Anything,
        ("" | "container", "attach" | "exec" | "top", 0) => Names::Containers(RUNNING),
        ("" | "container", "attach" | "exec" | "top", _) => Names::Nothing,
        ("" | "container", "kill" | "stop" | "pause" | "stats", _) => Names::Containers(RUNNING),
        ("" | "container", "unpause", _) => Names::Containers(&["paused"]),
        ("" | "container", "start", _) => Names::Containers(&["created", "exited"]),
        ("" | "container", "restart" | "rm" | "update" | "wait", _) | ("container", "inspect", _) => {
            Names::Containers(ALL)
        }
        ("" | "container", "commit" | "diff" | "export" | "logs" | "port" | "rename", 0) => {
            Names::Containers(ALL)
        }
        ("" | "container", "commit", 1) => Names::Images,
        ("" | "container", "run" | "create", 0) | ("" | "image", "tag" | "push", _) => Names::Images,
        ("" | "container", "run" | "create" | "cp", _) | ("" | "image", "import", 0) => Names::Files,
        _ => Names::Nothing,
    }
}

/// What the value of a flag is.
pub(super) fn of_flag(path: &[&str], flag: &str) -> Names {
    match (path.last().copied(), flag) {
        (_, "cidfile" | "env-file" | "label-file" | "input" | "output" | "volume" | "config" | "device") => {
            Names::Files
        }
        (_, "tlscacert" | "tlscert" | "tlskey") => Names::Files,
        (_, "network" | "net") => Names::Networks,
        (_, "volumes-from" | "link") => Names::Containers(ALL),
        (_, "context" | "from") => Names::Contexts,
        (_, "pull") => Names::Words(&["always", "missing", "never"]),
        (_, "restart") => Names::Words(&["always", "no", "on-failure", "unless-stopped"]),
        (Some("create"), "driver") | (_, "volume-driver") => Names::Words(&["local"]),
        (_, "log-driver") => {
            Names::Words(&["fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"])
        }
        (_, "log-level") => Names::Words(&["debug", "error", "fatal", "info", "warn"]),
        (_, "attach") => Names::Words(&["stderr", "stdin", "stdout"]),
        (Some("inspect"), "type") => Names::Words(&["container", "image", "network", "volume"]),
        (_, "format") => Names::Words(&["json", "table"]),
        (_, "stop-signal") | (Some("kill" | "stop" | "restart"), "signal") => {
            Names::Words(&["SIGHUP", "SIGINT", "SIGKILL", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
        }
        _ => Names::Nothing,
    }
}

/// The names, less those that are there already.
pub(super) fn list(context: &Context, wanted: Names, given: &[String]) -> Vec<(String, String)> {
    let mut found = match wanted {
        Names::Nothing | Names::Files => Vec::new(),
        Names::Words(words) => words.iter().map(|word| ((*word).to_owned(), String::new())).collect(),
        Names::Contexts => {
            let entries = context.contexts().list().into_iter();
            let entries = entries.map(|entry| (entry.name.clone(), entry.description().to_owned()));
            std::iter::once((DEFAULT_CONTEXT.to_owned(), String::new())).chain(entries).collect()
        }
        // Somebody who types is told nothing rather than an error.
        wanted => context.block_on(ask(context, wanted)).unwrap_or_default(),
    };
    found.retain(|(name, _)| !given.contains(name));
    found
}

async fn ask(context: &Context, wanted: Names) -> Result<Vec<(String, String)>, Failure> {
    let client = context.new_client()?;
    client.connect().await?;
    let found = match wanted {
        Names::Containers(states) => containers(&client, states).await?,
        Names::Images => images(&client).await?,
        Names::Anything => {
            let mut all = containers(&client, ALL).await?;
            all.extend(images(&client).await?);
            all
        }
        Names::Volumes => {
            let volumes = client.volumes(&Filters::new()).await?.volumes;
            volumes.into_iter().map(|volume| (volume.name, volume.driver)).collect()
        }
        Names::Networks => {
            let networks: Vec<Network> = client.get("/networks", &Query::new()).await?;
            networks.into_iter().map(|network| (network.name, network.driver)).collect()
        }
        _ => Vec::new(),
    };
    Ok(found)
}

async fn containers(client: &Client, states: &[&str]) -> Result<Vec<(String, String)>, Error> {
    let containers = client.containers(&ListOptions { all: true, ..ListOptions::default() }).await?;
    let fits = |state: &str| states.is_empty() || states.contains(&state);
    let fitting = containers.into_iter().filter(|container| fits(&container.state));
    let named = fitting.filter_map(|container| {
        let name = container.names.iter().find_map(|name| {
            let name = name.strip_prefix('/').unwrap_or(name);
            // A name with a slash in it is another container's link.
            (!name.contains('/')).then(|| name.to_owned())
        })?;
        Some((name, format!("{}, {}", container.image, container.status)))
    });
    Ok(named.collect())
}

async fn images(client: &Client) -> Result<Vec<(String, String)>, Error> {
    let images = client.images(false, &Filters::new()).await?;
    let mut names = Vec::new();
    for image in images {
        for tag in image.repo_tags.into_iter().filter(|tag| tag != "<none>:<none>") {
            if let Some(name) = tag.strip_suffix(":latest") {
                names.push((name.to_owned(), String::new()));
            }
            names.push((tag, String::new()));
        }
    }
    names.sort();
    Ok(names)
}
