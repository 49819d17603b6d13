//! Start, output, exit.
#![allow(clippy::unwrap_used)] // a helper may fail like a test

mod common;

use std::fs;

use berth_shim::client::{Attach, Event, Exit, Found, Runtime, StartError, StdinMode, reconnect};
use common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_runs_and_tells_how_it_ended() {
    let host = Host::new();
    let start = host.container("a", &shell("echo out; echo err >&2; exit 7"));
    let (shim, mut started) = host.start(start).await;
    assert!(started.pid > 0 && started.start_time > 0);
    let status = exited(&mut started).await;
    assert_eq!((status.code, status.signal, status.oom_killed), (7, None, false));
    assert_eq!(waited(&shim).await, Exit::Status(status.clone()));
    assert_eq!(host.log("a"), Said { stdout: b"out\n".into(), stderr: b"err\n".into() });
    eventually("the exit is recorded", || host.exit_file("a").exists()).await;
    let recorded: serde_json::Value =
        serde_json::from_slice(&fs::read(host.exit_file("a")).unwrap()).unwrap();
    assert_eq!(recorded["code"], 7);
    assert_eq!(recorded["finished_at_nanos"], status.finished_at_nanos);
    shim.shutdown().await.unwrap();
    assert!(host.is_gone("a"));
    assert!(started.events.recv().await.is_none(), "nothing follows");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_128_and_its_number() {
    let host = Host::new();
    let (shim, mut started) = host.start(host.container("a", &["sleep", "1000"])).await;
    shim.signal(&berth_shim::Target::Container, 9).await.unwrap();
    let status = exited(&mut started).await;
    assert_eq!((status.code, status.signal), (137, Some(9)));
    let error = shim.signal(&berth_shim::Target::Container, 9).await.unwrap_err();
    assert_eq!(error.to_string(), "container is not running");
    shim.shutdown().await.unwrap();
    assert!(host.is_gone("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_executed_says_why_and_leaves_nothing() {
    let host = Host::new();
    fs::write(host.root().join("tmp-file"), "text").unwrap();
    for (args, expect) in [
        (["nosuch"], (127, "executable file not found in $PATH")),
        (["/nosuch"], (127, "no such file or directory")),
        (["/tmp-file"], (126, "permission denied")),
    ] {
        let StartError::Runtime { code, message } = host.fail(host.container("a", &args)).await else {
            panic!("another error");
        };
        assert_eq!(code, expect.0, "{message}");
        assert!(message.contains(expect.1), "{message}");
        assert!(message.starts_with("OCI runtime create failed: "), "{message}");
        host.gone("a").await;
        assert!(!host.exit_file("a").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_opened_is_an_error_of_its_own() {
    let host = Host::new();
    let mut start = host.container("a", &["true"]);
    start.log.as_mut().unwrap().path = host.dir.path().join("nowhere/a.log");
    let error = host.fail(start).await;
    assert!(matches!(error, StartError::Log { .. }), "{error}");
    host.gone("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_attached_before_the_start_misses_nothing() {
    let host = Host::new();
    let mut start = host.container("a", &shell("echo first; echo second >&2; exec seq 1 20000"));
    let (attach, mut stream) = Attach::pair(output()).unwrap();
    start.attach.push(attach);
    let (shim, mut started) = host.start(start).await;
    let said = frames(&mut stream).await;
    let numbers: String = (1..=20000).map(|number| format!("{number}\n")).collect();
    assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("first\n{numbers}"));
    assert_eq!(said.stderr, b"second\n");
    assert_eq!(exited(&mut started).await.code, 0);
    shim.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn input_comes_through_and_its_end_too_when_it_is_once() {
    let host = Host::new();
    let mut start = host.container("a", &["cat"]);
    start.stdin = StdinMode::Once;
    let (attach, mut stream) = Attach::pair(all()).unwrap();
    start.attach.push(attach);
    let (shim, mut started) = host.start(start).await;
    let text = "some text\n".repeat(50_000);
    let (mut reader, mut writer) = stream.split();
    let mut said = Vec::new();
    let (written, read) = tokio::join!(
        async {
            writer.write_all(text.as_bytes()).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut said),
    );
    written.unwrap();
    read.unwrap();
    assert_eq!(exited(&mut started).await.code, 0);
    assert_eq!(host.log("a").stdout.len(), text.len());
    assert_eq!(host.log("a").stdout, text.as_bytes());
    shim.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn open_input_outlives_its_clients() {
    let host = Host::new();
    let mut start = host.container("a", &shell("while read line; do echo got $line; done"));
    start.stdin = StdinMode::Open;
    let (shim, mut started) = host.start(start).await;
    for word in ["one", "two"] {
        let mut stream = shim.attach(all()).await.unwrap();
        stream.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        read_until(&mut stream, &format!("got {word}\n")).await;
        stream.shutdown().await.unwrap();
        // The end of the input ends the client, not the container's input.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
    }
    shim.signal(&berth_shim::Target::Container, 9).await.unwrap();
    assert_eq!(exited(&mut started).await.code, 137);
    assert_eq!(host.log("a").stdout, b"got one\ngot two\n");
    shim.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_holds_the_container_back_and_a_gone_one_does_not() {
    let host = Host::new();
    let mut start = host.container("a", &shell("yes | head -c 30000000; touch /end"));
    let (attach, mut stream) = Attach::pair(output()).unwrap();
    start.attach.push(attach);
    start.log = None;
    let (shim, mut started) = host.start(start).await;
    let mut buffer = vec![0; 100_000];
    stream.read_exact(&mut buffer).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!host.root().join("end").exists(), "it was not held back");
    let mut other = shim.attach(output()).await.unwrap();
    drop(stream);
    let said = frames(&mut other).await;
    assert!(!said.stdout.is_empty());
    assert_eq!(exited(&mut started).await.code, 0);
    assert!(host.root().join("end").exists());
    shim.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_slow_at_the_end_still_gets_everything() {
    let host = Host::new();
    let mut start = host.container("a", &shell("yes | head -c 300000"));
    let (attach, mut stream) = Attach::pair(output()).unwrap();
    start.attach.push(attach);
    let (shim, mut started) = host.start(start).await;
    // Nothing is read until the container could have ended.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let said = frames(&mut stream).await;
    assert_eq!(exited(&mut started).await.code, 0);
    shim.shutdown().await.unwrap();
    assert_eq!(said.stdout.len(), 300_000);
    assert!(host.is_gone("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_raw_has_a_size_and_detaches() {
    let host = Host::new();
    let mut start =
        host.container("a", &shell("stty size; read word; echo got $word; stty size; sleep 1000"));
    start.stdin = StdinMode::Open;
    let process = start.spec.process.as_mut().unwrap();
    process.terminal = true;
    process.console_size = Some(berth_oci::runtime::ConsoleSize { height: 25, width: 90 });
    let streams = berth_shim::client::Streams { detach_keys: vec![16, 17], ..all() };
    let (mut attach, mut stream) = Attach::pair(streams).unwrap();
    attach.id = 5;
    start.attach.push(attach);
    let (shim, mut started) = host.start(start).await;
    read_until(&mut stream, "25 90\r\n").await;
    shim.resize(&berth_shim::Target::Container, 40, 100).await.unwrap();
    stream.write_all(b"word\r").await.unwrap();
    let seen = String::from_utf8(read_until(&mut stream, "40 100\r\n").await).unwrap();
    assert_eq!(seen, "word\r\ngot word\r\n40 100\r\n");
    stream.write_all(b"\x10\x11").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(event(&mut started).await, Event::Detached { id: 5 });
    shim.signal(&berth_shim::Target::Container, 9).await.unwrap();
    assert_eq!(exited(&mut started).await.code, 137);
    shim.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_are_held_until_the_end() {
    let host = Host::new();
    let mut start = host.container("a", &["sleep", "1000"]);
    let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = bound.local_addr().unwrap();
    start.hold.push(bound.into());
    for _ in 0..300 {
        start.hold.push(fs::File::open("/dev/null").unwrap().into());
    }
    let (shim, mut started) = host.start(start).await;
    let refused = std::net::TcpListener::bind(address).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
    shim.signal(&berth_shim::Target::Container, 9).await.unwrap();
    exited(&mut started).await;
    std::net::TcpListener::bind(address).unwrap();
    shim.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_shim_is_in_the_container() {
    let host = Host::new();
    // Without a shell, which has habits of its own.
    let (_, said) = host.run(host.container("a", &["ls", "/proc/self/fd"])).await;
    // The last is what `ls` reads the directory by.
    assert_eq!(String::from_utf8(said.stdout).unwrap(), "0\n1\n2\n3\n");
    let (_, said) = host.run(host.container("b", &["grep", "^Sig[BI]", "/proc/self/status"])).await;
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("SigBlk:\t0000000000000000\n"), "{text}");
    if host.runtime() == Runtime::Linked {
        assert!(text.contains("SigIgn:\t0000000000000000\n"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_in_the_same_place_is_another_run() {
    let host = Host::new();
    for code in [3, 4] {
        let (status, _) = host.run(host.container("a", &shell(&format!("echo {code}; exit {code}")))).await;
        assert_eq!(status.code, code);
    }
    assert_eq!(host.log("a").stdout, b"3\n4\n");
    assert!(!host.exit_file("a").exists(), "an exit that was taken at once needs no record");
    let found = reconnect(&host.shim_dir("a"), &host.exit_file("a")).await.unwrap();
    assert!(matches!(found, Found::Gone(None)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hooks_run_when_the_container_is_gone() {
    let host = Host::new();
    let mark = host.dir.path().join("mark");
    let mut start = host.container("a", &["true"]);
    let hook = berth_oci::runtime::Hook {
        path: "/bin/busybox".to_owned(),
        args: ["sh", "-c", &format!("cat > {0}.new; mv {0}.new {0}", mark.display())]
            .map(str::to_owned)
            .into(),
        ..Default::default()
    };
    start.spec.hooks = Some(berth_oci::runtime::Hooks { poststop: vec![hook], ..Default::default() });
    let (status, _) = host.run(start).await;
    assert_eq!(status.code, 0);
    eventually("the hook has run", || mark.exists()).await;
    let state: serde_json::Value = serde_json::from_slice(&fs::read(mark).unwrap()).unwrap();
    assert_eq!((state["id"].as_str(), state["status"].as_str()), (Some(&*host.id("a")), Some("stopped")));
}
