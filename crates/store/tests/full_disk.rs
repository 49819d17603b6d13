//! A full disk, at any point: a clear error, no half image, and the store goes on working. Needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::error::Error as _;
use std::path::{Path, PathBuf};

use berth_store::image::{Loaded, Remove};
use berth_store::{Options, Record, Store};
use common::{config, file, gzip, tar, tar_of};
use serde::{Deserialize, Serialize};

/// A small disk in memory.
struct Disk {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Disk {
    fn new(megabytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let options = std::ffi::CString::new(format!("size={megabytes}m")).unwrap();
        rustix::mount::mount("tmpfs", &path, "tmpfs", rustix::mount::MountFlags::empty(), options.as_c_str())
            .unwrap();
        Self { path, _dir: dir }
    }

    /// Takes all but `left` bytes.
    fn fill(&self, left: u64) {
        let stat = rustix::fs::statvfs(&self.path).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let filling = std::fs::File::create(self.path.join("filling")).unwrap();
        let size = free.saturating_sub(left);
        rustix::fs::fallocate(&filling, rustix::fs::FallocateFlags::empty(), 0, size.max(1)).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.path.join("filling")).unwrap();
    }

    fn root(&self) -> PathBuf {
        self.path.join("data")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

fn noise(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|n| ((n ^ seed).wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

fn archive(name: &str) -> Vec<u8> {
    let base = tar(&[(file("a/large"), &noise(900_000, 1)), (file("a/small"), b"x"), (file("b"), b"y")]);
    let top = tar_of("top", &noise(500_000, 2));
    let config = config(&[&base, &top], name);
    let manifest = format!(r#"[{{"Config":"c.json","RepoTags":["{name}"],"Layers":["base","top"]}}]"#);
    tar(&[
        (file("base"), &base),
        (file("top"), &gzip(&top)),
        (file("c.json"), &config),
        (file("manifest.json"), manifest.as_bytes()),
    ])
}

fn says_full(error: &berth_store::Error) -> bool {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    assert_eq!(error.kind(), berth_store::Kind::Internal, "{text}");
    text.contains("No space left on device")
}

fn wait_until_empty(dir: &Path) {
    for _ in 0..500 {
        if common::names_in(dir).is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{} is not emptied: {:?}", dir.display(), common::names_in(dir));
}

#[test]
fn loading_fails_clearly_and_works_again_with_space() {
    let disk = Disk::new(16);
    let store = Store::open(&Options::new(disk.root())).unwrap();
    store.images().load(&archive("first:1")[..], &|_| {}).unwrap();
    let second = {
        // Its own layers, so that it needs space.
        let layer = tar(&[(file("big"), &noise(1_500_000, 3)), (file("other"), &noise(300_000, 4))]);
        let config = config(&[&layer], "second");
        let manifest = br#"[{"Config":"c.json","RepoTags":["second:1"],"Layers":["l"]}]"#;
        tar(&[(file("l"), &gzip(&layer)), (file("c.json"), &config), (file("manifest.json"), manifest)])
    };
    let (mut failed, mut worked) = (0, 0);
    let points = [0, 4_096, 8_192, 20_000, 100_000, 500_000, 1_000_000, 1_700_000, 2_000_000, 2_100_000];
    for left in points.into_iter().chain((3..=4).map(|n| n * 1_000_000)) {
        disk.fill(left);
        match store.images().load(&second[..], &|_| {}) {
            Ok(loaded) => {
                worked += 1;
                assert!(matches!(&loaded[..], [Loaded::Name(name, _)] if name == "second:1"));
                store.images().save(&["second:1".to_owned()], &mut std::io::sink()).unwrap();
                store.images().remove("second:1", Remove::default(), &|_| vec![]).unwrap();
            }
            Err(error) => {
                failed += 1;
                assert!(says_full(&error), "with {left} bytes left: {error}");
                assert!(store.images().get("second:1").is_err());
            }
        }
        wait_until_empty(&disk.root().join("ingest"));
        wait_until_empty(&disk.root().join("trash"));
        assert_eq!(common::names_in(&disk.root().join("layers")).len(), 2, "with {left} bytes left");
        store.images().save(&["first:1".to_owned()], &mut std::io::sink()).unwrap();
        disk.free();
    }
    assert!(failed > 0 && worked > 0, "{failed} failed, {worked} worked");
    drop(store);
    let store = Store::open(&Options::new(disk.root())).unwrap();
    assert_eq!(store.images().list(true).len(), 1);
}

#[test]
fn what_leaves_for_a_registry_is_compressed_when_there_is_space() {
    let disk = Disk::new(16);
    let store = Store::open(&Options::new(disk.root())).unwrap();
    let layers = [tar_of("one", &noise(900_000, 1)), tar_of("two", &noise(900_000, 2))];
    let config = config(&[&layers[0], &layers[1]], "out");
    let manifest = br#"[{"Config":"c.json","RepoTags":["out:1"],"Layers":["one","two"]}]"#;
    let [one, two] = &layers;
    let files = [(file("one"), &one[..]), (file("two"), two), (file("c.json"), &config[..])];
    let files = [&files[..], &[(file("manifest.json"), &manifest[..])]].concat();
    store.images().load(&tar(&files)[..], &|_| {}).unwrap();
    let name = "out:1".parse().unwrap();
    let leave = || {
        let outgoing = store.images().outgoing(&name)?;
        for place in 0..2 {
            std::io::copy(&mut outgoing.open(place, 0)?, &mut std::io::sink()).unwrap();
        }
        outgoing.manifest()
    };
    let (mut failed, mut last) = (0, None);
    for left in [0, 4_096, 8_192, 100_000, 500_000, 1_000_000, 1_200_000, 5_000_000] {
        disk.fill(left);
        match leave() {
            Ok(manifest) => last = Some(manifest),
            Err(error) => {
                failed += 1;
                assert!(last.is_none() && says_full(&error), "with {left} bytes left: {error}");
                assert_eq!(common::names_in(&disk.root().join("blobs/sha256")).len(), 1, "the configuration");
            }
        }
        wait_until_empty(&disk.root().join("ingest"));
        wait_until_empty(&disk.root().join("trash"));
        disk.free();
    }
    assert!(failed > 0 && last.is_some(), "{failed} failed");
    // What was kept is what leaves from now on, with no space at all but for the pins.
    disk.fill(100_000);
    assert_eq!(leave().ok(), last);
    disk.free();
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note(String);

impl Record for Note {
    const TABLE: &'static str = "notes";
    const VERSION: u32 = 1;
}

#[test]
fn the_database_goes_on_with_what_it_has_reserved() {
    let disk = Disk::new(8);
    let store = Store::open(&Options::new(disk.root())).unwrap();
    let database = store.database();
    database.put("before", &Note("here".to_owned())).unwrap().wait().unwrap();
    disk.fill(0);
    // Small changes go on for a good while.
    for n in 0..300 {
        database.put("state", &Note(format!("{n} {}", "s".repeat(800)))).unwrap().wait().unwrap();
    }
    // Large ones fail in the end, change nothing, and what was written stays.
    let mut last = 0;
    let error = loop {
        match database.put(&format!("large-{last}"), &Note("l".repeat(100_000))) {
            Ok(commit) => drop(commit),
            Err(error) => break error,
        }
        last += 1;
        assert!(last < 1000, "the disk is never full");
    };
    assert!(error.source().unwrap().to_string().contains("No space left"), "{error}");
    let check = |database: &berth_store::Database| {
        assert_eq!(database.get("before").unwrap(), Some(Note("here".to_owned())));
        assert!(database.get::<Note>("state").unwrap().unwrap().0.starts_with("299 "));
        assert_eq!(database.scan::<Note>("large-").unwrap().len(), last);
        assert_eq!(database.get::<Note>(&format!("large-{last}")).unwrap(), None);
    };
    check(database);
    // A crash at this point loses nothing.
    drop(store);
    let store = Store::open(&Options::new(disk.root())).unwrap();
    check(store.database());
    disk.free();
    for n in 0..200 {
        let written = store.database().put(&format!("more-{n}"), &Note("m".repeat(10_000)));
        match written {
            Ok(commit) => commit.wait().unwrap(),
            // Until the journal was emptied into the file again.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
    check(store.database());
    drop(store);
    let store = Store::open(&Options::new(disk.root())).unwrap();
    check(store.database());
    assert!(store.database().scan::<Note>("more-").unwrap().len() > 100);
}

#[test]
fn snapshots_fail_clearly_too() {
    let disk = Disk::new(8);
    let store = Store::open(&Options::new(disk.root())).unwrap();
    store.images().load(&archive("first:1")[..], &|_| {}).unwrap();
    let id = store.images().get("first:1").unwrap().id.clone();
    // A tmpfs can run out of inodes as other file systems run out of space for directories.
    let options = c"nr_inodes=1";
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount_remount(&disk.path, flags, options).ok();
    disk.fill(0);
    let mut made = 0;
    let error = loop {
        match store.snapshots().prepare(&format!("s{made}"), &id) {
            Ok(_) => made += 1,
            Err(error) => break Some(error),
        }
        if made > 200 {
            break None;
        }
    };
    if let Some(error) = error {
        assert!(says_full(&error), "{error}");
        assert_eq!(store.snapshots().list().len(), made);
        assert_eq!(common::names_in(&disk.root().join("snapshots")).len(), made);
    }
    store.snapshots().remove("s0").unwrap();
    disk.free();
    store.snapshots().prepare("again", &id).unwrap();
}
