//! What a shim costs in time and memory, in figures.
//!
//! `cargo run --profile quick -p berth-shim --example bench [start|exec|lines|flood|memory]`; as root, with
//! busybox-static. The shim is the binary `berth-shim` of the same build.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use berth_shim::Target;
use berth_shim::client::{Attach, Timings};
use common::*;

#[tokio::main]
async fn main() {
    let what = std::env::args().nth(1);
    let wants = |name: &str| what.as_deref().is_none_or(|what| what == name);
    if wants("start") {
        start().await;
    }
    if wants("exec") {
        execs().await;
    }
    if wants("lines") {
        logged("1,000,000 lines of seq", &["seq", "1", "1000000"], 1).await;
    }
    if wants("flood") {
        let script = "yes 012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678 | head -c 524288000";
        logged("500 MiB in lines of 100 bytes", &shell(script), 1).await;
        logged("the same, rotated at 10 MB, 3 files, compressed", &shell(script), 3).await;
        attached(&shell(script)).await;
    }
    if wants("memory") {
        memory().await;
    }
}

/// Time on a processor, which does not depend on what else the machine does.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}

async fn start() {
    let host = Host::new();
    let (mut starts, mut exits, mut shutdowns, mut used) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut stages: Vec<Timings> = Vec::new();
    for _ in 0..200 {
        let order = host.container("a", &["true"]);
        let began = Instant::now();
        let (shim, mut started) = host.start(order).await;
        starts.push(began.elapsed());
        stages.push(started.timings);
        exited(&mut started).await;
        exits.push(began.elapsed());
        used.push(cpu(started.shim_pid));
        shim.shutdown().await.unwrap();
        shutdowns.push(began.elapsed());
    }
    let stage = |of: fn(&Timings) -> u32| {
        median(stages.iter().map(|timings| Duration::from_micros(of(timings).into())).collect())
    };
    println!(
        "start of `true`: started {:?}, exited {:?}, shut down {:?}",
        median(starts),
        median(exits),
        median(shutdowns)
    );
    println!("  processor time of the shim until then {:?}", median(used));
    println!(
        "  spawn {:?}, parse {:?}, prepare {:?}, runtime {:?}",
        stage(|timings| timings.spawn_us),
        stage(|timings| timings.parse_us),
        stage(|timings| timings.prepare_us),
        stage(|timings| timings.run_us),
    );
}

async fn execs() {
    let host = Host::new();
    let (shim, mut started) = host.start(host.container("a", &["sleep", "1000"])).await;
    let (mut starts, mut exits) = (Vec::new(), Vec::new());
    for number in 0..200 {
        let (attach, mut stream) = Attach::pair(output()).unwrap();
        let began = Instant::now();
        let exec = shim.exec(exec(&format!("e{number}"), &["true"], Some(attach))).await.unwrap();
        starts.push(began.elapsed());
        frames(&mut stream).await;
        exec.exit.await.unwrap();
        exits.push(began.elapsed());
    }
    let used = cpu(started.shim_pid) / 200;
    println!("exec of `true`: started {:?}, exited {:?}, processor {used:?}", median(starts), median(exits));
    shim.signal(&Target::Container, 9).await.unwrap();
    exited(&mut started).await;
    shim.shutdown().await.unwrap();
}

async fn logged(what: &str, args: &[&str], files: u32) {
    let host = Host::new();
    let mut order = host.container("a", args);
    let log = order.log.as_mut().unwrap();
    if files > 1 {
        (log.max_size_bytes, log.max_files, log.compress) = (10_000_000, files, true);
    }
    let began = Instant::now();
    let (shim, mut started) = host.start(order).await;
    exited(&mut started).await;
    println!("{what}: {:?}, processor time of the shim {:?}", began.elapsed(), cpu(started.shim_pid));
    shim.shutdown().await.unwrap();
}

async fn attached(args: &[&str]) {
    let host = Host::new();
    let mut order = host.container("a", args);
    order.log = None;
    let (attach, mut stream) = Attach::pair(output()).unwrap();
    order.attach.push(attach);
    let began = Instant::now();
    let (shim, mut started) = host.start(order).await;
    let mut sink = tokio::io::sink();
    let bytes =
        tokio::io::copy_buf(&mut tokio::io::BufReader::with_capacity(1 << 16, &mut stream), &mut sink).await;
    exited(&mut started).await;
    let used = cpu(started.shim_pid);
    println!("attached without a log, {} bytes: {:?}, processor {used:?}", bytes.unwrap(), began.elapsed());
    shim.shutdown().await.unwrap();
}

async fn memory() {
    let host = Host::new();
    let mut running = Vec::new();
    for number in 0..50 {
        running.push(host.start(host.container(&format!("c{number}"), &["sleep", "1000"])).await);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let pid = running[7].1.shim_pid;
    println!("{}", std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap());
    for (number, (shim, started)) in running.iter_mut().enumerate() {
        shim.signal(&Target::Container, 9).await.unwrap();
        exited(started).await;
        shim.shutdown().await.unwrap();
        assert!(host.is_gone(&format!("c{number}")));
    }
}
