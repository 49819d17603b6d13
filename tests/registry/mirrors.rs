//! Mirrors of any registry: asked first, left where they are down or lie, told nothing of who asks. Proxies.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use berth_tests::{Client, Engine, until};

use crate::debian::Registry;
use crate::lies::{Image, credentials};
use crate::server::{Server, answer};

/// An engine with this `daemon.json`.
fn engine_with(config: &serde_json::Value) -> (Engine, std::path::PathBuf) {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("berth-mirrors-{}-{number}.json", std::process::id()));
    fs::write(&path, config.to_string()).unwrap();
    let engine = Engine::start_with(&["--config-file", &path.display().to_string()]);
    (engine, path)
}

/// `daemon.json` with these mirrors of one registry.
fn mirrors(registry: &str, mirrors: &[String]) -> serde_json::Value {
    serde_json::json!({"registries": {registry: {"mirrors": mirrors}}})
}

#[test]
fn a_mirror_that_is_down_or_lies_is_left_for_the_registry() {
    let image = Image::new(200_000);
    let served = image.clone();
    let registry = Server::start("127.0.0.1", move |request, stream| {
        if request.headers.get("authorization").map(String::as_str) != Some("Basic dTpzZWNyZXQ=") {
            return answer(stream, "401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"r\"")], b"{}");
        }
        served.serve(request, stream);
    });
    let name = &registry.host;
    let served = image.clone();
    let whole = Server::start("127.0.0.2", move |request, stream| served.serve(request, stream));
    let mut bent = image.clone();
    let middle = bent.layer.len() / 2;
    bent.layer[middle] ^= 1;
    let served = image.clone();
    let lying = Server::start("127.0.0.2", move |request, stream| {
        if served.is_layer(request) {
            return answer(stream, "200 OK", &[], &bent.layer);
        }
        served.serve(request, stream);
    });
    let crooked = Server::start("127.0.0.2", |request, stream| {
        let body = if request.path.contains("/manifests/") { &b"<html>"[..] } else { b"{}" };
        answer(stream, "200 OK", &[], body);
    });
    let busy = Server::start("127.0.0.2", |_, stream| {
        answer(stream, "429 Too Many Requests", &[("Retry-After", "30")], b"{}");
    });
    let closed = Server::start("127.0.0.2", |_, stream| {
        answer(stream, "401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"m\"")], b"{}");
    });
    let url = |server: &Server| format!("http://{}", server.host);
    let down = "http://127.0.0.2:1".to_owned();
    let (engine, path) = engine_with(&mirrors(name, &[down.clone(), url(&whole)]));
    credentials(&engine, &[name]);
    let shown = engine.run(Client::Docker, &["info", "--format", "{{json .RegistryConfig.IndexConfigs}}"]);
    let shown: serde_json::Value = serde_json::from_str(shown.ok()).unwrap();
    assert_eq!(shown[name]["Mirrors"], serde_json::json!([down, url(&whole)]));
    let info = engine.run(Client::Berth, &["info"]);
    assert!(info.ok().contains(&format!("  {} ({name})\n", url(&whole))), "{info:?}");
    engine.docker(&format!("pull {name}/x:1")).ok();
    assert_eq!(registry.seen().len(), 0, "the mirror has all of it");
    engine.docker(&format!("rmi {name}/x:1")).ok();

    // Each of these is left for the registry, after a reload.
    for (what, mirror, told) in [
        ("down", down, ""),
        ("a layer that lies", url(&lying), "is left out: "),
        ("a manifest that is none", url(&crooked), "is left out: "),
        ("no more patience", url(&busy), ""),
        ("closed", url(&closed), ""),
    ] {
        fs::write(&path, mirrors(name, &[mirror]).to_string()).unwrap();
        let before = engine.log().len();
        let pid = rustix::process::Pid::from_raw(i32::try_from(engine.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        until("the engine has reloaded", 10, || engine.log()[before..].contains("reload"));
        let pulled = engine.docker(&format!("pull {name}/x:1"));
        assert!(pulled.ok().contains("Status: Downloaded newer image for"), "{what}: {pulled:?}");
        assert!(pulled.stdout.contains(told), "{what}: {pulled:?}");
        engine.docker(&format!("rmi {name}/x:1")).ok();
    }
    assert!(registry.seen().len() > 5);
    for mirror in [&whole, &lying, &crooked, &busy, &closed] {
        assert!(!mirror.seen().is_empty());
        let told = mirror.seen().into_iter().find(|request| request.headers.contains_key("authorization"));
        assert!(told.is_none(), "{told:?}");
    }
    drop(engine);
    fs::remove_file(path).unwrap();
}

#[test]
fn settings_of_registries_that_make_no_sense_are_refused() {
    for (config, expect) in [
        (r#"{"registries":{"r.example":{"mirrors":["ftp://x"]}}}"#, "invalid mirror: \"ftp://x\""),
        (r#"{"registries":{"https://r.example":{}}}"#, "invalid registry: \"https://r.example\""),
        (r#"{"registries":{"r.example":{"mirror":[]}}}"#, "registries: r.example: unknown field `mirror`"),
        (r#"{"registries":[]}"#, "registries: an object by host is wanted"),
    ] {
        let path = std::env::temp_dir().join(format!("berth-registries-{}.json", std::process::id()));
        fs::write(&path, config).unwrap();
        let file = path.display().to_string();
        let args = ["daemon", "--validate", "--config-file", &file];
        let refused = berth_tests::run(std::process::Command::new(berth_tests::berth_bin()).args(args));
        assert!(refused.fails(1).contains(expect), "{config}: {refused:?}");
        fs::remove_file(path).unwrap();
    }
}

/// A proxy that takes every host for `to`, and whom it was asked for.
fn proxy(to: String) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = std::sync::Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let (to, log) = (to.clone(), std::sync::Arc::clone(&log));
            std::thread::spawn(move || pass(stream, &to, &log));
        }
    });
    (address, asked)
}

fn pass(mut stream: TcpStream, to: &str, log: &std::sync::Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    log.lock().unwrap().push(line.split(' ').nth(1).unwrap_or_default().to_owned());
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    let mut beyond = TcpStream::connect(to).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let mut back = (beyond.try_clone().unwrap(), stream.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = reader.read(&mut bytes) {
        if beyond.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
}

#[test]
fn registries_behind_a_proxy_are_reached_through_it() {
    let registry = Registry::open();
    let (address, asked) = proxy(registry.host.clone());
    // Nothing but the proxy knows this name.
    let config = serde_json::json!({
        "proxies": {"http-proxy": address, "https-proxy": address, "no-proxy": "other.invalid"},
        "registries": {"registry.invalid:5000": {"insecure": true}},
    });
    let (engine, path) = engine_with(&config);
    engine.import("busybox");
    engine.docker("tag busybox registry.invalid:5000/b:1").ok();
    engine.docker("push registry.invalid:5000/b:1").ok();
    engine.docker("rmi registry.invalid:5000/b:1 busybox").ok();
    engine.docker("pull registry.invalid:5000/b:1").ok();
    assert!(asked.lock().unwrap().iter().all(|host| host == "registry.invalid:5000"));
    assert!(!asked.lock().unwrap().is_empty());
    let before = asked.lock().unwrap().len();
    let direct = engine.docker("pull other.invalid/b:1");
    assert_eq!((direct.code, asked.lock().unwrap().len()), (1, before), "{direct:?}");
    drop(engine);
    fs::remove_file(path).unwrap();
}
