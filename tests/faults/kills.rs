//! An engine that is killed at any moment: what was acknowledged stays true, and nothing is left.
#![allow(clippy::unwrap_used)] // a helper may fail like a test

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_tests::{Engine, run, until};

const KILLS: u32 = 60;
const WORKERS: u64 = 4;

/// One answered request; none if the connection ended before the answer was whole.
fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    );
    write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// A container, and what the engine has said of it.
#[derive(Debug, Default)]
struct Known {
    name: String,
    code: i64,
    auto_remove: bool,
    created: bool,
    start_asked: bool,
    started: bool,
    removal_asked: bool,
    removed: bool,
}

/// Numbers without any order.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Makes, starts and removes containers until the engine is gone.
fn work(socket: &Path, round: u32, mut random: Random, known: &Mutex<Vec<Known>>, stop: &AtomicBool) {
    let worker = random.0;
    for number in 0.. {
        let mut container = Known {
            name: format!("r{round}-{worker:x}-{number}"),
            code: i64::try_from(random.below(200)).unwrap(),
            auto_remove: random.below(5) == 0,
            ..Known::default()
        };
        let script = format!("sleep 0.0{}; exit {}", random.below(10), container.code);
        let body = serde_json::json!({
            "Image": "busybox", "Cmd": ["sh", "-c", script],
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"AutoRemove": container.auto_remove, "PublishAllPorts": random.below(2) == 0},
        });
        let create = format!("/containers/create?name={}", container.name);
        container.created = matches!(ask(socket, "POST", &create, &body.to_string()), Some((201, _)));
        if container.created && !stop.load(Ordering::Relaxed) {
            container.start_asked = true;
            let start = format!("/containers/{}/start", container.name);
            container.started = matches!(ask(socket, "POST", &start, ""), Some((204, _)));
            if random.below(3) == 0 {
                std::thread::sleep(Duration::from_millis(random.below(40)));
                container.removal_asked = true;
                let remove = format!("/containers/{}?force=1", container.name);
                container.removed = matches!(ask(socket, "DELETE", &remove, ""), Some((204 | 404 | 409, _)));
            }
        }
        known.lock().unwrap().push(container);
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// What the next engine must know.
fn check(engine: &Engine, container: &Known) {
    let name = &container.name;
    let (status, state) = engine.json("GET", &format!("/containers/{name}/json"), None);
    let may_be_gone = container.removal_asked || container.auto_remove || !container.created;
    if status == 404 {
        assert!(may_be_gone, "{container:?} is not known any more");
        return;
    }
    assert_eq!(status, 200, "{container:?}: {state}");
    assert!(!container.removed || container.auto_remove, "{container:?} came back: {state}");
    let current = state["State"]["Status"].as_str().unwrap_or_default().to_owned();
    if current == "created" {
        assert!(!container.started, "{container:?} was started: {state}");
        return;
    }
    let (status, waited) = engine.json("POST", &format!("/containers/{name}/wait"), None);
    if status == 404 {
        assert!(may_be_gone, "{container:?}: {waited}");
        return;
    }
    // Whoever was killed by a removal that was cut off ended by that.
    let code = waited["StatusCode"].as_i64().unwrap_or(-1);
    let killed = container.removal_asked && code == 137;
    assert!(code == container.code || killed, "{container:?}: {waited}, found as {state}");
}

#[test]
fn an_engine_killed_at_any_moment_forgets_nothing_and_leaves_nothing() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut engine = Engine::with_images(&["busybox"]);
    let socket = engine.socket();
    let (mut seen, mut cut) = (0, 0);
    for round in 0..KILLS {
        let known = Mutex::new(Vec::new());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let random =
                    Random(seed ^ (u64::from(round) << 8 | worker).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let (socket, known, stop) = (&socket, &known, &stop);
                scope.spawn(move || work(socket, round, random, known, stop));
            }
            std::thread::sleep(Duration::from_micros(5_000 + random.below(200_000)));
            stop.store(true, Ordering::Relaxed);
            engine.kill9();
        });
        // At once, or when what ran has ended without anybody.
        std::thread::sleep(Duration::from_millis(random.below(3) * 60));
        engine.up();
        let known = known.into_inner().unwrap();
        seen += known.len();
        cut += known.iter().filter(|container| container.start_asked && !container.started).count();
        for container in &known {
            check(&engine, container);
        }
        engine.remove_all();
        until("those that remove themselves are gone", 20, || engine.berth("ps -aq").ok().is_empty());
        if round % 10 == 9 {
            engine.assert_clean();
        }
    }
    println!("{seen} containers, {cut} of them cut off in their start");
    assert!(seen > KILLS as usize, "there was something to lose");
    engine.assert_clean();
    let table = run(std::process::Command::new("nft").args([
        "list",
        "table",
        "inet",
        &format!("berth-{}", engine.bridge),
    ]));
    assert!(!table.ok().contains("elements"), "ports are left: {table:?}");
}

/// A volume, and what the engine has said of it.
#[derive(Debug)]
struct KnownVolume {
    name: String,
    created: bool,
    removal_asked: bool,
    removed: bool,
}

/// Makes and removes volumes until the engine is gone.
fn work_on_volumes(
    socket: &Path,
    round: u32,
    mut random: Random,
    known: &Mutex<Vec<KnownVolume>>,
    stop: &AtomicBool,
) {
    let worker = random.0;
    for number in 0.. {
        let name = format!("r{round}-{worker:x}-{number}");
        let options = match random.below(2) {
            0 => serde_json::Value::Null,
            _ => serde_json::json!({"type": "tmpfs", "device": "tmpfs"}),
        };
        let body = serde_json::json!({"Name": name, "DriverOpts": options}).to_string();
        let created = matches!(ask(socket, "POST", "/volumes/create", &body), Some((201, _)));
        let removal_asked = created && random.below(2) == 0;
        let removed =
            removal_asked && matches!(ask(socket, "DELETE", &format!("/volumes/{name}"), ""), Some((204, _)));
        known.lock().unwrap().push(KnownVolume { name, created, removal_asked, removed });
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[test]
fn volumes_of_a_killed_engine_are_there_with_their_directories_or_gone() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut engine = Engine::start();
    let socket = engine.socket();
    let folder = engine.data_root().join("volumes");
    let mut seen = 0;
    for round in 0..KILLS / 3 {
        let known = Mutex::new(Vec::new());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let random =
                    Random(seed ^ (u64::from(round) << 8 | worker).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let (socket, known, stop) = (&socket, &known, &stop);
                scope.spawn(move || work_on_volumes(socket, round, random, known, stop));
            }
            std::thread::sleep(Duration::from_micros(5_000 + random.below(50_000)));
            stop.store(true, Ordering::Relaxed);
            engine.kill9();
        });
        engine.up();
        let (_, list) = engine.json("GET", "/volumes", None);
        let mut listed: Vec<&str> = list["Volumes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|volume| volume["Name"].as_str().unwrap())
            .collect();
        for volume in known.into_inner().unwrap() {
            seen += 1;
            let is_there = listed.contains(&volume.name.as_str());
            assert!(is_there || !volume.created || volume.removal_asked, "{volume:?} is lost");
            assert!(!is_there || !volume.removed, "{volume:?} is back");
        }
        listed.sort_unstable();
        let mut directories: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        directories.sort_unstable();
        assert_eq!(directories, listed);
        assert!(listed.iter().all(|name| folder.join(name).join("_data").is_dir()));
    }
    assert!(seen > KILLS as usize, "there was something to lose");
}
