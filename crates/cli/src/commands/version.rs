//! `version`

use std::rc::Rc;

use berth_api::system::VersionResponse;

use crate::command::{Arity, Command, Invocation};
use crate::context::{API, Context};
use crate::flags::Flag;
use crate::format::template::{Missing, Template};
use crate::format::value::{Field, Struct, Value};
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    format: String,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "version",
    usage: "[OPTIONS]",
    about: "Show the versions of command line and engine",
    aliases: &[],
    arity: Arity::None,
    flags: &[Flag::text(
        "format",
        'f',
        |o: &mut Options| &mut o.format,
        "How to print:\n'json':             JSON\n'TEMPLATE':         a Go template",
    )],
    interspersed: true,
    run,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `--version`
pub(crate) fn print_short(context: &Context) -> Outcome {
    context.printer.line(format!("{} version {VERSION}", context.program.title))?;
    Ok(())
}

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let format = &invocation.options.format;
    let template = match format.as_str() {
        "" => None,
        "json" => Some("{{json .}}"),
        text => Some(text),
    };
    let template = template
        .map(Template::parse)
        .transpose()
        .map_err(|error| Failure { status: 64, text: format!("template parsing error: {error}") })?;
    context.block_on(async {
        // Without an engine the client's own part is still shown.
        let server = async {
            let client = context.client().await?;
            Ok::<_, Failure>((client.server_version().await?, client.version().to_string()))
        };
        let (server, failure) = match server.await {
            Ok(server) => (Some(server), None),
            Err(failure) => (None, Some(failure)),
        };
        let api = server.as_ref().map_or_else(|| API.to_string(), |(_, api)| api.clone());
        match template {
            Some(template) => {
                let mut text = String::new();
                let data = value(context, &api, server.map(|(server, _)| server));
                template
                    .run(&data, Missing::Print, &mut text)
                    .map_err(|error| Failure::new(error.to_string()))?;
                context.printer.line(text)?;
            }
            None => context.printer.data(text(context, &api, server.map(|(server, _)| server).as_ref()))?,
        }
        failure.map_or(Ok(()), Err)
    })
}

/// Go's names of this machine's architecture.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn text(context: &Context, api: &str, server: Option<&VersionResponse>) -> String {
    let newest = API.to_string();
    let api = if api == newest { api.to_owned() } else { format!("{api} (downgraded from {newest})") };
    let mut text = format!(
        "Client:\n Version:           {VERSION}\n API version:       {api}\n OS/Arch:           linux/{}\n Context:           {}\n",
        architecture(),
        context.context_name()
    );
    let Some(server) = server else { return text };
    text.push_str("\nServer:");
    if !server.platform.name.is_empty() {
        text.push_str(&format!(" {}", server.platform.name));
    }
    text.push('\n');
    for component in &server.components {
        text.push_str(&format!(" {}:\n  {:17} {}\n", component.name, "Version:", component.version));
        let detail = |name: &str| component.details.get(name);
        if component.name != "Engine" {
            for (name, value) in &component.details {
                text.push_str(&format!("  {:17} {value}\n", format!("{name}:")));
            }
            continue;
        }
        if let (Some(api), Some(least)) = (detail("ApiVersion"), detail("MinAPIVersion")) {
            text.push_str(&format!("  {:17} {api} (minimum version {least})\n", "API version:"));
        }
        let rows = [("GoVersion", "Go version:"), ("GitCommit", "Git commit:"), ("BuildTime", "Built:")];
        for (name, title) in rows {
            if let Some(value) = detail(name).filter(|value| !value.is_empty()) {
                text.push_str(&format!("  {title:17} {value}\n"));
            }
        }
        if let (Some(os), Some(arch)) = (detail("Os"), detail("Arch")) {
            text.push_str(&format!("  {:17} {os}/{arch}\n", "OS/Arch:"));
        }
        if let Some(experimental) = detail("Experimental") {
            text.push_str(&format!("  {:17} {experimental}\n", "Experimental:"));
        }
    }
    text
}

fn field(name: &'static str, json: &'static str, value: Value) -> Field {
    Field { name, json, present: true, value }
}

fn structure(type_name: &'static str, fields: Vec<Field>) -> Value {
    Value::Struct(Rc::new(Struct { type_name, fields }))
}

/// Both versions as Docker's structs.
fn value(context: &Context, api: &str, server: Option<VersionResponse>) -> Value {
    let client = structure(
        "system.clientVersion",
        vec![
            field("Version", "Version", Value::text(VERSION)),
            field("APIVersion", "ApiVersion", Value::text(api)),
            field("DefaultAPIVersion", "DefaultAPIVersion", Value::text(API.to_string())),
            field("GitCommit", "GitCommit", Value::text("")),
            field("GoVersion", "GoVersion", Value::text("")),
            field("Os", "Os", Value::text("linux")),
            field("Arch", "Arch", Value::text(architecture())),
            field("BuildTime", "BuildTime", Value::text("")),
            field("Context", "Context", Value::text(context.context_name())),
        ],
    );
    let server = server.map_or(Value::Nil, server_value);
    let fields = vec![field("Client", "Client", client), field("Server", "Server", server)];
    structure("system.versionInfo", fields)
}

fn server_value(server: VersionResponse) -> Value {
    let map = |map: std::collections::BTreeMap<String, String>| {
        let entries = map.into_iter().map(|(name, value)| (Rc::from(name), Value::text(value)));
        Value::Map(Rc::new(entries.collect()))
    };
    let components = server.components.into_iter().map(|component| {
        structure(
            "types.ComponentVersion",
            vec![
                field("Name", "Name", Value::text(component.name)),
                field("Version", "Version", Value::text(component.version)),
                field("Details", "Details", map(component.details)),
            ],
        )
    });
    let platform = structure("struct", vec![field("Name", "Name", Value::text(server.platform.name))]);
    let fields = vec![
        field("Platform", "Platform", platform),
        field("Components", "Components", Value::List(Rc::new(components.collect()))),
        field("Version", "Version", Value::text(server.version)),
        field("APIVersion", "ApiVersion", Value::text(server.api_version)),
        field("MinAPIVersion", "MinAPIVersion", Value::text(server.min_api_version)),
        field("GitCommit", "GitCommit", Value::text(server.git_commit)),
        field("GoVersion", "GoVersion", Value::text(server.go_version)),
        field("Os", "Os", Value::text(server.os)),
        field("Arch", "Arch", Value::text(server.arch)),
        field("KernelVersion", "KernelVersion", Value::text(server.kernel_version)),
        Field {
            name: "Experimental",
            json: "Experimental",
            present: server.experimental,
            value: Value::Bool(server.experimental),
        },
        Field {
            name: "BuildTime",
            json: "BuildTime",
            present: !server.build_time.is_empty(),
            value: Value::text(server.build_time),
        },
    ];
    structure("types.Version", fields)
}
