//! Making the container: the image first if it is missing, the id into its file.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use berth_api::client::{Client, Error};
use berth_api::container::CreateRequest;

use super::options::Options;
use crate::context::Context;
use crate::outcome::{Failure, io_text};
use crate::values::reference;

/// When to fetch the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pull {
    Always,
    Missing,
    Never,
}

impl Pull {
    /// Reads `--pull`.
    ///
    /// # Errors
    /// Docker's text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self::Always),
            "" | "missing" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            other => Err(format!(
                r#"invalid pull option: '{other}': must be one of "always", "missing" or "never""#
            )),
        }
    }
}

/// A container that has been made.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) id: String,
}

/// Makes the container.
///
/// # Errors
/// What is wrong with the names, or what the engine says; nothing is left then.
pub(crate) async fn create(
    context: &Context,
    client: &Client,
    options: &Options,
    pull: Pull,
    request: &CreateRequest,
) -> Result<Created, Failure> {
    warn(context, request);
    let cidfile = IdFile::create(&options.cidfile)?;
    let image = &request.config.image;
    // A name that is no reference may still be the beginning of an id; the engine knows.
    let named =
        if berth_oci::reference::is_identifier(image) { None } else { Some(reference::parse(image)?) };
    let mut platform = String::new();
    if !options.platform.is_empty() {
        platform = checked_platform(&options.platform)?;
    }
    if pull == Pull::Always
        && let Some(named) = &named
    {
        super::super::commands::pull::fetch(context, client, named, &options.platform, options.quiet).await?;
    }
    let attempt = client.container_create(&options.name, &platform, request).await;
    let created = match (attempt, &named) {
        (Err(Error::Api { status: 404, .. }), Some(named)) if pull == Pull::Missing => {
            if !options.quiet {
                context.printer.say(format!("Unable to find image '{}' locally", named.familiar()));
            }
            super::super::commands::pull::fetch(context, client, named, &options.platform, options.quiet)
                .await?;
            client.container_create(&options.name, &platform, request).await?
        }
        (attempt, _) => attempt?,
    };
    for warning in &created.warnings {
        context.printer.say(format!("WARNING: {warning}"));
    }
    cidfile.write(&created.id)?;
    Ok(Created { id: created.id })
}

/// Says what the user may not have meant.
fn warn(context: &Context, request: &CreateRequest) {
    let resources = &request.host_config.resources;
    if resources.oom_kill_disable == Some(true) && resources.memory == 0 {
        context.printer.say(
            "WARNING: Disabling the OOM killer on containers without setting a '-m/--memory' limit may be dangerous.",
        );
    }
    for address in request.host_config.dns.iter().flatten() {
        let local = address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if local {
            context.printer.say(format!("WARNING: Localhost DNS ({address}) may fail in containers."));
        }
    }
}

/// The platform as an engine is asked for it: in Go's spelling, and without the version of the system.
fn checked_platform(text: &str) -> Result<String, Failure> {
    let mut platform = berth_oci::Platform::parse(text)
        .map_err(|error| Failure::new(format!("error parsing specified platform: {error}")))?;
    // What goes without saying is not said, and said where it was asked for.
    let is_asked_for = text.matches('/').count() == 2;
    match (platform.architecture.as_str(), platform.variant.as_str()) {
        ("arm", "v7") if !is_asked_for => platform.variant.clear(),
        ("arm64", "") if is_asked_for => "v8".clone_into(&mut platform.variant),
        _ => {}
    }
    Ok(platform.to_string())
}

/// The file that takes the id; gone again if there is no id to take.
struct IdFile(Option<(PathBuf, File)>);

impl IdFile {
    fn create(path: &str) -> Result<Self, Failure> {
        if path.is_empty() {
            return Ok(Self(None));
        }
        match File::create_new(path) {
            Ok(file) => Ok(Self(Some((PathBuf::from(path), file)))),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::new(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            ))),
            Err(error) => Err(Failure::new(format!(
                "failed to create the container ID file: open {path}: {}",
                io_text(&error)
            ))),
        }
    }

    fn write(mut self, id: &str) -> Result<(), Failure> {
        let Some((_, mut file)) = self.0.take() else { return Ok(()) };
        file.write_all(id.as_bytes()).map_err(|error| {
            Failure::new(format!("failed to write the container ID to the file: {}", io_text(&error)))
        })
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if let Some((path, _)) = self.0.take() {
            let _ = std::fs::remove_file(path); // an empty file is all that could be left
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn platforms_are_asked_for_as_docker_asks() {
        for (text, expect) in [
            ("windows(10.0.17763)/amd64", "windows/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/arm", "linux/arm"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
        ] {
            assert_eq!(super::checked_platform(text).unwrap(), expect);
        }
    }
}
