//! `wait`

use berth_api::client::WaitCondition;

use super::many;
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::outcome::Outcome;

pub(crate) static COMMAND: Command<()> = Command {
    name: "wait",
    usage: "CONTAINER [CONTAINER...]",
    about: "Wait until containers have ended, then print their exit codes",
    aliases: &["container wait", "wait"],
    arity: Arity::AtLeast(1),
    flags: &[],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<()>) -> Outcome {
    context.block_on(async {
        let client = context.client().await?;
        let mut errors = Vec::new();
        for name in &invocation.arguments {
            let answer = async { client.container_wait(name, WaitCondition::NotRunning).await?.next().await };
            match answer.await {
                Ok(Some(answer)) => context.printer.line(answer.status_code.to_string())?,
                Ok(None) => errors.push(format!("the engine stopped answering while waiting for {name}")),
                Err(error) => errors.push(error.to_string()),
            }
        }
        many::joined(&errors)
    })
}
