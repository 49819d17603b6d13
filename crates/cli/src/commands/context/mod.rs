//! `context`: which engine is spoken to. Contexts are Docker's own, in Docker's place.

mod archive;
mod create;
mod list;
mod select;

use std::path::{Path, PathBuf};

use crate::command::{Entry, Group};
use crate::config::{Endpoint, TLS_FILES};
use crate::context::{Context, DEFAULT_CONTEXT};
use crate::flags::parse_bool;
use crate::outcome::{Failure, open_text};

static COMMANDS: &[&dyn Entry] = &[
    &create::COMMAND,
    &archive::EXPORT,
    &archive::IMPORT,
    &list::INSPECT,
    &list::LS,
    &select::RM,
    &select::SHOW,
    &create::UPDATE,
    &select::USE,
];

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "context",
    about: "Choose the engine to speak to",
    commands: COMMANDS,
    aliases: &[("list", "ls"), ("remove", "rm")],
    later: &[],
};

/// What the default context says of itself.
const DEFAULT_DESCRIPTION: &str = "Current DOCKER_HOST based configuration";

/// What is said of the warning that a variable overrules the contexts.
fn overruled(context: &Context, name: &str) {
    if std::env::var_os("DOCKER_HOST").is_some_and(|host| !host.is_empty()) {
        context.printer.say(format!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use {name}, either set the global --context flag, or unset DOCKER_HOST environment variable."
        ));
    }
}

/// `--docker host=…,ca=…`, by key.
type Pairs = Vec<(String, String)>;

/// Reads one `--docker`.
fn pairs(into: &mut Pairs, value: &str) -> Result<(), String> {
    for pair in value.split(',').filter(|pair| !pair.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| format!("{pair} must be formatted as key=value"))?;
        into.push((name.to_owned(), value.to_owned()));
    }
    Ok(())
}

/// The endpoint that `--docker` describes.
///
/// # Errors
/// Docker's text.
fn endpoint(context: &Context, pairs: &Pairs) -> Result<Endpoint, Failure> {
    const KEYS: [&str; 6] = ["from", "host", "ca", "cert", "key", "skip-tls-verify"];
    let failed = |reason: String| Failure::new(format!("unable to create docker endpoint config: {reason}"));
    if let Some((name, _)) = pairs.iter().find(|(name, _)| !KEYS.contains(&name.as_str())) {
        return Err(failed(format!("unrecognized config key: {name}")));
    }
    let get = |name: &str| {
        let found = pairs.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    if let Some(from) = get("from") {
        return stored_endpoint(context, from);
    }
    let skip_tls_verify = match get("skip-tls-verify") {
        Some(value) => parse_bool(value).map_err(|reason| failed(format!("skip-tls-verify: {reason}")))?,
        None => false,
    };
    let mut endpoint =
        Endpoint { host: get("host").unwrap_or_default().to_owned(), skip_tls_verify, ..Endpoint::default() };
    for (key, file) in ["ca", "cert", "key"].into_iter().zip(TLS_FILES) {
        let Some(path) = get(key) else { continue };
        let bytes = std::fs::read(home_path(path)).map_err(|error| failed(open_text(path, &error)))?;
        let is_pem = bytes.windows(11).any(|window| window == b"-----BEGIN ");
        if !is_pem {
            return Err(failed(format!(
                "invalid docker endpoint options: failed to retrieve context tls info: {path} seems invalid"
            )));
        }
        endpoint.tls.insert(file.to_owned(), bytes);
    }
    Ok(endpoint)
}

/// A leading `~/`, which no shell has seen behind a `=`.
fn home_path(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// The endpoint of a context, its TLS files included.
///
/// # Errors
/// There is no such context.
fn stored_endpoint(context: &Context, name: &str) -> Result<Endpoint, Failure> {
    if name == DEFAULT_CONTEXT {
        return Ok(Endpoint { host: context.default_host()?, ..Endpoint::default() });
    }
    let store = context.contexts();
    Ok(Endpoint { tls: store.tls(name), ..store.get(name)?.endpoint() })
}

/// What a context says of itself, and its endpoint.
fn described(context: &Context, name: &str) -> Result<(String, Endpoint), Failure> {
    if name == DEFAULT_CONTEXT {
        return Ok((DEFAULT_DESCRIPTION.to_owned(), stored_endpoint(context, name)?));
    }
    Ok((context.contexts().get(name)?.description().to_owned(), stored_endpoint(context, name)?))
}
