//! Many containers at once, and what a shim costs.
#![allow(clippy::unwrap_used)] // a helper may fail like a test

mod common;

use std::fs;

use berth_shim::Target;
use berth_shim::client::Attach;
use common::*;

const MANY: u32 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_and_small() {
    let host = std::sync::Arc::new(Host::new());
    let mut starting = tokio::task::JoinSet::new();
    for number in 0..MANY {
        let host = std::sync::Arc::clone(&host);
        starting.spawn(async move {
            let script = format!("echo {number}; exec sleep 1000");
            let mut start = host.container(&format!("c{number}"), &shell(&script));
            let (attach, mut stream) = Attach::pair(output()).unwrap();
            start.attach.push(attach);
            let (shim, started) = host.start(start).await;
            read_until(&mut stream, &format!("{number}\n")).await;
            (number, shim, started, stream)
        });
    }
    let mut running = starting.join_all().await;
    // An exec needs memory that is given back too.
    for (number, shim, ..) in &running {
        let (attach, mut stream) = Attach::pair(output()).unwrap();
        let exec = shim.exec(exec("e", &["seq", "1", "50000"], Some(attach))).await.unwrap();
        assert_eq!(frames(&mut stream).await.stdout.len(), 288_894, "c{number}");
        assert_eq!(exec.exit.await.unwrap().code, 0);
    }
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let pss: Vec<u64> = running.iter().map(|(_, _, started, _)| pss_kib(started.shim_pid)).collect();
    let mean = pss.iter().sum::<u64>() / u64::from(MANY);
    println!("PSS of a shim: {mean} KiB in the mean, {} at most", pss.iter().max().unwrap());
    // The code of an unoptimised build is a multiple, and is touched as widely.
    let most = if cfg!(debug_assertions) { 800 } else { 400 };
    assert!(mean < most, "{mean} KiB");
    for (number, shim, started, _) in &mut running {
        shim.signal(&Target::Container, 9).await.unwrap();
        assert_eq!(exited(started).await.code, 137);
        shim.shutdown().await.unwrap();
        assert!(host.is_gone(&format!("c{number}")));
    }
}

/// The proportional share of a process's memory.
fn pss_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
