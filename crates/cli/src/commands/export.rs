//! `export`

use super::save::Target;
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::Outcome;

#[derive(Debug, Default)]
pub(crate) struct Options {
    output: String,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "export",
    usage: "[OPTIONS] CONTAINER",
    about: "Write the file system of a container to an archive, or to standard output",
    aliases: &["container export", "export"],
    arity: Arity::Exactly(1),
    flags: &[Flag::text("output", 'o', |o: &mut Options| &mut o.output, "File to write, instead of STDOUT")],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let target = Target::check(&invocation.options.output, "failed to export container")?;
    context.block_on(async {
        let client = context.client().await?;
        let mut body = client.container_export(&invocation.arguments[0]).await?;
        target.write(context, &mut body, "Exporting").await
    })
}
