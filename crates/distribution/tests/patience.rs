//! Registries that neither bring nor take anything to speak of: a pull or push ends, and nothing stays of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use berth_distribution::{Client, Options, Pull, Push};
use berth_store::image::Import;
use berth_store::{Store, digest_of};

/// Serves each connection with one request, given by its first line and the length of its body, which is not read.
fn listen(serve: impl Fn(&str, u64, BufReader<TcpStream>) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                let (mut first, mut length) = (String::new(), 0);
                stream.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    match line.trim_end().split_once(": ") {
                        Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                            length = value.parse().unwrap();
                        }
                        Some(_) => {}
                        None => break,
                    }
                }
                serve(&first, length, stream);
            });
        }
    });
    host
}

fn answer(stream: &mut BufReader<TcpStream>, status: &str, headers: &str, body: &[u8]) {
    let head =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    stream.get_mut().write_all(&[head.as_bytes(), body].concat()).ok();
}

fn client() -> Client {
    Client::new(Options { patience: Duration::from_millis(200), attempts: 2, ..Options::default() })
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&berth_store::Options::new(dir.path().join("data"))).unwrap();
    (dir, store)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
}

fn leftovers(dir: &tempfile::TempDir) -> usize {
    let entries = |name: &str| std::fs::read_dir(dir.path().join("data").join(name)).unwrap().count();
    entries("ingest") + entries("layers") + entries("blobs/sha256")
}

#[test]
fn a_drip_is_no_download() {
    let layer = vec![0; 1 << 20];
    let diff_id = digest_of(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let part = |kind: &str, bytes: &[u8]| {
        let (digest, size) = (digest_of(bytes), bytes.len());
        format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}}}"#)
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        part("config.v1+json", config.as_bytes()),
        part("layer.v1.tar", &layer)
    );
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let host = listen(move |first, _, mut stream| {
        if first.contains("/manifests/") {
            let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
            return answer(&mut stream, "200 OK", kind, manifest.as_bytes());
        }
        if first.contains(diff_id.as_str()) {
            counter.fetch_add(1, Ordering::Relaxed);
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1048576\r\n\r\n";
            stream.get_mut().write_all(head.as_bytes()).unwrap();
            while stream.get_mut().write_all(&[0; 10]).is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
            return;
        }
        answer(&mut stream, "200 OK", "", config.as_bytes());
    });
    let (dir, store) = store();
    let pull = Pull {
        reference: format!("{host}/x:1").parse().unwrap(),
        all_tags: false,
        platform: None,
        credentials: None,
    };
    let on_update: berth_distribution::OnUpdate = Arc::new(|_| {});
    let error = block_on(async { client().pull(store.images(), &pull, &on_update).await }).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("only ") && text.contains(" bytes in 200ms"), "{text}");
    assert_eq!(asked.load(Ordering::Relaxed), 2, "once more, and not for ever");
    assert_eq!(leftovers(&dir), 0);
}

/// `takes`: the bytes that the registry reads of a layer before it does nothing any more.
fn stalled(takes: impl Fn(u64) -> u64 + Send + Sync + 'static) -> String {
    let host = listen(move |first, length, mut stream| match first.split(' ').next().unwrap() {
        "HEAD" => answer(&mut stream, "404 Not Found", "", b""),
        "POST" => answer(&mut stream, "202 Accepted", "Location: /v2/x/blobs/uploads/1\r\n", b""),
        "PUT" if length > 1 << 20 => {
            std::io::copy(&mut (&mut stream).take(takes(length)), &mut std::io::sink()).ok();
            std::thread::sleep(Duration::from_secs(60));
        }
        _ => {
            std::io::copy(&mut (&mut stream).take(length), &mut std::io::sink()).unwrap();
            answer(&mut stream, "201 Created", "", b"");
        }
    });
    let (_dir, store) = store();
    let mut noise = vec![0; 16 << 20];
    getrandom::fill(&mut noise).unwrap();
    let mut tar = berth_store::tar::Writer::new(Vec::new());
    let entry = berth_store::tar::Entry {
        path: b"noise".to_vec(),
        size: noise.len() as u64,
        ..berth_store::tar::Entry::default()
    };
    tar.file(&entry, &noise).unwrap();
    let tar = tar.finish().unwrap();
    let reference: berth_oci::Reference = format!("{host}/x:1").parse().unwrap();
    let import = Import { name: Some(reference.clone()), ..Import::default() };
    store.images().import(&mut &tar[..], &import).unwrap();
    let push = Push { reference, all_tags: false, credentials: None };
    let on_update: berth_distribution::OnUpdate = Arc::new(|_| {});
    block_on(async { client().push(store.images(), &push, &on_update).await }).unwrap_err().to_string()
}

#[test]
fn a_registry_that_takes_nothing_more_holds_up_no_push() {
    let text = stalled(|_| 1 << 20);
    assert!(text.contains("nothing was taken for 800ms"), "{text}");
}

#[test]
fn a_registry_that_does_not_answer_is_waited_for_only_so_long() {
    let text = stalled(|length| length);
    assert!(text.contains("timeout awaiting response headers"), "{text}");
}
