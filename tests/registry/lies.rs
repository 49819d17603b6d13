//! Registries that lie, break off, drip, or ask for what is not theirs: a clear error, and nothing stays.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use berth_tests::{Client, Engine, run, until};
use sha2::Digest as _;

use crate::server::{Request, Server, answer};

/// An image of one layer, as a registry has it.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layer: Vec<u8>,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Image {
    /// An image whose layer holds one file of incompressible bytes.
    pub(crate) fn new(length: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let noise: Vec<u8> =
            (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(dir.path().join("file"), noise).unwrap();
        let tar = dir.path().join("layer.tar");
        run(Command::new("tar").arg("-C").arg(dir.path()).arg("-cf").arg(&tar).arg("file")).ok();
        let diff_id = digest(&fs::read(&tar).unwrap());
        run(Command::new("gzip").arg("-1").arg(&tar)).ok();
        Self::of(fs::read(dir.path().join("layer.tar.gz")).unwrap(), &diff_id)
    }

    /// An image of this compressed layer.
    pub(crate) fn of(layer: Vec<u8>, diff_id: &str) -> Self {
        let config = serde_json::json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
            "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        });
        let config = config.to_string().into_bytes();
        let manifest = Self::manifest(&config, &layer);
        Self { manifest, config, layer }
    }

    pub(crate) fn manifest(config: &[u8], layer: &[u8]) -> Vec<u8> {
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config),
                       "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(layer),
                        "size": layer.len()}],
        });
        manifest.to_string().into_bytes()
    }

    /// Answers as an honest registry would.
    pub(crate) fn serve(&self, request: &Request, stream: &mut TcpStream) {
        if request.path.contains("/manifests/") {
            answer(stream, "200 OK", &[("Content-Type", MANIFEST)], &self.manifest);
        } else if request.path.ends_with(&digest(&self.config)) {
            answer(stream, "200 OK", &[], &self.config);
        } else if request.path.ends_with(&digest(&self.layer)) {
            answer(stream, "200 OK", &[], &self.layer);
        } else if request.path == "/v2/" {
            answer(stream, "200 OK", &[], b"{}");
        } else {
            answer(stream, "404 Not Found", &[], b"{}");
        }
    }

    pub(crate) fn is_layer(&self, request: &Request) -> bool {
        request.path.ends_with(&digest(&self.layer))
    }
}

/// Pulls and expects a failure with this text; nothing may be left.
#[track_caller]
pub(crate) fn refused(engine: &Engine, server: &Server, expect: &str) {
    let failed = engine.docker(&format!("pull {}/x:1", server.host));
    assert!(failed.fails(1).contains(expect), "{failed:?}");
    assert_eq!(engine.docker("images -aq").ok(), "");
    until("nothing is left of the pull", 10, || {
        ["ingest", "layers", "trash", "blobs/sha256"].iter().all(|name| {
            let folder = engine.data_root().join("store").join(name);
            fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
        })
    });
}

