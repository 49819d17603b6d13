//! `container prune`

use berth_api::filters::Filters;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::units::human_size;
use crate::outcome::Outcome;

#[derive(Debug, Default)]
pub(crate) struct Options {
    filters: Filters,
    force: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove all containers that do not run",
    aliases: &[],
    arity: Arity::None,
    flags: &[
        Flag::value(
            "filter",
            '\0',
            "filter",
            |o: &mut Options, v| super::ps::add_filter(&mut o.filters, v),
            "Only remove what matches (as \"until=<timestamp>\")",
        ),
        Flag::bool("force", 'f', |o: &mut Options| &mut o.force, "Do not ask"),
    ],
    interspersed: true,
    run,
};

const WARNING: &str = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    if !options.force && !super::image_prune::confirm(context, WARNING)? {
        return Ok(());
    }
    context.block_on(async {
        let client = context.client().await?;
        let report = client.containers_prune(&options.filters).await?;
        let removed = report.containers_deleted.unwrap_or_default();
        if !removed.is_empty() {
            context.printer.line("Deleted Containers:")?;
            for id in &removed {
                context.printer.line(id)?;
            }
            context.printer.line("")?;
        }
        context
            .printer
            .line(format!("Total reclaimed space: {}", human_size(report.space_reclaimed as f64)))?;
        Ok(())
    })
}
