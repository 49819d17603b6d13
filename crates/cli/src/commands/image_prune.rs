//! `image prune`

use std::io::BufRead;

use berth_api::filters::Filters;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::units::human_size;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    all: bool,
    filters: Filters,
    force: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove images that nobody uses",
    aliases: &[],
    arity: Arity::None,
    flags: &[
        Flag::bool(
            "all",
            'a',
            |o: &mut Options| &mut o.all,
            "All that no container uses, not only those without a name",
        ),
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

const DANGLING: &str = "WARNING! This will remove all dangling images.\nAre you sure you want to continue?";
const ALL: &str = "WARNING! This will remove all images without at least one container associated to them.\nAre you sure you want to continue?";

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    if !options.force {
        let warning = if options.all { ALL } else { DANGLING };
        if !confirm(context, warning)? {
            return Ok(());
        }
    }
    let mut filters = options.filters.clone();
    filters.insert("dangling".to_owned(), vec![(!options.all).to_string()]);
    context.block_on(async {
        let client = context.client().await?;
        let report = client.images_prune(&filters).await?;
        let removed = report.images_deleted.unwrap_or_default();
        if !removed.is_empty() {
            context.printer.line("Deleted Images:")?;
            for item in &removed {
                if item.untagged.is_empty() {
                    context.printer.line(format!("deleted: {}", item.deleted))?;
                } else {
                    context.printer.line(format!("untagged: {}", item.untagged))?;
                }
            }
            context.printer.line("")?;
        }
        context
            .printer
            .line(format!("Total reclaimed space: {}", human_size(report.space_reclaimed as f64)))?;
        Ok(())
    })
}

/// Asks; everything but `y` means no.
pub(super) fn confirm(context: &Context, warning: &str) -> Result<bool, Failure> {
    context.printer.data(format!("{warning} [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
