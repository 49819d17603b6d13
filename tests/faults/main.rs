//! Black-box tests: what is cut in the middle goes on, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod destination;
mod full;
mod kills;
mod space;
mod usage;

use berth_tests::{Engine, until};

#[test]
fn containers_outlive_a_killed_engine() {
    let mut engine = Engine::with_images(&["busybox"]);
    for number in 0..10 {
        let script =
            format!("i=0; while [ $i -lt 50 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; exit {number}");
        let name = format!("c{number}");
        let args = ["run", "-d", "--name", &name, "busybox", "sh", "-c", &script];
        engine.run(berth_tests::Client::Docker, &args).ok();
    }
    engine.berth("run -d --name web -p 28300:80 busybox httpd -f -p 80 -h /var/www").ok();
    until("the page", 10, || page().contains("it works"));
    engine.kill9();
    assert!(page().contains("it works"), "the port answers without the engine");
    std::thread::sleep(std::time::Duration::from_millis(500));
    engine.up();
    assert_eq!(engine.docker("ps -q").ok().lines().count(), 11);
    assert!(page().contains("it works"), "the port answers after the engine's return");
    for number in 0..10 {
        assert_eq!(engine.docker(&format!("wait c{number}")).ok(), number.to_string());
        let lines: Vec<String> = (0..50).map(|line| format!("line {line}")).collect();
        assert_eq!(engine.docker(&format!("logs c{number}")).ok(), lines.join("\n"));
    }
    assert_eq!(engine.docker("exec web echo in").ok(), "in");
}

fn page() -> String {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", 28_300)) else { return String::new() };
    let mut text = String::new();
    let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn a_thousand_containers_leave_the_host_as_it_was() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("run --rm busybox true").ok();
    engine.assert_clean();
    for _ in 0..1000 {
        engine.berth("run --rm busybox true").ok();
    }
    engine.assert_clean();
    assert_eq!(engine.berth("ps -aq").ok(), "");
}

#[test]
fn fifty_at_once_leave_the_host_as_it_was() {
    let engine = Engine::with_images(&["busybox"]);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| assert_eq!(engine.berth("run --rm busybox echo here").ok(), "here"));
        }
    });
    engine.assert_clean();
}
