//! `pull`, and progress as it is shown for every kind of work with images.

use std::io::IsTerminal;

use berth_api::client::{Client, JsonStream};
use berth_api::progress::Message;
use berth_oci::Reference;

use crate::command::{Arity, Command, Invocation};
use crate::config::credentials;
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome};
use crate::values::reference;

/// What `pull` and `push` may be told.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(super) all_tags: bool,
    pub(super) ignored: bool,
    pub(super) platform: String,
    pub(super) quiet: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "pull",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Fetch an image from a registry",
    aliases: &["image pull", "pull"],
    arity: Arity::Exactly(1),
    flags: &[
        Flag::bool("all-tags", 'a', |o: &mut Options| &mut o.all_tags, "Fetch all tags of the repository"),
        Flag::bool(
            "disable-content-trust",
            '\0',
            |o: &mut Options| &mut o.ignored,
            "Skip the check of signatures",
        )
        .default("true"),
        Flag::text(
            "platform",
            '\0',
            |o: &mut Options| &mut o.platform,
            "Platform of the image, if there are several",
        ),
        Flag::bool("quiet", 'q', |o: &mut Options| &mut o.quiet, "Do not show progress"),
    ],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let named = named(context, invocation)?;
    context.block_on(async {
        let client = context.client().await?;
        let (repository, tag) = reference::split(&named);
        let auth = credentials::get(&context.config_path(), named.domain())?;
        let progress = client.image_pull(&repository, &tag, &options.platform, auth.as_ref()).await?;
        show(context, progress, if options.quiet { To::Nobody } else { To::Stdout }).await?;
        context.printer.line(format!("{}/{}{}", named.domain(), named.path(), suffix(&named)))?;
        Ok(())
    })
}

/// The image that is meant; a tag that goes without saying is told.
pub(super) fn named(context: &Context, invocation: &Invocation<Options>) -> Result<Reference, Failure> {
    let named =
        Reference::parse(&invocation.arguments[0]).map_err(|error| Failure::new(error.to_string()))?;
    if invocation.options.all_tags {
        return match named.is_name_only() {
            true => Ok(named),
            false => Err(Failure::new("tag can't be used with --all-tags/-a")),
        };
    }
    let is_default = named.is_name_only();
    let named = named.or_latest();
    if is_default && !invocation.options.quiet {
        context.printer.line(format!("Using default tag: {}", named.tag().unwrap_or_default()))?;
    }
    Ok(named)
}

pub(crate) fn suffix(named: &Reference) -> String {
    let tag = named.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = named.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{tag}{digest}")
}

/// Fetches an image that a container is to be made from.
pub(crate) async fn fetch(
    context: &Context,
    client: &Client,
    named: &Reference,
    platform: &str,
    quiet: bool,
) -> Outcome {
    let (repository, tag) = reference::split(named);
    let auth = credentials::get(&context.config_path(), named.domain())?;
    let progress = client.image_pull(&repository, &tag, platform, auth.as_ref()).await?;
    show(context, progress, if quiet { To::Nobody } else { To::Stderr }).await
}

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Stdout,
    Stderr,
    Nobody,
}

/// Shows progress until the work is done. A terminal shows each thing on a line of its own that changes; elsewhere what
/// only counts up is left out.
pub(crate) async fn show(context: &Context, mut progress: JsonStream<Message>, to: To) -> Outcome {
    let is_terminal = match to {
        To::Stdout => std::io::stdout().is_terminal(),
        To::Stderr => std::io::stderr().is_terminal(),
        To::Nobody => false,
    };
    let mut lines = Lines { ids: Vec::new(), is_terminal };
    while let Some(message) = progress.next().await? {
        if !message.error.is_empty() || message.error_detail.is_some() {
            let detail = message.error_detail.map(|detail| detail.message).filter(|text| !text.is_empty());
            return Err(Failure::new(detail.unwrap_or(message.error)));
        }
        let text = lines.render(&message);
        match to {
            To::Stdout => context.printer.data(text)?,
            To::Stderr => context.printer.talk(text),
            To::Nobody => {}
        }
    }
    Ok(())
}

/// The lines that progress has taken so far.
struct Lines {
    ids: Vec<String>,
    is_terminal: bool,
}

impl Lines {
    fn render(&mut self, message: &Message) -> String {
        if !message.stream.is_empty() {
            return message.stream.clone();
        }
        // A result for programs.
        if message.aux.is_some() {
            return String::new();
        }
        let counts =
            message.progress_detail.as_ref().is_some_and(|detail| detail.current > 0 || detail.total > 0);
        let id = if message.id.is_empty() { String::new() } else { format!("{}: ", message.id) };
        let bar = if message.progress.is_empty() { String::new() } else { format!(" {}", message.progress) };
        if !self.is_terminal {
            return if counts { String::new() } else { format!("{id}{}\n", message.status) };
        }
        if message.id.is_empty() {
            self.ids.clear();
            return format!("{}{bar}\n", message.status);
        }
        // The cursor goes up to the thing's line and back down.
        let (new, up) = match self.ids.iter().position(|known| *known == message.id) {
            Some(line) => (String::new(), self.ids.len() - line),
            None => {
                self.ids.push(message.id.clone());
                ("\n".to_owned(), 1)
            }
        };
        format!("{new}\x1b[{up}A\x1b[2K\r{id}{}{bar}\r\x1b[{up}B", message.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_api::progress::Progress;

    #[test]
    fn files_get_no_counting() {
        let mut lines = Lines { ids: Vec::new(), is_terminal: false };
        let mut message = Message { id: "abc".into(), status: "Downloading".into(), ..Message::default() };
        assert_eq!(lines.render(&message), "abc: Downloading\n");
        message.progress_detail = Some(Progress { current: 1, total: 2, units: String::new() });
        assert_eq!(lines.render(&message), "");
        assert_eq!(
            lines.render(&Message { stream: "Loaded image: x\n".into(), ..Message::default() }),
            "Loaded image: x\n"
        );
    }

    #[test]
    fn a_terminal_has_a_line_for_each_thing() {
        let mut lines = Lines { ids: Vec::new(), is_terminal: true };
        let message = |id: &str| Message { id: id.into(), status: "x".into(), ..Message::default() };
        assert_eq!(lines.render(&message("a")), "\n\x1b[1A\x1b[2K\ra: x\r\x1b[1B");
        lines.render(&message("b"));
        assert_eq!(lines.render(&message("a")), "\x1b[2A\x1b[2K\ra: x\r\x1b[2B");
    }
}
