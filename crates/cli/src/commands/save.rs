//! `save`

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use berth_api::client::Body;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome, io_text};
use crate::terminal::Counter;
use crate::values::reference;

#[derive(Debug, Default)]
pub(crate) struct Options {
    output: String,
    platforms: Vec<String>,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "save",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Write images to an archive, or to standard output",
    aliases: &["image save", "save"],
    arity: Arity::AtLeast(1),
    flags: &[
        Flag::text("output", 'o', |o: &mut Options| &mut o.output, "File to write, instead of STDOUT"),
        Flag::value(
            "platform",
            '\0',
            "string",
            |o: &mut Options, v| {
                o.platforms.push(v.to_owned());
                Ok(())
            },
            "Write only this platform of the image",
        ),
    ],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let platforms = reference::platforms(&options.platforms, reference::INVALID_PLATFORM)?;
    let target = Target::check(&options.output, "failed to save image")?;
    context.block_on(async {
        let client = context.client().await?;
        let mut body = client.image_save(&invocation.arguments, &platforms).await?;
        target.write(context, &mut body, "Saving").await
    })
}

/// Where an archive goes.
#[derive(Debug)]
pub(super) struct Target {
    /// The file to write; standard output if there is none.
    path: Option<PathBuf>,
    /// What errors begin with.
    failed: &'static str,
}

impl Target {
    /// The file to write, if its directory is there and it is nothing but a file; or standard output, if that is no
    /// terminal.
    ///
    /// # Errors
    /// Docker's text.
    pub(super) fn check(path: &str, failed: &'static str) -> Result<Self, Failure> {
        if path.is_empty() {
            if std::io::stdout().is_terminal() {
                return Err(Failure::new(
                    "cowardly refusing to save to a terminal. Use the -o flag or redirect",
                ));
            }
            return Ok(Self { path: None, failed });
        }
        let path = Path::new(path);
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::metadata(parent).map_err(|error| {
                Failure::new(format!(
                    "{failed}: invalid output path: stat {}: {}",
                    parent.display(),
                    io_text(&error)
                ))
            })?;
        }
        if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Failure::new(format!("{failed}: cannot write to a directory")));
        }
        Ok(Self { path: Some(path.to_owned()), failed })
    }

    /// Writes the archive. A terminal shows how much has been written.
    ///
    /// # Errors
    /// A broken connection, or a file that cannot be written; the file that was there is then still there.
    pub(super) async fn write(self, context: &Context, body: &mut Body, verb: &'static str) -> Outcome {
        match self.path {
            Some(path) => to_file(context, body, &path, self.failed, verb).await,
            None => {
                let mut stdout = std::io::stdout().lock();
                while let Some(chunk) = body.chunk().await? {
                    stdout.write_all(&chunk)?;
                }
                stdout.flush()?;
                Ok(())
            }
        }
    }
}

/// Writes beside the file and takes its name at the end: what fails half-way leaves the old file.
async fn to_file(
    context: &Context,
    body: &mut Body,
    path: &Path,
    failed: &'static str,
    verb: &'static str,
) -> Outcome {
    // A device or a pipe is written to as it is.
    let is_special = fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file());
    let target = if is_special { path.to_owned() } else { beside(path) };
    let failed = |error: std::io::Error| Failure::new(format!("{failed}: {}", io_text(&error)));
    let mut counter = Counter::new(context.printer, format!("{verb} to {}", path.display()));
    let write = async {
        // Archives of images hold what only their owner should read.
        let mut options = File::options();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&target).map_err(failed)?;
        while let Some(chunk) = body.chunk().await? {
            file.write_all(&chunk).map_err(failed)?;
            counter.add(chunk.len());
        }
        if is_special { Ok(()) } else { fs::rename(&target, path).map_err(failed) }
    };
    let result = write.await;
    counter.clear();
    if result.is_err() && !is_special {
        let _ = fs::remove_file(&target); // the first error is the one that matters
    }
    result
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}
