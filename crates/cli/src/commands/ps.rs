//! `ps`

use std::rc::Rc;

use berth_api::client::ListOptions;
use berth_api::container::{PortSummary, Summary};
use berth_api::filters::Filters;
use berth_oci::Reference;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::{Flag, parse_int, quote};
use crate::format::list::{Format, ellipsis, short_id};
use crate::format::time;
use crate::format::units::human_size_with;
use crate::format::value::{Row, Value};
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    all: bool,
    filters: Filters,
    format: String,
    last: Option<i64>,
    latest: bool,
    no_trunc: bool,
    quiet: bool,
    size: bool,
}

/// Help for `--format`, shared by all lists.
pub(super) const FORMAT_HELP: &str = "How to print:\n'table':            columns with a header (default)\n'table TEMPLATE':   columns by a Go template\n'json':             JSON\n'TEMPLATE':         a Go template";

const BASE: Command<Options> = Command {
    name: "ps",
    usage: "[OPTIONS]",
    about: "List containers",
    aliases: &["container ls", "container list", "container ps", "ps"],
    arity: Arity::None,
    flags: &[
        Flag::bool("all", 'a', |o: &mut Options| &mut o.all, "Also show containers that do not run"),
        Flag::value(
            "filter",
            'f',
            "filter",
            |o: &mut Options, v| add_filter(&mut o.filters, v),
            "Only show what matches",
        ),
        Flag::text("format", '\0', |o: &mut Options| &mut o.format, FORMAT_HELP),
        Flag::value("last", 'n', "int", last, "Show the last so many, in whatever state").default("-1"),
        Flag::bool("latest", 'l', |o: &mut Options| &mut o.latest, "Show the last one, in whatever state"),
        Flag::bool("no-trunc", '\0', |o: &mut Options| &mut o.no_trunc, "Do not cut anything off"),
        Flag::bool("quiet", 'q', |o: &mut Options| &mut o.quiet, "Only print ids"),
        Flag::bool("size", 's', |o: &mut Options| &mut o.size, "Show sizes"),
    ],
    interspersed: true,
    run,
};

pub(crate) static COMMAND: Command<Options> = BASE;

pub(crate) static LS: Command<Options> = Command { name: "ls", ..BASE };

fn last(options: &mut Options, value: &str) -> Result<(), String> {
    options.last = Some(parse_int(value)?);
    Ok(())
}

/// Reads `--filter key=value`.
pub(super) fn add_filter(filters: &mut Filters, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Ok(());
    }
    let Some((key, value)) = value.split_once('=') else {
        return Err("bad format of filter (expected name=value)".to_owned());
    };
    filters.entry(key.trim().to_lowercase()).or_default().push(value.trim().to_owned());
    Ok(())
}

