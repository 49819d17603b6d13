//! `commit`

use berth_api::client::CommitOptions;
use berth_oci::Reference;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::{Flag, parse_bool};
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    author: String,
    changes: Vec<String>,
    message: String,
    no_pause: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "commit",
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Make an image of a container and what it has changed",
    aliases: &["container commit", "commit"],
    arity: Arity::Between(1, 2),
    flags: &[
        Flag::text(
            "author",
            'a',
            |o: &mut Options| &mut o.author,
            "Who made it (as \"Ada <ada@example.com>\")",
        ),
        Flag::list(
            "change",
            'c',
            |o: &mut Options| &mut o.changes,
            "Line of a Dockerfile that changes the image",
        ),
        Flag::text("message", 'm', |o: &mut Options| &mut o.message, "What to say of the image"),
        Flag::value("pause", 'p', "", pause, "Pause the container meanwhile").switch().default("true"),
    ],
    interspersed: true,
    run,
};

fn pause(options: &mut Options, value: &str) -> Result<(), String> {
    options.no_pause = !parse_bool(value)?;
    Ok(())
}

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let name = match invocation.arguments.get(1).filter(|name| !name.is_empty()) {
        None => None,
        Some(name) => {
            let name = Reference::parse(name).map_err(|error| Failure::new(error.to_string()))?;
            if name.digest().is_some() {
                return Err(Failure::new("refusing to create a tag with a digest reference"));
            }
            Some(name.or_latest())
        }
    };
    let commit = CommitOptions {
        repository: name.as_ref().map(Reference::familiar_repository).unwrap_or_default(),
        tag: name.as_ref().and_then(Reference::tag).unwrap_or_default().to_owned(),
        comment: options.message.clone(),
        author: options.author.clone(),
        changes: options.changes.clone(),
        pause: !options.no_pause,
    };
    context.block_on(async {
        let client = context.client().await?;
        let id = client.container_commit(&invocation.arguments[0], &commit).await?;
        context.printer.line(id)?;
        Ok(())
    })
}
