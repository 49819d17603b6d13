//! `stats`

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use berth_api::client::{Client, ListOptions};
use berth_api::stats::{CpuStats, MemoryStats, Stats};
use futures_util::stream::{self, FuturesUnordered, StreamExt};

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::list::{Format, short_id};
use crate::format::units::{bytes_size, human_size_with};
use crate::format::value::{Row, Value};
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    all: bool,
    format: String,
    no_stream: bool,
    no_trunc: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "stats",
    usage: "[OPTIONS] [CONTAINER...]",
    about: "Show what containers use, again and again",
    aliases: &["container stats", "stats"],
    arity: Arity::AtLeast(0),
    flags: &[
        Flag::bool("all", 'a', |o: &mut Options| &mut o.all, "Also show containers that do not run"),
        Flag::text("format", '\0', |o: &mut Options| &mut o.format, super::ps::FORMAT_HELP),
        Flag::bool("no-stream", '\0', |o: &mut Options| &mut o.no_stream, "Show it once"),
        Flag::bool("no-trunc", '\0', |o: &mut Options| &mut o.no_trunc, "Do not cut anything off"),
    ],
    interspersed: true,
    run,
};

const TABLE: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

const HEADERS: &[(&str, &str)] = &[
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

/// How often the screen is drawn again.
const REFRESH: Duration = Duration::from_millis(500);
/// How often the list of running containers is looked at again.
const LOOK: Duration = Duration::from_secs(1);

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let format =
        Format::parse(&context.format(&options.format, false, |config| &config.stats_format), TABLE)?;
    context.block_on(async {
        let client = context.client().await?;
        let named = &invocation.arguments;
        let names = if named.is_empty() { running(client, options.all).await? } else { named.clone() };
        if options.no_stream {
            let samples = once(client, &names).await?;
            let rows = samples.iter().map(|(name, sample)| row(name, Some(sample), options));
            context.printer.data(format.render(HEADERS, &rows.collect::<Vec<_>>())?)?;
            return Ok(());
        }
        if !named.is_empty() {
            // A name that nobody has is an error at once, not an empty row for ever.
            for name in named {
                client.container_inspect(name).await?;
            }
        }
        screen(context, client, options, &format, names).await
    })
}

/// The ids of the containers to watch when none are named, newest first.
async fn running(client: &Client, all: bool) -> Result<Vec<String>, Failure> {
    let containers = client.containers(&ListOptions { all, ..ListOptions::default() }).await?;
    Ok(containers.into_iter().map(|container| short_id(&container.id).to_owned()).collect())
}

/// One sample of each, all asked for at once.
async fn once(client: &Client, names: &[String]) -> Result<Vec<(String, Stats)>, Failure> {
    let samples = stream::iter(names).map(|name| async move {
        client.container_stats_once(name, false).await.map(|sample| (name.clone(), sample))
    });
    let samples: Vec<_> = samples.buffered(names.len().max(1)).collect().await;
    let mut errors = Vec::new();
    let mut found = Vec::new();
    for sample in samples {
        match sample {
            Ok(sample) => found.push(sample),
            // A container that has gone since it was listed is no error.
            Err(error) => errors.push(error.to_string()),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(Failure::new(errors.join("\n"))) }
}

/// Draws until interrupted.
async fn screen(
    context: &Context,
    client: &Client,
    options: &Options,
    format: &Format,
    mut names: Vec<String>,
) -> Outcome {
    let follows_list = names.is_empty() || names.iter().all(|name| name.len() == 12);
    let mut samples: BTreeMap<String, Stats> = BTreeMap::new();
    let mut streams = FuturesUnordered::new();
    let next = |name: String| async move {
        let mut stream = client.container_stats(&name).await.ok()?;
        let sample = stream.next().await.ok()??;
        Some((name, stream, sample))
    };
    for name in &names {
        streams.push(futures_util::future::Either::Left(next(name.clone())));
    }
    let mut draw = tokio::time::interval(REFRESH);
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            Some(sample) = streams.next(), if !streams.is_empty() => {
                let Some((name, mut stream, sample)) = sample else { continue };
                samples.insert(name.clone(), sample);
                streams.push(futures_util::future::Either::Right(async move {
                    let sample = stream.next().await.ok()??;
                    Some((name, stream, sample))
                }));
            }
            _ = draw.tick() => {
                let rows: Vec<_> = names.iter().map(|name| row(name, samples.get(name), options)).collect();
                let text = format.render(HEADERS, &rows)?;
                // From the top, each line to its end, and nothing below: no flicker.
                let text = text.replace('\n', "\x1b[K\n");
                context.printer.data(format!("\x1b[H{text}\x1b[J"))?;
            }
            _ = look.tick(), if follows_list => {
                let current = running(client, options.all).await?;
                for name in current.iter().filter(|name| !names.contains(name)) {
                    streams.push(futures_util::future::Either::Left(next(name.clone())));
                }
                samples.retain(|name, _| current.contains(name));
                names = current;
            }
        }
    }
}

