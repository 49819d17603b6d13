//! Each target over its seeds and thousands of mutations of them. The mutations are always the same.

use std::time::{Duration, Instant};

use super::{Target, targets};

/// How many inputs a target gets: some seconds of all targets together.
const ROUNDS: u64 = 4000;

/// Longer than any input takes on a machine that does other things as well.
const HANG: Duration = Duration::from_secs(10);

/// xorshift64*: enough for mutations.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end.max(1)
    }
}

/// Words that parsers stumble over.
const WORDS: [&str; 28] = [
    "",
    "0",
    "-1",
    "18446744073709551616",
    "9223372036854775807",
    "-9223372036854775808",
    "1e999",
    "null",
    "{}",
    "[]",
    "\"\"",
    "\\u0000",
    "\\ud800",
    "%",
    "%00",
    "%zz",
    "/",
    "..",
    "//",
    ":",
    "::",
    ",",
    "=",
    "\n",
    "\0",
    "\u{7f}",
    "\u{e9}",
    "{{",
];

fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(data.len() + 1);
        match random.below(9) {
            0 if at < data.len() => data[at] ^= 1 << random.below(8),
            1 if at < data.len() => data[at] = u8::try_from(random.below(256)).unwrap(),
            2 => data.insert(at, u8::try_from(random.below(256)).unwrap()),
            3 => data.truncate(at),
            4 => {
                let end = (at + random.below(16)).min(data.len());
                data.drain(at..end);
            }
            5 => {
                let word = WORDS[random.below(WORDS.len())];
                data.splice(at..at, word.bytes());
            }
            6 => {
                // a piece again, many times: nesting and length
                let piece = data[at..(at + 1 + random.below(8)).min(data.len())].to_vec();
                let more = piece.repeat(1 << random.below(10));
                data.splice(at..at, more);
            }
            7 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            _ => {
                let word = WORDS[random.below(WORDS.len())];
                let end = (at + word.len()).min(data.len());
                data.splice(at..end, word.bytes());
            }
        }
        data.truncate(64 << 10);
    }
    data
}

/// A seed as bytes; those of binary formats are made here.
fn bytes(seed: &str) -> Vec<u8> {
    match seed {
        "\0tar" => {
            let mut writer = berth_store::tar::Writer::new(Vec::new());
            let mut entry = berth_store::tar::Entry { size: 5, mode: 0o644, ..Default::default() };
            entry.path = b"folder/file".to_vec();
            writer.file(&entry, b"bytes").unwrap();
            entry.path = vec![b'n'; 300]; // in a header of its own
            writer.file(&entry, b"bytes").unwrap();
            writer.finish().unwrap()
        }
        text => text.as_bytes().to_vec(),
    }
}

fn drive(target: &Target) {
    let mut corpus: Vec<Vec<u8>> = target.seeds.iter().map(|seed| bytes(seed)).collect();
    corpus.push(Vec::new());
    let mut random = Random(0x5eed_0000_0000_0001);
    let mut inputs = corpus.clone();
    for round in 0..ROUNDS {
        let data = if inputs.is_empty() { mutate(&mut random, &corpus) } else { inputs.remove(0) };
        let start = Instant::now();
        let result = std::panic::catch_unwind(|| (target.run)(&data));
        assert!(
            result.is_ok(),
            "{}, round {round}: panicked at {:?}",
            target.name,
            data.escape_ascii().to_string()
        );
        assert!(
            start.elapsed() < HANG,
            "{}, round {round}: hangs at {:?}",
            target.name,
            data.escape_ascii().to_string()
        );
    }
}

#[test]
fn no_target_panics_or_hangs() {
    let targets = targets();
    std::thread::scope(|scope| {
        let threads: Vec<_> = targets
            .iter()
            .map(|target| {
                // as small as the stack of the engine's threads: nesting must not end the process
                let thread = std::thread::Builder::new().stack_size(2 << 20).name(target.name.to_owned());
                (target.name, thread.spawn_scoped(scope, || drive(target)).unwrap())
            })
            .collect();
        let failed: Vec<_> =
            threads.into_iter().filter_map(|(name, thread)| thread.join().err().map(|_| name)).collect();
        assert!(failed.is_empty(), "failed: {failed:?}");
    });
}

#[test]
fn every_target_has_its_file_for_libfuzzer() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for target in targets() {
        let file = folder.join(format!("fuzz_targets/{}.rs", target.name));
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(text.contains(&format!("run(\"{}\", data)", target.name)), "{}", file.display());
        assert!(
            manifest.contains(&format!("name = \"{}\"", target.name)),
            "{} is not in fuzz/Cargo.toml",
            target.name
        );
    }
}
