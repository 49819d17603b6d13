use std::io::Write as _;
use std::path::Path;

use super::files::{Place, look, next, open_from, open_rest};

fn line(number: u32) -> String {
    format!("{{\"log\":\"{number}\\n\",\"stream\":\"stdout\",\"time\":\"2024-01-01T00:00:00Z\"}}\n")
}

/// A log of three files: 0-9 compressed, 10-19 rotated, 20-29 current.
fn log() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x-json.log");
    let text = |from: u32| (from..from + 10).map(line).collect::<String>();
    let gz = std::fs::File::create(directory.path().join("x-json.log.2.gz")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(gz, flate2::Compression::fast());
    gz.write_all(text(0).as_bytes()).unwrap();
    gz.finish().unwrap();
    std::fs::write(directory.path().join("x-json.log.1"), text(10)).unwrap();
    std::fs::write(&path, text(20)).unwrap();
    (directory, path)
}

fn drain(cursor: &mut super::Cursor, out: &mut Vec<u32>) {
    let mut more = true;
    while more {
        let number = |line: &[u8]| {
            let text = std::str::from_utf8(line).unwrap();
            text.strip_prefix("{\"log\":\"").unwrap().split('\\').next().unwrap().parse().unwrap()
        };
        more = cursor.read_lines(|line| out.push(number(line))).unwrap();
    }
}

fn numbers(path: &Path, tail: Option<u64>) -> Vec<u32> {
    let (old, current) = open_rest(None, path, tail).unwrap();
    let mut out = Vec::new();
    for mut cursor in old.into_iter().chain(current) {
        drain(&mut cursor, &mut out);
    }
    out
}

#[test]
fn all_files_are_read_in_order() {
    let (_directory, path) = log();
    assert_eq!(numbers(&path, None), (0..30).collect::<Vec<_>>());
}

#[test]
fn tails_reach_back_over_files() {
    let (_directory, path) = log();
    for tail in [0, 1, 9, 10, 11, 19, 20, 21, 25, 30, 99] {
        let first = 30_u32.saturating_sub(tail);
        assert_eq!(numbers(&path, Some(u64::from(tail))), (first..30).collect::<Vec<_>>(), "{tail}");
    }
}

#[test]
fn half_a_line_is_no_line_yet() {
    let (_directory, path) = log();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let whole = line(30);
    file.write_all(&whole.as_bytes()[..10]).unwrap();
    assert_eq!(numbers(&path, Some(2)), [28, 29]);
    let (_, current) = open_rest(None, &path, Some(1)).unwrap();
    let mut current = current.unwrap();
    let mut out = Vec::new();
    drain(&mut current, &mut out);
    file.write_all(&whole.as_bytes()[10..]).unwrap();
    drain(&mut current, &mut out);
    assert_eq!(out, [29, 30]);
}

#[test]
fn rotation_is_followed() {
    let (directory, path) = log();
    let (_, current) = open_rest(None, &path, Some(0)).unwrap();
    let mut cursor = current.unwrap();
    let mut out = Vec::new();
    drain(&mut cursor, &mut out);
    let (same, moved) = look(Some(cursor), &path);
    assert!(!moved);
    // Two rotations while nobody looked: 30 is in the file that was current, 31 in the next, 32 in the newest.
    let rotated = |number: u32| directory.path().join(format!("x-json.log.{number}"));
    let append = |text: String| {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append(line(30));
    std::fs::rename(&path, rotated(1)).unwrap();
    append(line(31));
    std::fs::rename(rotated(1), rotated(2)).unwrap();
    std::fs::rename(&path, rotated(1)).unwrap();
    append(line(32));
    let mut cursor = same.unwrap();
    loop {
        drain(&mut cursor, &mut out);
        let (same, moved) = look(Some(cursor), &path);
        if !moved {
            break;
        }
        cursor = next(same, &path).0.unwrap();
    }
    assert_eq!(out, [30, 31, 32]);
}

#[test]
fn a_reader_goes_on_from_the_place_of_another() {
    let (_directory, path) = log();
    let all_from = |place, is_last: &dyn Fn(&[u8]) -> bool| {
        let (old, current, found) = open_from(&path, place, is_last).unwrap();
        let mut out = Vec::new();
        old.into_iter().chain(current).for_each(|mut cursor| drain(&mut cursor, &mut out));
        (found.is_some(), out)
    };
    let here = |number: u32| move |raw: &[u8]| line(number).as_bytes().strip_suffix(b"\n") == Some(raw);
    let place = |name: &str, lines: u32| {
        let inode =
            std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path.with_file_name(name)).unwrap());
        let length: usize = (0..lines).map(|index| line(10 + index).len()).sum();
        Place { inode, offset: length as u64, start: None }
    };
    assert_eq!(all_from(place("x-json.log", 4), &here(23)), (true, (24..30).collect()));
    assert_eq!(all_from(place("x-json.log", 10), &here(29)), (true, vec![]));
    assert_eq!(all_from(place("x-json.log.1", 5), &here(14)), (true, (15..30).collect()));
    // Another file has the number of the one that was read, or the place is none: all there is.
    assert_eq!(all_from(place("x-json.log", 4), &here(22)), (false, (0..30).collect()));
    assert_eq!(all_from(place("x-json.log", 40), &here(23)), (false, (0..30).collect()));
    assert_eq!(all_from(place("x-json.log.2.gz", 1), &here(10)), (false, (0..30).collect()));
    assert_eq!(all_from(Place::default(), &here(0)), (false, (0..30).collect()));
}

