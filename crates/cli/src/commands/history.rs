//! `history`

use std::rc::Rc;

use berth_api::image::HistoryItem;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::{Flag, parse_bool};
use crate::format::list::{Format, ellipsis, short_id};
use crate::format::time;
use crate::format::units::human_size_with;
use crate::format::value::{Row, Value};
use crate::outcome::Outcome;
use crate::values::reference;

#[derive(Debug, Default)]
pub(crate) struct Options {
    format: String,
    raw: bool,
    no_trunc: bool,
    quiet: bool,
    platform: String,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "history",
    usage: "[OPTIONS] IMAGE",
    about: "Show how an image was made",
    aliases: &["image history", "history"],
    arity: Arity::Exactly(1),
    flags: &[
        Flag::text("format", '\0', |o: &mut Options| &mut o.format, super::ps::FORMAT_HELP),
        Flag::value("human", 'H', "", human, "Print sizes and dates for people").switch().default("true"),
        Flag::bool("no-trunc", '\0', |o: &mut Options| &mut o.no_trunc, "Do not cut anything off"),
        Flag::text(
            "platform",
            '\0',
            |o: &mut Options| &mut o.platform,
            "Platform of the image, if there are several",
        ),
        Flag::bool("quiet", 'q', |o: &mut Options| &mut o.quiet, "Only print ids"),
    ],
    interspersed: true,
    run,
};

fn human(options: &mut Options, value: &str) -> Result<(), String> {
    options.raw = !parse_bool(value)?;
    Ok(())
}

const TABLE: &str = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let is_table = options.format.is_empty() || options.format == "table";
    let format = if options.quiet && is_table { "{{.ID}}" } else { &options.format };
    let format = Format::parse(format, TABLE)?;
    let platform = reference::platform(&options.platform, reference::INVALID_PLATFORM)?;
    context.block_on(async {
        let client = context.client().await?;
        let items = client.image_history(&invocation.arguments[0], &platform).await?;
        let now = time::now();
        let rows: Vec<Rc<dyn Row>> = items
            .into_iter()
            .map(|item| {
                Rc::new(Step { item, now, human: !options.raw, cut: !options.no_trunc }) as Rc<dyn Row>
            })
            .collect();
        let headers = [
            ("ID", "IMAGE"),
            ("CreatedSince", if options.raw { "CREATED AT" } else { "CREATED" }),
            ("CreatedAt", "CREATED AT"),
            ("CreatedBy", "CREATED BY"),
            ("Size", "SIZE"),
            ("Comment", "COMMENT"),
        ];
        context.printer.data(format.render(&headers, &rows)?)?;
        Ok(())
    })
}

struct Step {
    item: HistoryItem,
    now: i64,
    human: bool,
    cut: bool,
}

impl Row for Step {
    fn type_name(&self) -> &'static str {
        "*image.historyContext"
    }

    fn get(&self, name: &str) -> Option<Value> {
        let item = &self.item;
        let text = match name {
            "ID" if self.cut => short_id(&item.id).to_owned(),
            "ID" => item.id.clone(),
            // A step without a date has the beginning of the calendar.
            "CreatedAt" | "CreatedSince" if item.created <= -62_135_596_800 => String::new(),
            "CreatedAt" => time::rfc3339(item.created),
            "CreatedSince" if !self.human => time::rfc3339(item.created),
            "CreatedSince" => time::ago(item.created, self.now),
            "CreatedBy" => {
                let command = item.created_by.replace('\t', " ");
                if self.cut { ellipsis(&command, 45) } else { command }
            }
            "Size" if self.human => human_size_with(item.size as f64, 3),
            "Size" => item.size.to_string(),
            "Comment" => item.comment.clone(),
            _ => return None,
        };
        Some(Value::text(text))
    }

    fn names(&self) -> &'static [&'static str] {
        &["Comment", "CreatedAt", "CreatedBy", "CreatedSince", "ID", "Size"]
    }
}
