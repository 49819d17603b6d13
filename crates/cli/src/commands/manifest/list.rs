//! `manifest create`, `annotate` and `rm`: a list on its way, before it is pushed.

use super::kept::Lists;
use super::{Found, INSECURE, asking, fetch};
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome};
use crate::values::reference;

#[derive(Debug, Default)]
pub(crate) struct CreateOptions {
    amend: bool,
    insecure: bool,
}

pub(crate) static CREATE: Command<CreateOptions> = Command {
    name: "create",
    usage: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    about: "Begin a list of manifests, to be annotated and pushed",
    aliases: &[],
    arity: Arity::AtLeast(2),
    flags: &[
        Flag::bool("amend", 'a', |o: &mut CreateOptions| &mut o.amend, "Add to a list that is there"),
        Flag::bool("insecure", '\0', |o: &mut CreateOptions| &mut o.insecure, INSECURE),
    ],
    interspersed: true,
    run: create,
};

#[derive(Debug, Default)]
pub(crate) struct AnnotateOptions {
    architecture: String,
    os: String,
    features: Vec<String>,
    version: String,
    variant: String,
}

pub(crate) static ANNOTATE: Command<AnnotateOptions> = Command {
    name: "annotate",
    usage: "[OPTIONS] MANIFEST_LIST MANIFEST",
    about: "Say for which platform a manifest of a list is",
    aliases: &[],
    arity: Arity::Exactly(2),
    flags: &[
        Flag::text("arch", '\0', |o: &mut AnnotateOptions| &mut o.architecture, "Architecture"),
        Flag::text("os", '\0', |o: &mut AnnotateOptions| &mut o.os, "Operating system"),
        Flag::value(
            "os-features",
            '\0',
            "strings",
            |o: &mut AnnotateOptions, value| {
                o.features.extend(value.split(',').map(str::to_owned));
                Ok(())
            },
            "Features of the operating system",
        ),
        Flag::text(
            "os-version",
            '\0',
            |o: &mut AnnotateOptions| &mut o.version,
            "Version of the operating system",
        ),
        Flag::text("variant", '\0', |o: &mut AnnotateOptions| &mut o.variant, "Variant of the architecture"),
    ],
    interspersed: true,
    run: annotate,
};

pub(crate) static RM: Command<()> = Command {
    name: "rm",
    usage: "MANIFEST_LIST [MANIFEST_LIST...]",
    about: "Forget lists that have not been pushed",
    aliases: &[],
    arity: Arity::AtLeast(1),
    flags: &[],
    interspersed: true,
    run: remove,
};

fn create(context: &Context, invocation: &Invocation<CreateOptions>) -> Outcome {
    let CreateOptions { amend, insecure } = invocation.options;
    let lists = Lists::new(context);
    let list = reference::parse(&invocation.arguments[0])?;
    if !amend && !lists.all(&list)?.is_empty() {
        return Err(Failure::new("refusing to amend an existing manifest list with no --amend flag"));
    }
    context.block_on(async {
        for name in &invocation.arguments[1..] {
            let name = reference::parse(name)?;
            if lists.get(&list, &name)?.is_some() {
                continue;
            }
            let client = context.client().await?;
            match fetch(client, &name, &asking(context, &name, insecure)?).await? {
                Found::Manifest(manifest) => lists.put(&list, &name, &manifest)?,
                Found::Index(_) => return Err(Failure::new(format!("{name} is a manifest list"))),
            }
        }
        Ok(())
    })?;
    context.printer.line(format!("Created manifest list {list}"))?;
    Ok(())
}

fn annotate(context: &Context, invocation: &Invocation<AnnotateOptions>) -> Outcome {
    let lists = Lists::new(context);
    let [list_name, image] = [&invocation.arguments[0], &invocation.arguments[1]];
    let (list, name) = (reference::parse(list_name)?, reference::parse(image)?);
    let mut kept = lists
        .get(&list, &name)?
        .ok_or_else(|| Failure::new(format!("manifest for image {image} does not exist in {list_name}")))?;
    let options = &invocation.options;
    let mut platform = kept.descriptor.platform.unwrap_or_default();
    let set = |to: &mut String, value: &String| {
        if !value.is_empty() {
            to.clone_from(value);
        }
    };
    set(&mut platform.os, &options.os);
    set(&mut platform.architecture, &options.architecture);
    set(&mut platform.variant, &options.variant);
    set(&mut platform.os_version, &options.version);
    for feature in &options.features {
        if !platform.os_features.contains(feature) {
            platform.os_features.push(feature.clone());
        }
    }
    if !is_known(&platform.os, &platform.architecture) {
        // As Docker: what was asked for, not what is there.
        return Err(Failure::new(format!(
            "manifest entry for image has unsupported os/arch combination: {}/{}",
            options.os, options.architecture
        )));
    }
    kept.descriptor.platform = Some(platform);
    lists.put(&list, &name, &kept)
}

/// Whether programs are built for this pair.
fn is_known(os: &str, architecture: &str) -> bool {
    let architectures: &[&str] = match os {
        "darwin" => &["386", "amd64", "arm", "arm64"],
        "dragonfly" | "solaris" => &["amd64"],
        "freebsd" | "netbsd" | "openbsd" => &["386", "amd64", "arm"],
        "linux" => {
            &["386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x"]
        }
        "plan9" => &["386", "amd64"],
        "windows" => &["386", "amd64", "arm", "arm64"],
        _ => &[],
    };
    architectures.contains(&architecture)
}

fn remove(context: &Context, invocation: &Invocation<()>) -> Outcome {
    let lists = Lists::new(context);
    let mut failures = Vec::new();
    for name in &invocation.arguments {
        let removed = reference::parse(name).and_then(|list| lists.remove(&list));
        failures.extend(removed.err().map(|failure| failure.text));
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::new(failures.join("\n"))) }
}
