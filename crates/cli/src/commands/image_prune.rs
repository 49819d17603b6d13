//! `image prune`

use std::io::BufRead;

use berth_api::client::Client;
use berth_api::filters::Filters;

use super::prune::{Report, with_configured};
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
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
    let filters = with_configured(context, &options.filters);
    context.block_on(async {
        let report = prune(context.client().await?, options.all, &filters).await?;
        report.print(context)
    })
}

/// Removes and tells.
pub(super) async fn prune(client: &Client, all: bool, filters: &Filters) -> Result<Report, Failure> {
    let mut filters = filters.clone();
    filters.insert("dangling".to_owned(), vec![(!all).to_string()]);
    let removed = client.images_prune(&filters).await?;
    let items = removed.images_deleted.unwrap_or_default().into_iter().map(|item| {
        if item.untagged.is_empty() {
            format!("deleted: {}", item.deleted)
        } else {
            format!("untagged: {}", item.untagged)
        }
    });
    Ok(Report::new("Deleted Images:", &items.collect::<Vec<_>>(), removed.space_reclaimed))
}

/// Asks; everything but `y` means no.
pub(super) fn confirm(context: &Context, warning: &str) -> Result<bool, Failure> {
    context.printer.data(format!("{warning} [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