pub(super) const HEADERS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let size = if options.size { "\t{{.Size}}" } else { "" };
    let table = format!(
        "{{{{.ID}}}}\t{{{{.Image}}}}\t{{{{.Command}}}}\t{{{{.RunningFor}}}}\t{{{{.Status}}}}\t{{{{.Ports}}}}\t{{{{.Names}}}}{size}"
    );
    if options.quiet && !options.format.is_empty() {
        context.printer.say("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    let flag = if options.quiet { "" } else { &options.format };
    let text = context.format(flag, options.quiet, |config| &config.ps_format);
    let worded = |verb: &str, failure: Failure| Failure {
        text: failure.text.replacen("template parsing error", &format!("failed to {verb} template"), 1),
        ..failure
    };
    let format = Format::parse(&text, &table).map_err(|failure| worded("parse", failure))?;
    let limit = match options.last {
        Some(last) if last != -1 => Some(last),
        _ if options.latest => Some(1),
        _ => None,
    };
    let list = ListOptions {
        all: options.all,
        // A template that shows sizes asks for them.
        size: options.size || text.contains(".Size") || text.contains("{{json .}}"),
        limit,
        filters: options.filters.clone(),
    };
    // A template that does not fit is an error also where there is nothing to list.
    let sample: Rc<dyn Row> = Rc::new(Listed { container: Summary::default(), now: 0, cut: true });
    format.render(HEADERS, &[sample]).map_err(|failure| worded("execute", failure))?;
    context.block_on(async {
        let client = context.client().await?;
        let containers = client.containers(&list).await?;
        let now = time::now();
        let rows: Vec<Rc<dyn Row>> = containers
            .into_iter()
            .map(|container| Rc::new(Listed { container, now, cut: !options.no_trunc }) as Rc<dyn Row>)
            .collect();
        context.printer.data(format.render(HEADERS, &rows)?)?;
        Ok(())
    })
}

struct Listed {
    container: Summary,
    now: i64,
    cut: bool,
}

/// A container as a row.
pub(super) fn row(container: Summary, cut: bool) -> Rc<dyn Row> {
    Rc::new(Listed { container, now: time::now(), cut })
}

impl Listed {
    fn names(&self) -> String {
        let names = self.container.names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
        // A name with a slash in it is another container's link.
        let names: Vec<&str> = names.filter(|name| !self.cut || !name.contains('/')).collect();
        names.join(",")
    }

    fn image(&self) -> String {
        let Summary { image, image_id, .. } = &self.container;
        if image.is_empty() {
            return "<no image>".to_owned();
        }
        if !self.cut {
            return image.clone();
        }
        if short_id(image_id) == short_id(image) {
            return short_id(image_id).to_owned();
        }
        match Reference::parse(image) {
            // The digest is only of interest where nothing is cut off.
            Ok(reference) if reference.digest().is_some() => match reference.tag() {
                Some(tag) => format!("{}:{tag}", reference.familiar_repository()),
                None => reference.familiar_repository(),
            },
            _ => image.clone(),
        }
    }

    fn size(&self) -> String {
        let written = human_size_with(self.container.size_rw.unwrap_or_default() as f64, 3);
        match self.container.size_root_fs {
            Some(all) if all > 0 => format!("{written} (virtual {})", human_size_with(all as f64, 3)),
            _ => written,
        }
    }

    fn mounts(&self) -> String {
        let mounts = self.container.mounts.iter().map(|mount| {
            let name = if mount.name.is_empty() { &mount.source } else { &mount.name };
            if self.cut { ellipsis(name, 15) } else { name.clone() }
        });
        mounts.collect::<Vec<_>>().join(",")
    }
}

impl Row for Listed {
    fn type_name(&self) -> &'static str {
        "*formatter.ContainerContext"
    }

    fn get(&self, name: &str) -> Option<Value> {
        let container = &self.container;
        let text = match name {
            "ID" if self.cut => short_id(&container.id).to_owned(),
            "ID" => container.id.clone(),
            "Names" => self.names(),
            "Image" => self.image(),
            "Command" if self.cut => quote(&ellipsis(&container.command, 20)),
            "Command" => quote(&container.command),
            "CreatedAt" => time::local(container.created),
            "RunningFor" => time::ago(container.created, self.now),
            "Ports" => ports(&container.ports),
            "State" => container.state.clone(),
            "Status" => container.status.clone(),
            "Size" => self.size(),
            "Labels" => {
                let labels = container.labels.iter().map(|(name, value)| format!("{name}={value}"));
                labels.collect::<Vec<_>>().join(",")
            }
            "Mounts" => self.mounts(),
            "LocalVolumes" => {
                container.mounts.iter().filter(|mount| mount.driver == "local").count().to_string()
            }
            "Networks" => container.network_settings.networks.keys().cloned().collect::<Vec<_>>().join(","),
            "Platform" => return Some(Value::Nil),
            _ => return None,
        };
        Some(Value::text(text))
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        match (name, arguments) {
            ("Label", [Value::Text(label)]) => {
                Some(Value::text(self.container.labels.get(&**label).cloned().unwrap_or_default()))
            }
            _ => None,
        }
    }

    fn names(&self) -> &'static [&'static str] {
        &[
            "Command",
            "CreatedAt",
            "ID",
            "Image",
            "Labels",
            "LocalVolumes",
            "Mounts",
            "Names",
            "Networks",
            "Platform",
            "Ports",
            "RunningFor",
            "Size",
            "State",
            "Status",
        ]
    }
}

