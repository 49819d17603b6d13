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
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn only(folder: &Path) -> PathBuf {
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
