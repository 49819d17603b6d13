//! `context ls` and `context inspect`

use std::rc::Rc;

use berth_oci::json::Node;

use super::{DEFAULT_DESCRIPTION, described, overruled};
use crate::command::{Arity, Command, Invocation};
use crate::commands::inspect::Output;
use crate::commands::{many, ps};
use crate::config::Entry;
use crate::context::{Context, DEFAULT_CONTEXT};
use crate::flags::Flag;
use crate::format::list::{Format, ellipsis};
use crate::format::natural;
use crate::format::value::{Row, Value};
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    format: String,
    quiet: bool,
}

pub(super) static LS: Command<Options> = Command {
    name: "ls",
    usage: "[OPTIONS]",
    about: "List contexts",
    aliases: &["context ls", "context list"],
    arity: Arity::None,
    flags: &[
        Flag::text("format", '\0', |o: &mut Options| &mut o.format, ps::FORMAT_HELP),
        Flag::bool("quiet", 'q', |o: &mut Options| &mut o.quiet, "Only print names"),
    ],
    interspersed: true,
    run: list,
};

pub(super) static INSPECT: Command<Options> = Command {
    name: "inspect",
    usage: "[OPTIONS] [CONTEXT] [CONTEXT...]",
    about: "Show everything about contexts",
    aliases: &[],
    arity: Arity::AtLeast(0),
    flags: &[Flag::text(
        "format",
        'f',
        |o: &mut Options| &mut o.format,
        "How to print:\n'json':             JSON\n'TEMPLATE':         a Go template",
    )],
    interspersed: true,
    run: inspect,
};

const TABLE: &str = "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}";

const HEADERS: &[(&str, &str)] = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("DockerEndpoint", "DOCKER ENDPOINT"),
    ("Error", "ERROR"),
];

struct Listed {
    name: String,
    description: String,
    endpoint: String,
    error: String,
    current: bool,
    cut: bool,
}

impl Row for Listed {
    fn type_name(&self) -> &'static str {
        "*formatter.clientContextContext"
    }

    fn get(&self, name: &str) -> Option<Value> {
        let cut = |text: &str, width| if self.cut { ellipsis(text, width) } else { text.to_owned() };
        Some(match name {
            "Current" => Value::Bool(self.current),
            "Name" => Value::text(self.name.clone()),
            "Description" => Value::text(cut(&self.description, 60)),
            "DockerEndpoint" => Value::text(self.endpoint.clone()),
            "Error" => Value::text(cut(&self.error, 45)),
            _ => return None,
        })
    }

    fn names(&self) -> &'static [&'static str] {
        &["Current", "Description", "DockerEndpoint", "Error", "Name"]
    }
}

fn list(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let text = context.format(&options.format, options.quiet, |_| &NOTHING);
    let text = if text == "{{.ID}}" { "{{.Name}}".to_owned() } else { text };
    let format = Format::parse(&text, TABLE)?;
    let current = context.context_name();
    let row = |name: String, description: String, endpoint: String, error: String| Listed {
        current: name == current,
        cut: !text.contains("json"),
        name,
        description,
        endpoint,
        error,
    };
    let entries = context.contexts().list();
    let mut rows: Vec<Listed> = entries
        .iter()
        .map(|entry| {
            let host = entry.endpoint().host;
            row(entry.name.clone(), entry.description().to_owned(), host, String::new())
        })
        .collect();
    let default = context.default_host();
    let (host, error) =
        default.map_or_else(|failure| (String::new(), failure.text), |host| (host, String::new()));
    rows.push(row(DEFAULT_CONTEXT.to_owned(), DEFAULT_DESCRIPTION.to_owned(), host, error));
    if !rows.iter().any(|row| row.current) {
        // Somebody has named a context that is not there: that is worth a row.
        let error = context.contexts().get(&current).err().map(|failure| failure.text).unwrap_or_default();
        rows.push(row(current.clone(), String::new(), String::new(), error));
    }
    rows.sort_by(|a, b| natural::compare(&a.name, &b.name));
    let rows: Vec<Rc<dyn Row>> = rows.into_iter().map(|row| Rc::new(row) as Rc<dyn Row>).collect();
    context.printer.data(format.render(HEADERS, &rows)?)?;
    if current == DEFAULT_CONTEXT && context.globals.hosts.is_empty() {
        overruled(context, "a context");
    }
    Ok(())
}

static NOTHING: String = String::new();

fn inspect(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let mut output = Output::new(&invocation.options.format)?;
    let mut names = invocation.arguments.clone();
    if names.is_empty() {
        names.push(context.context_name());
    }
    let mut errors = Vec::new();
    for name in &names {
        match json(context, name) {
            Ok(json) => errors.extend(output.add_shaped(None, &json).err()),
            Err(failure) => errors.push(failure.text),
        }
    }
    context.printer.data(output.finish())?;
    many::joined(&errors)
}

/// A context as `inspect` shows it: what is stored, the names of its TLS files, and where they are.
fn json(context: &Context, name: &str) -> Result<String, Failure> {
    let store = context.contexts();
    let (mut entry, storage) = if name == DEFAULT_CONTEXT {
        let (_, endpoint) = described(context, name)?;
        (Entry::new(name, "", &endpoint), ["<IN MEMORY>".to_owned(), "<IN MEMORY>".to_owned()])
    } else {
        let paths = [store.meta_path(name), store.tls_path(name)];
        (store.get(name)?, paths.map(|path| path.display().to_string()))
    };
    let files: Vec<Node> = store.tls(name).keys().map(|file| Node::string(file)).collect();
    let material =
        if files.is_empty() { Vec::new() } else { vec![("docker".to_owned(), Node::Array(files))] };
    entry.meta.set("TLSMaterial", Node::Object(material));
    let [meta, tls] = storage.map(|path| Node::string(&path));
    entry
        .meta
        .set("Storage", Node::Object(vec![("MetadataPath".to_owned(), meta), ("TLSPath".to_owned(), tls)]));
    let json = berth_oci::json::to_vec_html(&entry.meta).map_err(|error| Failure::new(error.to_string()))?;
    Ok(String::from_utf8_lossy(&json).into_owned())
}
