//! The unpacked layer is what GNU tar unpacks, for archives of every format that GNU tar writes, and for archives
//! made by hand to say two things at once it is that or an error. Needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use berth_store::tar::Kind;
use common::gnu::{check, save_gives_back};
use common::{Fixture, directory, file, link, run, tar};

/// A tree with something of everything.
fn rich_tree(dir: &Path) {
    std::fs::create_dir_all(dir.join("a/b")).unwrap();
    std::fs::write(dir.join("a/b/file"), "hello").unwrap();
    std::fs::write(dir.join("a/empty"), "").unwrap();
    std::fs::hard_link(dir.join("a/b/file"), dir.join("hard")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("absolute")).unwrap();
    std::os::unix::fs::symlink("../../..", dir.join("a/up")).unwrap();
    let long = "n".repeat(200);
    std::fs::create_dir_all(dir.join(format!("{long}/{long}"))).unwrap();
    std::fs::write(dir.join(format!("{long}/{long}/{long}")), "deep").unwrap();
    std::os::unix::fs::symlink("t".repeat(300), dir.join("long-target")).unwrap();
    std::fs::write(dir.join("ünïcödé"), "x").unwrap();
    std::fs::write(dir.join("with space\nand newline"), "x").unwrap();
    run("mkfifo", &["pipe"], dir);
    run("mknod", &["null", "c", "1", "3"], dir);
    run("mknod", &["disk", "b", "254", "300"], dir);
    std::fs::write(dir.join("setuid"), "x").unwrap();
    std::os::unix::fs::chown(dir.join("setuid"), Some(1234), Some(4_000_000_000)).unwrap();
    std::fs::set_permissions(dir.join("setuid"), PermissionsExt::from_mode(0o6755)).unwrap();
    std::fs::create_dir(dir.join("sticky")).unwrap();
    std::fs::set_permissions(dir.join("sticky"), PermissionsExt::from_mode(0o1777)).unwrap();
    run("touch", &["-d", "1960-05-05 05:05:05.25", "a/empty"], dir);
    run("touch", &["-d", "2200-05-05", "a/b"], dir);
    let sparse = std::fs::File::create(dir.join("sparse")).unwrap();
    for offset in [0, 1 << 20, (5 << 20) + 100] {
        sparse.write_all_at(b"island", offset).unwrap();
    }
    sparse.set_len(8 << 20).unwrap();
    std::fs::File::create(dir.join("hole")).unwrap().set_len(1 << 20).unwrap();
}

#[test]
fn every_format_of_gnu_tar() {
    let dir = tempfile::tempdir().unwrap();
    rich_tree(dir.path());
    rustix::fs::setxattr(
        dir.path().join("a/b/file"),
        "user.note",
        b"value\0with nul",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    rustix::fs::setxattr(
        dir.path().join("setuid"),
        "security.capability",
        capability,
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let pax = ["--format=pax", "--xattrs", "--xattrs-include=*"];
    let all: [&[&str]; 7] = [
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &pax,
        &[pax[0], pax[1], pax[2], "--sparse", "--sparse-version=0.0"],
        &[pax[0], pax[1], pax[2], "--sparse", "--sparse-version=0.1"],
        &[pax[0], pax[1], pax[2], "--sparse", "--sparse-version=1.0"],
        &["--format=oldgnu", "--sparse", "--blocking-factor=1"],
    ];
    for arguments in all {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--numeric-owner", "--sort=name", "-cf", "-", "."]);
        check(&arguments.join(" "), &run("tar", &arguments, dir.path()));
    }
}

#[test]
fn v7_and_ustar() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
    std::fs::write(dir.path().join("a/b/file"), "hello").unwrap();
    let long = "d".repeat(60);
    std::fs::create_dir_all(dir.path().join(&long).join(&long)).unwrap();
    std::fs::write(dir.path().join(&long).join(&long).join("f"), "prefix").unwrap();
    check("v7", &run("tar", &["--format=v7", "-cf", "-", "a"], dir.path()));
    check("ustar", &run("tar", &["--format=ustar", "-cf", "-", "."], dir.path()));
}

#[test]
fn sparse_files_stay_sparse() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
    std::fs::write(dir.path().join("zeros"), vec![0; 4 << 20]).unwrap();
    let archive = run("tar", &["--sparse", "-cf", "-", "."], dir.path());
    let fixture = Fixture::new();
    let layer = fixture.unpack(&archive).unwrap();
    for (name, size) in [("hole", 1 << 30), ("zeros", 4 << 20)] {
        let stat = layer.join(name).metadata().unwrap();
        assert_eq!(stat.len(), size);
        assert!(stat.blocks() * 512 < size / 4, "{name} takes {} blocks", stat.blocks());
    }
}

