//! A data root that is full: what fails says so and leaves nothing, what runs goes on, and with space all is well.

use std::path::Path;
use std::process::Command;

use berth_tests::disk::Disk;
use berth_tests::{CLIENTS, Client, Engine, run, until};

const FULL: &str = "no space left on device";

pub(crate) fn says_full(outcome: &berth_tests::Outcome) {
    assert_ne!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stderr.to_lowercase().contains(FULL), "{outcome:?}");
}

fn save(engine: &Engine, image: &str, to: &Path) {
    engine.berth(&format!("save -o {} {image}", to.display())).ok();
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let disk = Disk::new(48);
    let mut engine = Engine::start_in(&disk.at);
    engine.import("busybox");
    let archive = engine.dir.join("busybox.tar");
    save(&engine, "busybox", &archive);
    let load = format!("load -i {}", archive.display());
    engine.berth("tag busybox kept").ok();
    let chatter = "trap 'exit 7' TERM; while true; do echo a line of the log; sleep 0.01; done";
    for client in CLIENTS {
        engine.run(client, &["run", "-d", "--name", "runs", "busybox", "sh", "-c", chatter]).ok();
        engine.run(client, &["create", "--name", "waits", "busybox", "sh", "-c", "exit 5"]).ok();
        until("it speaks", 10, || engine.docker("logs runs").ok().lines().count() > 5);
        disk.fill();

        let before = disk.used();
        says_full(&engine.run(client, &["run", "--rm", "--name", "new", "busybox", "true"]));
        says_full(
            &engine.run(client, &["import", &berth_tests::images().join("debian.tar").display().to_string()]),
        );
        says_full(&engine.run(client, &["exec", "runs", "sh", "-c", "cat /bin/busybox >/copy"]));
        until("nothing is left of what failed", 10, || disk.used() <= before + 256 * 1024);
        assert_eq!(engine.docker("ps -a --format {{.Names}}").ok().lines().count(), 2);

        // What needs no space works, and what runs goes on.
        assert_eq!(engine.run(client, &["exec", "runs", "echo", "in"]).ok(), "in");
        assert_eq!(engine.docker("inspect -f {{.State.Status}} runs").ok(), "running");
        engine.run(client, &["stop", "runs"]).ok();
        assert_eq!(engine.docker("wait runs").ok(), "7", "the code is right");
        engine.kill9();
        engine.up();
        assert_eq!(engine.docker("wait runs").ok(), "7", "and is known to the next engine");

        disk.free();
        assert_eq!(engine.run(client, &["start", "-a", "waits"]).code, 5);
        engine.run(client, &["start", "runs"]).ok();
        until("the log tells what it lacks", 10, || {
            engine.docker("logs runs").stderr.contains("log lines were dropped")
                || engine.docker("logs --tail 3 runs").ok().contains("a line of the log")
        });
        assert_eq!(engine.run(client, &["run", "--rm", "busybox", "echo", "well"]).ok(), "well");
        engine.run(client, &["rm", "-f", "runs", "waits"]).ok();
    }
    engine.berth("rmi busybox").ok();
    disk.fill();
    // Removing is what frees space, so it must not need any.
    engine.berth("rmi kept").ok();
    assert_eq!(engine.berth("images -q").ok(), "");
    until("the image's space is free", 10, || disk.used() < 4 << 20);
    disk.fill();
    says_full(&engine.berth(&load));
    assert_eq!(engine.docker("images -aq").ok(), "");
    disk.free();
    for client in CLIENTS {
        engine.run(client, &load.split(' ').collect::<Vec<_>>()).ok();
    }
    assert_eq!(engine.run(Client::Docker, &["run", "--rm", "busybox", "echo", "well"]).ok(), "well");
    drop(engine);
}

#[test]
fn images_and_names_are_whole_whenever_the_engine_dies() {
    let mut engine = Engine::with_images(&["busybox"]);
    let archive = engine.dir.join("busybox.tar");
    save(&engine, "busybox", &archive);
    engine.berth("run -d --name kept busybox sleep 10000").ok();
    engine.berth("create --name here busybox true").ok();
    engine.berth("rmi -f busybox");
    let load = format!("load -i {}", archive.display());
    let commands = [
        &load[..],
        "tag busybox other",
        "rmi other",
        "rmi -f busybox",
        "rename here there",
        "rename there here",
    ];
    for round in 0..20_u64 {
        let pid = engine.pid().to_string();
        std::thread::scope(|scope| {
            for half in [&commands[..4], &commands[4..]] {
                let engine = &engine;
                scope.spawn(move || {
                    // Until the engine is gone.
                    let answers = |line: &&str| !engine.berth(line).stderr.contains("connect");
                    while half.iter().all(answers) {}
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(20 + round * 17 % 150));
            run(Command::new("kill").args(["-9", &pid])).ok();
        });
        engine.kill9();
        engine.up();
        let names = engine.docker("ps -a --format {{.Names}}").ok().to_owned();
        let mut names: Vec<&str> = names.lines().collect();
        names.sort_unstable();
        assert!(names == ["here", "kept"] || names == ["kept", "there"], "{names:?}");
        if names[1] == "there" {
            engine.berth("rename there here").ok();
        }
        // An image that has a name is whole; one that has none can be had again.
        if engine.docker("images -q busybox").ok().is_empty() {
            engine.berth(&load).ok();
        }
        assert_eq!(engine.docker("run --rm busybox echo whole").ok(), "whole", "round {round}");
        assert_eq!(engine.docker("exec kept echo in").ok(), "in");
        engine.berth("start here").ok();
        assert_eq!(engine.docker("wait here").ok(), "0");
    }
}

#[test]
fn a_volume_whose_record_does_not_fit_is_refused_and_leaves_nothing() {
    let disk = Disk::new(16);
    let mut engine = Engine::start_in(&disk.at);
    disk.fill();
    let label = "x".repeat(50_000);
    let create = |engine: &Engine, number: u32| {
        let body = serde_json::json!({ "Name": format!("v{number}"), "Labels": { "long": label } });
        engine.json("POST", "/volumes/create", Some(&body.to_string()))
    };
    let directories =
        |engine: &Engine| std::fs::read_dir(engine.data_root().join("volumes")).unwrap().count();
    // What the database has set aside is used up by some; then there is no more.
    let refused =
        (0..200).find_map(|number| Some((number, create(&engine, number))).filter(|(_, it)| it.0 != 201));
    let (number, (status, error)) = refused.expect("the disk is full");
    let text = error["message"].as_str().unwrap();
    assert!(status == 500 && text.contains(FULL), "{status} {error}");
    assert_eq!(directories(&engine), number as usize);
    assert_eq!(engine.http("GET", &format!("/volumes/v{number}"), None).0, 404);
    engine.kill9();
    engine.up();
    assert_eq!(engine.docker("volume ls -q").ok().lines().count(), number as usize);
    disk.free();
    assert_eq!(create(&engine, number).0, 201);
    engine.docker("volume prune -af").ok();
    assert_eq!((engine.docker("volume ls -q").ok(), directories(&engine)), ("", 0));
}
