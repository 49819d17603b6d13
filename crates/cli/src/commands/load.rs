//! `load`

use std::io::IsTerminal;

use berth_api::client::{Body, JsonStream, file_pieces};

use super::pull;
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome, open_text};
use crate::terminal;
use crate::values::reference;

#[derive(Debug, Default)]
pub(crate) struct Options {
    input: String,
    platforms: Vec<String>,
    quiet: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "load",
    usage: "[OPTIONS]",
    about: "Take in images from an archive or from standard input",
    aliases: &["image load", "load"],
    arity: Arity::None,
    flags: &[
        Flag::text("input", 'i', |o: &mut Options| &mut o.input, "Archive to read, instead of STDIN"),
        Flag::value(
            "platform",
            '\0',
            "string",
            |o: &mut Options, v| {
                o.platforms.push(v.to_owned());
                Ok(())
            },
            "Take in only this platform",
        ),
        Flag::bool("quiet", 'q', |o: &mut Options| &mut o.quiet, "Do not show progress"),
    ],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    if options.input.is_empty() && std::io::stdin().is_terminal() {
        return Err(Failure::new("requested load from stdin, but stdin is empty"));
    }
    // A terminal shows progress; a file that the output goes to gets the result only.
    let quiet = options.quiet || !std::io::stdout().is_terminal();
    let platforms = reference::platforms(&options.platforms, reference::INVALID_PLATFORM)?;
    context.block_on(async {
        let client = context.client().await?;
        let file = if options.input.is_empty() {
            terminal::input_file()?
        } else {
            let file = std::fs::File::open(&options.input);
            file.map_err(|error| Failure::new(open_text(&options.input, &error)))?
        };
        let body = client.image_load(quiet, &platforms, file_pieces(file)).await?;
        answer(context, body).await
    })
}

/// Progress if it is JSON, else what the engine says.
async fn answer(context: &Context, mut body: Body) -> Outcome {
    if body.content_type == "application/json" {
        return pull::show(context, JsonStream::new(body), pull::To::Stdout).await;
    }
    while let Some(chunk) = body.chunk().await? {
        context.printer.data(&chunk)?;
    }
    Ok(())
}
