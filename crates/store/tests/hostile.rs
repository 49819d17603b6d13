//! Rows 18 and 20 of the security table: layers that want out of their directory, or want all of the disk. Needs
//! root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::os::unix::fs::MetadataExt;

use berth_store::image::Import;
use berth_store::layer::Limits;
use berth_store::tar::{Entry, Kind};
use berth_store::{Options, Store};
use common::{Fixture, directory, file, gzip, link, tar, tar_of, zstd};

/// The layer is refused with an error that has `why` in it, and nothing is left of it.
fn check_refused(name: &str, archive: &[u8], why: &str) {
    let fixture = Fixture::new();
    let Err(error) = fixture.import(archive) else { panic!("{name}: accepted") };
    assert_eq!(error.kind(), berth_store::Kind::Invalid, "{name}: {error}");
    assert!(error.to_string().contains(why), "{name}: {error}");
    assert_eq!(fixture.leftovers(), [""; 0], "{name}");
    assert!(common::names_in(&fixture.root().join("layers")).is_empty(), "{name}");
    assert!(fixture.store.images().list(true).is_empty(), "{name}");
}

/// A directory of the host that no layer may touch, with a file in it.
fn bait() -> tempfile::TempDir {
    let bait = tempfile::tempdir().unwrap();
    std::fs::write(bait.path().join("victim"), "untouched").unwrap();
    bait
}

fn assert_untouched(bait: &tempfile::TempDir) {
    assert_eq!(common::names_in(bait.path()), ["victim"]);
    assert_eq!(std::fs::read_to_string(bait.path().join("victim")).unwrap(), "untouched");
    assert_eq!(bait.path().join("victim").metadata().unwrap().nlink(), 1);
}

#[test]
fn paths_that_leave_the_layer_are_refused() {
    for path in ["../x", "a/../../x", "a/b/../../../x", "..", "a/..", "/../x", "./../x"] {
        check_refused(path, &tar_of(path, b"x"), "leaves the layer");
    }
    for target in ["../victim", "a/../../victim"] {
        let archive = tar(&[(file("a"), b"x"), (link(Kind::HardLink, "h", target), b"")]);
        check_refused(target, &archive, "leaves the layer");
    }
    check_refused("whiteout of ..", &tar_of(".wh...", b""), "");
    check_refused("whiteout of .", &tar_of("a/.wh..", b""), "");
    check_refused("whiteout of nothing", &tar_of("a/.wh.", b""), "");
}

#[test]
fn absolute_paths_and_links_stay_inside() {
    let bait = bait();
    let victim = bait.path().join("victim");
    let (victim, inside) = (victim.to_str().unwrap(), bait.path().to_str().unwrap());
    // An absolute path is taken from the layer's root.
    let fixture = Fixture::new();
    let layer = fixture.unpack(&tar_of(victim, b"evil")).unwrap();
    assert_eq!(std::fs::read_to_string(layer.join(&victim[1..])).unwrap(), "evil");
    assert_untouched(&bait);
    // Through links, absolute ones and ones with dots.
    let up = format!("../../../../../../../../../../..{inside}");
    for target in [inside, up.as_str()] {
        let archive = tar(&[(link(Kind::Symlink, "l", target), b""), (file("l/victim"), b"evil")]);
        check_refused(target, &archive, "invalid path in layer");
        let archive = tar(&[(link(Kind::Symlink, "l", target), b""), (file("l/deep/er"), b"evil")]);
        check_refused(target, &archive, "invalid path in layer");
        let archive =
            tar(&[(link(Kind::Symlink, "l", target), b""), (link(Kind::HardLink, "h", "l/victim"), b"")]);
        // A hard link whose target is in no layer.
        check_refused(target, &archive, "which is nowhere");
        let archive = tar(&[(link(Kind::Symlink, "l", target), b""), (file("l/.wh.victim"), b"")]);
        check_refused(target, &archive, "invalid path in layer");
        let archive = tar(&[(link(Kind::Symlink, "l", target), b""), (file("l/.wh..wh..opq"), b"")]);
        check_refused(target, &archive, "invalid path in layer");
        assert_untouched(&bait);
    }
    // A link that is a file's name is replaced, not followed; a directory's attributes do not go through it.
    let archive = tar(&[
        (link(Kind::Symlink, "f", victim), b""),
        (file("f"), b"evil"),
        (link(Kind::Symlink, "d", inside), b""),
        (Entry { mode: 0o777, uid: 1, ..directory("d") }, b""),
        (link(Kind::Symlink, "s", victim), b""),
        (link(Kind::HardLink, "h", "s"), b""),
        (file("h"), b"evil"),
    ]);
    let layer = fixture.unpack(&archive).unwrap();
    assert!(layer.join("d").symlink_metadata().unwrap().is_dir());
    assert_untouched(&bait);
    assert_ne!(bait.path().metadata().unwrap().mode() & 0o777, 0o777);
}

#[test]
fn hard_links_to_the_host_are_refused() {
    let bait = bait();
    let victim = bait.path().join("victim");
    let archive = tar(&[(link(Kind::HardLink, "h", victim.to_str().unwrap()), b"")]);
    check_refused("hard link", &archive, "which is nowhere");
    assert_untouched(&bait);
}