/// The ports as one text: neighbouring ports of one address as a range, those with another number outside by
/// themselves at the end.
fn ports(ports: &[PortSummary]) -> String {
    let mut ports: Vec<&PortSummary> = ports.iter().collect();
    ports.sort_by_key(|port| (port.private_port, &port.ip, port.public_port, &port.kind));
    let mut groups: Vec<(String, &str, u16, u16)> = Vec::new();
    let mut finished = Vec::new();
    let mut mapped = Vec::new();
    for port in ports {
        if !port.ip.is_empty() && port.public_port != port.private_port {
            let outside = join_host_port(&port.ip, &port.public_port.to_string());
            mapped.push(format!("{outside}->{}/{}", port.private_port, port.kind));
            continue;
        }
        let known = groups.iter_mut().find(|(ip, kind, ..)| *ip == port.ip && *kind == port.kind);
        match known {
            None => groups.push((port.ip.clone(), &port.kind, port.private_port, port.private_port)),
            Some((.., last)) if last.checked_add(1) == Some(port.private_port) => *last = port.private_port,
            Some((ip, kind, first, last)) => {
                finished.push(group(ip, kind, *first, *last));
                (*first, *last) = (port.private_port, port.private_port);
            }
        }
    }
    finished.extend(groups.iter().map(|(ip, kind, first, last)| group(ip, kind, *first, *last)));
    finished.extend(mapped);
    finished.join(", ")
}

fn group(ip: &str, kind: &str, first: u16, last: u16) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    if ip.is_empty() {
        format!("{range}/{kind}")
    } else {
        format!("{}->{range}/{kind}", join_host_port(ip, &range))
    }
}

fn join_host_port(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private_port: u16, public_port: u16, kind: &str) -> PortSummary {
        PortSummary { ip: ip.to_owned(), private_port, public_port, kind: kind.to_owned() }
    }

    #[test]
    fn ports_are_merged_as_docker_merges_them() {
        let check = |list: &[PortSummary], expect: &str| assert_eq!(ports(list), expect);
        check(&[], "");
        check(&[port("", 80, 0, "tcp"), port("", 82, 0, "tcp"), port("", 81, 0, "tcp")], "80-82/tcp");
        check(&[port("", 80, 0, "tcp"), port("", 82, 0, "tcp")], "80/tcp, 82/tcp");
        check(
            &[port("0.0.0.0", 80, 8080, "tcp"), port("::", 80, 8080, "tcp")],
            "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
        );
        check(
            &[port("0.0.0.0", 80, 80, "tcp"), port("0.0.0.0", 81, 81, "tcp"), port("", 53, 0, "udp")],
            "53/udp, 0.0.0.0:80-81->80-81/tcp",
        );
    }

    #[test]
    fn a_row_says_what_docker_says() {
        let container = Summary {
            id: "0123456789abcdef".into(),
            names: vec!["/web".into(), "/other/alias".into()],
            image: format!("busybox@sha256:{}", "a".repeat(64)),
            command: "sh -c 'echo \"hello world\"'".into(),
            size_rw: Some(1234),
            size_root_fs: Some(2_026_552),
            labels: [("a".to_owned(), "b".to_owned()), ("x".to_owned(), "y".to_owned())].into(),
            ..Summary::default()
        };
        let row = Listed { container, now: 100, cut: true };
        let check = |name: &str, expect: &str| assert_eq!(row.get(name).unwrap().to_string(), expect);
        check("ID", "0123456789ab");
        check("Names", "web");
        check("Image", "busybox");
        check("Command", "\"sh -c 'echo \\\"hello …\"");
        check("Size", "1.23kB (virtual 2.03MB)");
        check("Labels", "a=b,x=y");
        check("RunningFor", "About a minute ago");
        assert_eq!(row.call("Label", &[Value::text("x")]).unwrap().to_string(), "y");
        assert!(row.get("Foo").is_none());
    }

    #[test]
    fn filters() {
        let mut filters = Filters::new();
        add_filter(&mut filters, "Label=a=b").unwrap();
        assert_eq!(filters["label"], ["a=b"]);
        assert_eq!(
            add_filter(&mut filters, "foo").unwrap_err(),
            "bad format of filter (expected name=value)"
        );
    }
}
