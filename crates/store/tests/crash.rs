//! A process killed at any moment, many times over: what was promised is there, what is there is whole, and nothing
//! is left over. Needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use berth_store::image::Remove;
use berth_store::{Database, Options, Record, Store};
use common::{config, file, gzip, tar, tar_of};
use serde::{Deserialize, Serialize};

const ROUNDS: u32 = 25;

/// Runs one of the `child_…` tests below as a process of its own, in `dir`.
fn spawn(child: &str, dir: &Path, seed: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--nocapture", "--test-threads=1"])
        .env("BERTH_STORE_CHILD", dir)
        .env("BERTH_STORE_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the child was told, if this is one.
fn told() -> Option<(std::path::PathBuf, u32)> {
    let dir = std::env::var_os("BERTH_STORE_CHILD")?;
    Some((dir.into(), std::env::var("BERTH_STORE_SEED").ok()?.parse().ok()?))
}

/// Starts a child, kills it after a while that is another one each time, and gives the lines it wrote.
fn run_and_kill(child: &str, dir: &Path, seed: u32, window_ms: u64) -> Vec<String> {
    let mut process = spawn(child, dir, seed);
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut lines = Vec::new();
    // Not before it works.
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        if line.trim_end().ends_with("ready") {
            break;
        }
        line.clear();
    }
    let part = u64::from(seed.wrapping_mul(2_654_435_761) >> 16) * window_ms * 1000 / 65_536;
    std::thread::sleep(Duration::from_micros(part));
    process.kill().unwrap();
    process.wait().unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    lines.extend(rest.lines().map(str::to_owned));
    // The last line may be half written.
    if !rest.ends_with('\n') {
        lines.pop();
    }
    lines
}

fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    output.write_all(format!("{line}\n").as_bytes()).unwrap();
    output.flush().unwrap();
}

#[derive(Serialize, Deserialize)]
struct Counter {
    value: u64,
    filling: String,
}

impl Record for Counter {
    const TABLE: &'static str = "counters";
    const VERSION: u32 = 1;
}

#[test]
fn child_counts() {
    let Some((dir, seed)) = told() else { return };
    let database = Database::open(&dir).unwrap();
    say("ready");
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let database = database.clone();
            scope.spawn(move || {
                let key = format!("k{thread}");
                let start = database.get::<Counter>(&key).unwrap().map_or(0, |counter| counter.value);
                for value in start + 1.. {
                    // Large enough for a checkpoint now and then.
                    let filling = "x".repeat(((value * 7919 + u64::from(seed)) % 9000) as usize);
                    let commit = database.put(&key, &Counter { value, filling }).unwrap();
                    say(&format!("{key} {value}"));
                    if value % 5 == thread {
                        commit.wait().unwrap();
                    }
                }
            });
        }
    });
}

#[test]
fn every_write_survives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut total = 0;
    for seed in 0..ROUNDS {
        let mut promised: BTreeMap<String, u64> = BTreeMap::new();
        for line in run_and_kill("child_counts", dir.path(), seed, 60) {
            let (key, value) = line.split_once(' ').unwrap();
            promised.insert(key.to_owned(), value.parse().unwrap());
        }
        let database = Database::open(dir.path()).unwrap();
        for (key, value) in promised {
            let found = database.get::<Counter>(&key).unwrap().map_or(0, |counter| counter.value);
            assert!(found == value || found == value + 1, "round {seed}: {key} is {found}, was {value}");
            total += 1;
        }
    }
    assert!(total > 0, "the child never wrote anything");
}

