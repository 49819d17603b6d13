//! A store that the disk has damaged is told of and mended from where its images came.

use std::fs;
use std::path::{Path, PathBuf};

use berth_tests::Engine;

use crate::debian::Registry;

fn summary(answer: &str) -> serde_json::Value {
    let last = answer.lines().last().unwrap_or_default();
    let line: serde_json::Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{answer}"));
    line["Summary"].clone()
}

/// Flips a bit in the middle of a file.
pub(crate) fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

pub(crate) fn only(folder: &Path) -> PathBuf {
    let mut entries = fs::read_dir(folder).unwrap();
    let first = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none(), "{} has more than one entry", folder.display());
    first
}

#[test]
fn what_the_disk_damaged_is_fetched_anew() {
    let registry = Registry::open();
    let name = format!("{}/b:1", registry.host);
    {
        let engine = Engine::with_images(&["busybox"]);
        engine.docker(&format!("tag busybox {name}")).ok();
        engine.docker(&format!("push {name}")).ok();
    }
    let engine = Engine::start();
    engine.docker(&format!("pull {name}")).ok();
    let (status, whole) = engine.http("POST", "/berth/fsck", None);
    assert_eq!((status, summary(&whole)["Faults"].as_u64()), (200, Some(0)), "{whole}");
    assert_eq!(summary(&whole)["Layers"].as_u64(), Some(1));

    let store = engine.data_root().join("store");
    let program = only(&store.join("layers")).join("diff/bin/busybox");
    damage(&program);
    // The compressed layer, which is by far the largest blob.
    let blobs = fs::read_dir(store.join("blobs/sha256")).unwrap().flatten().map(|entry| entry.path());
    let largest = blobs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    damage(&largest);
    fs::create_dir(store.join("layers/0123456789abcdef01234567")).unwrap();

    let (_, told) = engine.http("POST", "/berth/fsck", None);
    assert_eq!(summary(&told)["Faults"].as_u64(), Some(3), "{told}");
    assert!(told.contains("needed by nothing") && told.contains("its files make"), "{told}");
    let (_, mended) = engine.http("POST", "/berth/fsck?repair=1", None);
    assert_eq!(summary(&mended)["Faults"].as_u64(), Some(0), "{mended}");
    assert!(mended.contains(&format!("fetched anew from {}/b@sha256:", registry.host)), "{mended}");
    let (_, after) = engine.http("POST", "/berth/fsck", None);
    assert!(!after.contains("Found"), "{after}");
    assert_eq!(engine.docker(&format!("run --rm {name} echo whole")).ok(), "whole");

    // Without the registry: from the compressed layer, which is right.
    drop(registry);
    damage(&only(&store.join("layers")).join("diff/bin/busybox"));
    let (_, mended) = engine.http("POST", "/berth/fsck?repair=1", None);
    assert!(mended.contains("unpacked anew from blob sha256:"), "{mended}");
    assert_eq!(summary(&mended)["Faults"].as_u64(), Some(0), "{mended}");
}

