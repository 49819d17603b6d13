//! A disk that fills at any point of what brings an image: a clear error, nothing left, and with space all is well.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use berth_tests::disk::Disk;
use berth_tests::registry::Registry;
use berth_tests::{Client, Engine, Outcome, until};

use crate::full::says_full;

const PAGE: u64 = 4096;
/// More than any of the commands needs.
const PLENTY: u64 = 16 << 20;

/// A command that makes an image, and what takes the image away again.
struct Work<'a> {
    what: &'a str,
    run: &'a dyn Fn() -> Outcome,
    undo: &'a dyn Fn(),
}

/// An image of three layers, one large file and many small ones, in the registry and in an archive.
fn publish(name: &str, archive: &Path) {
    let source = Engine::with_images(&["busybox"]);
    let large = "dd if=/dev/urandom of=/large bs=64k count=16 2>/dev/null";
    let small = "mkdir /small; i=0; while [ $i -lt 200 ]; do echo $i >/small/$i; i=$((i+1)); done";
    source.run(Client::Docker, &["run", "--name", "one", "busybox", "sh", "-c", large]).ok();
    source.docker("commit one one").ok();
    source.run(Client::Docker, &["run", "--name", "two", "one", "sh", "-c", small]).ok();
    source.docker(&format!("commit two {name}")).ok();
    source.docker(&format!("push {name}")).ok();
    source.docker(&format!("save -o {} {name}", archive.display())).ok();
}

/// Tries the work with so much space; whether there was enough.
fn attempt(engine: &Engine, disk: &Disk, work: &Work<'_>, space: u64) -> bool {
    let what = format!("{} with {space} bytes", work.what);
    let images = engine.docker("images -aq --no-trunc").ok().to_owned();
    let before = disk.used();
    disk.leave(space);
    let outcome = (work.run)();
    let enough = outcome.code == 0;
    if enough {
        disk.free();
        (work.undo)();
    } else {
        says_full(&outcome);
        assert!(outcome.stderr.contains('/'), "{what}: no path is named: {outcome:?}");
    }
    assert_eq!(engine.docker("images -aq --no-trunc").ok(), images, "{what}");
    let mut used = 0;
    let back = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until("the space is back", 10, || {
            used = disk.used();
            used <= before
        });
    }));
    assert!(back.is_ok(), "{what}: {before} bytes were in use, {used} are: {outcome:?}");
    if !enough {
        disk.free();
    }
    enough
}

/// Tries the work with amounts of space all over what it needs, and with each that is a little less than enough.
fn sweep(engine: &Engine, disk: &Disk, work: &Work<'_>) {
    assert!(!attempt(engine, disk, work, 0), "{} needs no space: the test says nothing", work.what);
    assert!(attempt(engine, disk, work, PLENTY), "{} needs more", work.what);
    let (mut short, mut enough) = (0, PLENTY / PAGE);
    while enough - short > 1 {
        let middle = (short + enough) / 2;
        if attempt(engine, disk, work, middle * PAGE) {
            enough = middle;
        } else {
            short = middle;
        }
    }
    for part in 1..10 {
        attempt(engine, disk, work, enough * part / 10 * PAGE);
    }
    for less in 1..16 {
        attempt(engine, disk, work, enough.saturating_sub(less) * PAGE);
    }
}

/// The URL of these bytes, for as long as the test runs.
fn serve(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = client.read(&mut request);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
            // An engine whose disk is full hangs up.
            let _ = client.write_all(head.as_bytes()).and_then(|()| client.write_all(&bytes));
        }
    });
    format!("http://{address}/root.tar")
}

#[test]
fn a_disk_that_fills_while_an_image_comes_is_said_and_survived() {
    let registry = Registry::open();
    let name = format!("{}/box:1", registry.host);
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("box.tar");
    publish(&name, &archive);
    let load = format!("load -i {}", archive.display());

    let disk = Disk::new(64);
    let engine = Engine::start_in(&disk.at);
    let remove = || {
        engine.docker(&format!("rmi {name}")).ok();
    };
    let pull = || engine.docker(&format!("pull {name}"));
    sweep(&engine, &disk, &Work { what: "pull", run: &pull, undo: &remove });
    sweep(&engine, &disk, &Work { what: "load", run: &|| engine.docker(&load), undo: &remove });

    pull().ok();
    let script =
        "dd if=/dev/urandom of=/new bs=64k count=16; mkdir /d; for i in 1 2 3; do echo $i >/d/$i; done";
    engine.run(Client::Docker, &["run", "--name", "box", &name, "sh", "-c", script]).ok();
    let commit = || engine.docker("commit box made");
    let undo = || {
        engine.docker("rmi made").ok();
    };
    sweep(&engine, &disk, &Work { what: "commit", run: &commit, undo: &undo });

    let root = folder.path().join("root.tar");
    engine.docker(&format!("export -o {} box", root.display())).ok();
    let import = format!("import {} fetched", serve(std::fs::read(root).unwrap()));
    let undo = || {
        engine.docker("rmi fetched").ok();
    };
    sweep(&engine, &disk, &Work { what: "import", run: &|| engine.docker(&import), undo: &undo });

    // All that is there is whole, and works.
    let (_, checked) = engine.http("POST", "/berth/fsck", None);
    assert!(checked.contains("\"Faults\":0") && !checked.contains("Found"), "{checked}");
    assert_eq!(engine.run(Client::Docker, &["run", "--rm", &name, "cat", "/small/7"]).ok(), "7");
}
