//! Commands that other programs bring: `docker-<name>` in a directory of plug-ins.
//!
//! A plug-in answers `docker-cli-plugin-metadata` with JSON that says who it is; called with the whole command line it
//! takes our place, so its output, its exit status and the signals are its own.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::config;
use crate::context::{Context, DEFAULT_HOST, Program};
use crate::outcome::{Failure, Outcome, io_text};

/// Where plug-ins of the whole machine are, the last before the first.
const DIRECTORIES: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// What a plug-in says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Metadata {
    schema_version: String,
    vendor: String,
    short_description: String,
}

/// The program of a plug-in.
pub(crate) fn find(context: &Context, name: &str) -> Option<PathBuf> {
    if !is_name(name) {
        return None;
    }
    directories(context)
        .iter()
        .map(|folder| folder.join(format!("docker-{name}")))
        .find(|path| is_program(path))
}

/// The names of all plug-ins.
pub(crate) fn names(context: &Context) -> Vec<String> {
    let mut names: Vec<String> = directories(context)
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .filter(|file| is_program(&file.path()))
        .filter_map(|file| Some(file.file_name().to_str()?.strip_prefix("docker-")?.to_owned()))
        .filter(|name| is_name(name))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Names, and what the plug-ins say of themselves. Those that say nothing right are left out.
pub(crate) fn described(context: &Context) -> Vec<(String, String)> {
    let all = names(context)
        .into_iter()
        .filter(|name| crate::root::find(name).is_none_or(crate::command::Entry::is_later));
    all.filter_map(|name| {
        let metadata = metadata(&find(context, &name)?).ok()?;
        Some((name, metadata.short_description))
    })
    .collect()
}

/// Puts the plug-in in our place. `words` are all that we were called with.
///
/// # Errors
/// A program that is no plug-in, or cannot be run.
pub(crate) fn run(context: &Context, name: &str, words: &[String]) -> Outcome {
    let path = find(context, name).ok_or_else(|| Failure::new(format!("no plug-in is called {name}")))?;
    metadata(&path).map_err(|reason| {
        Failure::new(format!("{} is not a plug-in of the command line: {reason}", path.display()))
    })?;
    let mut command = Command::new(&path);
    command.args(words).env("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", context.program.name);
    if context.program != Program::DOCKER && context.is_default_host() {
        // The plug-in would look for an engine where Docker's is.
        command.env("DOCKER_HOST", DEFAULT_HOST);
        // What the plug-in does may need no engine; if it does, it says so itself.
        let _ = context.block_on(async { context.client().await.map(|_| ()) });
    }
    let error = command.exec();
    Err(Failure::new(format!("cannot run {}: {}", path.display(), io_text(&error))))
}

fn directories(context: &Context) -> Vec<PathBuf> {
    let own = config::directory(&context.globals.config).join("cli-plugins");
    let more = context.config().plugin_directories.iter().cloned();
    std::iter::once(own).chain(more).chain(DIRECTORIES.map(PathBuf::from)).collect()
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Asks the plug-in who it is.
fn metadata(path: &Path) -> Result<Metadata, String> {
    let output = Command::new(path)
        .arg("docker-cli-plugin-metadata")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("failed to fetch metadata: {}", io_text(&error)))?;
    if !output.status.success() {
        return Err(format!("failed to fetch metadata: {}", output.status));
    }
    check(&output.stdout)
}

fn check(json: &[u8]) -> Result<Metadata, String> {
    let fields: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|error| format!("invalid metadata: {error}"))?;
    let metadata: Metadata = serde_json::from_value(serde_json::Value::Object(fields.into_iter().collect()))
        .map_err(|error| format!("invalid metadata: {error}"))?;
    if metadata.schema_version != "0.1.0" {
        return Err(format!(
            "plugin SchemaVersion {:?} is not valid, must be 0.1.0",
            metadata.schema_version
        ));
    }
    if metadata.vendor.is_empty() {
        return Err("plugin metadata does not define a vendor".to_owned());
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_a_plug_in() {
        let vendor = r#""Vendor":"x","ShortDescription":"does things""#;
        let good = format!(r#"{{"SchemaVersion":"0.1.0",{vendor}}}"#);
        assert_eq!(check(good.as_bytes()).unwrap().short_description, "does things");
        assert!(check(format!(r#"{{"SchemaVersion":"1",{vendor}}}"#).as_bytes()).is_err());
        assert!(check(br#"{"SchemaVersion":"0.1.0"}"#).is_err());
        assert!(check(b"hello").is_err());
        assert!(is_name("compose") && !is_name("../x") && !is_name("Compose") && !is_name(""));
    }
}
