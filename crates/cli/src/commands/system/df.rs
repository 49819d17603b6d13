//! `system df`

use std::rc::Rc;

use berth_api::client::Query;
use berth_api::{container, image, volume};
use serde::Deserialize;

use crate::command::{Arity, Command, Invocation};
use crate::commands::volume::{self as volumes};
use crate::commands::{images, ps};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::list::Format;
use crate::format::time;
use crate::format::units::human_size;
use crate::format::value::{Field, Row, Struct, Value};
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    format: String,
    verbose: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "df",
    usage: "[OPTIONS]",
    about: "Show what takes up space",
    aliases: &[],
    arity: Arity::None,
    flags: &[
        Flag::text("format", '\0', |o: &mut Options| &mut o.format, ps::FORMAT_HELP),
        Flag::bool("verbose", 'v', |o: &mut Options| &mut o.verbose, "Show each thing by itself"),
    ],
    interspersed: true,
    run,
};

const TABLE: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

const HEADERS: &[(&str, &str)] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

/// The answer of the engine, in the form of versions before 1.52.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Usage {
    layers_size: i64,
    images: Vec<image::Summary>,
    containers: Vec<container::Summary>,
    volumes: Vec<volume::Volume>,
    build_cache: Vec<CacheRecord>,
}

/// What builds have kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CacheRecord {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Type")]
    kind: String,
    in_use: bool,
    shared: bool,
    size: i64,
    created_at: String,
    last_used_at: Option<String>,
    usage_count: i64,
}

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let is_table = matches!(options.format.as_str(), "" | "table");
    if options.verbose && options.format.starts_with("table ") {
        return Err(Failure::new("--verbose has tables of its own: use a template without 'table'"));
    }
    let format = Format::parse(&options.format, TABLE)?;
    context.block_on(async {
        let client = context.client().await?;
        let usage: Usage = client.get("/system/df", &Query::new()).await?;
        let text = match (options.verbose, is_table) {
            (false, _) => {
                let rows = summary(&usage).map(|row| Rc::new(row) as Rc<dyn Row>);
                format.render(HEADERS, &rows)?
            }
            (true, true) => tables(&usage)?,
            (true, false) => format.render_value(&details(&usage))?,
        };
        context.printer.data(text)?;
        Ok(())
    })
}

/// A line of the summary.
struct Total {
    kind: &'static str,
    count: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
    /// Whether the share of the whole is shown.
    share: bool,
}

impl Row for Total {
    fn type_name(&self) -> &'static str {
        match self.kind {
            "Images" => "*formatter.diskUsageImagesContext",
            "Containers" => "*formatter.diskUsageContainersContext",
            "Local Volumes" => "*formatter.diskUsageVolumesContext",
            _ => "*formatter.diskUsageBuilderContext",
        }
    }

    fn get(&self, name: &str) -> Option<Value> {
        let text = match name {
            "Type" => self.kind.to_owned(),
            "TotalCount" => self.count.to_string(),
            "Active" => self.active.to_string(),
            "Size" => human_size(self.size as f64),
            "Reclaimable" if self.share && self.size > 0 => {
                format!("{} ({}%)", human_size(self.reclaimable as f64), self.reclaimable * 100 / self.size)
            }
            "Reclaimable" => human_size(self.reclaimable as f64),
            _ => return None,
        };
        Some(Value::text(text))
    }

    fn names(&self) -> &'static [&'static str] {
        &["Active", "Reclaimable", "Size", "TotalCount", "Type"]
    }
}

fn summary(usage: &Usage) -> [Total; 4] {
    let used_images = usage.images.iter().filter(|image| image.containers > 0);
    let used: i64 = used_images
        .clone()
        .filter(|image| image.size != -1 && image.shared_size != -1)
        .map(|image| image.size - image.shared_size)
        .sum();
    let runs = |container: &&container::Summary| {
        matches!(container.state.as_str(), "running" | "paused" | "restarting")
    };
    let written = |container: &container::Summary| container.size_rw.unwrap_or_default();
    let data = |volume: &volume::Volume| volume.usage_data.clone().unwrap_or_default();
    let known = || usage.volumes.iter().map(data).filter(|data| data.size != -1);
    let idle = usage.build_cache.iter().filter(|record| !record.in_use && !record.shared);
    [
        Total {
            kind: "Images",
            count: usage.images.len(),
            active: used_images.count(),
            size: usage.layers_size,
            reclaimable: usage.layers_size - used,
            share: true,
        },
        Total {
            kind: "Containers",
            count: usage.containers.len(),
            active: usage.containers.iter().filter(runs).count(),
            size: usage.containers.iter().map(written).sum(),
            reclaimable: usage.containers.iter().filter(|container| !runs(container)).map(written).sum(),
            share: true,
        },
        Total {
            kind: "Local Volumes",
            count: usage.volumes.len(),
            active: usage.volumes.iter().filter(|volume| data(volume).ref_count > 0).count(),
            size: known().map(|data| data.size).sum(),
            reclaimable: known().filter(|data| data.ref_count == 0).map(|data| data.size).sum(),
            share: true,
        },
        Total {
            kind: "Build Cache",
            count: usage.build_cache.len(),
            active: usage.build_cache.iter().filter(|record| record.in_use).count(),
            size: cache_size(usage),
            reclaimable: idle.map(|record| record.size).sum(),
            share: false,
        },
    ]
}

