//! `diff`

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::outcome::Outcome;

pub(crate) static COMMAND: Command<()> = Command {
    name: "diff",
    usage: "CONTAINER",
    about: "Show which files a container has changed",
    aliases: &["container diff", "diff"],
    arity: Arity::Exactly(1),
    flags: &[],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<()>) -> Outcome {
    context.block_on(async {
        let client = context.client().await?;
        let changes = client.container_changes(&invocation.arguments[0]).await?;
        let lines = changes.iter().map(|change| {
            let letter = match change.kind {
                0 => 'C',
                1 => 'A',
                _ => 'D',
            };
            format!("{letter} {}\n", change.path)
        });
        context.printer.data(lines.collect::<String>())?;
        Ok(())
    })
}
