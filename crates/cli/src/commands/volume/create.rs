//! `volume create`

use std::collections::BTreeMap;

use berth_api::volume::CreateOptions;
use serde_json::{Value, json};

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::units::parse_bytes;
use crate::outcome::{Failure, Outcome};
use crate::values::environment;

#[derive(Debug, Default)]
pub(crate) struct Options {
    driver: String,
    labels: Vec<String>,
    name: String,
    opts: BTreeMap<String, String>,
    cluster: Cluster,
}

/// What only volumes of clusters have. The engine says whether it is in one.
#[derive(Debug)]
struct Cluster {
    /// Something says that it is to be one. As with Docker, secrets and topologies alone do not.
    is_asked: bool,
    availability: String,
    group: String,
    kind: String,
    limit_bytes: i64,
    preferred: Vec<String>,
    required: Vec<String>,
    required_bytes: i64,
    scope: String,
    secrets: BTreeMap<String, String>,
    sharing: String,
}

impl Default for Cluster {
    fn default() -> Self {
        let text = str::to_owned;
        Self {
            is_asked: false,
            availability: text("active"),
            group: String::new(),
            kind: text("block"),
            limit_bytes: 0,
            preferred: Vec::new(),
            required: Vec::new(),
            required_bytes: 0,
            scope: text("single"),
            secrets: BTreeMap::new(),
            sharing: text("none"),
        }
    }
}

/// A flag of volumes of clusters: as Docker does where there is no cluster, help does not show it.
macro_rules! cluster {
    ($name:literal, $kind:literal, |$cluster:ident, $value:ident| $set:expr) => {
        Flag::value(
            $name,
            '\0',
            $kind,
            |o: &mut Options, $value| {
                let $cluster = &mut o.cluster;
                $set;
                $cluster.is_asked |= !matches!($name, "secret" | "topology-preferred" | "topology-required");
                Ok(())
            },
            "Volumes of clusters",
        )
        .hidden()
    };
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "create",
    usage: "[OPTIONS] [VOLUME]",
    about: "Make a volume",
    aliases: &[],
    arity: Arity::AtMost(1),
    flags: &[
        cluster!("availability", "string", |cluster, value| value.clone_into(&mut cluster.availability)),
        Flag::text("driver", 'd', |o: &mut Options| &mut o.driver, "Driver of the volume").default("local"),
        cluster!("group", "string", |cluster, value| value.clone_into(&mut cluster.group)),
        Flag::list("label", '\0', |o: &mut Options| &mut o.labels, "Label of the volume"),
        cluster!("limit-bytes", "bytes", |cluster, value| cluster.limit_bytes = parse_bytes(value)?),
        Flag::text("name", '\0', |o: &mut Options| &mut o.name, "Name of the volume").hidden(),
        Flag::value("opt", 'o', "map", opt, "Option of the driver (as \"type=tmpfs\")").default("map[]"),
        cluster!("required-bytes", "bytes", |cluster, value| cluster.required_bytes = parse_bytes(value)?),
        cluster!("scope", "string", |cluster, value| value.clone_into(&mut cluster.scope)),
        cluster!("secret", "map", |cluster, value| put(&mut cluster.secrets, value)),
        cluster!("sharing", "string", |cluster, value| value.clone_into(&mut cluster.sharing)),
        cluster!("topology-preferred", "list", |cluster, value| cluster.preferred.push(value.to_owned())),
        cluster!("topology-required", "list", |cluster, value| cluster.required.push(value.to_owned())),
        cluster!("type", "string", |cluster, value| value.clone_into(&mut cluster.kind)),
    ],
    interspersed: true,
    run,
};

fn opt(options: &mut Options, value: &str) -> Result<(), String> {
    put(&mut options.opts, value);
    Ok(())
}

fn put(map: &mut BTreeMap<String, String>, pair: &str) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    map.insert(name.to_owned(), value.to_owned());
}

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let name = match invocation.arguments.first() {
        Some(_) if !options.name.is_empty() => {
            return Err(Failure::new(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
            ));
        }
        Some(name) => name,
        None => &options.name,
    };
    let given = |map: BTreeMap<String, String>| (!map.is_empty()).then_some(map);
    let driver = if options.driver.is_empty() { "local" } else { &options.driver };
    let wanted = CreateOptions {
        name: name.clone(),
        driver: driver.to_owned(),
        driver_opts: given(options.opts.clone()),
        labels: given(environment::to_map(&options.labels)),
        cluster_volume_spec: options.cluster.is_asked.then(|| options.cluster.spec()),
    };
    context.block_on(async {
        let volume = context.client().await?.volume_create(&wanted).await?;
        context.printer.line(volume.name)?;
        Ok(())
    })
}

impl Cluster {
    fn spec(&self) -> Value {
        let mut access = json!({"Scope": self.scope, "Sharing": self.sharing});
        match self.kind.as_str() {
            "mount" => access["MountVolume"] = json!({}),
            "block" => access["BlockVolume"] = json!({}),
            _ => {}
        }
        let secrets: Vec<Value> =
            self.secrets.iter().map(|(key, secret)| json!({"Key": key, "Secret": secret})).collect();
        json!({
            "Group": self.group,
            "AccessMode": access,
            "Availability": self.availability,
            "CapacityRange": {"RequiredBytes": self.required_bytes, "LimitBytes": self.limit_bytes},
            "Secrets": secrets,
            "AccessibilityRequirements": {
                "Requisite": topologies(&self.required),
                "Preferred": topologies(&self.preferred),
            },
        })
    }
}

/// Each one is `segment=value,segment=value`.
fn topologies(list: &[String]) -> Vec<Value> {
    let segments = |text: &String| {
        let mut segments = BTreeMap::new();
        text.split(',').for_each(|pair| put(&mut segments, pair));
        json!({"Segments": segments})
    };
    list.iter().map(segments).collect()
}
