//! Another OCI runtime by its command line: runc, from Debian.
#![allow(clippy::unwrap_used)] // a helper may fail like a test

mod common;

use std::fs;
use std::path::PathBuf;

use berth_shim::Target;
use berth_shim::client::{Attach, Runtime, Start, StartError, StdinMode};
use common::*;
use tokio::io::AsyncWriteExt;

fn with_runc(host: &Host, args: &[&str]) -> Start {
    let path = ["/usr/sbin/runc", "/usr/bin/runc"].map(PathBuf::from).into_iter().find(|path| path.exists());
    let mut start = host.container("a", args);
    start.runtime = Runtime::Command {
        path: path.expect("runc is installed"),
        args: Vec::new(),
        root: host.dir.path().join("runc"),
    };
    // A root file system of two layers, as the store gives it.
    for name in ["upper", "work", "lower"] {
        fs::create_dir_all(host.dir.path().join(name)).unwrap();
    }
    fs::write(host.dir.path().join("lower/greeting"), "hello\n").unwrap();
    let path = |name: &str| host.dir.path().join(name).display().to_string();
    let lower = format!("lowerdir={}:{}", path("lower"), path("root"));
    let options = [lower, format!("upperdir={}", path("upper")), format!("workdir={}", path("work"))];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    start.rootfs = vec![berth_oci::Mount::new("overlay", "overlay", "/", &options)];
    start
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_containers_and_execs_and_leaves_nothing() {
    let host = Host::new();
    let mut start = with_runc(&host, &shell("cat /greeting; read word; echo got $word; exit 9"));
    start.stdin = StdinMode::Open;
    let (attach, mut stream) = Attach::pair(all()).unwrap();
    start.attach.push(attach);
    let (shim, mut started) = host.start(start).await;
    read_until(&mut stream, "hello\n").await;
    let (attach, mut other) = Attach::pair(output()).unwrap();
    let running = shim.exec(exec("e1", &shell("cat /greeting; exit 4"), Some(attach))).await.unwrap();
    assert_eq!(frames(&mut other).await.stdout, b"hello\n");
    assert_eq!(running.exit.await.unwrap().code, 4);
    let StartError::Runtime { code, message } = shim.exec(exec("e2", &["nosuch"], None)).await.unwrap_err()
    else {
        panic!("another error");
    };
    assert_eq!(code, 127, "{message}");
    shim.pause().await.unwrap();
    shim.resume().await.unwrap();
    stream.write_all(b"word\n").await.unwrap();
    assert_eq!(exited(&mut started).await.code, 9);
    shim.shutdown().await.unwrap();
    host.gone("a").await;
    assert_eq!(host.log("a").stdout, b"hello\ngot word\n");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(host.dir.path().to_str().unwrap()), "a mount is seen on the host");
    assert_eq!(fs::read_dir(host.dir.path().join("runc")).unwrap().count(), 0, "runc knows it still");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_why_it_refuses() {
    let host = Host::new();
    let StartError::Runtime { code, message } = host.fail(with_runc(&host, &["nosuch"])).await else {
        panic!("another error");
    };
    assert_eq!(code, 127, "{message}");
    assert!(message.starts_with("OCI runtime create failed: runc create failed: "), "{message}");
    assert!(message.contains("exec: \"nosuch\": executable file not found in $PATH"), "{message}");
    host.gone("a").await;
    let mut start = with_runc(&host, &["true"]);
    if let Runtime::Command { path, .. } = &mut start.runtime {
        *path = "/nowhere/runc".into();
    }
    let error = host.fail(start).await;
    assert!(error.to_string().contains("cannot run the runtime"), "{error}");
    host.gone("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gives_a_terminal() {
    let host = Host::new();
    let mut start = with_runc(&host, &shell("echo ready; read word; stty size; sleep 1000"));
    start.stdin = StdinMode::Open;
    start.spec.process.as_mut().unwrap().terminal = true;
    let (attach, mut stream) = Attach::pair(all()).unwrap();
    start.attach.push(attach);
    let (shim, mut started) = host.start(start).await;
    read_until(&mut stream, "ready\r\n").await;
    shim.resize(&Target::Container, 44, 111).await.unwrap();
    stream.write_all(b"word\r").await.unwrap();
    read_until(&mut stream, "44 111\r\n").await;
    shim.signal(&Target::Container, 9).await.unwrap();
    assert_eq!(exited(&mut started).await.code, 137);
    shim.shutdown().await.unwrap();
    host.gone("a").await;
}
