//! Writing of tar streams: ustar headers, with a pax header where a value does not fit.

use std::io::{self, Write};

use super::BLOCK;
use super::reader::{Entry, Kind};

const NAME_LEN: usize = 100;
const SIZE_MAX: u64 = 0o77_777_777_777;
const ID_MAX: u32 = 0o7_777_777;

/// Writes entries to a stream. The same entries make the same bytes.
pub struct Writer<W> {
    stream: W,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Writes to this stream.
    pub fn new(stream: W) -> Self {
        Self { stream, padding: 0 }
    }

    /// Starts an entry; if it is a file, exactly `entry.size` bytes must be written to [`Writer::stream`] next.
    pub fn start(&mut self, entry: &Entry) -> io::Result<()> {
        self.fill()?;
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
        let records = extended(entry, size);
        if !records.is_empty() {
            let mut name = b"PaxHeaders.0/".to_vec();
            let base = entry.path.rsplit(|b| *b == b'/').find(|part| !part.is_empty()).unwrap_or(b"x");
            name.extend_from_slice(&base[..base.len().min(80)]);
            let plain = Entry { path: name, mode: 0o644, ..Entry::default() };
            self.stream.write_all(&header(&plain, b'x', records.len() as u64))?;
            self.stream.write_all(&records)?;
            self.padding = padding(records.len() as u64);
            self.fill()?;
        }
        self.stream.write_all(&header(entry, typeflag(entry.kind), size))?;
        self.padding = padding(size);
        Ok(())
    }

    /// The stream, for the data of the entry that was started.
    pub fn stream(&mut self) -> &mut W {
        &mut self.stream
    }

    /// Adds a whole file.
    pub fn file(&mut self, entry: &Entry, data: &[u8]) -> io::Result<()> {
        self.start(&Entry { size: data.len() as u64, ..entry.clone() })?;
        self.stream.write_all(data)
    }

    /// Ends the archive and gives the stream back.
    pub fn finish(mut self) -> io::Result<W> {
        self.fill()?;
        self.stream.write_all(&[0; 2 * BLOCK])?;
        Ok(self.stream)
    }

    fn fill(&mut self) -> io::Result<()> {
        let padding = std::mem::take(&mut self.padding);
        self.stream.write_all(&[0; BLOCK][..padding])
    }
}

fn padding(size: u64) -> usize {
    (BLOCK - usize::try_from(size % BLOCK as u64).unwrap_or(0)) % BLOCK
}

fn typeflag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::Character => b'3',
        Kind::Block => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// The pax records for what does not fit into a ustar header.
fn extended(entry: &Entry, size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    if entry.path.len() > NAME_LEN || !entry.path.is_ascii() {
        record(&mut records, b"path", &entry.path);
    }
    if entry.link.len() > NAME_LEN || !entry.link.is_ascii() {
        record(&mut records, b"linkpath", &entry.link);
    }
    if size > SIZE_MAX {
        record(&mut records, b"size", size.to_string().as_bytes());
    }
    if entry.uid > ID_MAX {
        record(&mut records, b"uid", entry.uid.to_string().as_bytes());
    }
    if entry.gid > ID_MAX {
        record(&mut records, b"gid", entry.gid.to_string().as_bytes());
    }
    if entry.mtime.1 != 0 || entry.mtime.0 < 0 || entry.mtime.0.cast_unsigned() > SIZE_MAX {
        record(&mut records, b"mtime", time(entry.mtime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

fn time((seconds, nanos): (i64, u32)) -> String {
    let (sign, seconds, nanos) = match (seconds < 0, nanos) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, _) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
        (false, _) => ("", seconds.unsigned_abs(), nanos),
    };
    let text = format!("{sign}{seconds}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Appends `length key=value\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn header(entry: &Entry, typeflag: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block[..NAME_LEN], &entry.path);
    octal(&mut block[100..108], u64::from(entry.mode & 0o7777));
    octal(&mut block[108..116], u64::from(entry.uid.min(ID_MAX)));
    octal(&mut block[116..124], u64::from(entry.gid.min(ID_MAX)));
    octal(&mut block[124..136], size.min(SIZE_MAX));
    octal(&mut block[136..148], u64::try_from(entry.mtime.0).unwrap_or(0).min(SIZE_MAX));
    block[156] = typeflag;
    put(&mut block[157..257], &entry.link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], u64::from(entry.device.0));
    octal(&mut block[337..345], u64::from(entry.device.1));
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    octal(&mut block[148..155], sum);
    block
}

fn put(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// Octal digits over the whole field but for a NUL at its end.
fn octal(field: &mut [u8], mut value: u64) {
    let digits = field.len() - 1;
    for byte in field[..digits].iter_mut().rev() {
        *byte = b'0' + u8::try_from(value & 7).unwrap_or(0);
        value >>= 3;
    }
    field[digits] = 0;
}
