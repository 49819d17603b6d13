//! `volume ls`

use std::rc::Rc;

use berth_api::filters::Filters;
use berth_api::volume::Volume;

use crate::command::{Arity, Command, Invocation};
use crate::commands::ps::{FORMAT_HELP, add_filter};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::list::Format;
use crate::format::natural;
use crate::format::units::human_size;
use crate::format::value::{Row, Value};
use crate::outcome::Outcome;

#[derive(Debug, Default)]
pub(crate) struct Options {
    cluster: bool,
    filters: Filters,
    format: String,
    quiet: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "ls",
    usage: "[OPTIONS]",
    about: "List volumes",
    aliases: &["volume ls", "volume list"],
    arity: Arity::None,
    flags: &[
        Flag::bool("cluster", '\0', |o: &mut Options| &mut o.cluster, "Only show volumes of a cluster"),
        Flag::value(
            "filter",
            'f',
            "filter",
            |o: &mut Options, v| add_filter(&mut o.filters, v),
            "Only show what matches (as \"dangling=true\")",
        ),
        Flag::text("format", '\0', |o: &mut Options| &mut o.format, FORMAT_HELP),
        Flag::bool("quiet", 'q', |o: &mut Options| &mut o.quiet, "Only print names"),
    ],
    interspersed: true,
    run,
};

pub(crate) const HEADERS: &[(&str, &str)] = &[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Availability", "AVAILABILITY"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
];

/// The columns of `--cluster`, whatever else is asked for.
const CLUSTER_TABLE: &str = "table {{.Name}}\t{{.Group}}\t{{.Driver}}\t{{.Availability}}\t{{.Status}}";

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let text = context.format(&options.format, options.quiet, |config| &config.volumes_format);
    let text = match (options.quiet, options.cluster) {
        (true, _) if text == "{{.ID}}" => "{{.Name}}".to_owned(),
        (false, true) => CLUSTER_TABLE.to_owned(),
        _ => text,
    };
    let format = Format::parse(&text, "{{.Driver}}\t{{.Name}}")?;
    context.block_on(async {
        let client = context.client().await?;
        let mut volumes = client.volumes(&options.filters).await?.volumes;
        volumes.retain(|volume| !options.cluster || volume.cluster_volume.is_some());
        volumes.sort_by(|a, b| natural::compare(&a.name, &b.name));
        let rows: Vec<Rc<dyn Row>> =
            volumes.into_iter().map(|volume| Rc::new(Listed(volume)) as Rc<dyn Row>).collect();
        context.printer.data(format.render(HEADERS, &rows)?)?;
        Ok(())
    })
}

/// A volume as a row.
pub(crate) struct Listed(pub(crate) Volume);

/// How a volume of a cluster fares.
fn cluster_status(cluster: &serde_json::Value) -> String {
    let is_made = cluster["Info"]["VolumeID"].as_str().is_some_and(|id| !id.is_empty());
    match cluster["PublishStatus"].as_array().map_or(0, Vec::len) {
        _ if !is_made => "pending creation".to_owned(),
        0 => "created".to_owned(),
        1 => "in use (1 node)".to_owned(),
        nodes => format!("in use ({nodes} nodes)"),
    }
}

impl Row for Listed {
    fn type_name(&self) -> &'static str {
        "*formatter.volumeContext"
    }

    fn get(&self, name: &str) -> Option<Value> {
        let volume = &self.0;
        let unknown = || "N/A".to_owned();
        let text = match name {
            "Name" => volume.name.clone(),
            "Driver" => volume.driver.clone(),
            "Scope" => volume.scope.clone(),
            "Mountpoint" => volume.mountpoint.clone(),
            "Labels" => {
                let labels = volume.labels.iter().flatten().map(|(name, value)| format!("{name}={value}"));
                labels.collect::<Vec<_>>().join(",")
            }
            "Links" => volume.usage_data.as_ref().map_or_else(unknown, |usage| usage.ref_count.to_string()),
            "Size" => volume.usage_data.as_ref().map_or_else(unknown, |usage| human_size(usage.size as f64)),
            "Availability" | "Group" => volume.cluster_volume.as_ref().map_or_else(unknown, |cluster| {
                cluster["Spec"][name].as_str().unwrap_or_default().to_owned()
            }),
            "Status" => volume.cluster_volume.as_ref().map_or_else(unknown, cluster_status),
            _ => return None,
        };
        Some(Value::text(text))
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        match (name, arguments) {
            ("Label", [Value::Text(label)]) => {
                let labels = self.0.labels.as_ref();
                Some(Value::text(labels.and_then(|labels| labels.get(&**label)).cloned().unwrap_or_default()))
            }
            _ => None,
        }
    }

    fn names(&self) -> &'static [&'static str] {
        &[
            "Availability",
            "Driver",
            "Group",
            "Labels",
            "Links",
            "Mountpoint",
            "Name",
            "Scope",
            "Size",
            "Status",
        ]
    }
}
