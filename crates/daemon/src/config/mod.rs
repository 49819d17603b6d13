//! The daemon's configuration: flags and file become one checked [`Config`], and each part gets its own piece of it.
//!
//! ```text
//! flags ─┐
//!        ├─► merge ─► resolve ─► Config { engine, hosts, pidfile, … }
//! file ──┘
//! ```

mod check;
mod file;
mod flags;
mod host;
mod resolve;
mod table;
mod tls;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use berth_engine::EngineConfig;

pub(crate) use host::Host;
pub(crate) use tls::Tls;

use crate::http::Settings;
use flags::Values;
use value::Value;

/// Reads the text of a configuration file, for its fuzz target.
pub(crate) fn parse_file(text: &[u8]) -> bool {
    file::parse(text).is_ok()
}

/// Reads the registries of a configuration file, for their fuzz target.
pub(crate) fn parse_registries(text: &[u8]) -> Option<berth_engine::RegistryOptions> {
    resolve::registries(&file::parse(text).ok()?, berth_engine::RegistryOptions::default()).ok()
}

/// The checked configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) engine: EngineConfig,
    pub(crate) settings: Settings,
    pub(crate) hosts: Vec<Host>,
    /// TCP sockets speak TLS.
    pub(crate) tls: Option<Tls>,
    /// What the event of a reload tells.
    pub(crate) reloaded: BTreeMap<String, String>,
    pub(crate) pidfile: PathBuf,
    /// The group of unix sockets; the default one need not exist.
    pub(crate) group: Group,
    pub(crate) log_level: tracing::Level,
    pub(crate) raw_logs: bool,
    /// What the user should know: options that were taken and have no effect.
    pub(crate) warnings: Vec<String>,
}

/// The group of unix sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Group {
    /// `docker`, if there is one.
    Default,
    /// One that was asked for, by name or number.
    Named(String),
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Invocation {
    Run(Box<Config>),
    /// End the daemon of this pidfile.
    Stop {
        pidfile: PathBuf,
    },
    /// The configuration is right, and that was the question.
    Valid,
    Help(String),
    Version,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line cannot be read.
    #[error("{0}\nSee 'berth daemon --help'.")]
    Usage(String),
    /// What it or the file says is wrong.
    #[error("{0}")]
    Invalid(String),
}

/// Where the configuration file is if nobody says otherwise.
const CONFIG_FILE: &str = "/etc/berth/daemon.json";
/// Where the pidfile is if nobody says otherwise.
const PIDFILE: &str = "/run/berth.pid";

/// Reads the arguments behind `berth daemon`, and the file that they name.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Error> {
    let flags = flags::parse(arguments).map_err(Error::Usage)?;
    let on = |flag: &str| flags.values.get(flag) == Some(&Value::Bool(true));
    if on("help") {
        return Ok(Invocation::Help(flags::help()));
    }
    if on("version") {
        return Ok(Invocation::Version);
    }
    let stop = match flags.words.as_slice() {
        [] => false,
        [word] if word == "stop" => true,
        _ => return Err(Error::Usage("\"berth daemon\" accepts no argument(s) but \"stop\".".to_owned())),
    };
    let validate = on("validate");
    let (values, origin) = values(flags.values).map_err(Error::Invalid)?;
    if stop {
        return Ok(Invocation::Stop { pidfile: text(&values, "pidfile").unwrap_or(PIDFILE).into() });
    }
    let config = resolve::resolve(&values).map_err(|why| match origin {
        // What TLS needs, and labels, are judged by Docker after file and flags were found good.
        Some(path) if !why.starts_with("invalid TLS") => Error::Invalid(format!(
            "unable to configure the Docker daemon with file {}: merged configuration validation from file and command \
             line flags failed: {why}",
            path.display()
        )),
        _ => Error::Invalid(why),
    })?;
    check::check_labels(&values).map_err(Error::Invalid)?;
    Ok(if validate { Invocation::Valid } else { Invocation::Run(Box::new(config)) })
}

/// The values of flags and file together, and the file if there is one.
fn values(flags: Values) -> Result<(Values, Option<PathBuf>), String> {
    let named = text(&flags, "config-file").map(PathBuf::from);
    let path = named.as_deref().unwrap_or(Path::new(CONFIG_FILE));
    match file::read(path, named.is_some())? {
        None => Ok((flags, None)),
        Some(file) => Ok((file::merge(path, flags, file)?, Some(path.to_owned()))),
    }
}

/// The text of an option, if it says something.
fn text<'v>(values: &'v Values, id: &str) -> Option<&'v str> {
    match values.get(id) {
        Some(Value::Text(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn flag(values: &Values, id: &str) -> Option<bool> {
    match values.get(id) {
        Some(Value::Bool(on)) => Some(*on),
        _ => None,
    }
}

fn int<T: TryFrom<i64>>(values: &Values, id: &str) -> Option<T> {
    match values.get(id) {
        Some(Value::Int(number)) => T::try_from(*number).ok(),
        _ => None,
    }
}

fn list(values: &Values, id: &str) -> Vec<String> {
    match values.get(id) {
        Some(Value::List(list)) => list.clone(),
        _ => Vec::new(),
    }
}

fn ips(values: &Values, id: &str) -> Vec<IpAddr> {
    match values.get(id) {
        Some(Value::Ips(list)) => list.clone(),
        _ => Vec::new(),
    }
}
