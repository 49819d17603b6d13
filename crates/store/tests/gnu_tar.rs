//! The unpacked layer is what GNU tar unpacks, for archives of every format that GNU tar writes, and for archives
//! made by hand to say two things at once it is that or an error. Needs root.

mod common;

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use berth_store::tar::Kind;
use common::{Fixture, directory, file, link, run, tar, tree};

/// Unpacks with both and compares; the archive must be good.
fn check(name: &str, archive: &[u8]) {
    let fixture = Fixture::new();
    let ours = fixture.unpack(archive).unwrap_or_else(|error| panic!("{name}: {error}"));
    let theirs = gnu(archive).unwrap_or_else(|| panic!("{name}: GNU tar refuses it"));
    assert_eq!(tree(&ours), tree(theirs.path()), "{name}");
    save_gives_back(&fixture, archive, name);
}

/// Unpacks with both; ours may refuse, but must not see something else.
fn check_or_refuse(name: &str, archive: &[u8]) -> bool {
    let fixture = Fixture::new();
    match fixture.unpack(archive) {
        Ok(ours) => {
            let theirs = gnu(archive).unwrap_or_else(|| panic!("{name}: only GNU tar refuses it"));
            assert_eq!(tree(&ours), tree(theirs.path()), "{name}");
            save_gives_back(&fixture, archive, name);
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), berth_store::Kind::Invalid, "{name}: {error}");
            assert_eq!(fixture.leftovers(), [""; 0], "{name}");
            false
        }
    }
}

/// The layer's tar is written again byte for byte.
fn save_gives_back(fixture: &Fixture, archive: &[u8], name: &str) {
    let id = fixture.store.images().list(true)[0].image.id.to_string();
    let saved = fixture.save(&[&id]).unwrap();
    let found =
        saved.windows(512).step_by(512).position(|block| archive.starts_with(block) || block == archive);
    let start = found.unwrap_or_else(|| panic!("{name}: layer not found in the saved archive")) * 512;
    assert!(saved[start..].starts_with(archive), "{name}: layer changed");
}

fn gnu(archive: &[u8]) -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in.tar");
    let output = tempfile::tempdir().unwrap();
    std::fs::write(&input, archive).unwrap();
    let status = std::process::Command::new("tar")
        .args([
            "--warning=no-timestamp",
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "--same-owner",
            "-xpf",
        ])
        .arg(&input)
        .current_dir(output.path())
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&status.stderr).into_owned();
    // Warnings count: what GNU tar doubts is not good.
    (status.status.success() && error.is_empty()).then_some(output)
}

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

/// Puts the right checksum into a header.
fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
    let mut block = tar(&[(file(name), b"")])[..512].to_vec();
    block[156] = kind;
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    seal(&mut block);
    block
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().next_multiple_of(512), 0);
    data
}

fn pax(kind: u8, records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        data.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    [header("pax", kind, data.len() as u64), padded(&data)].concat()
}

const END: [u8; 1024] = [0; 1024];

fn whole(name: &str, data: &[u8]) -> Vec<u8> {
    [header(name, b'0', data.len() as u64), padded(data)].concat()
}

