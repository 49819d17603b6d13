//! The engine dies, the shim dies, the directory goes.
#![allow(clippy::unwrap_used)] // a helper may fail like a test

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use berth_shim::Target;
use berth_shim::client::{Attach, Event, Exit, Found, Shim, Started, StdinMode, clean_up, reconnect};
use common::*;
use tokio::io::AsyncWriteExt;

/// Takes a container up again that has to be there.
async fn take_up(host: &Host, id: &str) -> (Shim, Started) {
    let found = tokio::time::timeout(PATIENCE, reconnect(&host.shim_dir(id), &host.exit_file(id))).await;
    match found.expect("answers in time").unwrap() {
        Found::Running(shim, started) => (shim, started),
        other => panic!(
            "{id}: found {other:?}, the directory has {:?}",
            fs::read_dir(host.shim_dir(id)).map(Iterator::count)
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_goes_during_the_start_leaves_nothing() {
    let host = Host::new();
    for round in 0..60_u64 {
        let start = host.container("a", &["sleep", "1000"]);
        let patience = Duration::from_micros(round * round * 10);
        if let Ok(started) = tokio::time::timeout(patience, host.launcher.start(start)).await {
            let (shim, mut started) = started.unwrap();
            shim.signal(&Target::Container, 9).await.unwrap();
            exited(&mut started).await;
            shim.shutdown().await.unwrap();
        }
        host.gone("a").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_goes_on_without_its_engine_and_is_taken_up_again() {
    let host = Host::new();
    let mut start = host.container("a", &shell("while read line; do echo got $line; done; exit 4"));
    start.stdin = StdinMode::Open;
    "a word for whoever comes".clone_into(&mut start.memo);
    let (shim, started) = host.start(start).await;
    let pid = started.pid;
    let running = shim.exec(exec("e1", &["sleep", "1000"], None)).await.unwrap();
    drop((shim, started));

    let (shim, mut started) = take_up(&host, "a").await;
    assert_eq!(started.pid, pid);
    assert_eq!(started.memo, "a word for whoever comes");
    assert_eq!(started.execs, [("e1".to_owned(), running.pid)]);
    let mut stream = shim.attach(all()).await.unwrap();
    stream.write_all(b"word\n").await.unwrap();
    read_until(&mut stream, "got word\n").await;
    shim.signal(&Target::Exec("e1".to_owned()), 9).await.unwrap();
    assert!(
        matches!(event(&mut started).await, Event::ExecExited { id, status } if id == "e1" && status.code == 137)
    );
    shim.pause().await.unwrap();
    shim.resume().await.unwrap();
    assert_eq!(shim.pids().await.unwrap(), [pid]);

    // A second engine cannot take it while the first is there.
    let error = reconnect(&host.shim_dir("a"), &host.exit_file("a")).await.unwrap_err();
    assert_eq!(error.to_string(), "another engine is connected to the container");
    // But it waits for the last of one that is on its way out: a child of it may have its connection for a moment.
    let leaving = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop((shim, started));
    });
    let (shim, mut started) = take_up(&host, "a").await;
    leaving.await.unwrap();
    shim.signal(&Target::Container, 9).await.unwrap();
    assert_eq!(exited(&mut started).await.code, 137);
    shim.shutdown().await.unwrap();
    assert!(host.is_gone("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_waits_for_the_engine_to_come_back() {
    let host = Host::new();
    let (shim, started) = host.start(host.container("a", &shell("sleep 0.2; echo end; exit 42"))).await;
    drop((shim, started));
    eventually("the exit is recorded", || host.exit_file("a").exists()).await;
    let (shim, mut started) = take_up(&host, "a").await;
    assert_eq!(exited(&mut started).await.code, 42);
    assert_eq!(host.log("a").stdout, b"end\n");
    // Not taken: told again.
    drop((shim, started));
    let (shim, mut started) = take_up(&host, "a").await;
    assert_eq!(exited(&mut started).await.code, 42);
    shim.shutdown().await.unwrap();
    assert!(host.is_gone("a"));
    let found = reconnect(&host.shim_dir("a"), &host.exit_file("a")).await.unwrap();
    assert!(matches!(found, Found::Exited(status) if status.code == 42));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_is_noticed_and_cleaned_up_after() {
    let host = Host::new();
    let (shim, mut started) = host.start(host.container("a", &shell("sleep 1000 & exec sleep 1000"))).await;
    let pid = started.pid;
    eventually("both run", || {
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).is_ok_and(|c| !c.is_empty())
    })
    .await;
    kill(started.shim_pid);
    assert_eq!(event(&mut started).await, Event::Gone);
    assert_eq!(waited(&shim).await, Exit::Gone);
    let error = shim.signal(&Target::Container, 9).await.unwrap_err();
    assert_eq!(error.to_string(), "the supervisor of the container is gone");
    let found = reconnect(&host.shim_dir("a"), &host.exit_file("a")).await.unwrap();
    assert!(matches!(found, Found::Gone(None)), "it had not lost its engine");
    assert!(is_alive(pid));
    clean_up(&host.shim_dir("a"), &host.cgroup_of("a")).await.unwrap();
    eventually("it is dead", || !is_alive(pid)).await;
    clean_up(&host.shim_dir("a"), &host.cgroup_of("a")).await.unwrap();
    let found = reconnect(&host.shim_dir("a"), &host.exit_file("a")).await.unwrap();
    assert!(matches!(found, Found::Gone(None)));
    if host.runtime() == berth_shim::Runtime::Linked {
        assert!(host.is_gone("a"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_is_killed_during_the_start_leaves_nothing() {
    let host = std::sync::Arc::new(Host::new());
    let mut died = 0;
    for round in 0..60_u64 {
        let start = host.container("a", &["sleep", "1000"]);
        let starting = tokio::spawn({
            let host = std::sync::Arc::clone(&host);
            async move { host.launcher.start(start).await }
        });
        eventually("the shim is there", || host.find_shim("a").is_some()).await;
        let pid = host.find_shim("a").unwrap();
        tokio::time::sleep(Duration::from_micros(round * round * 4)).await;
        kill(pid);
        match tokio::time::timeout(PATIENCE, starting).await.expect("ends in time").unwrap() {
            Err(error) => {
                assert!(matches!(error, berth_shim::client::StartError::Died { .. }), "{error}");
                died += 1;
            }
            Ok((shim, mut started)) => {
                assert_eq!(event(&mut started).await, Event::Gone);
                clean_up(&host.shim_dir("a"), shim.cgroup_path()).await.unwrap();
            }
        }
        host.gone("a").await;
    }
    assert!(died > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_that_names_another_process_kills_nobody() {
    let host = Host::new();
    let mut bystander = Command::new("/bin/busybox").args(["sleep", "1000"]).spawn().unwrap();
    let dir = host.shim_dir("a");
    fs::create_dir(&dir).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let state = serde_json::json!({
        "id": "a", "pid": bystander.id(), "start_time": 5, "shim_pid": bystander.id(), "shim_start_time": 6,
        "boot_id": boot.trim(), "cgroup": "", "exit_file": "/x", "started_at_nanos": 0,
    });
    fs::write(dir.join("state.json"), state.to_string()).unwrap();
    clean_up(&dir, "").await.unwrap();
    assert!(!dir.exists());
    assert!(is_alive(bystander.id()));
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_whose_directory_is_gone_ends_after_its_container() {
    let host = Host::new();
    let (shim, started) = host.start(host.container("a", &["sleep", "0.2"])).await;
    let pid = started.shim_pid;
    drop((shim, started));
    eventually("it can be found", || host.shim_dir("a").join("socket").exists()).await;
    fs::remove_dir_all(host.shim_dir("a")).unwrap();
    eventually("the shim has ended", || !is_alive(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_socket_do_no_harm() {
    let host = Host::new();
    let (shim, started) = host.start(host.container("a", &["sleep", "1000"])).await;
    assert!(!host.shim_dir("a").exists(), "there is a socket only without an engine");
    drop((shim, started));
    let path = host.shim_dir("a").join("socket");
    eventually("it can be found", || path.exists()).await;
    for nonsense in [
        &b""[..],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0xff; 100],
        &[3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'"'],
    ] {
        let mut stranger = loop {
            match tokio::net::UnixStream::connect(&path).await {
                // It is there a moment before somebody listens.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                connected => break connected.unwrap(),
            }
        };
        let _ = stranger.write_all(nonsense).await;
    }
    let (shim, mut started) = take_up(&host, "a").await;
    shim.exec(exec("e1", &["true"], None)).await.unwrap().exit.await.unwrap();
    shim.signal(&Target::Container, 9).await.unwrap();
    exited(&mut started).await;
    shim.shutdown().await.unwrap();
}

const ENGINE: &str = "BERTH_SHIM_TEST_ENGINE";

/// Not a test: what the next one runs as a process of its own, to be killed.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_to_be_killed() {
    if std::env::var_os(ENGINE).is_none() {
        return;
    }
    let host = std::mem::ManuallyDrop::new(Host::new());
    println!("\nhost {} {}", host.dir.path().display(), host.cgroup_of(""));
    let mut all = Vec::new();
    for number in 0..10 {
        let script = format!("for i in $(seq 1 400); do echo line $i; sleep 0.005; done; exit {number}");
        let mut start = host.container(&format!("c{number}"), &shell(&script));
        let (attach, stream) = Attach::pair(output()).unwrap();
        start.attach.push(attach);
        all.push((host.start(start).await, stream));
    }
    println!("\nall started");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_containers_survive_the_kill_of_their_engine() {
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_engine_to_be_killed", "--nocapture"])
        .env(ENGINE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut place = String::new();
    for line in BufReader::new(engine.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(host) = line.strip_prefix("host ") {
            place = host.to_owned();
        }
        if line == "all started" {
            break;
        }
    }
    engine.kill().unwrap();
    engine.wait().unwrap();
    let (dir, cgroup) = place.split_once(' ').unwrap();
    let host = Host::at(dir, cgroup.trim_end_matches('/'));
    let numbers: String = (1..=400).map(|number| format!("line {number}\n")).collect();
    for number in 0..10 {
        let id = format!("c{number}");
        let (shim, mut started) = take_up(&host, &id).await;
        assert_eq!(exited(&mut started).await.code, number);
        assert_eq!(String::from_utf8(host.log(&id).stdout).unwrap(), numbers);
        shim.shutdown().await.unwrap();
        assert!(host.is_gone(&id));
    }
}
