//! `images`

use std::collections::BTreeMap;
use std::rc::Rc;

use berth_api::filters::Filters;
use berth_api::image::Summary;
use berth_oci::Reference;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::list::{Format, short_id};
use crate::format::time;
use crate::format::units::{human_size, human_size_with};
use crate::format::value::{Row, Value};
use crate::outcome::Failure;

#[derive(Debug, Default)]
pub(crate) struct Options {
    all: bool,
    digests: bool,
    filters: Filters,
    format: String,
    no_trunc: bool,
    quiet: bool,
    tree: bool,
}

const BASE: Command<Options> = Command {
    name: "images",
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    aliases: &["image ls", "image list", "images"],
    arity: Arity::AtMost(1),
    flags: &[
        Flag::bool("all", 'a', |o: &mut Options| &mut o.all, "Also show the images between"),
        Flag::bool("digests", '\0', |o: &mut Options| &mut o.digests, "Show digests"),
        Flag::value(
            "filter",
            'f',
            "filter",
            |o: &mut Options, v| super::ps::add_filter(&mut o.filters, v),
            "Only show what matches",
        ),
        Flag::text("format", '\0', |o: &mut Options| &mut o.format, super::ps::FORMAT_HELP),
        Flag::bool("no-trunc", '\0', |o: &mut Options| &mut o.no_trunc, "Do not cut anything off"),
        Flag::bool("quiet", 'q', |o: &mut Options| &mut o.quiet, "Only print ids"),
        Flag::bool("tree", '\0', |o: &mut Options| &mut o.tree, "Show what images consist of (experimental)"),
    ],
    interspersed: true,
    run: |context, invocation| {
        if list(context, invocation)? == 0
            && let Some(name) = invocation.arguments.first().filter(|name| COMMANDS.contains(&name.as_str()))
        {
            let program = context.program.name;
            context.printer.say(format!(
                "\nNo images found matching \"{name}\": did you mean \"{program} image {name}\"?"
            ));
        }
        Ok(())
    },
};

pub(crate) static COMMAND: Command<Options> = BASE;

pub(crate) static LS: Command<Options> =
    Command { name: "ls", run: |context, invocation| list(context, invocation).map(|_| ()), ..BASE };

/// What may have been meant where no image has such a name: commands of `image`.
const COMMANDS: &[&str] = &[
    "build", "history", "import", "inspect", "list", "load", "ls", "prune", "pull", "push", "rm", "save",
    "tag",
];

pub(super) const HEADERS: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

const AGE: &str = "{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";

/// Shows the images; how many there were to show.
fn list(context: &Context, invocation: &Invocation<Options>) -> Result<usize, Failure> {
    let options = &invocation.options;
    let mut filters = options.filters.clone();
    if let Some(name) = invocation.arguments.first() {
        filters.entry("reference".to_owned()).or_default().push(name.clone());
    }
    if options.tree {
        return draw_tree(context, options, &filters);
    }
    let digest = if options.digests { "{{.Digest}}\t" } else { "" };
    let table = format!("{{{{.Repository}}}}\t{{{{.Tag}}}}\t{digest}{{{{.ID}}}}\t{AGE}");
    let text = context.format(&options.format, options.quiet, |config| &config.images_format);
    let format = Format::parse(&text, &table)?;
    context.block_on(async {
        let client = context.client().await?;
        let images = client.images(options.all, &filters).await?;
        let rows = images.iter().flat_map(|image| rows(image, options, &text));
        let rows: Vec<Rc<dyn Row>> = rows.map(|row| Rc::new(row) as Rc<dyn Row>).collect();
        context.printer.data(format.render(HEADERS, &rows)?)?;
        Ok(images.len())
    })
}

fn draw_tree(context: &Context, options: &Options, filters: &Filters) -> Result<usize, Failure> {
    context.block_on(async {
        let client = context.client().await?;
        let others = [
            (options.quiet, "--quiet"),
            (options.no_trunc, "--no-trunc"),
            (options.digests, "--show-digest"), // as Docker calls it here
            (!options.format.is_empty(), "--format"),
        ];
        if let Some((_, other)) = others.iter().find(|(asked, _)| *asked) {
            return Err(Failure::new(format!("{other} is not yet supported with --tree")));
        }
        let mut images = client.images_with_manifests(options.all, filters).await?;
        images.retain(|image| options.all || !is_dangling(image));
        context.printer.data(super::image_tree::draw(&images, super::image_tree::Canvas::stdout()))?;
        Ok(usize::MAX) // no hint is given below a tree
    })
}

/// Whether nothing names it.
fn is_dangling(image: &Summary) -> bool {
    let is_none = |names: &[String], placeholder: &str| names.is_empty() || names == [placeholder];
    is_none(&image.repo_tags, "<none>:<none>") && is_none(&image.repo_digests, "<none>@<none>")
}