/// Archives in which one reader sees an entry that another takes for data.
#[test]
fn smuggled_headers_are_seen_as_gnu_tar_sees_them_or_refused() {
    let inner = [whole("smuggled", b"evil"), END.to_vec()].concat();
    let size = inner.len() as u64;
    let size_text = size.to_string();
    let end = END.to_vec();
    let second = whole("second", b"2");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        // CVE-2025-62518: the header says 0, pax says how long it really is.
        (
            "pax size over 0",
            [
                pax(b'x', &[("size", &size_text)]),
                header("f", b'0', 0),
                padded(&inner),
                second.clone(),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "pax size 0 over size",
            [
                pax(b'x', &[("size", "0")]),
                header("f", b'0', size),
                padded(&inner),
                second.clone(),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "two pax headers",
            [
                pax(b'x', &[("size", &size_text)]),
                pax(b'x', &[("size", "0")]),
                header("f", b'0', 0),
                padded(&inner),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "two sizes",
            [
                pax(b'x', &[("size", "0"), ("size", &size_text)]),
                header("f", b'0', 0),
                padded(&inner),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "size with zeros",
            [
                pax(b'x', &[("size", &format!("000{size}"))]),
                header("f", b'0', 0),
                padded(&inner),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "signed size",
            [pax(b'x', &[("size", &format!("+{size}"))]), header("f", b'0', 0), padded(&inner), end.clone()]
                .concat(),
        ),
        (
            "global size",
            [pax(b'g', &[("size", &size_text)]), header("f", b'0', 0), padded(&inner), end.clone()].concat(),
        ),
        ("global path", [pax(b'g', &[("path", "other")]), whole("f", b"x"), end.clone()].concat()),
        ("global comment", [pax(b'g', &[("comment", "0123")]), whole("f", b"x"), end.clone()].concat()),
        ("directory with size", [header("d/", b'5', size), padded(&inner), end.clone()].concat()),
        ("symlink with size", [header("s", b'2', size), padded(&inner), end.clone()].concat()),
        ("fifo with size", [header("p", b'6', size), padded(&inner), end.clone()].concat()),
        (
            "hard link with size",
            [
                whole("t", b"x"),
                {
                    let mut h = header("h", b'1', size);
                    h[157] = b't';
                    seal(&mut h);
                    h
                },
                padded(&inner),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "hard link with pax size",
            [
                whole("t", b"x"),
                pax(b'x', &[("size", &size_text)]),
                {
                    let mut h = header("h", b'1', 0);
                    h[157] = b't';
                    seal(&mut h);
                    h
                },
                padded(&inner),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "pax size on a long name",
            [
                pax(b'x', &[("size", &size_text)]),
                header("././@LongLink", b'L', 5),
                padded(b"long\0"),
                header("f", b'0', 0),
                padded(&inner),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "pax path and long name",
            [
                pax(b'x', &[("path", "one")]),
                header("././@LongLink", b'L', 4),
                padded(b"two\0"),
                whole("f", b"x"),
                end.clone(),
            ]
            .concat(),
        ),
        ("lone zero block", [whole("f", b"x"), vec![0; 512], second.clone(), end.clone()].concat()),
        ("behind the end", [whole("f", b"x"), end.clone(), second.clone(), end.clone()].concat()),
        ("pax path with NUL", [pax(b'x', &[("path", "a\0b")]), whole("f", b"x"), end.clone()].concat()),
        ("empty pax path", [pax(b'x', &[("path", "")]), whole("f", b"x"), end.clone()].concat()),
        ("file named as a directory", [header("f/", b'0', size), padded(&inner), end.clone()].concat()),
        ("old file named as a directory", [header("f/", 0, 0), second.clone(), end.clone()].concat()),
        (
            "sparse and size",
            [
                pax(
                    b'x',
                    &[
                        ("GNU.sparse.major", "1"),
                        ("GNU.sparse.minor", "0"),
                        ("GNU.sparse.realsize", "10"),
                        ("GNU.sparse.name", "x"),
                    ],
                ),
                header("f", b'0', size),
                padded(&inner),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "sparse map too short",
            [
                pax(
                    b'x',
                    &[
                        ("GNU.sparse.size", "4096"),
                        ("GNU.sparse.numblocks", "1"),
                        ("GNU.sparse.map", "0,512"),
                    ],
                ),
                header("f", b'0', size),
                padded(&inner),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "pax header at the end",
            [whole("f", b"x"), pax(b'x', &[("path", "nothing")]), end.clone()].concat(),
        ),
        ("base 256 size", {
            let mut h = header("f", b'0', 0);
            h[124..136].fill(0);
            h[124] = 0x80;
            h[135] = 4;
            seal(&mut h);
            [h, padded(b"1234"), second.clone(), end.clone()].concat()
        }),
        ("negative size", {
            let mut h = header("f", b'0', 0);
            h[124..136].fill(0xff);
            seal(&mut h);
            [h, second.clone(), end.clone()].concat()
        }),
        ("size with letters", {
            let mut h = header("f", b'0', 0);
            h[124..136].copy_from_slice(b"0000000 4xyz");
            seal(&mut h);
            [h, padded(b"1234"), end.clone()].concat()
        }),
        ("volume label", [header("label", b'V', 0), second.clone(), end.clone()].concat()),
        ("multi-volume", [header("part", b'M', 512), padded(&[1; 512]), end.clone()].concat()),
        ("unknown type", [header("x", b'Q', 4), padded(b"1234"), second.clone(), end.clone()].concat()),
        ("prefix of GNU", {
            let mut h = header("f", b'0', 0);
            h[257..265].copy_from_slice(b"ustar  \0");
            h[345..350].copy_from_slice(b"00001");
            seal(&mut h);
            [h, end.clone()].concat()
        }),
    ];
    let mut accepted = Vec::new();
    for (name, archive) in &cases {
        if check_or_refuse(name, archive) {
            accepted.push(*name);
        }
    }
    // So that the test cannot pass by refusing everything.
    for name in ["pax size over 0", "global comment", "behind the end", "base 256 size", "prefix of GNU"] {
        assert!(accepted.contains(&name), "{name} is a good archive; accepted: {accepted:?}");
    }
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