#[test]
fn later_entries_replace_earlier_ones() {
    let archive = tar(&[
        (directory("d"), b""),
        (file("d/f"), b"first"),
        (file("d/f"), b"second, longer"),
        (link(Kind::HardLink, "d/h", "d/f"), b""),
        (file("d/f"), b"third"),
        (link(Kind::Symlink, "d/s", "nowhere"), b""),
        (file("d/s"), b"no link any more"),
        (file("d/h2"), b"own data"),
        (link(Kind::HardLink, "d/h2", "d/f"), b""),
        (directory("e"), b""),
        (file("e"), b"was a directory"),
        (file("g"), b"was a file"),
        (directory("g"), b""),
        (file("g/inside"), b"x"),
    ]);
    let fixture = Fixture::new();
    let layer = fixture.unpack(&archive).unwrap();
    let read = |path: &str| std::fs::read_to_string(layer.join(path)).unwrap();
    assert_eq!(read("d/f"), "third");
    assert_eq!(read("d/h"), "second, longer");
    assert_eq!(read("d/s"), "no link any more");
    assert_eq!(read("d/h2"), "third");
    assert_eq!(read("e"), "was a directory");
    assert_eq!(read("g/inside"), "x");
    save_gives_back(&fixture, &archive, "replaced");
}

#[test]
fn entries_behind_links_of_the_layer_go_where_the_links_lead() {
    let archive = tar(&[
        (directory("usr"), b""),
        (directory("usr/lib"), b""),
        (link(Kind::Symlink, "lib", "/usr/lib"), b""),
        (file("lib/one"), b"through the link"),
        (file("usr/lib/one"), b"replaced"),
        (file("usr/lib/two"), b"two"),
        (directory("lib/sub"), b""),
        (file("lib/sub/deep/file"), b"deep"),
    ]);
    let fixture = Fixture::new();
    let layer = fixture.unpack(&archive).unwrap();
    assert_eq!(std::fs::read_to_string(layer.join("usr/lib/one")).unwrap(), "replaced");
    assert_eq!(std::fs::read_to_string(layer.join("usr/lib/sub/deep/file")).unwrap(), "deep");
    assert!(layer.join("lib").symlink_metadata().unwrap().file_type().is_symlink());
    save_gives_back(&fixture, &archive, "links");
}

#[test]
fn truncated_archives_are_refused_and_leave_nothing() {
    let archive = tar(&[(directory("d"), b""), (file("d/f"), &[7; 3000]), (file("g"), b"x")]);
    let fixture = Fixture::new();
    for cut in (1..archive.len() - 1024).step_by(97).filter(|cut| cut % 512 != 0) {
        let error = fixture.import(&archive[..cut]).unwrap_err();
        assert_eq!(error.to_string(), "unexpected EOF", "cut at {cut}");
    }
    let packed = common::gzip(&archive);
    for cut in [packed.len() - 1, packed.len() - 8, packed.len() / 2, 20, 5] {
        let error = fixture.import(&packed[..cut]).unwrap_err();
        assert_eq!(error.kind(), berth_store::Kind::Invalid, "gzip cut at {cut}: {error}");
    }
    let packed = common::zstd(&archive);
    for cut in [packed.len() - 1, packed.len() / 2, 5] {
        let error = fixture.import(&packed[..cut]).unwrap_err();
        assert_eq!(error.kind(), berth_store::Kind::Invalid, "zstd cut at {cut}: {error}");
    }
    assert!(fixture.store.images().list(true).is_empty());
    assert_eq!(fixture.leftovers(), [""; 0]);
}