/// A log of which 0-9 are gone, 10-19 compressed, 20-29 rotated, 30-39 current, and each file knows what came before it.
fn dated_log() -> (tempfile::TempDir, std::path::PathBuf) {
    let (directory, path) = log();
    let text = |from: u32| (from..from + 10).map(line).collect::<String>();
    std::fs::rename(&path, directory.path().join("x-json.log.1")).unwrap();
    std::fs::write(&path, text(30)).unwrap();
    let gz = std::fs::File::create(directory.path().join("x-json.log.2.gz")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(&gz, flate2::Compression::fast());
    encoder.write_all(text(10).as_bytes()).unwrap();
    encoder.finish().unwrap();
    for (number, name) in [(10, "x-json.log.2.gz"), (20, "x-json.log.1"), (30, "x-json.log")] {
        let file = std::fs::File::open(directory.path().join(name)).unwrap();
        berth_shim::log_start::set(&file, bytes_before(number)).unwrap();
    }
    (directory, path)
}

fn bytes_before(number: u32) -> u64 {
    (0..number).map(|number| line(number).len() as u64).sum()
}

#[test]
fn what_is_compressed_or_gone_meanwhile_is_not_passed_over_in_silence() {
    let (directory, path) = dated_log();
    let follow = |mut cursor: super::Cursor| {
        let (mut out, mut lost) = (Vec::new(), 0);
        loop {
            drain(&mut cursor, &mut out);
            let (same, moved) = look(Some(cursor), &path);
            if !moved {
                return (out, lost);
            }
            let (next, gone) = next(same, &path);
            (cursor, lost) = (next.unwrap(), lost + gone);
        }
    };
    // A reader holds a file that was compressed and removed since, and another that nothing is left of.
    for (numbers, before, gone) in
        [(10..20, 10, 0), (0..10, 0, 0), (0..5, 0, bytes_before(10) - bytes_before(5))]
    {
        let held = directory.path().join("held");
        std::fs::write(&held, numbers.clone().map(line).collect::<String>()).unwrap();
        let file = std::fs::File::open(&held).unwrap();
        std::fs::remove_file(&held).unwrap();
        if before > 0 {
            berth_shim::log_start::set(&file, bytes_before(before)).unwrap();
        }
        let (out, lost) = follow(super::Cursor::plain(file));
        let rest = if before > 0 { 20..40 } else { 10..40 };
        assert_eq!(out, numbers.chain(rest).collect::<Vec<_>>());
        assert_eq!(lost, gone);
    }
    // There was no file at all, and much has come since.
    let (oldest, lost) = next(None, &path);
    let (out, more) = follow(oldest.unwrap());
    assert_eq!((out, lost + more), ((10..40).collect(), bytes_before(10)));
}

#[test]
fn a_place_in_a_file_that_was_compressed_is_found() {
    let (_directory, path) = dated_log();
    let all_from = |start: u32, number: u32| {
        let offset = bytes_before(number) - bytes_before(start);
        let place = Place { inode: 99, offset, start: Some(bytes_before(start)) };
        let last = line(number - 1);
        let is_last = move |raw: &[u8]| last.as_bytes().strip_suffix(b"\n") == Some(raw);
        let (old, current, lost) = open_from(&path, place, is_last).unwrap();
        let mut out = Vec::new();
        old.into_iter().chain(current).for_each(|mut cursor| drain(&mut cursor, &mut out));
        (lost, out)
    };
    assert_eq!(all_from(10, 13), (Some(0), (13..40).collect()));
    assert_eq!(all_from(20, 30), (Some(0), (30..40).collect()));
    assert_eq!(all_from(30, 33), (Some(0), (33..40).collect()));
    assert_eq!(all_from(0, 4), (Some(bytes_before(10) - bytes_before(4)), (10..40).collect()));
}
