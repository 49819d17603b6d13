//! `system fsck`: every image is checked byte for byte, and mended where that is asked for.

use berth_api::check::Line;
use berth_api::client::JsonStream;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::units::human_size;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    repair: bool,
    quiet: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "fsck",
    usage: "[OPTIONS]",
    about: "Check every image byte for byte",
    aliases: &[],
    arity: Arity::None,
    flags: &[
        Flag::bool("quiet", 'q', |o: &mut Options| &mut o.quiet, "Only print what is wrong"),
        Flag::bool(
            "repair",
            '\0',
            |o: &mut Options| &mut o.repair,
            "Fetch anew what is damaged, discard what nothing needs",
        ),
    ],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let faults = context.block_on(async {
        let client = context.client().await?;
        let mut lines: JsonStream<Line> = client.fsck(options.repair).await?;
        let mut faults = None;
        while let Some(line) = lines.next().await? {
            if !line.error.is_empty() {
                return Err(Failure::new(line.error));
            }
            if let Some(found) = line.found {
                let end = match (found.mended.as_str(), found.failed.as_str()) {
                    ("", "") => String::new(),
                    ("", why) => format!(" (cannot be mended: {why})"),
                    (how, _) => format!(" (mended: {how})"),
                };
                context.printer.line(format!("{}{end}", found.what))?;
            }
            if let Some(summary) = line.summary {
                if !options.quiet {
                    context.printer.line(format!(
                        "{} images, {} layers, {} blobs, {}: {}",
                        summary.images,
                        summary.layers,
                        summary.blobs,
                        human_size(summary.bytes as f64),
                        if summary.faults == 0 {
                            "all whole".to_owned()
                        } else {
                            format!("{} faults", summary.faults)
                        },
                    ))?;
                }
                faults = Some(summary.faults);
            }
        }
        faults.ok_or_else(|| Failure::new("the engine ended the check in the middle"))
    })?;
    if faults == 0 { Ok(()) } else { Err(Failure::status(1)) }
}