/// The path of a blob.
fn blob(engine: &Engine, digest: &str) -> PathBuf {
    engine.data_root().join("store/blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

fn fsck(engine: &Engine, repair: bool) -> (u64, String) {
    let path = if repair { "/berth/fsck?repair=1" } else { "/berth/fsck" };
    let (status, told) = engine.http("POST", path, None);
    assert_eq!(status, 200, "{told}");
    (summary(&told)["Faults"].as_u64().unwrap(), told)
}

#[test]
fn damaged_documents_are_fetched_anew() {
    let registry = Registry::open();
    let name = format!("{}/b:1", registry.host);
    {
        let engine = Engine::with_images(&["busybox"]);
        engine.docker(&format!("tag busybox {name}")).ok();
        engine.docker(&format!("push {name}")).ok();
    }
    let mut engine = Engine::start();
    engine.docker(&format!("pull {name}")).ok();
    engine.docker(&format!("tag {name} second:2")).ok();
    let id = engine.docker(&format!("inspect -f {{{{.Id}}}} {name}")).ok().to_owned();
    let first = ["inspect", "-f", "{{index .RepoDigests 0}}", &name];
    let repository = engine.run(berth_tests::Client::Docker, &first).ok().to_owned();
    let manifest = repository.split('@').next_back().unwrap().to_owned();

    damage(&blob(&engine, &manifest));
    let (faults, told) = fsck(&engine, false);
    assert!(faults == 1 && told.contains(&format!("blob {manifest}: it has digest")), "{told}");
    let (faults, told) = fsck(&engine, true);
    assert!(faults == 0 && told.contains(&format!("fetched anew from {repository}")), "{told}");

    // Without its configuration nobody knows what an image is: it is not shown, but not forgotten either.
    engine.stop();
    damage(&blob(&engine, &id));
    engine.up();
    assert_eq!(engine.docker("images -aq").ok(), "");
    let (faults, told) = fsck(&engine, false);
    assert!(
        faults == 1 && told.contains(&format!("image {id} (")) && told.contains("cannot be read"),
        "{told}"
    );
    assert!(told.contains("second:2") && told.contains(&name), "its names are told: {told}");
    let (faults, told) = fsck(&engine, true);
    assert!(faults == 0 && told.contains(&format!("pulled anew as {repository}")), "{told}");
    for again in [&name[..], "second:2"] {
        assert_eq!(engine.docker(&format!("run --rm {again} echo whole")).ok(), "whole");
    }
    let (faults, told) = fsck(&engine, false);
    assert!(faults == 0 && !told.contains("Found"), "{told}");
}

#[test]
fn what_cannot_be_mended_is_told() {
    let registry = Registry::open();
    let name = format!("{}/b:1", registry.host);
    let mut engine = Engine::start_with(&["--max-download-attempts", "1"]);
    engine.import("busybox");
    // An image that came from a file: there is nobody to ask.
    let layer = only(&engine.data_root().join("store/layers"));
    damage(&layer.join("diff/bin/busybox"));
    let (faults, told) = fsck(&engine, true);
    assert!(faults == 1, "{told}");
    assert!(told.contains("it is known from nowhere else: load or pull the image again"), "{told}");
    damage(&layer.join("diff/bin/busybox"));
    assert_eq!(fsck(&engine, false).0, 0, "the same bit again makes it whole");

    // A registry that is gone.
    engine.docker(&format!("tag busybox {name}")).ok();
    engine.docker(&format!("push {name}")).ok();
    engine.docker("rmi busybox").ok();
    engine.docker(&format!("rmi {name}")).ok();
    engine.docker(&format!("pull {name}")).ok();
    let host = registry.host.clone();
    drop(registry);
    let blobs = fs::read_dir(engine.data_root().join("store/blobs/sha256")).unwrap().flatten();
    let largest =
        blobs.map(|entry| entry.path()).max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    damage(&largest);
    let (faults, told) = fsck(&engine, true);
    assert!(faults == 1 && told.contains(&host) && told.contains("connection refused"), "{told}");
    damage(&largest);

    // The records: a digit of a size.
    engine.stop();
    let database = engine.data_root().join("store/database.redb");
    let mut bytes = fs::read(&database).unwrap();
    let key = b"\"layer_sizes\":[";
    let at: Vec<usize> = (0..bytes.len() - key.len()).filter(|at| bytes[*at..].starts_with(key)).collect();
    assert!(!at.is_empty());
    for at in at {
        bytes[at + key.len()] ^= 1;
    }
    fs::write(&database, bytes).unwrap();
    engine.up();
    let (faults, told) = fsck(&engine, true);
    assert!(faults == 1 && told.contains("database.redb is damaged: "), "{told}");
    assert!(told.contains("start it with a new data root"), "{told}");
}
