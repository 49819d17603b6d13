//! `inspect`, `container inspect`, `image inspect`

use berth_api::client::{Client, Error};

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::{Flag, quote};
use crate::format::json;
use crate::format::schema::{self, Shape};
use crate::format::template::{Missing, Template};
use crate::format::value::Value;
use crate::outcome::{Failure, Outcome};
use crate::values::reference;

#[derive(Debug, Default)]
pub(crate) struct Options {
    format: String,
    size: bool,
    kind: Option<String>,
    platform: String,
}

const FORMAT_HELP: &str = "How to print:\n'json':             JSON\n'TEMPLATE':         a Go template";

const SIZE: Flag<Options> =
    Flag::bool("size", 's', |o: &mut Options| &mut o.size, "Also show sizes, if it is a container");
const FORMAT: Flag<Options> = Flag::text("format", 'f', |o: &mut Options| &mut o.format, FORMAT_HELP);

pub(crate) static COMMAND: Command<Options> = Command {
    name: "inspect",
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Show everything about containers, images and the like",
    aliases: &[],
    arity: Arity::AtLeast(1),
    flags: &[FORMAT, SIZE, Flag::value("type", '\0', "string", kind, "Only look for things of this type")],
    interspersed: true,
    run,
};

pub(crate) static CONTAINER: Command<Options> = Command {
    name: "inspect",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Show everything about containers",
    aliases: &[],
    arity: Arity::AtLeast(1),
    flags: &[FORMAT, SIZE],
    interspersed: true,
    run: |context, invocation| inspect(context, invocation, &[Kind::Container], Missed::Engine),
};

pub(crate) static IMAGE: Command<Options> = Command {
    name: "inspect",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Show everything about images",
    aliases: &[],
    arity: Arity::AtLeast(1),
    flags: &[
        FORMAT,
        Flag::text(
            "platform",
            '\0',
            |o: &mut Options| &mut o.platform,
            "Platform of the image, if there are several",
        ),
    ],
    interspersed: true,
    run: |context, invocation| inspect(context, invocation, &[Kind::Image], Missed::Engine),
};

pub(crate) static VOLUME: Command<Options> = Command {
    name: "inspect",
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Show everything about volumes",
    aliases: &[],
    arity: Arity::AtLeast(1),
    flags: &[FORMAT],
    interspersed: true,
    run: |context, invocation| inspect(context, invocation, &[Kind::Other("volumes")], Missed::Engine),
};

fn kind(options: &mut Options, value: &str) -> Result<(), String> {
    options.kind = Some(value.to_owned());
    Ok(())
}

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    /// Things that are looked up by a plain path: `networks`, `volumes`.
    Other(&'static str),
}

/// Who words the complaint about a name that nothing has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missed {
    /// The engine: only one kind was meant.
    Engine,
    /// We: none of the kinds has it.
    Ours,
}

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    const ALL: &[Kind] = &[Kind::Container, Kind::Image, Kind::Other("networks"), Kind::Other("volumes")];
    let (kinds, missed): (&[Kind], _) = match invocation.options.kind.as_deref() {
        None => (ALL, Missed::Ours),
        Some("container") => (&[Kind::Container], Missed::Engine),
        Some("image") => (&[Kind::Image], Missed::Engine),
        Some("network") => (&[Kind::Other("networks")], Missed::Engine),
        Some("volume") => (&[Kind::Other("volumes")], Missed::Engine),
        Some(swarm @ ("config" | "node" | "plugin" | "secret" | "service" | "task")) => {
            return Err(Failure::new(format!(
                "this engine is in no cluster and has no plugins: there are no objects of type {}",
                quote(swarm)
            )));
        }
        Some("") => {
            return Err(Failure::new(
                "type is empty: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"",
            ));
        }
        Some(unknown) => {
            return Err(Failure::new(format!(
                "unknown type: {}: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"",
                quote(unknown)
            )));
        }
    };
    inspect(context, invocation, kinds, missed)
}