#[test]
fn wrong_bytes_lengths_and_documents_are_refused() {
    let engine = Engine::start();
    let good = Image::new(100_000);
    let mut bent = good.clone();
    let middle = bent.layer.len() - 5;
    bent.layer[middle] ^= 1;
    let lying = Server::start("127.0.0.1", move |request, stream| {
        let wanted = &good;
        if wanted.is_layer(request) {
            answer(stream, "200 OK", &[], &bent.layer);
        } else {
            wanted.serve(request, stream);
        }
    });
    refused(&engine, &lying, "");

    let endless = Image::new(100_000);
    let lying = Server::start("127.0.0.1", move |request, stream| {
        if !endless.is_layer(request) {
            return endless.serve(request, stream);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(&endless.layer);
        while stream.write_all(&[0; 4096]).is_ok() {}
    });
    refused(&engine, &lying, "is longer than the");

    let mut image = Image::new(10);
    let mut both: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    both["manifests"] = serde_json::json!([]);
    image.manifest = both.to_string().into_bytes();
    let lying = Server::start("127.0.0.1", move |request, stream| image.serve(request, stream));
    refused(&engine, &lying, "manifest has both manifests and layers");

    let mut image = Image::new(10);
    image.manifest = br#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#.to_vec();
    let lying = Server::start("127.0.0.1", move |request, stream| image.serve(request, stream));
    refused(&engine, &lying, "schema version 1 is not supported");

    let image = Image::new(10);
    let other = Image::new(20);
    let crossed =
        Image { manifest: Image::manifest(&other.config, &image.layer), config: other.config, ..image };
    let lying = Server::start("127.0.0.1", move |request, stream| crossed.serve(request, stream));
    refused(&engine, &lying, "as the image's configuration says");
}

#[test]
fn redirects_in_a_circle_end() {
    let engine = Engine::start();
    let lying = Server::start("127.0.0.1", |request, stream| {
        answer(stream, "307 Temporary Redirect", &[("Location", &request.path)], b"");
    });
    refused(&engine, &lying, "redirects");
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    for ranges in [true, false] {
        let image = Image::new(400_000);
        let (served, tries) = (image.clone(), AtomicU32::new(0));
        let server = Server::start("127.0.0.1", move |request, stream| {
            if !served.is_layer(request) {
                return served.serve(request, stream);
            }
            let length = served.layer.len();
            let start = request
                .headers
                .get("range")
                .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
            let start = start.filter(|_| ranges).unwrap_or(0);
            let rest = &served.layer[start..];
            let head = if start > 0 {
                format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{length}", length - 1)
            } else {
                "200 OK".to_owned()
            };
            let head =
                format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", rest.len());
            let _ = stream.write_all(head.as_bytes());
            // The first two tries break off.
            let cut = if tries.fetch_add(1, Ordering::Relaxed) < 2 { rest.len() / 2 } else { rest.len() };
            let _ = stream.write_all(&rest[..cut]);
        });
        let engine = Engine::start();
        engine.docker(&format!("pull {}/x:1", server.host)).ok();
        let seen: Vec<Request> =
            server.seen().into_iter().filter(|request| image.is_layer(request)).collect();
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(!seen[0].headers.contains_key("range"));
        assert!(seen[2].headers["range"].starts_with("bytes="), "{seen:?}");
    }
}

#[test]
fn a_registry_that_asks_for_patience_gets_it() {
    let (image, asked) = (Image::new(1000), AtomicU32::new(0));
    let server = Server::start("127.0.0.1", move |request, stream| {
        if request.path.contains("/manifests/") && asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return answer(stream, "429 Too Many Requests", &[("Retry-After", "1")], b"{}");
        }
        image.serve(request, stream);
    });
    let engine = Engine::start();
    engine.docker(&format!("pull {}/x:1", server.host)).ok();
    // One that asks for too much of it is an error that says so.
    let server = Server::start("127.0.0.1", |_, stream| {
        let body =
            br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
        answer(stream, "429 Too Many Requests", &[("Retry-After", "21600")], body);
    });
    let failed = engine.docker(&format!("pull {}/x:1", server.host));
    assert!(
        failed.fails(1).contains("toomanyrequests: You have reached your pull rate limit."),
        "{failed:?}"
    );
}

/// The client's configuration with credentials for these hosts.
pub(crate) fn credentials(engine: &Engine, hosts: &[&str]) {
    let auths: serde_json::Map<String, serde_json::Value> =
        hosts.iter().map(|host| ((*host).to_owned(), serde_json::json!({"auth": "dTpzZWNyZXQ="}))).collect();
    fs::create_dir_all(engine.dir.join("config")).unwrap();
    fs::write(engine.dir.join("config/config.json"), serde_json::json!({ "auths": auths }).to_string())
        .unwrap();
}

