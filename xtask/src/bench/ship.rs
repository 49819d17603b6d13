//! `cargo xtask bench ship`: images to and from a registry on loopback, and archives, beside Docker, Podman and skopeo.
//!
//! The image is Debian with ten layers of 20 MB over it: cut from the programs and libraries of the lab, so that they
//! are compressed as programs are, or of random bytes, as archives, pictures and models seem to be. Everything about
//! it is removed before each round: a push compresses and sends all, a pull fetches and unpacks all. Before each step
//! the disk is quiet, so that nobody pays for what others wrote.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{PEERS, Peer, middle, print_row};
use crate::{Outcome, setup};

const ROUNDS: usize = 3;
const REGISTRY: &str = "127.0.0.1:5000";
const REGISTRY_DATA: &str = "/var/lib/registry-lab/docker";
const FOLDER: &str = "/var/tmp/berth-bench/ship";
const LAYERS: usize = 10;
const LAYER_BYTES: usize = 20 << 20;

/// What the layers over Debian hold.
#[derive(Clone, Copy)]
enum Content {
    Programs,
    Random,
}

/// The tables, with our engine running as this process.
pub(super) fn tables(daemon: u32) -> Outcome {
    let idle = resident(daemon);
    for (content, name) in [(Content::Programs, "programs"), (Content::Random, "random bytes")] {
        table(content, name)?;
    }
    println!("| memory of our engine, MB | idle {idle} | at its peak {} |", peak(daemon));
    Ok(())
}

fn table(content: Content, name: &str) -> Outcome {
    make_archive(content)?;
    let archive = format!("{FOLDER}/image.tar");
    println!(
        "| an image of Debian and {LAYERS} layers of 20 MB of {name}, ms | berth | docker 26 | podman 5 | docker / berth |"
    );
    println!("| --- | --- | --- | --- | --- |");
    let mut loads = Times::default();
    let mut pushes = Times::default();
    let mut saves = Times::default();
    let mut pulls = Times::default();
    for _ in 0..ROUNDS {
        for (index, peer) in PEERS.iter().enumerate() {
            remove(peer);
            fs::remove_dir_all(REGISTRY_DATA).ok();
            quiet()?;
            loads.add(index, peer.time(&["load", "-i", &archive]));
            let name = format!("{REGISTRY}/{}/image:1", peer.name);
            peer.time(&["tag", "bench:1", &name]);
            quiet()?;
            pushes.add(index, peer.time(&["push", &name]));
            let saved = format!("{FOLDER}/saved.tar");
            fs::remove_file(&saved).ok();
            quiet()?;
            saves.add(index, peer.time(&["save", "-o", &saved, "bench:1"]));
            remove(peer);
            quiet()?;
            pulls.add(index, peer.time(&["pull", &name]));
            remove(peer);
        }
    }
    print_row("load", &loads.middles());
    print_row("push of what was loaded", &pushes.middles());
    print_row("save", &saves.middles());
    print_row("pull", &pulls.middles());
    println!(
        "| skopeo copy of the archive to the registry | {:.1} ms |",
        skopeo(&archive)?.as_secs_f64() * 1e3
    );
    fs::remove_dir_all(FOLDER)?;
    Ok(())
}

/// The times of each peer.
#[derive(Default)]
struct Times([Vec<Duration>; PEERS.len()]);

impl Times {
    fn add(&mut self, peer: usize, time: Duration) {
        self.0[peer].push(time);
    }

    fn middles(self) -> Vec<Duration> {
        self.0.into_iter().map(middle).collect()
    }
}

/// What an engine does behind a removal ends, and all that was written so far goes to the disk.
fn quiet() -> Outcome {
    std::thread::sleep(Duration::from_secs(1));
    setup::call(&mut Command::new("sync"))
}

/// Everything of the image goes, so that the next round starts from nothing.
fn remove(peer: &Peer) {
    for name in
        ["bench:1".to_owned(), "localhost/bench:1".to_owned(), format!("{REGISTRY}/{}/image:1", peer.name)]
    {
        let _ = peer.command(&["rmi", "-f", &name]).output();
    }
}

fn skopeo(archive: &str) -> Result<Duration, Box<dyn std::error::Error>> {
    fs::remove_dir_all(REGISTRY_DATA).ok();
    let start = Instant::now();
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "-q", "--dest-tls-verify=false", &format!("docker-archive:{archive}")]);
    setup::call(copy.arg(format!("docker://{REGISTRY}/skopeo/image:1")).stdout(Stdio::null()))?;
    Ok(start.elapsed())
}

/// Docker builds the image, once; every engine loads the same archive.
fn make_archive(content: Content) -> Outcome {
    let _ = fs::remove_dir_all(FOLDER);
    fs::create_dir_all(FOLDER)?;
    let docker = &PEERS[1];
    let mut text = String::from("FROM benchbase:1\n");
    let mut bytes_of_layers: Box<dyn std::io::Read> = match content {
        Content::Programs => programs(),
        Content::Random => Box::new(fs::File::open("/dev/urandom")?),
    };
    for layer in 0..LAYERS {
        let mut bytes = vec![0; LAYER_BYTES];
        bytes_of_layers.read_exact(&mut bytes)?;
        fs::File::create(format!("{FOLDER}/layer{layer}"))?.write_all(&bytes)?;
        text += &format!("COPY layer{layer} /layer{layer}\n");
    }
    fs::write(format!("{FOLDER}/Dockerfile"), text)?;
    docker.time(&["import", "/var/tmp/images/debian.tar", "benchbase:1"]);
    docker.time(&["build", "-q", "-t", "bench:1", FOLDER]);
    docker.time(&["save", "-o", &format!("{FOLDER}/image.tar"), "bench:1"]);
    let _ = docker.command(&["rmi", "-f", "bench:1", "benchbase:1"]).output();
    // The cache of the build would keep the layers: a load and a pull would find them there.
    docker.time(&["builder", "prune", "-af"]);
    for layer in 0..LAYERS {
        fs::remove_file(format!("{FOLDER}/layer{layer}"))?;
    }
    Ok(())
}

/// The bytes of programs and libraries, one after the other, over and over with a mark between.
fn programs() -> Box<dyn std::io::Read> {
    let mut files: Vec<_> =
        ["/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/sbin"]
            .iter()
            .flat_map(|folder| fs::read_dir(Path::new(folder)).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .filter(|path| path.is_file() && !path.is_symlink())
            .collect();
    files.sort();
    let rounds = (0_u32..).flat_map(move |round| files.clone().into_iter().map(move |path| (round, path)));
    let mut bytes = std::collections::VecDeque::new();
    let mut rounds = rounds;
    while bytes.len() < LAYERS * LAYER_BYTES {
        let Some((round, path)) = rounds.next() else { break };
        bytes.extend(round.to_le_bytes());
        bytes.extend(fs::read(path).unwrap_or_default());
    }
    Box::new(bytes)
}

fn field(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn resident(pid: u32) -> u64 {
    field(pid, "VmRSS") / 1024
}

fn peak(pid: u32) -> u64 {
    field(pid, "VmHWM") / 1024
}
