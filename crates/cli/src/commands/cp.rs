//! `cp`

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_api::archive::PathStat;
use berth_api::client::{Client, ExtractOptions, file_pieces};

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::copy::{self, Info};
use crate::flags::{Flag, parse_bool};
use crate::format::units::human_size_with;
use crate::outcome::{Failure, Outcome};
use crate::terminal::{self, Counter};

#[derive(Debug, Default)]
pub(crate) struct Options {
    archive: bool,
    follow: bool,
    quiet: Option<bool>,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "cp",
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    about: "Copy files between a container and the host\n\n\
            With '-' as the source a tar archive is read from STDIN and unpacked into a directory of the\n\
            container; with '-' as the destination the archive is written to STDOUT.",
    aliases: &["container cp", "cp"],
    arity: Arity::Exactly(2),
    flags: &[
        Flag::bool("archive", 'a', |o: &mut Options| &mut o.archive, "Keep owner and group"),
        Flag::bool("follow-link", 'L', |o: &mut Options| &mut o.follow, "Follow a symbolic link in SRC_PATH"),
        Flag::value("quiet", 'q', "", quiet, "Do not show progress; without a terminal it is never shown")
            .switch(),
    ],
    interspersed: true,
    run,
};

fn quiet(options: &mut Options, value: &str) -> Result<(), String> {
    options.quiet = Some(parse_bool(value)?);
    Ok(())
}

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let [from, to] = [&invocation.arguments[0], &invocation.arguments[1]];
    for (end, name) in [(from, "source"), (to, "destination")] {
        if end.is_empty() {
            return Err(Failure::new(format!("{name} can not be empty")));
        }
    }
    let options = &invocation.options;
    context.block_on(async {
        match (split(from), split(to)) {
            ((Some(_), _), (Some(_), _)) => Err(Failure::new("copying between containers is not supported")),
            ((None, _), (None, _)) => Err(Failure::new("must specify at least one container source")),
            ((Some(container), path), (None, to)) => out_of(context, options, container, path, to).await,
            ((None, from), (Some(container), path)) => into(context, options, from, container, path).await,
        }
    })
}

/// The container, if the argument names one, and the path.
fn split(argument: &str) -> (Option<&str>, &str) {
    match argument.split_once(':') {
        Some((container, path)) if !argument.starts_with(['/', '.']) && !container.is_empty() => {
            (Some(container), path)
        }
        _ => (None, argument),
    }
}

/// From a container to the host.
async fn out_of(context: &Context, options: &Options, container: &str, path: &str, to: &str) -> Outcome {
    let to = if to == "-" { to.to_owned() } else { copy::absolute(to) };
    if to != "-" {
        copy::check_output(&to).map_err(Failure::new)?;
    }
    let client = context.client().await?;
    let (path, rebase) = if options.follow {
        followed(client, container, path).await
    } else {
        (path.to_owned(), String::new())
    };
    let (stat, mut body) = client.container_archive(container, &path).await?;
    if to == "-" {
        while let Some(chunk) = body.chunk().await? {
            context.printer.data(&chunk)?;
        }
        return Ok(());
    }
    let from = Info { path, exists: true, is_dir: stat.is_directory(), rebase };
    let destination = copy::destination(&to).map_err(Failure::new)?;
    let mut prepared = copy::prepare(&from, &destination).map_err(Failure::new)?;
    if !from.rebase.is_empty() {
        // The archive has the name behind the link; the files get the name that was asked for, or the destination's.
        let behind = from.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        let wanted = prepared.rename.map_or_else(|| from.rebase.clone(), |(_, new)| new);
        prepared.rename = Some((behind, wanted));
    }
    let (reader, feed, count) = copy::body_pipe(body);
    let work = async {
        let unpack = tokio::task::spawn_blocking(move || copy::unpack(&prepared, reader));
        let (unpacked, ()) = tokio::join!(unpack, feed);
        unpacked.map_err(|error| Failure::new(error.to_string()))?.map_err(Failure::new)
    };
    shown(context, options, "Copying from container", &to, &count, work).await
}

