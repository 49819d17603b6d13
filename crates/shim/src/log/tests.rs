use std::fs;
use std::path::Path;

use super::*;

fn config(directory: &Path, max_size_bytes: u64, max_files: u32) -> LogFile {
    LogFile {
        path: directory.join("c-json.log"),
        max_size_bytes,
        max_files,
        compress: false,
        attrs: String::new(),
    }
}

/// The texts of a file, and that every entry is whole.
fn texts(path: &Path) -> Vec<String> {
    // A log without a line is no file.
    let content = if path.exists() { fs::read_to_string(path).unwrap() } else { String::new() };
    assert!(content.is_empty() || content.ends_with("\"}\n"), "a half entry in {content:?}");
    content
        .lines()
        .map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            entry["log"].as_str().unwrap().to_owned()
        })
        .collect()
}

/// Writes `chunks` and compares the texts of the entries.
fn check(chunks: &[&[u8]], expect: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), 0, 1);
    let path = config.path.clone();
    let mut log = Log::open(config).unwrap();
    for chunk in chunks {
        log.write(0, chunk);
    }
    log.end(0);
    assert_eq!(texts(&path), expect);
}

#[test]
fn lines_are_entries_however_they_come_in() {
    check(&[], &[]);
    check(&[b"one\ntwo\n"], &["one\n", "two\n"]);
    check(&[b"on", b"e\ntw", b"o", b"\n", b"\n"], &["one\n", "two\n", "\n"]);
    check(&[b"one\nend"], &["one\n", "end"]);
    check(&["한".as_bytes().split_at(1).0, "한\n".as_bytes().split_at(1).1], &["한\n"]);
}

#[test]
fn a_long_line_comes_in_pieces_of_sixteen_kibibytes() {
    let line = "x".repeat(PIECE_MAX);
    let long = format!("{line}{line}yz\n");
    let expect = [line.as_str(), line.as_str(), "yz\n"];
    check(&[long.as_bytes()], &expect);
    for at in [1, PIECE_MAX - 1, PIECE_MAX, PIECE_MAX + 1, 2 * PIECE_MAX, 2 * PIECE_MAX + 2] {
        let (first, second) = long.as_bytes().split_at(at);
        check(&[first, second], &expect);
    }
    let exact = format!("{line}\n");
    check(&[exact.as_bytes()], &[line.as_str(), "\n"]);
    let fits = format!("{}\n", &line[1..]);
    check(&[fits.as_bytes()], &[fits.as_str()]);
}

#[test]
fn pieces_carry_the_time_of_the_first_and_the_next_line_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), 0, 1);
    let path = config.path.clone();
    let mut log = Log::open(config).unwrap();
    log.write(0, &vec![b'x'; PIECE_MAX + 1]);
    std::thread::sleep(std::time::Duration::from_millis(2));
    log.write(0, b"end\nnext\n");
    let content = fs::read_to_string(path).unwrap();
    let times: Vec<&str> = content.lines().map(|line| line.split("\"time\":").nth(1).unwrap()).collect();
    assert_eq!(times.len(), 3);
    assert_eq!(times[0], times[1]);
    assert_ne!(times[1], times[2]);
}

#[test]
fn streams_do_not_mix_within_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), 0, 1);
    let path = config.path.clone();
    let mut log = Log::open(config).unwrap();
    log.write(0, b"out");
    log.write(1, b"error\n");
    log.write(0, b"put\n");
    assert_eq!(texts(&path), ["error\n", "output\n"]);
    let content = fs::read_to_string(path).unwrap();
    assert!(content.lines().next().unwrap().contains("\"stream\":\"stderr\""));
}

#[test]
fn rotation_keeps_the_newest_files_and_loses_no_entry_between_them() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), 200, 3);
    let path = config.path.clone();
    let mut log = Log::open(config).unwrap();
    let lines: String = (0..40).map(|number| format!("line {number}\n")).collect();
    log.write(0, lines.as_bytes());
    let mut all = Vec::new();
    for name in ["c-json.log.2", "c-json.log.1", "c-json.log"] {
        let file = directory.path().join(name);
        let size = fs::metadata(&file).unwrap().len();
        assert!(size < 200 + 100, "{name} has {size} bytes");
        all.extend(texts(&file));
    }
    let expect: Vec<String> = (40 - all.len()..40).map(|number| format!("line {number}\n")).collect();
    assert_eq!(all, expect);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    // What was left is appended to by the next run.
    let mut again = Log::open(super::tests::config(directory.path(), 200, 3)).unwrap();
    again.write(0, b"again\n");
    assert_eq!(texts(&path).last().unwrap(), "again\n");
}

#[test]
fn one_file_starts_again_when_it_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), 300, 1);
    let path = config.path.clone();
    let mut log = Log::open(config).unwrap();
    for number in 0..100 {
        log.write(0, format!("line {number}\n").as_bytes());
    }
    assert_eq!(texts(&path).last().unwrap(), "line 99\n");
    assert!(fs::metadata(&path).unwrap().len() < 400);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_rotation_that_fails_goes_on_in_the_same_file() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), 100, 2);
    let path = config.path.clone();
    // A directory in the way can neither be unlinked nor renamed over.
    fs::create_dir_all(directory.path().join("c-json.log.1/x")).unwrap();
    let mut log = Log::open(config).unwrap();
    for number in 0..10 {
        log.write(0, format!("line {number}\n").as_bytes());
    }
    assert_eq!(texts(&path).len(), 10);
}

#[test]
fn attributes_are_in_every_line() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path(), 0, 1);
    config.attrs = "{\"tag\":\"x\"}".to_owned();
    let path = config.path.clone();
    Log::open(config).unwrap().write(1, b"a\n");
    let content = fs::read_to_string(path).unwrap();
    assert!(
        content.starts_with("{\"log\":\"a\\n\",\"stream\":\"stderr\",\"attrs\":{\"tag\":\"x\"},\"time\":\""),
        "{content}"
    );
}

#[test]
fn each_file_knows_what_came_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), 300, 3);
    let path = config.path.clone();
    let all = |path: &Path| {
        let files = [".2", ".1", ""].map(|end| fs::File::open(format!("{}{end}", path.display())));
        let files = files.into_iter().filter_map(Result::ok);
        files.map(|file| (start::of(&file), file.metadata().unwrap().len())).collect::<Vec<_>>()
    };
    // As the next supervisor goes on.
    for _ in 0..2 {
        let mut log = Log::open(config.clone()).unwrap();
        (0..20).for_each(|number| log.write(0, format!("line {number}\n").as_bytes()));
    }
    let files = all(&path);
    assert_eq!(files.len(), 3);
    assert!(files[0].0 > 0);
    assert!(files.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0), "{files:?}");
    assert!(!path.with_extension("log.new").exists());
}
