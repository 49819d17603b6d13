//! `events`

use std::rc::Rc;

use berth_api::event::Message;
use berth_api::filters::Filters;
use jiff::Timestamp;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::template::{Missing, Template};
use crate::format::time;
use crate::format::value::{Field, Struct, Value};
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    filters: Filters,
    format: String,
    since: String,
    until: String,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "events",
    usage: "[OPTIONS]",
    about: "Show what happens, as it happens",
    aliases: &["system events", "events"],
    arity: Arity::None,
    flags: &[
        Flag::value(
            "filter",
            'f',
            "filter",
            |o: &mut Options, v| super::ps::add_filter(&mut o.filters, v),
            "Only show what matches",
        ),
        Flag::text(
            "format",
            '\0',
            |o: &mut Options| &mut o.format,
            "How to print:\n'json':             JSON\n'TEMPLATE':         a Go template",
        ),
        Flag::text("since", '\0', |o: &mut Options| &mut o.since, "Show what has happened since a time"),
        Flag::text("until", '\0', |o: &mut Options| &mut o.until, "Stop at a time"),
    ],
    interspersed: true,
    run,
};

/// How an event is printed.
enum Form {
    Line,
    Json,
    Template(Template),
}

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let form = match options.format.as_str() {
        "" => Form::Line,
        "json" => Form::Json,
        text => Form::Template(
            Template::parse(text)
                .map_err(|error| Failure { status: 64, text: format!("Error parsing format: {error}") })?,
        ),
    };
    let moment = |text: &str| match text {
        "" => Ok(String::new()),
        text => time::since(text, Timestamp::now()).map_err(Failure::new),
    };
    let (since, until) = (moment(&options.since)?, moment(&options.until)?);
    context.block_on(async {
        let client = context.client().await?;
        let mut events = client.events(&since, &until, &options.filters).await?;
        while let Some(event) = events.next_text().await? {
            print(context, &form, &event)?;
        }
        Ok(())
    })
}

/// Prints one event, which is JSON as the engine wrote it: that way JSON output has every field of its version.
fn print(context: &Context, form: &Form, event: &str) -> Outcome {
    match form {
        Form::Json => context.printer.line(event)?,
        Form::Line => context.printer.line(line(&parse(event)?))?,
        Form::Template(template) => {
            let mut text = String::new();
            template
                .run(&value(event)?, Missing::Fail, &mut text)
                .map_err(|error| Failure::new(error.to_string()))?;
            context.printer.line(text)?;
        }
    }
    Ok(())
}

fn parse(event: &str) -> Result<Message, Failure> {
    serde_json::from_str(event).map_err(|error| Failure::new(error.to_string()))
}

/// `time type action id (name=value, …)`
fn line(event: &Message) -> String {
    let nanoseconds =
        if event.time_nano == 0 { event.time.saturating_mul(1_000_000_000) } else { event.time_nano };
    let mut line =
        format!("{} {} {} {}", time::rfc3339_nano(nanoseconds), event.kind, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let attributes = event.actor.attributes.iter().map(|(name, value)| format!("{name}={value}"));
        line.push_str(&format!(" ({})", attributes.collect::<Vec<_>>().join(", ")));
    }
    line
}

/// The event as Docker's struct, for templates.
fn value(event: &str) -> Result<Value, Failure> {
    let json: Value = serde_json::from_str(event).map_err(|error| Failure::new(error.to_string()))?;
    let get = |value: &Value, name: &str| match value {
        Value::Map(map) => map.get(name).cloned(),
        _ => None,
    };
    let field = |of: &Value, name: &'static str, json: &'static str, zero: Value| {
        let found = get(of, json);
        Field { name, json, present: found.is_some(), value: found.unwrap_or(zero) }
    };
    let text = || Value::text("");
    let actor = get(&json, "Actor").unwrap_or(Value::Nil);
    let actor = Struct {
        type_name: "events.Actor",
        fields: vec![
            field(&actor, "ID", "ID", text()),
            field(&actor, "Attributes", "Attributes", Value::Empty("map[]")),
        ],
    };
    let fields = vec![
        field(&json, "Status", "status", text()),
        field(&json, "ID", "id", text()),
        field(&json, "From", "from", text()),
        field(&json, "Type", "Type", text()),
        field(&json, "Action", "Action", text()),
        Field { name: "Actor", json: "Actor", present: true, value: Value::Struct(Rc::new(actor)) },
        field(&json, "Scope", "scope", text()),
        field(&json, "Time", "time", Value::Int(0)),
        field(&json, "TimeNano", "timeNano", Value::Int(0)),
    ];
    Ok(Value::Struct(Rc::new(Struct { type_name: "events.Message", fields })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = r#"{"status":"start","id":"abc","Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"name":"x","image":"y"}},"time":1,"timeNano":1000000001}"#;
        assert!(line(&parse(event).unwrap()).ends_with(" container start abc (image=y, name=x)"));
        let render = |template| crate::format::template::render(template, &value(event).unwrap()).unwrap();
        assert_eq!(render("{{.Status}} {{.Actor.Attributes.name}} {{.ID}} {{.From}}"), "start x abc ");
    }
}