/// The path behind a link in the container, and the name of the link.
async fn followed(client: &Client, container: &str, path: &str) -> (String, String) {
    match client.container_stat(container, path).await {
        Ok(stat) if stat.is_symlink() => {
            let target = copy::join_link(path, &stat.link_target);
            copy::rebase_name(path, &target)
        }
        // What is wrong is said when the copy is asked for.
        _ => (path.to_owned(), String::new()),
    }
}

/// From the host to a container.
async fn into(context: &Context, options: &Options, from: &str, container: &str, path: &str) -> Outcome {
    let client = context.client().await?;
    let mut destination = Info { path: path.to_owned(), ..Info::default() };
    let mut stat = client.container_stat(container, path).await.ok();
    if let Some(link) = stat.as_ref().filter(|stat| stat.is_symlink()) {
        destination.path = copy::join_link(path, &link.link_target);
        stat = client.container_stat(container, &destination.path).await.ok();
    }
    if let Some(stat) = &stat {
        check_target(stat, container, path)?;
        (destination.exists, destination.is_dir) = (true, stat.is_directory());
    }
    let extract = ExtractOptions { overwrite: false, keep_owner: options.archive };
    let shown_path = format!("{container}:{}", destination.path);
    if from == "-" {
        if !destination.is_dir {
            return Err(Failure::new(format!("destination \"{container}:{path}\" must be a directory")));
        }
        let archive = file_pieces(terminal::input_file()?);
        return client
            .container_extract(container, &destination.path, extract, archive)
            .await
            .map_err(Failure::from);
    }
    let source = copy::source(&copy::absolute(from), options.follow).map_err(Failure::new)?;
    let prepared = copy::prepare(&source, &destination).map_err(Failure::new)?;
    let (writer, reader, count) = copy::archive_pipe();
    let directory = prepared.directory.clone();
    let work = async {
        let pack = tokio::task::spawn_blocking(move || copy::pack(&source, &prepared, writer));
        let send = async { client.container_extract(container, &directory, extract, reader).await };
        let (packed, sent) = tokio::join!(pack, send);
        let packed = packed.map_err(|error| Failure::new(error.to_string()))?;
        // An engine that has stopped reading has said why.
        match (packed, sent) {
            (Err(reason), Ok(())) => Err(Failure::new(reason)),
            (_, sent) => sent.map_err(Failure::from),
        }
    };
    shown(context, options, "Copying to container", &shown_path, &count, work).await
}

fn check_target(stat: &PathStat, container: &str, path: &str) -> Outcome {
    let what = if stat.mode & PathStat::DEVICE != 0 {
        "got a device"
    } else if stat.mode & PathStat::IRREGULAR != 0 {
        "got an irregular file"
    } else {
        return Ok(());
    };
    Err(Failure::new(format!(
        "destination \"{container}:{path}\" must be a directory or a regular file: {what}"
    )))
}

/// Does the work and, on a terminal, says how far it is and how much it was.
async fn shown(
    context: &Context,
    options: &Options,
    title: &str,
    to: &str,
    count: &AtomicU64,
    work: impl Future<Output = Outcome>,
) -> Outcome {
    const REFRESH: Duration = Duration::from_millis(100);
    if options.quiet.unwrap_or_else(|| !std::io::stdout().is_terminal()) {
        return work.await;
    }
    let mut counter = Counter::new(context.printer, title.to_owned());
    let mut seen = 0;
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                counter.clear();
                done?;
                let size = human_size_with(count.load(Ordering::Relaxed) as f64, 3);
                context.printer.say(format!("Successfully copied {size} to {to}"));
                return Ok(());
            }
            () = tokio::time::sleep(REFRESH) => {
                let now = count.load(Ordering::Relaxed);
                counter.add(usize::try_from(now - seen).unwrap_or_default());
                seen = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_containers_or_files() {
        let check = |argument: &str, container: Option<&str>, path: &str| {
            assert_eq!(split(argument), (container, path), "{argument}");
        };
        check("web:/etc", Some("web"), "/etc");
        check("web:", Some("web"), "");
        check("/a:b", None, "/a:b");
        check("./a:b", None, "./a:b");
        check("a", None, "a");
        check("-", None, "-");
    }
}
