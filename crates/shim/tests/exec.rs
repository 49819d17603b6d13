//! Further processes in a container.
#![allow(clippy::unwrap_used)] // a helper may fail like a test

mod common;

use berth_shim::Target;
use berth_shim::client::{Attach, Event, StartError, Streams};
use common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_has_streams_and_a_code() {
    let host = Host::new();
    let (shim, mut started) = host.start(host.container("a", &["sleep", "1000"])).await;
    let (attach, mut stream) = Attach::pair(all()).unwrap();
    let run = exec("e1", &shell("cat; echo err >&2; exit 5"), Some(attach));
    let exec_started = shim.exec(run).await.unwrap();
    assert!(exec_started.pid > 0 && exec_started.pid != started.pid);
    let text = "line\n".repeat(40_000);
    let (mut reader, mut writer) = stream.split();
    let mut bytes = Vec::new();
    let (written, read) = tokio::join!(
        async {
            writer.write_all(text.as_bytes()).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut bytes),
    );
    written.unwrap();
    read.unwrap();
    assert!(bytes.len() > text.len());
    let status = exec_started.exit.await.unwrap();
    assert_eq!((status.code, status.signal), (5, None));
    assert_eq!(event(&mut started).await, Event::ExecExited { id: "e1".to_owned(), status });
    assert!(host.log("a").stdout.is_empty(), "an exec is not logged");
    end(&host, &shim, &mut started).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_exec_tells_its_code_too() {
    let host = Host::new();
    let (shim, mut started) = host.start(host.container("a", &["sleep", "1000"])).await;
    let exit = shim.exec(exec("e1", &shell("echo to nobody; cat; exit 6"), None)).await.unwrap().exit;
    assert_eq!(exit.await.unwrap().code, 6);
    let long = shim.exec(exec("e2", &["sleep", "1000"], None)).await.unwrap();
    let again = shim.exec(exec("e2", &["sleep", "1000"], None)).await;
    assert!(again.is_err(), "the same id twice");
    shim.signal(&Target::Exec("e2".to_owned()), 15).await.unwrap();
    let status = long.exit.await.unwrap();
    assert_eq!((status.code, status.signal), (143, Some(15)));
    let error = shim.signal(&Target::Exec("e2".to_owned()), 15).await.unwrap_err();
    assert_eq!(error.to_string(), "no such exec: e2");
    end(&host, &shim, &mut started).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exec_has_a_terminal() {
    let host = Host::new();
    let (shim, mut started) = host.start(host.container("a", &["sleep", "1000"])).await;
    let (attach, mut stream) = Attach::pair(Streams { detach_keys: vec![16], ..all() }).unwrap();
    let mut run = exec("e1", &["sh"], Some(attach));
    run.process.terminal = true;
    let exec_started = shim.exec(run).await.unwrap();
    let target = Target::Exec("e1".to_owned());
    shim.resize(&target, 33, 77).await.unwrap();
    stream.write_all(b"stty size; exit 9\r").await.unwrap();
    read_until(&mut stream, "33 77\r\n").await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(exec_started.exit.await.unwrap().code, 9);
    let error = shim.resize(&Target::Container, 1, 1).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot resize: there is no terminal");
    end(&host, &shim, &mut started).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_executed_says_why() {
    let host = Host::new();
    let (shim, mut started) = host.start(host.container("a", &["sleep", "1000"])).await;
    let StartError::Runtime { code, message } = shim.exec(exec("e1", &["nosuch"], None)).await.unwrap_err()
    else {
        panic!("another error");
    };
    assert_eq!(code, 127, "{message}");
    assert!(message.starts_with("OCI runtime exec failed: exec failed: "), "{message}");
    assert!(message.contains("exec: \"nosuch\": executable file not found in $PATH"), "{message}");
    // The id is free again.
    shim.exec(exec("e1", &["true"], None)).await.unwrap().exit.await.unwrap();
    end(&host, &shim, &mut started).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_takes_its_execs_with_it() {
    let host = Host::new();
    let (shim, mut started) = host.start(host.container("a", &["sleep", "1000"])).await;
    let (attach, mut stream) = Attach::pair(output()).unwrap();
    let running = shim.exec(exec("e1", &shell("echo here; exec sleep 1000"), Some(attach))).await.unwrap();
    read_until(&mut stream, "here\n").await;
    shim.signal(&Target::Container, 9).await.unwrap();
    assert_eq!(running.exit.await.unwrap().code, 137);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(!is_alive(running.pid));
    assert_eq!(exited(&mut started).await.code, 137);
    let refused = shim.exec(exec("e2", &["true"], None)).await.unwrap_err();
    assert!(matches!(refused, StartError::NotRunning), "{refused}");
    shim.shutdown().await.unwrap();
    assert!(host.is_gone("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grandchild_that_keeps_the_pipe_does_not_keep_the_exec() {
    let host = Host::new();
    let (shim, mut started) = host.start(host.container("a", &["sleep", "1000"])).await;
    let (attach, mut stream) = Attach::pair(output()).unwrap();
    let script = "(sleep 0.5; echo late; sleep 1000) & echo early; exit 3";
    let running = shim.exec(exec("e1", &shell(script), Some(attach))).await.unwrap();
    let said = frames(&mut stream).await;
    assert_eq!(said.stdout, b"early\nlate\n");
    assert_eq!(running.exit.await.unwrap().code, 3);
    end(&host, &shim, &mut started).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_execs_at_once() {
    let host = Host::new();
    let (shim, mut started) = host.start(host.container("a", &["sleep", "1000"])).await;
    let mut all = tokio::task::JoinSet::new();
    for number in 0..20 {
        let shim = shim.clone();
        all.spawn(async move {
            let (attach, mut stream) = Attach::pair(output()).unwrap();
            let script = format!("echo {number}; exit {number}");
            let running =
                shim.exec(exec(&format!("e{number}"), &shell(&script), Some(attach))).await.unwrap();
            assert_eq!(frames(&mut stream).await.stdout, format!("{number}\n").as_bytes());
            assert_eq!(running.exit.await.unwrap().code, number);
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    end(&host, &shim, &mut started).await;
}

async fn end(host: &Host, shim: &berth_shim::client::Shim, started: &mut berth_shim::client::Started) {
    shim.signal(&Target::Container, 9).await.unwrap();
    assert_eq!(exited(started).await.code, 137);
    shim.shutdown().await.unwrap();
    assert!(host.is_gone("a"));
}
