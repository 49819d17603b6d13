//! `top`

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::format::table::Columns;
use crate::outcome::Outcome;

pub(crate) static COMMAND: Command<()> = Command {
    name: "top",
    usage: "CONTAINER [ps OPTIONS]",
    about: "Show the processes of a container",
    aliases: &["container top", "top"],
    arity: Arity::AtLeast(1),
    flags: &[],
    // What follows the container are options of ps.
    interspersed: false,
    run,
};

fn run(context: &Context, invocation: &Invocation<()>) -> Outcome {
    context.block_on(async {
        let client = context.client().await?;
        let options = invocation.arguments[1..].join(" ");
        let processes = client.container_top(&invocation.arguments[0], &options).await?;
        let mut text = processes.titles.join("\t");
        text.push('\n');
        for process in &processes.processes {
            text.push_str(&process.join("\t"));
            text.push('\n');
        }
        context.printer.data(Columns::TOP.align(&text))?;
        Ok(())
    })
}
