//! `volume rm`

use crate::command::{Arity, Command, Invocation};
use crate::commands::many;
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::Outcome;

#[derive(Debug, Default)]
pub(crate) struct Options {
    force: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "rm",
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Remove volumes that no container uses",
    aliases: &["volume rm", "volume remove"],
    arity: Arity::AtLeast(1),
    flags: &[Flag::bool(
        "force",
        'f',
        |o: &mut Options| &mut o.force,
        "A volume that is not there is no error",
    )],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    context.block_on(async {
        let client = context.client().await?;
        let mut errors = Vec::new();
        for name in &invocation.arguments {
            match client.volume_remove(name, invocation.options.force).await {
                Ok(()) => context.printer.line(name)?,
                Err(error) => errors.push(error.to_string()),
            }
        }
        many::joined(&errors)
    })
}