/// Archives that share a layer, compressed and plain.
fn archives() -> Vec<(String, Vec<u8>)> {
    let noise: Vec<u8> = (0..400_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let base = tar(&[(file("base/a"), &noise[..]), (file("base/b"), b"small"), (file("c"), &noise[5..9000])]);
    (0..3)
        .map(|number| {
            let name = format!("app{number}:1");
            let own = tar_of("own", &noise[number * 1000..number * 1000 + 300_000]);
            let config = config(&[&base, &own], &name);
            let packed = gzip(&own);
            let own: &[u8] = if number == 1 { &packed } else { &own };
            let manifest =
                format!(r#"[{{"Config":"c.json","RepoTags":["{name}"],"Layers":["base","own"]}}]"#);
            let archive = tar(&[
                (file("base"), &base),
                (file("own"), own),
                (file("c.json"), &config),
                (file("manifest.json"), manifest.as_bytes()),
            ]);
            (name, archive)
        })
        .collect()
}

#[test]
fn child_changes_images() {
    let Some((dir, seed)) = told() else { return };
    let archives = archives();
    let store = Store::open(&Options::new(&dir)).unwrap();
    let images = store.images();
    say("ready");
    for step in u64::from(seed).. {
        let (name, archive) = &archives[(step % 3) as usize];
        let key = format!("snapshot-{}", step % 4);
        match step.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61 {
            0..=2 => {
                images.load(&archive[..], &|_| {}).unwrap();
                say(&format!("+ {name}"));
            }
            3 | 4 => {
                let removed = images.remove(name, Remove { force: true, prune: true }, &|_| vec![]);
                if removed.is_ok() {
                    say(&format!("- {name}"));
                }
            }
            5 => {
                if let Ok(image) = images.get(name) {
                    let _ = store.snapshots().prepare(&key, &image.id);
                }
            }
            6 => store.snapshots().remove(&key).unwrap(),
            _ => {
                if let Ok(image) = images.get(name) {
                    images.tag(&image.id, &"also:1".parse().unwrap()).unwrap();
                    say("+ also:1");
                }
            }
        }
    }
}

#[test]
fn images_are_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    let mut seen = 0;
    // The last word on each name.
    let mut said: BTreeMap<String, bool> = BTreeMap::new();
    for seed in 0..ROUNDS {
        for line in run_and_kill("child_changes_images", &root, seed, 1500) {
            let (sign, name) = line.split_once(' ').unwrap();
            said.insert(name.to_owned(), sign == "+");
        }
        let store = Store::open(&Options::new(&root)).unwrap();
        let listed = store.images().list(true);
        for image in &listed {
            // Reads every byte of every layer and checks the digests.
            let mut sink = std::io::sink();
            let id = image.image.id.to_string();
            store.images().save(&[id], &mut sink).unwrap_or_else(|error| panic!("round {seed}: {error}"));
            seen += 1;
        }
        // The step that the process died in may have been done or not, but no other.
        let differing: Vec<&String> = said
            .iter()
            .filter(|(name, there)| store.images().get(name).is_ok() != **there)
            .map(|(n, _)| n)
            .collect();
        assert!(differing.len() <= 1, "round {seed}: {differing:?} of {said:?}");
        for name in differing.into_iter().cloned().collect::<Vec<_>>() {
            let there = store.images().get(&name).is_ok();
            said.insert(name, there);
        }
        for (key, image) in store.snapshots().list() {
            assert!(store.snapshots().mounts(&key).is_ok() && store.images().by_id(&image).is_some());
            assert!(store.snapshots().upper(&key).unwrap().is_dir());
        }
        check_no_leak(&root, &store);
    }
    assert!(seen > 0, "no image ever survived");
}

/// Every directory below `layers` belongs to an image, and nothing is on its way.
fn check_no_leak(root: &Path, store: &Store) {
    let snapshots = store.snapshots().list();
    let ids = store.images().list(true).into_iter().map(|listed| listed.image.id.clone());
    let ids: Vec<_> = ids.chain(snapshots.into_iter().map(|(_, image)| image)).collect();
    let mut wanted: Vec<String> = ids
        .iter()
        .filter_map(|id| store.images().by_id(id))
        .flat_map(|image| image.config.rootfs.diff_ids.clone())
        .map(|layer| layer.hex()[..24].to_owned())
        .collect();
    wanted.sort();
    wanted.dedup();
    assert_eq!(common::names_in(&root.join("layers")), wanted);
    assert!(common::names_in(&root.join("ingest")).is_empty());
}
