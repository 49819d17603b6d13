use std::io::Write as _;
use std::path::Path;

use super::files::{look, next, open_rest};

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
        cursor = next(same, &path).unwrap();
    }
    assert_eq!(out, [30, 31, 32]);
}