#[test]
fn tokens_are_fetched_from_the_registrys_own_service() {
    let image = Image::new(1000);
    let server = Server::start("127.0.0.1", move |request, stream| {
        let host = request.headers["host"].clone();
        if let Some(query) = request.path.strip_prefix("/token?") {
            assert!(query.contains("service=s") && query.contains("scope=repository%3Ax%3Apull"), "{query}");
            assert_eq!(request.headers.get("authorization").map(String::as_str), Some("Basic dTpzZWNyZXQ="));
            return answer(stream, "200 OK", &[], br#"{"token":"t0ken","expires_in":60}"#);
        }
        if request.headers.get("authorization").map(String::as_str) != Some("Bearer t0ken") {
            let challenge =
                format!("Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:x:pull\"");
            return answer(stream, "401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"{}");
        }
        image.serve(request, stream);
    });
    let engine = Engine::start();
    credentials(&engine, &[&server.host]);
    engine.docker(&format!("pull {}/x:1", server.host)).ok();
    assert_eq!(server.seen().iter().filter(|request| request.path.starts_with("/token")).count(), 1);
}

#[test]
fn credentials_go_nowhere_else() {
    let image = Image::new(1000);
    let elsewhere = {
        let image = image.clone();
        Server::start("127.0.0.2", move |request, stream| {
            if request.path.starts_with("/token") {
                return answer(stream, "200 OK", &[], br#"{"token":"t0ken"}"#);
            }
            image.serve(request, stream);
        })
    };
    // A token service at another address.
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", elsewhere.host);
    let asking = Server::start("127.0.0.1", move |_, stream| {
        answer(stream, "401 Unauthorized", &[("WWW-Authenticate", &realm)], b"{}");
    });
    let engine = Engine::start();
    credentials(&engine, &[&asking.host]);
    refused(&engine, &asking, "which is not of its site: refused");
    assert_eq!(elsewhere.seen().len(), 0);

    // Layers that lie at another address.
    let target = elsewhere.host.clone();
    let served = image.clone();
    let redirecting = Server::start("127.0.0.1", move |request, stream| {
        if request.headers.get("authorization").map(String::as_str) != Some("Basic dTpzZWNyZXQ=") {
            return answer(stream, "401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"r\"")], b"{}");
        }
        if served.is_layer(request) {
            let location = format!("http://{target}{}", request.path);
            return answer(stream, "307 Temporary Redirect", &[("Location", &location)], b"");
        }
        served.serve(request, stream);
    });
    credentials(&engine, &[&redirecting.host]);
    engine.docker(&format!("pull {}/x:1", redirecting.host)).ok();
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(!seen[0].headers.contains_key("authorization"), "{seen:?}");
}

#[test]
fn a_layer_that_many_pulls_want_is_fetched_once() {
    let image = Image::new(300_000);
    let served = Arc::new(image.clone());
    let server = Server::start("127.0.0.1", move |request, stream| {
        if served.is_layer(request) {
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        served.serve(request, stream);
    });
    let engine = Engine::start();
    std::thread::scope(|scope| {
        for tag in 1..=4 {
            let (engine, host) = (&engine, &server.host);
            scope.spawn(move || {
                engine.run(Client::Docker, &["pull", &format!("{host}/x:{tag}")]).ok().to_owned()
            });
        }
    });
    assert_eq!(server.seen().iter().filter(|request| image.is_layer(request)).count(), 1);
    assert_eq!(engine.docker("images -q").ok().lines().count(), 4);
}

#[test]
fn a_killed_engine_leaves_no_part_of_a_pull() {
    let image = Image::new(200_000);
    let served = image.clone();
    let server = Server::start("127.0.0.1", move |request, stream| {
        if !served.is_layer(request) {
            return served.serve(request, stream);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", served.layer.len());
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&served.layer[..served.layer.len() / 2]);
        std::thread::sleep(std::time::Duration::from_secs(20));
    });
    let mut engine = Engine::start();
    let mut pull =
        engine.command(Client::Docker, &["pull", &format!("{}/x:1", server.host)]).spawn().unwrap();
    until("the layer is on its way", 10, || server.seen().iter().any(|request| image.is_layer(request)));
    engine.kill9();
    assert!(!pull.wait().unwrap().success());
    engine.up();
    assert_eq!(engine.docker("images -aq").ok(), "");
    until("nothing is left of the pull", 10, || {
        ["ingest", "layers", "trash"].iter().all(|name| {
            let folder = engine.data_root().join("store").join(name);
            fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
        })
    });
}
