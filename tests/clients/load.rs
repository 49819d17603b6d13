//! Many clients at once: no request fails, and the engine holds afterwards what it held before.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use berth_tests::Engine;

const CLIENTS: usize = 200;
const CONTAINERS: usize = 50;
const ROUNDS: usize = 40;

/// Lives of containers that a client of the mixed traffic goes through in one burst.
const LIVES: usize = 12;

/// [`send`] of a GET.
fn ask(stream: &mut UnixStream, buffer: &mut Vec<u8>, path: &str) -> u16 {
    send(stream, buffer, "GET", path, "")
}

/// One answer from a connection that stays open: the status, with the answer read to its end.
fn send(stream: &mut UnixStream, buffer: &mut Vec<u8>, method: &str, path: &str, body: &str) -> u16 {
    let length = body.len();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: d\r\n{kind}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).unwrap();
    buffer.clear();
    let mut piece = [0; 64 << 10];
    loop {
        let size = stream.read(&mut piece).unwrap();
        assert!(size > 0, "{path}: the connection ended after {:?}", String::from_utf8_lossy(buffer));
        buffer.extend_from_slice(&piece[..size]);
        let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
        let whole = match text.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            Some(length) => buffer.len() == head + 4 + length.parse::<usize>().unwrap(),
            None if ["204", "304"].iter().any(|code| text.split(' ').nth(1) == Some(code)) => true,
            None => buffer.ends_with(b"\r\n0\r\n\r\n"),
        };
        if whole {
            return text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
        }
    }
}

/// What a process has of its own: its stacks and heaps, without pages of the program and of files.
fn own_kb(pid: u32) -> u64 {
    kb(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap(), "Anonymous:")
}

fn kb(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// All clients at once, each on its own connection; how many requests were answered with 200.
fn storm(socket: &PathBuf, ids: &[String]) -> usize {
    let good = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let good = &good;
            let run = move || {
                let mut stream = UnixStream::connect(socket).unwrap();
                let mut buffer = Vec::new();
                for round in 0..ROUNDS {
                    let id = &ids[(client + round) % ids.len()];
                    let path = match (client + round) % 6 {
                        0 => "/v1.45/containers/json?all=1".to_owned(),
                        1 => format!("/v1.45/containers/{id}/json"),
                        2 => format!("/v1.45/containers/{id}/logs?stdout=1&stderr=1"),
                        3 => "/v1.45/images/json".to_owned(),
                        4 => format!("/v1.45/containers/{id}/stats?stream=0&one-shot=1"),
                        _ => "/_ping".to_owned(),
                    };
                    let code = ask(&mut stream, &mut buffer, &path);
                    assert_eq!(code, 200, "{path}: {}", String::from_utf8_lossy(&buffer));
                    good.fetch_add(1, Ordering::Relaxed);
                }
            };
            std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, run).unwrap();
        }
    });
    good.into_inner()
}

#[test]
fn two_hundred_clients_of_fifty_containers() {
    let engine = Engine::with_images(&["busybox"]);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let start = |number: usize| {
            let engine = &engine;
            move || {
                let line =
                    format!("run -d --name load{number} busybox sh -c echo${{IFS}}said;sleep${{IFS}}600");
                engine.berth(&line).ok().to_owned()
            }
        };
        let all: Vec<_> = (0..CONTAINERS).map(|number| scope.spawn(start(number))).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let before = own_kb(engine.pid());
    for _ in 0..5 {
        assert_eq!(storm(&engine.socket(), &ids), CLIENTS * ROUNDS);
        eprintln!("{} kB of its own", own_kb(engine.pid()));
    }
    // what the storm needed is given back in a pause
    berth_tests::until("the engine holds what it held", 60, || own_kb(engine.pid()) < before + (5 << 10));
}

/// What one client does again and again: whole lives of containers, with everything that is asked about them, execs
/// that are started and such that never are, and requests that are refused.
fn lives(socket: &PathBuf, client: usize) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut buffer = Vec::new();
    for round in 0..LIVES {
        let name = format!("mixed{client}-{round}");
        let mut step = |method: &str, path: &str, body: &str, expect: u16| {
            let path = format!("/v1.45{path}");
            let code = send(&mut stream, &mut buffer, method, &path, body);
            let text = String::from_utf8_lossy(&buffer);
            assert_eq!(code, expect, "{method} {path}: {text}");
            text.split('"').skip_while(|word| *word != "Id").nth(2).unwrap_or_default().to_owned()
        };
        let body =
            r#"{"Image":"busybox","Cmd":["sh","-c","echo said; sleep 600"],"Labels":{"of":"the load"}}"#;
        step("POST", &format!("/containers/create?name={name}"), body, 201);
        step("POST", &format!("/containers/create?name={name}"), body, 409);
        step("POST", &format!("/containers/{name}/start"), "", 204);
        for _ in 0..4 {
            let exec = r#"{"Cmd":["true"],"AttachStdout":true,"Env":["SOME=environment of the load"]}"#;
            step("POST", &format!("/containers/{name}/exec"), exec, 201);
            let exec = step("POST", &format!("/containers/{name}/exec"), exec, 201);
            step("POST", &format!("/exec/{exec}/start"), r#"{"Detach":true}"#, 200);
            step("GET", &format!("/exec/{exec}/json"), "", 200);
        }
        for path in [
            "/containers/NAME/json",
            "/containers/NAME/logs?stdout=1&stderr=1",
            "/containers/NAME/stats?stream=0&one-shot=1",
            "/containers/NAME/top",
            "/containers/NAME/changes",
            "/containers/json?all=1&size=1",
            "/containers/json?all=1",
            "/events?since=1&until=2",
            "/images/json",
            "/system/df",
            "/info",
        ] {
            step("GET", &path.replace("NAME", &name), "", 200);
        }
        step("GET", &format!("/containers/nosuch{round}/json"), "", 404);
        step("POST", &format!("/containers/{name}/kill"), "", 204);
        step("POST", &format!("/containers/{name}/wait"), "", 200);
        step("DELETE", &format!("/containers/{name}?v=1"), "", 204);
    }
}

#[test]
fn mixed_traffic_leaves_nothing_behind() {
    let engine = Engine::with_images(&["busybox"]);
    let burst = || {
        std::thread::scope(|scope| {
            for client in 0..8 {
                let socket = engine.socket();
                scope.spawn(move || lives(&socket, client));
            }
        });
        eprintln!("{} kB of its own", own_kb(engine.pid()));
    };
    burst();
    let before = own_kb(engine.pid());
    (0..4).for_each(|_| burst());
    // what is free is given back in a pause
    berth_tests::until("the engine holds what it held", 60, || own_kb(engine.pid()) < before + (5 << 10));
}