fn row(name: &str, sample: Option<&Stats>, options: &Options) -> Rc<dyn Row> {
    Rc::new(Sample { container: name.to_owned(), stats: sample.cloned(), cut: !options.no_trunc })
}

struct Sample {
    container: String,
    /// `None` until the first sample has come.
    stats: Option<Stats>,
    cut: bool,
}

impl Row for Sample {
    fn type_name(&self) -> &'static str {
        "*container.statsContext"
    }

    fn get(&self, name: &str) -> Option<Value> {
        let text = match (&self.stats, name) {
            (_, "Container") => self.container.clone(),
            (Some(stats), "ID") if self.cut => short_id(&stats.id).to_owned(),
            (Some(stats), "ID") => stats.id.clone(),
            (Some(stats), "Name") if stats.name.len() > 1 => stats.name[1..].to_owned(),
            (None, "ID") => self.container.clone(),
            (None, "CPUPerc" | "MemPerc" | "PIDs") | (_, "Name") => "--".to_owned(),
            (None, "MemUsage" | "NetIO" | "BlockIO") => "-- / --".to_owned(),
            (Some(stats), "CPUPerc") => format!("{:.2}%", cpu_percent(&stats.precpu_stats, &stats.cpu_stats)),
            (Some(stats), "MemUsage") => {
                format!(
                    "{} / {}",
                    bytes_size(memory(&stats.memory_stats)),
                    bytes_size(stats.memory_stats.limit as f64)
                )
            }
            (Some(stats), "MemPerc") => format!("{:.2}%", memory_percent(&stats.memory_stats)),
            (Some(stats), "NetIO") => {
                let sum = |direction: fn(&berth_api::stats::NetworkStats) -> u64| {
                    stats.networks.values().map(direction).sum::<u64>() as f64
                };
                let (received, sent) = (sum(|network| network.rx_bytes), sum(|network| network.tx_bytes));
                format!("{} / {}", human_size_with(received, 3), human_size_with(sent, 3))
            }
            (Some(stats), "BlockIO") => {
                let (read, written) = block(stats);
                format!("{} / {}", human_size_with(read, 3), human_size_with(written, 3))
            }
            (Some(stats), "PIDs") => stats.pids_stats.current.to_string(),
            _ => return None,
        };
        Some(Value::text(text))
    }

    fn names(&self) -> &'static [&'static str] {
        &["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"]
    }
}

/// The share of one CPU, in percent, between two samples.
fn cpu_percent(before: &CpuStats, now: &CpuStats) -> f64 {
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let passed = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let cpus = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len() as f64,
        cpus => f64::from(cpus),
    };
    if used > 0.0 && passed > 0.0 { used / passed * cpus * 100.0 } else { 0.0 }
}

/// Memory in use, less the cache that the kernel would give up first.
fn memory(memory: &MemoryStats) -> f64 {
    let inactive = memory.stats.get("total_inactive_file").or_else(|| memory.stats.get("inactive_file"));
    let inactive = inactive.copied().filter(|&inactive| inactive < memory.usage).unwrap_or_default();
    (memory.usage - inactive) as f64
}

fn memory_percent(stats: &MemoryStats) -> f64 {
    if stats.limit == 0 { 0.0 } else { memory(stats) / stats.limit as f64 * 100.0 }
}

/// Bytes read from and written to block devices.
fn block(stats: &Stats) -> (f64, f64) {
    let entries = stats.blkio_stats.io_service_bytes_recursive.iter().flatten();
    let (mut read, mut written) = (0, 0);
    for entry in entries {
        match entry.op.as_bytes().first() {
            Some(b'r' | b'R') => read += entry.value,
            Some(b'w' | b'W') => written += entry.value,
            _ => {}
        }
    }
    (read as f64, written as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_docker_s() {
        let stats: Stats = serde_json::from_str(
            r#"{"id":"0123456789abcdef","name":"/web","cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":2000,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
            "memory_stats":{"usage":1048576,"limit":10485760,"stats":{"inactive_file":524288}},
            "networks":{"eth0":{"rx_bytes":1500,"tx_bytes":0}},"pids_stats":{"current":3},
            "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":2000},{"op":"write","value":5}]}}"#,
        )
        .unwrap();
        let row = Sample { container: "web".into(), stats: Some(stats), cut: true };
        let get = |name: &str| row.get(name).unwrap().to_string();
        assert_eq!(get("ID"), "0123456789ab");
        assert_eq!(get("Name"), "web");
        assert_eq!(get("CPUPerc"), "40.00%");
        assert_eq!(get("MemUsage"), "512KiB / 10MiB");
        assert_eq!(get("MemPerc"), "5.00%");
        assert_eq!(get("NetIO"), "1.5kB / 0B");
        assert_eq!(get("BlockIO"), "2kB / 5B");
        assert_eq!(get("PIDs"), "3");
        let waiting = Sample { container: "web".into(), stats: None, cut: true };
        assert_eq!(waiting.get("MemUsage").unwrap().to_string(), "-- / --");
    }
}
