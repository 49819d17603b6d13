//! `docker-init`: the first process of a container with `--init`.
#![allow(clippy::unwrap_used)] // a helper may fail like a test

mod common;

use std::fs;

use berth_shim::Target;
use berth_shim::client::{Attach, Start, StdinMode};
use common::*;
use tokio::io::AsyncWriteExt;

fn with_init(host: &Host, args: &[&str]) -> Start {
    fs::create_dir_all(host.root().join("sbin")).unwrap();
    fs::write(host.root().join("sbin/docker-init"), "").unwrap();
    let args: Vec<&str> = ["/sbin/docker-init", "--"].iter().chain(args).copied().collect();
    let mut start = host.container("a", &args);
    let binary = shim();
    let mount = berth_oci::Mount::new("bind", binary.to_str().unwrap(), "/sbin/docker-init", &["bind", "ro"]);
    start.spec.mounts.push(mount);
    start
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_as_the_program_ends() {
    let host = Host::new();
    let (status, said) = host.run(with_init(&host, &shell("echo $$; exit 7"))).await;
    assert_eq!(status.code, 7);
    assert_ne!(said.stdout, b"1\n");
    let (status, _) = host.run(with_init(&host, &shell("kill -9 $$"))).await;
    assert_eq!((status.code, status.signal), (137, None));
    let (status, said) = host.run(with_init(&host, &["nosuch"])).await;
    assert_eq!(status.code, 127);
    assert!(String::from_utf8(said.stderr).unwrap().starts_with("docker-init: nosuch: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_program() {
    let host = Host::new();
    let script =
        "trap 'echo term; exit 3' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.01; done";
    let mut start = with_init(&host, &shell(script));
    let (attach, mut stream) = Attach::pair(output()).unwrap();
    start.attach.push(attach);
    let (shim, mut started) = host.start(start).await;
    read_until(&mut stream, "ready\n").await;
    shim.signal(&Target::Container, 10).await.unwrap();
    read_until(&mut stream, "usr1\n").await;
    shim.signal(&Target::Container, 15).await.unwrap();
    assert_eq!(exited(&mut started).await.code, 3);
    shim.shutdown().await.unwrap();
    assert!(host.log("a").stdout.ends_with(b"term\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_reaped() {
    let host = Host::new();
    let script =
        "for i in $(seq 20); do (sleep 0.01 & exec true); done; sleep 0.3; ps -o stat | grep -c Z; true";
    let (status, said) = host.run(with_init(&host, &shell(script))).await;
    assert_eq!((status.code, said.stdout.as_slice()), (0, b"0\n".as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_has_the_terminal() {
    let host = Host::new();
    let mut start = with_init(
        &host,
        &shell("trap 'echo interrupted; exit 5' INT; read word; echo got $word; while :; do sleep 0.1; done"),
    );
    start.stdin = StdinMode::Open;
    start.spec.process.as_mut().unwrap().terminal = true;
    let (attach, mut stream) = Attach::pair(all()).unwrap();
    start.attach.push(attach);
    let (shim, mut started) = host.start(start).await;
    stream.write_all(b"word\r").await.unwrap();
    read_until(&mut stream, "got word\r\n").await;
    // Ctrl-C.
    stream.write_all(b"\x03").await.unwrap();
    let seen = read_until(&mut stream, "interrupted\r\n").await;
    assert_eq!(String::from_utf8_lossy(&seen).matches("interrupted").count(), 1);
    assert_eq!(exited(&mut started).await.code, 5);
    shim.shutdown().await.unwrap();
}
