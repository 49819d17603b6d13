//! What all prunes share: the filters of the user's configuration, and the report.

use berth_api::filters::Filters;

use crate::context::Context;
use crate::format::units::human_size;
use crate::outcome::Outcome;

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
