//! `system prune`

use berth_api::client::{Client, Error};
use berth_api::filters::Filters;

use crate::command::{Command, Invocation};
use crate::commands::prune::{self, FORCE, Options, Report, with_configured};
use crate::commands::{container_prune, image_prune, volume};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome};

pub(crate) static COMMAND: Command<Options> = prune::command(
    "Remove what nobody uses",
    &[
        prune::all("All images that no container uses, not only those without a name"),
        prune::filter("Only remove what matches (as \"label=<key>=<value>\")"),
        FORCE,
        Flag::bool("volumes", '\0', |o: &mut Options| &mut o.volumes, "Also anonymous volumes"),
    ],
    run,
);

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    if options.volumes && options.filters.contains_key("until") {
        return Err(Failure::new("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    let filters = with_configured(context, &options.filters);
    prune::run(context, options, &warning(options, &filters), async |client| {
        let mut reports =
            vec![container_prune::prune(client, &filters).await?, networks(client, &filters).await?];
        if options.volumes {
            reports.push(volume::prune(client, &filters).await?);
        }
        reports.push(image_prune::prune(client, options.all, &filters).await?);
        reports.push(build_cache(client, options.all, &filters).await?);
        Ok(reports.into_iter().collect())
    })
}

fn warning(options: &Options, filters: &Filters) -> String {
    let mut what = vec!["all stopped containers", "all networks not used by at least one container"];
    if options.volumes {
        what.push("all anonymous volumes not used by at least one container");
    }
    what.push(if options.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    });
    what.push(if options.all { "all build cache" } else { "unused build cache" });
    let mut text = "This will remove:".to_owned();
    for what in what {
        text.push_str(&format!("\n  - {what}"));
    }
    text.push('\n');
    if !filters.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:");
        for (name, values) in filters {
            for value in values {
                text.push_str(&format!("\n  - {name}={value}"));
            }
        }
        text.push('\n');
    }
    text
}

/// An engine that has no networks or no build cache of its own has none to remove.
fn or_nothing<T: Default>(answer: Result<T, Error>) -> Result<T, Failure> {
    match answer {
        Err(error) if matches!(error.status(), Some(404 | 501)) => Ok(T::default()),
        answer => answer.map_err(Failure::from),
    }
}

async fn networks(client: &Client, filters: &Filters) -> Result<Report, Failure> {
    let removed = or_nothing(client.networks_prune(filters).await)?;
    Ok(Report::new("Deleted Networks:", &removed.networks_deleted.unwrap_or_default(), 0))
}

async fn build_cache(client: &Client, all: bool, filters: &Filters) -> Result<Report, Failure> {
    let removed = or_nothing(client.build_prune(all, filters).await)?;
    Ok(Report::new(
        "Deleted build cache objects:",
        &removed.caches_deleted.unwrap_or_default(),
        removed.space_reclaimed,
    ))
}
