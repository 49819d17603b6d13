//! `import`

use berth_api::client::{ImportOptions, file_pieces};
use berth_oci::Reference;

use super::pull;
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome, open_text};
use crate::terminal;

#[derive(Debug, Default)]
pub(crate) struct Options {
    changes: Vec<String>,
    message: String,
    platform: String,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "import",
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    about: "Make an image from the archive of a root file system",
    aliases: &["image import", "import"],
    arity: Arity::AtLeast(1),
    flags: &[
        Flag::list(
            "change",
            'c',
            |o: &mut Options| &mut o.changes,
            "Line of a Dockerfile that changes the image",
        ),
        Flag::text("message", 'm', |o: &mut Options| &mut o.message, "What to say of the image"),
        Flag::text("platform", '\0', |o: &mut Options| &mut o.platform, "Platform that the image is for"),
    ],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let source = &invocation.arguments[0];
    let name = invocation.arguments.get(1).cloned().unwrap_or_default();
    if !name.is_empty() {
        Reference::parse(&name).map_err(|error| Failure::new(error.to_string()))?;
    }
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    let import = ImportOptions {
        from: if is_url { source.clone() } else { "-".to_owned() },
        // The engine takes the tag off itself.
        repository: name,
        tag: String::new(),
        message: options.message.clone(),
        platform: options.platform.clone(),
        changes: options.changes.clone(),
    };
    context.block_on(async {
        let client = context.client().await?;
        let file = match source.as_str() {
            _ if is_url => None,
            "-" => Some(terminal::input_file()?),
            path => {
                let file = std::fs::File::open(path);
                Some(file.map_err(|error| Failure::new(open_text(path, &error)))?)
            }
        };
        let progress = client.image_import(&import, file.map(file_pieces)).await?;
        pull::show(context, progress, pull::To::Stdout).await
    })
}
