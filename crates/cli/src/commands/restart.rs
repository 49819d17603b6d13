//! `restart`

use super::many;
use super::stop::{FLAGS, Options};
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::outcome::Outcome;

pub(crate) static COMMAND: Command<Options> = Command {
    name: "restart",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop containers and start them again",
    aliases: &["container restart", "restart"],
    arity: Arity::AtLeast(1),
    flags: FLAGS,
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let Options { signal, timeout } = &invocation.options;
    context.block_on(async {
        let client = context.client().await?;
        // One after the other, as Docker does: restarting often has an order.
        let mut errors = Vec::new();
        for name in &invocation.arguments {
            match client.container_restart(name, signal, *timeout).await {
                Ok(()) => context.printer.line(name)?,
                Err(error) => errors.push(error.to_string()),
            }
        }
        many::joined(&errors)
    })
}