/// One row for an image, its digest left out: the first of its names stands for all.
pub(super) fn plain_row(image: &Summary, cut: bool) -> Rc<dyn Row> {
    let first = image.repo_tags.first().and_then(|name| Reference::parse(name).ok());
    let names = first.map(|first| (first.familiar_repository(), first.tag().unwrap_or_default().to_owned()));
    let (repository, tag) = names.unwrap_or_else(|| ("<none>".to_owned(), "<none>".to_owned()));
    Rc::new(Name { image: image.clone(), repository, tag, digest: String::new(), now: time::now(), cut })
}

/// One name of an image.
#[derive(Debug)]
struct Name {
    image: Summary,
    repository: String,
    tag: String,
    digest: String,
    now: i64,
    cut: bool,
}

/// A row for each name of the image, or one for an image without.
fn rows(image: &Summary, options: &Options, format: &str) -> Vec<Name> {
    let now = time::now();
    let row = |repository: &str, tag: &str, digest: &str| Name {
        image: image.clone(),
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest: digest.to_owned(),
        now,
        cut: !options.no_trunc,
    };
    let none = "<none>";
    if is_dangling(image) {
        return vec![row(none, none, none)];
    }
    let references =
        |names: &[String]| names.iter().filter_map(|name| Reference::parse(name).ok()).collect::<Vec<_>>();
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for reference in references(&image.repo_tags) {
        let tag = reference.tag().unwrap_or_default().to_owned();
        tags.entry(reference.familiar_repository()).or_default().push(tag);
    }
    let mut digests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for reference in references(&image.repo_digests) {
        let digest = reference.digest().map(ToString::to_string).unwrap_or_default();
        digests.entry(reference.familiar_repository()).or_default().push(digest);
    }
    let needs_digest = options.digests || format.contains(".Digest");
    let mut all = Vec::new();
    for (repository, tags) in &tags {
        let own = digests.remove(repository).filter(|_| needs_digest).unwrap_or_default();
        for tag in tags {
            if own.is_empty() {
                all.push(row(repository, tag, none));
            }
            all.extend(own.iter().map(|digest| row(repository, tag, digest)));
        }
    }
    for (repository, digests) in &digests {
        if options.digests {
            all.extend(digests.iter().map(|digest| row(repository, none, digest)));
        } else {
            all.push(row(repository, none, ""));
        }
    }
    all
}

impl Row for Name {
    fn type_name(&self) -> &'static str {
        "*formatter.imageContext"
    }

    fn get(&self, name: &str) -> Option<Value> {
        let image = &self.image;
        let size_or_not = |size: i64| if size == -1 { "N/A".to_owned() } else { human_size(size as f64) };
        let text = match name {
            "ID" if self.cut => short_id(&image.id).to_owned(),
            "ID" => image.id.clone(),
            "Repository" => self.repository.clone(),
            "Tag" => self.tag.clone(),
            "Digest" => self.digest.clone(),
            "CreatedSince" if image.created <= 0 => String::new(),
            "CreatedSince" => time::ago(image.created, self.now),
            "CreatedAt" => time::local(image.created),
            "Size" => human_size_with(image.size as f64, 3),
            "VirtualSize" => human_size(image.size as f64),
            "Containers" if image.containers == -1 => "N/A".to_owned(),
            "Containers" => image.containers.to_string(),
            "SharedSize" => size_or_not(image.shared_size),
            "UniqueSize" if image.shared_size == -1 => "N/A".to_owned(),
            "UniqueSize" => human_size((image.size - image.shared_size) as f64),
            _ => return None,
        };
        Some(Value::text(text))
    }

    fn names(&self) -> &'static [&'static str] {
        &[
            "Containers",
            "CreatedAt",
            "CreatedSince",
            "Digest",
            "ID",
            "Repository",
            "SharedSize",
            "Size",
            "Tag",
            "UniqueSize",
            "VirtualSize",
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_a_name() {
        let image = Summary {
            repo_tags: vec!["busybox:latest".into(), "busybox:1".into(), "localhost:5000/a/b:2".into()],
            repo_digests: vec![
                format!("busybox@sha256:{}", "a".repeat(64)),
                format!("other@sha256:{}", "b".repeat(64)),
            ],
            ..Summary::default()
        };
        let names = |options: &Options| {
            let rows = rows(&image, options, "");
            rows.iter()
                .map(|row| format!("{}:{} {}", row.repository, row.tag, row.digest.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&Options::default()),
            ["busybox:latest 6", "busybox:1 6", "localhost:5000/a/b:2 6", "other:<none> 0"]
        );
        assert_eq!(
            names(&Options { digests: true, ..Options::default() }),
            ["busybox:latest 71", "busybox:1 71", "localhost:5000/a/b:2 6", "other:<none> 71"]
        );
        let dangling = rows(&Summary::default(), &Options::default(), "");
        assert_eq!(dangling[0].repository, "<none>");
    }
}
