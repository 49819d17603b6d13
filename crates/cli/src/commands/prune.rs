//! What all prunes share: flags, the filters of the user's configuration, the question and the report.

use std::io::BufRead as _;

use berth_api::client::Client;
use berth_api::filters::Filters;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::units::human_size;
use crate::outcome::{Failure, Outcome};

/// What a prune may be told; not every one takes all of it.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(super) all: bool,
    pub(super) filters: Filters,
    pub(super) force: bool,
    pub(super) volumes: bool,
}

/// A command `prune`.
pub(super) const fn command(
    about: &'static str,
    flags: &'static [Flag<Options>],
    run: fn(&Context, &Invocation<Options>) -> Outcome,
) -> Command<Options> {
    let (usage, arity) = ("[OPTIONS]", Arity::None);
    Command { name: "prune", usage, about, aliases: &[], arity, flags, interspersed: true, run }
}

/// `--all`
pub(super) const fn all(about: &'static str) -> Flag<Options> {
    Flag::bool("all", 'a', |o: &mut Options| &mut o.all, about)
}

/// `--filter`
pub(super) const fn filter(about: &'static str) -> Flag<Options> {
    Flag::value(
        "filter",
        '\0',
        "filter",
        |o: &mut Options, value| super::ps::add_filter(&mut o.filters, value),
        about,
    )
}

/// `--force`
pub(super) const FORCE: Flag<Options> =
    Flag::bool("force", 'f', |o: &mut Options| &mut o.force, "Do not ask");

/// Asks, unless that is not wanted; then removes and tells.
pub(super) fn run(
    context: &Context,
    options: &Options,
    warning: &str,
    prune: impl AsyncFnOnce(&Client) -> Result<Report, Failure>,
) -> Outcome {
    if !options.force {
        context.printer.data(format!("WARNING! {warning}\nAre you sure you want to continue? [y/N] "))?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        // Everything but `y` means no.
        if !answer.trim().eq_ignore_ascii_case("y") {
            return Ok(());
        }
    }
    context.block_on(async { prune(context.client().await?).await?.print(context) })
}

/// What a prune has removed.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The title and a line for each thing; empty if nothing was removed.
    pub(super) text: String,
    /// Bytes.
    pub(super) space: u64,
}

impl Report {
    /// A report of these things.
    pub(super) fn new(title: &str, things: &[String], space: u64) -> Self {
        let mut text = String::new();
        if !things.is_empty() {
            text = format!("{title}\n{}\n", things.join("\n"));
        }
        Self { text, space }
    }

    /// Prints it, and what it gained.
    pub(super) fn print(&self, context: &Context) -> Outcome {
        if !self.text.is_empty() {
            context.printer.line(&self.text)?;
        }
        context.printer.line(format!("Total reclaimed space: {}", human_size(self.space as f64)))?;
        Ok(())
    }
}

/// One report of several.
impl FromIterator<Report> for Report {
    fn from_iter<I: IntoIterator<Item = Self>>(reports: I) -> Self {
        let (mut texts, mut space) = (Vec::new(), 0);
        for report in reports {
            space += report.space;
            texts.extend(Some(report.text).filter(|text| !text.is_empty()));
        }
        Self { text: texts.join("\n"), space }
    }
}

/// The filters, and those of `pruneFilters` in the configuration that they do not overrule.
pub(super) fn with_configured(context: &Context, filters: &Filters) -> Filters {
    let mut all = filters.clone();
    for filter in &context.config().prune_filters {
        let Some((name, value)) = filter.split_once('=') else { continue };
        let (opposite, has) = match name {
            "label" => ("label!", true),
            "label!" => ("label", true),
            _ => ("", false),
        };
        let overruled =
            has && filters.get(opposite).is_some_and(|list| list.iter().any(|known| known == value));
        if !overruled {
            all.entry(name.to_owned()).or_default().push(value.to_owned());
        }
    }
    all
}