fn inspect(context: &Context, invocation: &Invocation<Options>, kinds: &[Kind], missed: Missed) -> Outcome {
    let options = &invocation.options;
    let platform = reference::platform(&options.platform, "")?;
    let mut output = Output::new(&options.format)?;
    context.block_on(async {
        let client = context.client().await?;
        let mut errors = Vec::new();
        for name in &invocation.arguments {
            match find(client, (options.size, &platform), kinds, missed, name).await {
                Ok((kind, json)) => {
                    if let Err(error) = output.add(kind, &json) {
                        errors.push(error);
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        context.printer.data(output.finish())?;
        super::many::joined(&errors)
    })
}

/// The first thing that has the name, as the engine writes it.
async fn find(
    client: &Client,
    (size, platform): (bool, &str),
    kinds: &[Kind],
    missed: Missed,
    name: &str,
) -> Result<(Kind, String), String> {
    for &kind in kinds {
        let answer = match kind {
            Kind::Container => client.container_inspect_raw(name, size).await,
            Kind::Image => client.image_inspect_raw(name, platform).await,
            Kind::Other(path) => client.raw(&format!("/{path}/"), name).await,
        };
        match answer {
            Ok(bytes) => return Ok((kind, String::from_utf8_lossy(&bytes).into_owned())),
            // Kinds that the engine does not have yet cannot have the name either.
            Err(error) if missed == Missed::Ours && is_absent(&error) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("Error: No such object: {name}"))
}

fn is_absent(error: &Error) -> bool {
    matches!(error.status(), Some(404 | 501))
}

/// What is printed at the end.
pub(super) enum Output {
    /// A JSON list, indented or not.
    Json {
        all: Vec<String>,
        indented: bool,
    },
    Template {
        template: Template,
        text: String,
    },
}

impl Output {
    /// What `--format` asks for.
    ///
    /// # Errors
    /// A template that does not parse.
    pub(super) fn new(format: &str) -> Result<Self, Failure> {
        match format {
            "" => Ok(Self::Json { all: Vec::new(), indented: true }),
            "json" => Ok(Self::Json { all: Vec::new(), indented: false }),
            text => {
                let template = Template::parse(text).map_err(|error| Failure {
                    status: 64,
                    text: format!("template parsing error: {error}"),
                })?;
                Ok(Self::Template { template, text: String::new() })
            }
        }
    }

    fn add(&mut self, kind: Kind, answer: &str) -> Result<(), String> {
        self.add_shaped(shape(kind), answer)
    }

    /// Adds a thing as its JSON is, with the struct that templates see.
    ///
    /// # Errors
    /// A template that does not fit.
    pub(super) fn add_shaped(&mut self, shape: Option<&'static Shape>, answer: &str) -> Result<(), String> {
        match self {
            Self::Json { all, .. } => all.push(json::compact(answer)),
            Self::Template { template, text } => {
                let raw: Value = serde_json::from_str(answer).map_err(|error| error.to_string())?;
                let mut rendered = String::new();
                // Volumes are looked at as they are declared; there is no second look at what the engine sent.
                if let Some(shape) = shape.filter(|shape| std::ptr::eq(*shape, &schema::VOLUME)) {
                    template
                        .run(&shape.fill(&raw), Missing::Print, &mut rendered)
                        .map_err(|error| format!("template parsing error: {error}"))?;
                    text.push_str(&rendered);
                    text.push('\n');
                    return Ok(());
                }
                let typed = shape.map(|shape| shape.fill(&raw));
                let done =
                    typed.is_some_and(|typed| template.run(&typed, Missing::Print, &mut rendered).is_ok());
                if !done {
                    rendered.clear();
                    template
                        .run(&raw, Missing::Fail, &mut rendered)
                        .map_err(|error| format!("template parsing error: {error}"))?;
                }
                text.push_str(&rendered);
                text.push('\n');
            }
        }
        Ok(())
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        match self {
            Self::Json { all, .. } if all.is_empty() => "[]\n".to_owned(),
            Self::Json { all, indented } => {
                let list = format!("[{}]", all.join(","));
                format!("{}\n", if indented { json::indent(&list) } else { list })
            }
            Self::Template { text, .. } if text.is_empty() => "\n".to_owned(),
            Self::Template { text, .. } => text,
        }
    }
}

fn shape(kind: Kind) -> Option<&'static Shape> {
    match kind {
        Kind::Container => Some(&schema::CONTAINER),
        Kind::Image => Some(&schema::IMAGE),
        Kind::Other("volumes") => Some(&schema::VOLUME),
        Kind::Other(_) => None,
    }
}
