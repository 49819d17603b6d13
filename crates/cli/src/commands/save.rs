//! `save`

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use berth_api::client::Body;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome, io_text};
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
        Flag::list(
            "platform",
            '\0',
            |o: &mut Options| &mut o.platforms,
            "Write only this platform of the image",
        ),
    ],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    if options.output.is_empty() && std::io::stdout().is_terminal() {
        return Err(Failure::new("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let platforms = reference::platforms(&options.platforms)?;
    let output = check_output(&options.output)?;
    context.block_on(async {
        let client = context.client().await?;
        let mut body = client.image_save(&invocation.arguments, &platforms).await?;
        match output {
            Some(path) => to_file(&mut body, &path).await,
            None => {
                let mut stdout = std::io::stdout().lock();
                while let Some(chunk) = body.chunk().await? {
                    stdout.write_all(&chunk)?;
                }
                stdout.flush()?;
                Ok(())
            }
        }
    })
}

/// The file to write, if its directory is there and it is nothing but a file.
fn check_output(path: &str) -> Result<Option<PathBuf>, Failure> {
    if path.is_empty() {
        return Ok(None);
    }
    let refused = |reason: String| Failure::new(format!("failed to save image: {reason}"));
    let path = Path::new(path);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::metadata(parent).map_err(|error| {
            refused(format!("invalid output path: stat {}: {}", parent.display(), io_text(&error)))
        })?;
    }
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(refused("cannot write to a directory".to_owned()));
    }
    Ok(Some(path.to_owned()))
}

/// Writes beside the file and takes its name at the end: what fails half-way leaves the old file.
async fn to_file(body: &mut Body, path: &Path) -> Outcome {
    // A device or a pipe is written to as it is.
    let is_special = fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file());
    let target = if is_special { path.to_owned() } else { beside(path) };
    let failed = |error: std::io::Error| Failure::new(format!("failed to save image: {}", io_text(&error)));
    let write = async {
        let mut file = File::create(&target).map_err(failed)?;
        while let Some(chunk) = body.chunk().await? {
            file.write_all(&chunk).map_err(failed)?;
        }
        if is_special { Ok(()) } else { fs::rename(&target, path).map_err(failed) }
    };
    let result = write.await;
    if result.is_err() && !is_special {
        let _ = fs::remove_file(&target); // the first error is the one that matters
    }
    result
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}
