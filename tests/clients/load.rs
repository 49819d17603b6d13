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

/// One answer from a connection that stays open: the status, with the body read to its end.
fn ask(stream: &mut UnixStream, buffer: &mut Vec<u8>, path: &str) -> u16 {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: d\r\n\r\n").as_bytes()).unwrap();
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
            None => buffer.ends_with(b"\r\n0\r\n\r\n"),
        };
        if whole {
            return text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
        }
    }
}

fn resident_kb(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
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
    // the allocator's arenas and the threads come with the first storms
    for _ in 0..4 {
        storm(&engine.socket(), &ids);
        eprintln!("{} kB", resident_kb(engine.pid()));
    }
    let before = resident_kb(engine.pid());
    for _ in 0..3 {
        assert_eq!(storm(&engine.socket(), &ids), CLIENTS * ROUNDS);
        eprintln!("{} kB", resident_kb(engine.pid()));
    }
    let after = resident_kb(engine.pid());
    assert!(after < before + (5 << 10), "the engine grew from {before} to {after} kB");
}
