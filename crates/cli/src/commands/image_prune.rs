//! `image prune`

use berth_api::client::Client;
use berth_api::filters::Filters;

use super::prune::{self, FORCE, Options, Report, with_configured};
use crate::command::{Command, Invocation};
use crate::context::Context;
use crate::outcome::{Failure, Outcome};

pub(crate) static COMMAND: Command<Options> = prune::command(
    "Remove images that nobody uses",
    &[
        prune::all("All that no container uses, not only those without a name"),
        prune::filter("Only remove what matches (as \"until=<timestamp>\")"),
        FORCE,
    ],
    run,
);

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let filters = with_configured(context, &options.filters);
    let what = if options.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    let warning = format!("This will remove {what}.");
    prune::run(context, options, &warning, async |client| prune(client, options.all, &filters).await)
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