fn cache_size(usage: &Usage) -> i64 {
    usage.build_cache.iter().filter(|record| !record.shared).map(|record| record.size).sum()
}

impl Row for CacheRecord {
    fn type_name(&self) -> &'static str {
        "*formatter.buildCacheContext"
    }

    fn get(&self, name: &str) -> Option<Value> {
        let since = |moment: &str| {
            let moment: Option<jiff::Timestamp> = moment.parse().ok();
            moment.map_or_else(String::new, |moment| time::ago(moment.as_second(), time::now()))
        };
        let text = match name {
            "ID" => self.id.clone(),
            "CacheType" => self.kind.clone(),
            "Size" => human_size(self.size as f64),
            "CreatedAt" => self.created_at.clone(),
            "CreatedSince" => since(&self.created_at),
            "LastUsedAt" => self.last_used_at.clone().unwrap_or_default(),
            "LastUsedSince" => self.last_used_at.as_deref().map(since).unwrap_or_default(),
            "UsageCount" => self.usage_count.to_string(),
            "InUse" => self.in_use.to_string(),
            "Shared" => self.shared.to_string(),
            _ => return None,
        };
        Some(Value::text(text))
    }

    fn names(&self) -> &'static [&'static str] {
        &[
            "CacheType",
            "CreatedAt",
            "CreatedSince",
            "ID",
            "InUse",
            "LastUsedAt",
            "LastUsedSince",
            "Shared",
            "Size",
            "UsageCount",
        ]
    }
}

const IMAGES: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINERS: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
const VOLUMES: &str = "{{.Name}}\t{{.Links}}\t{{.Size}}";
const CACHE: &str =
    "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";
const CACHE_HEADERS: &[(&str, &str)] = &[
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
];

/// The things themselves, as rows.
fn rows(usage: &Usage, cut: bool) -> [Vec<Rc<dyn Row>>; 4] {
    let containers = usage.containers.iter().map(|container| {
        // Only what the container has written itself counts.
        ps::row(container::Summary { size_root_fs: None, ..container.clone() }, cut)
    });
    let volumes = usage.volumes.iter().map(|volume| Rc::new(volumes::Listed(volume.clone())) as Rc<dyn Row>);
    let cache = usage.build_cache.iter().map(|record| Rc::new(record.clone()) as Rc<dyn Row>);
    [
        usage.images.iter().map(|image| images::plain_row(image, cut)).collect(),
        containers.collect(),
        volumes.collect(),
        cache.collect(),
    ]
}

fn tables(usage: &Usage) -> Result<String, Failure> {
    let table = |format: &str, headers: &[(&'static str, &'static str)], rows: &[Rc<dyn Row>]| {
        Format::parse("", format)?.render(headers, rows)
    };
    let [images, containers, volumes, cache] = rows(usage, true);
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: {}\n\n{}",
        table(IMAGES, images::HEADERS, &images)?,
        table(CONTAINERS, ps::HEADERS, &containers)?,
        table(VOLUMES, volumes::HEADERS, &volumes)?,
        human_size(cache_size(usage) as f64),
        table(CACHE, CACHE_HEADERS, &cache)?,
    ))
}

/// The same for templates and JSON.
fn details(usage: &Usage) -> Value {
    let names = ["Images", "Containers", "Volumes", "BuildCache"];
    let fields = names.into_iter().zip(rows(usage, false)).map(|(name, rows)| Field {
        name,
        json: name,
        present: true,
        value: Value::List(Rc::new(rows.into_iter().map(Value::Row).collect())),
    });
    Value::Struct(Rc::new(Struct { type_name: "*formatter.diskUsageContext", fields: fields.collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_docker_s() {
        let usage: Usage = berth_oci::json::from_slice(
            br#"{"LayersSize":1000,"Images":[{"Containers":1,"Size":700,"SharedSize":100},{"Containers":0,"Size":400,"SharedSize":100}],
            "Containers":[{"State":"running","SizeRw":10},{"State":"exited","SizeRw":30}],
            "Volumes":[{"Name":"a","UsageData":{"RefCount":0,"Size":5}},{"Name":"b","UsageData":{"RefCount":1,"Size":-1}}],
            "BuildCache":null}"#,
        )
        .unwrap();
        let lines: Vec<String> = summary(&usage)
            .iter()
            .map(|row| {
                format!(
                    "{} {} {} {} {}",
                    row.get("Type").unwrap(),
                    row.count,
                    row.active,
                    row.get("Size").unwrap(),
                    row.get("Reclaimable").unwrap()
                )
            })
            .collect();
        assert_eq!(
            lines,
            [
                "Images 2 1 1kB 400B (40%)",
                "Containers 2 1 40B 30B (75%)",
                "Local Volumes 2 1 5B 5B (100%)",
                "Build Cache 0 0 0B 0B",
            ]
        );
    }
}
