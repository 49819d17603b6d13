//! Archives in which one reader sees an entry that another takes for data: what we see is what GNU tar sees, or
//! nothing. Row 21 of the security table. Needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::gnu::check_or_refuse;
use common::{file, tar};

/// Puts the right checksum into a header.
fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
    changed(name, kind, &[(124, format!("{size:011o}\0").as_bytes())])
}

/// A header with some bytes changed.
fn changed(name: &str, kind: u8, changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut block = tar(&[(file(name), b"")])[..512].to_vec();
    block[156] = kind;
    for (at, bytes) in changes {
        block[*at..at + bytes.len()].copy_from_slice(bytes);
    }
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

fn whole(name: &str, data: &[u8]) -> Vec<u8> {
    [header(name, b'0', data.len() as u64), padded(data)].concat()
}

/// An archive of these parts, with an end.
fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

/// What may be data or an entry: a whole archive, as long as `INNER`.
fn inner() -> Vec<u8> {
    archive(&[whole("smuggled", b"evil")])
}

const INNER: u64 = 2048;
const INNER_TEXT: &str = "2048";

/// Checks archives; those named must be accepted, so that a reader that refuses all does not pass.
fn check(cases: &[(&str, Vec<u8>)], good: &[&str]) {
    assert_eq!(inner().len() as u64, INNER);
    for (name, archive) in cases {
        let accepted = check_or_refuse(name, archive);
        assert!(accepted || !good.contains(name), "{name} is a good archive");
    }
}

#[test]
fn sizes_in_two_places() {
    // CVE-2025-62518 and its kin: the header says one size, the extended header another.
    let size = |value: &str| pax(b'x', &[("size", value)]);
    let body = |stated: u64| [header("f", b'0', stated), padded(&inner()), whole("second", b"2")].concat();
    let cases = [
        ("pax size over 0", archive(&[size(INNER_TEXT), body(0)])),
        ("pax size 0 over size", archive(&[size("0"), body(INNER)])),
        ("two pax headers", archive(&[size(INNER_TEXT), size("0"), body(0)])),
        ("two sizes", archive(&[pax(b'x', &[("size", "0"), ("size", INNER_TEXT)]), body(0)])),
        ("size with zeros", archive(&[size("0002048"), body(0)])),
        ("signed size", archive(&[size("+2048"), body(0)])),
        ("empty size", archive(&[size(""), body(INNER)])),
        ("global size", archive(&[pax(b'g', &[("size", INNER_TEXT)]), body(0)])),
        (
            "pax size on a long name",
            archive(&[size(INNER_TEXT), header("././@LongLink", b'L', 5), padded(b"long\0"), body(0)]),
        ),
    ];
    check(&cases, &["pax size over 0", "pax size 0 over size"]);
}

#[test]
fn sizes_of_what_has_no_data() {
    let target = whole("t", b"x");
    let link = |size: &[u8]| changed("h", b'1', &[(157, b"t"), (124, size)]);
    let cases = [
        ("directory with size", archive(&[header("d/", b'5', INNER), inner()])),
        ("symlink with size", archive(&[header("s", b'2', INNER), inner()])),
        ("fifo with size", archive(&[header("p", b'6', INNER), inner()])),
        ("device with size", archive(&[header("c", b'3', INNER), inner()])),
        ("hard link with size", archive(&[target.clone(), link(b"00000004000\0"), inner()])),
        (
            "hard link with pax size",
            archive(&[target.clone(), pax(b'x', &[("size", INNER_TEXT)]), link(b"00000000000\0"), inner()]),
        ),
        ("hard link without size", archive(&[target, link(b"00000000000\0"), whole("second", b"2")])),
    ];
    check(&cases, &["hard link without size"]);
}

#[test]
fn spellings_of_numbers() {
    let field = |bytes: &[u8]| [changed("f", b'0', &[(124, bytes)]), padded(b"1234")].concat();
    let cases = [
        ("base 256", archive(&[field(b"\x80\0\0\0\0\0\0\0\0\0\0\x04"), whole("second", b"2")])),
        ("negative", archive(&[changed("f", b'0', &[(124, &[0xff; 12])]), whole("second", b"2")])),
        ("letters", archive(&[field(b"0000000 4xyz")])),
        ("space in front", archive(&[field(b"         4 \0"), whole("second", b"2")])),
        ("no end", archive(&[field(b"000000000004"), whole("second", b"2")])),
        ("minus", archive(&[field(b"-0000000004\0")])),
    ];
    check(&cases, &["base 256", "space in front", "no end"]);
}

#[test]
fn names_in_two_places() {
    let long = |kind, name: &[u8]| [header("././@LongLink", kind, name.len() as u64), padded(name)].concat();
    let file = whole("f", b"x");
    let cases = [
        ("pax and long name", archive(&[pax(b'x', &[("path", "one")]), long(b'L', b"two\0"), file.clone()])),
        ("two long names", archive(&[long(b'L', b"one\0"), long(b'L', b"two\0"), file.clone()])),
        ("long name with two", archive(&[long(b'L', b"one\0two\0"), file.clone()])),
        ("a long name", archive(&[long(b'L', b"one\0"), file.clone()])),
        ("NUL in a pax path", archive(&[pax(b'x', &[("path", "a\0b")]), file.clone()])),
        ("empty pax path", archive(&[pax(b'x', &[("path", "")]), file.clone()])),
        ("global path", archive(&[pax(b'g', &[("path", "other")]), file.clone()])),
        ("global comment", archive(&[pax(b'g', &[("comment", "0123")]), file.clone()])),
        ("pax header at the end", archive(&[file, pax(b'x', &[("path", "nothing")])])),
        ("file named as a directory", archive(&[header("f/", b'0', INNER), inner()])),
        ("old file named as a directory", archive(&[header("f/", 0, 0), whole("second", b"2")])),
        ("prefix field of GNU", archive(&[changed("f", b'0', &[(257, b"ustar  \0"), (345, b"00001")])])),
    ];
    check(&cases, &["a long name", "global comment", "prefix field of GNU", "old file named as a directory"]);
}

#[test]
fn ends_kinds_and_sparse_maps() {
    let (file, second) = (whole("f", b"x"), whole("second", b"2"));
    let sparse = |records: &[(&str, &str)]| {
        archive(&[pax(b'x', records), header("f", b'0', INNER), inner(), whole("second", b"2")])
    };
    let version = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "x")];
    let cases = [
        ("lone zero block", archive(&[file.clone(), vec![0; 512], second.clone()])),
        ("behind the end", archive(&[file.clone(), vec![0; 1024], second.clone()])),
        ("no end", file),
        ("volume label", archive(&[header("label", b'V', 0), second.clone()])),
        ("multi-volume", archive(&[header("part", b'M', 512), padded(&[1; 512])])),
        ("unknown type", archive(&[header("x", b'Q', 4), padded(b"1234"), second])),
        ("sparse without a map", sparse(&[&version[..], &[("GNU.sparse.realsize", "10")]].concat())),
        ("sparse without a size", sparse(&version)),
        (
            "sparse map too short",
            sparse(&[
                ("GNU.sparse.size", "4096"),
                ("GNU.sparse.numblocks", "1"),
                ("GNU.sparse.map", "0,512"),
            ]),
        ),
        (
            "sparse map out of order",
            sparse(&[("GNU.sparse.size", "4096"), ("GNU.sparse.map", "1024,1024,0,1024")]),
        ),
    ];
    check(&cases, &["behind the end", "no end"]);
}
