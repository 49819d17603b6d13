//! `search`

use std::rc::Rc;

use berth_api::filters::Filters;
use berth_api::registry::SearchResult;

use crate::command::{Arity, Command, Invocation};
use crate::config::credentials;
use crate::context::Context;
use crate::flags::Flag;
use crate::format::list::{Format, ellipsis};
use crate::format::value::{Row, Value};
use crate::outcome::Outcome;

#[derive(Debug, Default)]
pub(crate) struct Options {
    filters: Filters,
    format: String,
    limit: i64,
    no_trunc: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "search",
    usage: "[OPTIONS] TERM",
    about: "Look for images in a registry",
    aliases: &[],
    arity: Arity::Exactly(1),
    flags: &[
        Flag::value(
            "filter",
            'f',
            "filter",
            |o: &mut Options, v| super::ps::add_filter(&mut o.filters, v),
            "Show only what fits (is-official=true, stars=3)",
        ),
        Flag::text("format", '\0', |o: &mut Options| &mut o.format, super::ps::FORMAT_HELP),
        Flag::int("limit", '\0', |o: &mut Options| &mut o.limit, "At most so many"),
        Flag::bool("no-trunc", '\0', |o: &mut Options| &mut o.no_trunc, "Do not cut anything off"),
    ],
    interspersed: true,
    run,
};

const TABLE: &str = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";

const HEADERS: &[(&str, &str)] = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let term = &invocation.arguments[0];
    let format = Format::parse(&options.format, TABLE)?;
    context.block_on(async {
        let client = context.client().await?;
        let domain = match term.split_once('/') {
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
            _ => "docker.io",
        };
        let auth = credentials::get(&context.config_path(), domain)?;
        let found = client.image_search(term, options.limit, &options.filters, auth.as_ref()).await?;
        let cut = !options.no_trunc;
        let rows: Vec<Rc<dyn Row>> =
            found.into_iter().map(|found| Rc::new(Line { found, cut }) as Rc<dyn Row>).collect();
        context.printer.data(format.render(HEADERS, &rows)?)?;
        Ok(())
    })
}

struct Line {
    found: SearchResult,
    cut: bool,
}

impl Row for Line {
    fn type_name(&self) -> &'static str {
        "*formatter.searchContext"
    }

    fn names(&self) -> &'static [&'static str] {
        &["Description", "IsAutomated", "IsOfficial", "Name", "StarCount"]
    }

    fn get(&self, name: &str) -> Option<Value> {
        let mark = |on: bool| if on { "[OK]".to_owned() } else { String::new() };
        let text = match name {
            "Name" => self.found.name.clone(),
            "Description" => {
                let line = self.found.description.replace(['\n', '\r'], " ");
                if self.cut { ellipsis(&line, 45) } else { line }
            }
            "StarCount" => self.found.star_count.to_string(),
            "IsOfficial" => mark(self.found.is_official),
            "IsAutomated" => mark(self.found.is_automated),
            _ => return None,
        };
        Some(Value::text(text))
    }
}