#[test]
fn devices_are_where_nobody_but_root_can_open_them() {
    let fixture = Fixture::new();
    let disk = Entry { kind: Kind::Block, device: (254, 0), mode: 0o666, ..file("disk") };
    let layer = fixture.unpack(&tar(&[(disk, b"")])).unwrap();
    assert!(layer.join("disk").symlink_metadata().is_ok());
    let mut dir = layer.as_path();
    let mut closed = false;
    while dir.starts_with(fixture.root()) {
        closed |= dir.metadata().unwrap().mode() & 0o007 == 0;
        dir = dir.parent().unwrap();
    }
    assert!(closed, "a directory above the layer must be closed to others");
}

#[test]
fn overlay_attributes_of_a_layer_are_dropped() {
    let xattrs = vec![
        (b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec()),
        (b"trusted.overlay.metacopy".to_vec(), b"".to_vec()),
        (b"user.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"user.kept".to_vec(), b"yes".to_vec()),
    ];
    let fixture = Fixture::new();
    let layer = fixture.unpack(&tar(&[(Entry { xattrs, ..directory("d") }, b"")])).unwrap();
    let mut list = vec![0; 4096];
    let length = rustix::fs::listxattr(layer.join("d"), &mut list).unwrap();
    assert_eq!(&list[..length], b"user.kept\0");
}

/// Gzip of a tar with one file of zeros.
fn bomb(size: u64) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut writer = berth_store::tar::Writer::new(&mut encoder);
    writer.start(&Entry { size, ..file("bomb") }).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        writer.stream().write_all(&zeros).unwrap();
    }
    writer.finish().unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    // As the real limits are for 10 GB, so are these for 16 MB.
    let piece = bomb(16 << 20);
    assert!(piece.len() < (16 << 20) / 500);
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        limits: Limits { ratio_free_bytes: 4 << 20, ..Limits::default() },
        ..Options::new(dir.path().join("data"))
    };
    let store = Store::open(&options).unwrap();
    let error = store.images().import(&mut &piece[..], &Import::default()).unwrap_err().to_string();
    assert_eq!(error, "layer is refused: unpacked it is more than 200 times as large as sent");
    // Stated sizes count before a byte of them is read.
    let huge = Entry { size: 10_000 << 30, ..file("huge") };
    let mut archive = berth_store::tar::Writer::new(Vec::new());
    archive.start(&huge).unwrap();
    let archive = archive.finish().unwrap();
    let error = store.images().import(&mut &archive[..], &Import::default()).unwrap_err().to_string();
    assert!(error.contains("larger than"), "{error}");
}

#[test]
fn many_deep_and_long_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { entries_max: 100, ..Limits::default() };
    let store = Store::open(&Options { limits, ..Options::new(dir.path().join("data")) }).unwrap();
    let names: Vec<String> = (0..101).map(|n| format!("f{n}")).collect();
    let entries: Vec<(Entry, &[u8])> = names.iter().map(|name| (file(name), &b""[..])).collect();
    let error = store.images().import(&mut &tar(&entries)[..], &Import::default()).unwrap_err();
    assert_eq!(error.to_string(), "layer is refused: it has more than 100 entries");
    check_refused("deep", &tar_of(&format!("{}f", "d/".repeat(1500)), b""), "deeper than");
    check_refused("long", &tar_of(&format!("{}f", "dd/".repeat(2000)), b""), "longer than");
    check_refused("component", &tar_of(&"n".repeat(300), b""), "File name too long");
}

#[test]
fn a_truncated_or_broken_compressed_stream_fails_at_once() {
    let archive = tar_of("f", &[1; 100_000]);
    for (name, packed) in [("gzip", gzip(&archive)), ("zstd", zstd(&archive))] {
        check_refused(name, &packed[..packed.len() / 2], "");
        let mut broken = packed.clone();
        let middle = broken.len() / 2;
        broken[middle] ^= 0x55;
        // Damage that decompresses all the same is found by the check at the end or by the tar.
        let fixture = Fixture::new();
        assert!(fixture.import(&broken).is_err(), "{name}");
        assert_eq!(fixture.leftovers(), [""; 0], "{name}");
    }
    for (name, start) in [("bzip2", &b"BZh91AY&SY"[..]), ("xz", &b"\xfd7zXZ\0\0\x04"[..])] {
        check_refused(name, start, &format!("{name} compressed archives are not supported"));
    }
    for garbage in [&b"#!/bin/sh\necho no tar\n"[..], &[0xff; 2048][..]] {
        check_refused("garbage", garbage, "");
    }
}

#[test]
fn the_data_directory_is_closed_to_others() {
    let fixture = Fixture::new();
    fixture.unpack(&tar_of("f", b"x")).unwrap();
    let id = fixture.store.images().list(true)[0].image.id.clone();
    fixture.store.snapshots().prepare("c", &id).unwrap();
    for dir in
        ["", "blobs", "blobs/sha256", "layers", "snapshots", "snapshots/c", "ingest", "trash", "fixups"]
    {
        let mode = fixture.root().join(dir).metadata().unwrap().mode();
        assert_eq!(mode & 0o7777, 0o710, "{dir:?} has mode {mode:o}");
    }
    for name in ["database.redb", "journal.0", "journal.1"] {
        assert_eq!(fixture.root().join(name).metadata().unwrap().mode() & 0o777, 0o600, "{name}");
    }
}
