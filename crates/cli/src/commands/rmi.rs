//! `rmi`

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::Outcome;
use crate::values::reference;

#[derive(Debug, Default)]
pub(crate) struct Options {
    force: bool,
    no_prune: bool,
    platforms: Vec<String>,
}

const BASE: Command<Options> = Command {
    name: "rmi",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove images",
    aliases: &["image rm", "image remove", "rmi"],
    arity: Arity::AtLeast(1),
    flags: &[
        Flag::bool(
            "force",
            'f',
            |o: &mut Options| &mut o.force,
            "Also remove images that containers use or that have several names",
        ),
        Flag::bool("no-prune", '\0', |o: &mut Options| &mut o.no_prune, "Keep parents without a name"),
        Flag::value(
            "platform",
            '\0',
            "strings",
            |o: &mut Options, v| {
                o.platforms.push(v.to_owned());
                Ok(())
            },
            "Remove only this platform of the image",
        ),
    ],
    interspersed: true,
    run,
};

pub(crate) static COMMAND: Command<Options> = BASE;

pub(crate) static RM: Command<Options> = Command { name: "rm", ..BASE };

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let Options { force, no_prune, platforms } = &invocation.options;
    let platforms = reference::platforms(platforms, "")?;
    context.block_on(async {
        let client = context.client().await?;
        let mut errors = Vec::new();
        let mut all_missing = true;
        for name in &invocation.arguments {
            match client.image_remove(name, *force, *no_prune, &platforms).await {
                Ok(items) => {
                    for item in items {
                        if item.deleted.is_empty() {
                            context.printer.line(format!("Untagged: {}", item.untagged))?;
                        } else {
                            context.printer.line(format!("Deleted: {}", item.deleted))?;
                        }
                    }
                }
                Err(error) => {
                    all_missing &= error.is_not_found();
                    errors.push(error.to_string());
                }
            }
        }
        if *force && all_missing {
            // What should be gone is gone.
            for error in errors {
                context.printer.say(error);
            }
            return Ok(());
        }
        super::many::joined(&errors)
    })
}
