//! The files of a log, and places in them.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use berth_shim::log_start;
use flate2::read::MultiGzDecoder;

/// Reads are this long.
const BLOCK: usize = 128 << 10;
/// A line may be this long: sixteen kibibytes of text with all of it escaped, and attributes.
const LINE_MAX: usize = 1 << 20;
/// No log has more rotated files.
const FILES_MAX: u32 = 10_000;

/// Where a reader of a log was, so that another one can go on from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file; 0 if it is a compressed one, of which no place is kept.
    pub(crate) inode: u64,
    /// Behind the last line that was read.
    pub(crate) offset: u64,
    /// How much of the log came before the file; none in places that were kept before this was known.
    pub(crate) start: Option<u64>,
}

/// A place in a file of a log.
pub(super) struct Cursor {
    source: Source,
    /// What was read and is not printed yet.
    buffer: Vec<u8>,
    /// How much of it is printed.
    taken: usize,
    /// How much of it was read.
    read: u64,
    /// How much of the log came before the file.
    start: u64,
    /// Lines still to be passed over.
    skip: u64,
}

enum Source {
    Plain(File),
    Compressed(Box<MultiGzDecoder<File>>),
}

impl Cursor {
    pub(super) fn plain(file: File) -> Cursor {
        let start = log_start::of(&file);
        Cursor::new(Source::Plain(file), start)
    }

    fn compressed(file: File) -> Cursor {
        let start = log_start::of(&file);
        Cursor::new(Source::Compressed(Box::new(MultiGzDecoder::new(file))), start)
    }

    fn new(source: Source, start: u64) -> Cursor {
        Cursor { source, buffer: Vec::new(), taken: 0, read: 0, start, skip: 0 }
    }

    /// Reads on and gives each whole line. Whether there may be more at once.
    pub(super) fn read_lines(&mut self, mut print: impl FnMut(&[u8])) -> io::Result<bool> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let old = self.buffer.len();
        self.buffer.resize(old + BLOCK, 0);
        let got = match &mut self.source {
            Source::Plain(file) => file.read(&mut self.buffer[old..])?,
            Source::Compressed(decoder) => decoder.read(&mut self.buffer[old..])?,
        };
        self.buffer.truncate(old + got);
        self.read += got as u64;
        let mut from = old;
        while let Some(length) = self.buffer[from..].iter().position(|byte| *byte == b'\n') {
            let line = &self.buffer[self.taken..from + length];
            if self.skip > 0 {
                self.skip -= 1;
            } else {
                print(line);
            }
            from += length + 1;
            self.taken = from;
        }
        if self.buffer.len() - self.taken > LINE_MAX {
            // No line of a log: it is passed over to its end.
            self.taken = self.buffer.len();
        }
        Ok(got > 0)
    }

    /// Behind the last line that was given.
    pub(super) fn place(&self) -> Place {
        let inode = match &self.source {
            Source::Plain(_) => self.inode().unwrap_or_default(),
            Source::Compressed(_) => 0,
        };
        let waiting = (self.buffer.len() - self.taken) as u64;
        Place { inode, offset: self.read.saturating_sub(waiting), start: Some(self.start) }
    }

    /// Goes to a place of the file, if the line before it is the expected one. Otherwise nothing is changed.
    fn go_to(&mut self, offset: u64, is_last: impl Fn(&[u8]) -> bool) -> bool {
        let Source::Plain(file) = &mut self.source else { return false };
        let begin = offset.saturating_sub(LINE_MAX as u64);
        let mut before = vec![0; usize::try_from(offset - begin).unwrap_or(LINE_MAX)];
        if file.read_exact_at(&mut before, begin).is_err() {
            return false;
        }
        let last = before.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next());
        let is_there = last.is_some_and(is_last) && file.seek(SeekFrom::Start(offset)).is_ok();
        if is_there {
            self.read = offset;
        }
        is_there
    }

    /// Passes over so many bytes of a compressed file that nothing was read of yet. Whether it is one.
    fn pass_over(&mut self, bytes: u64) -> bool {
        let Source::Compressed(decoder) = &mut self.source else { return false };
        // What cannot be read now cannot be read later.
        let _ = io::copy(&mut decoder.take(bytes), &mut io::sink());
        self.read = bytes;
        true
    }

    /// Whether the file was cut off below the place that was read last.
    fn is_cut_off(&self) -> bool {
        let Source::Plain(file) = &self.source else { return false };
        let mut reader = file;
        match (reader.stream_position(), file.metadata()) {
            (Ok(place), Ok(metadata)) => metadata.len() < place,
            _ => false,
        }
    }

    fn is_compressed(&self) -> bool {
        matches!(self.source, Source::Compressed(_))
    }

    fn inode(&self) -> Option<u64> {
        let file = match &self.source {
            Source::Plain(file) => file,
            Source::Compressed(decoder) => decoder.get_ref(),
        };
        file.metadata().ok().map(|metadata| metadata.ino())
    }
}

/// All files of a log, oldest first, and the current one, each at the place where the last `tail` lines begin. The
/// current one may be open already.
pub(super) fn open_rest(
    current: Option<Cursor>,
    path: &Path,
    tail: Option<u64>,
) -> io::Result<(Vec<Cursor>, Option<Cursor>)> {
    let current = match current {
        Some(current) => Some(current),
        None => open(path)?.map(Cursor::plain),
    };
    let mut seen: Vec<u64> = current.as_ref().and_then(Cursor::inode).into_iter().collect();
    let mut old = Vec::new();
    // The newest are opened first: whatever is rotated meanwhile is only met twice, and known by its inode.
    for number in 1..FILES_MAX {
        let Some(cursor) = open_rotated(path, number)? else { break };
        let inode = cursor.inode().unwrap_or_default();
        if !seen.contains(&inode) {
            seen.push(inode);
            old.push(cursor);
        }
    }
    let mut current = current;
    if let Some(tail) = tail {
        place(current.as_mut(), &mut old, tail)?;
    }
    old.reverse();
    Ok((old, current))
}

/// All files of a log from a place on, oldest first, and the current one; `is_last` knows the line before the place. If
/// the place cannot be told: all there are. Otherwise the bytes behind the place that are gone.
pub(super) fn open_from(
    path: &Path,
    place: Place,
    is_last: impl Fn(&[u8]) -> bool,
) -> io::Result<(Vec<Cursor>, Option<Cursor>, Option<u64>)> {
    let (mut old, mut current) = open_rest(None, path, None)?;
    if let Some(lost) = go_on(&mut old, &mut current, place, &is_last) {
        return Ok((old, current, Some(lost)));
    }
    let found = old.iter_mut().chain(current.as_mut()).position(|cursor| {
        place.inode != 0 && cursor.inode() == Some(place.inode) && cursor.go_to(place.offset, &is_last)
    });
    if let Some(at) = found {
        old.drain(..at);
    }
    Ok((old, current, found.map(|_| 0)))
}

/// Drops the files before a place, and goes to it, by what came before each file. Answers with how many bytes behind the
/// place are gone; nothing if the files do not tell.
fn go_on(
    old: &mut Vec<Cursor>,
    current: &mut Option<Cursor>,
    place: Place,
    is_last: impl Fn(&[u8]) -> bool,
) -> Option<u64> {
    let start = place.start?;
    let mut starts: Vec<u64> = old.iter().chain(current.as_ref()).map(|cursor| cursor.start).collect();
    starts.sort_unstable();
    if starts.windows(2).any(|pair| pair[0] == pair[1]) {
        return None;
    }
    let first = old.iter_mut().chain(current.as_mut()).find(|cursor| cursor.start >= start)?;
    let first_start = first.start;
    let lost = if first_start > start {
        first_start.saturating_sub(start + place.offset)
    } else if first.pass_over(place.offset) || first.go_to(place.offset, is_last) {
        0
    } else {
        return None;
    };
    old.retain(|cursor| cursor.start >= first_start);
    Some(lost)
}

/// Whether another file than the cursor's is the one to go on with: the log was rotated, or came to be.
pub(super) fn look(cursor: Option<Cursor>, path: &Path) -> (Option<Cursor>, bool) {
    let moved = match &cursor {
        None => path.exists(),
        Some(cursor) => match std::fs::metadata(path) {
            Ok(metadata) => Some(metadata.ino()) != cursor.inode() || cursor.is_cut_off(),
            // Between the rename and the new file: look again later.
            Err(_) => false,
        },
    };
    (cursor, moved)
}

/// The file that comes after the cursor's, which is read to its end, and how many bytes between them are gone.
pub(super) fn next(cursor: Option<Cursor>, path: &Path) -> (Option<Cursor>, u64) {
    let Some(cursor) = cursor else {
        // Nothing was there when it was looked at last: all there is came since.
        let oldest = match open_rest(None, path, None) {
            Ok((old, current)) => old.into_iter().next().or(current),
            Err(_) => None,
        };
        let lost = oldest.as_ref().map_or(0, |oldest| oldest.start);
        return (oldest, lost);
    };
    let found = if cursor.is_cut_off() { None } else { next_by_start(&cursor, path) };
    match found {
        Some(Some(next)) => {
            let lost = next.start.saturating_sub(cursor.start + cursor.read);
            (Some(next), lost)
        }
        // It is just being rotated: look again.
        Some(None) => (Some(cursor), 0),
        None => (Some(next_by_number(cursor, path)), 0),
    }
}

/// By what came before each file; nothing if the files do not tell.
fn next_by_start(cursor: &Cursor, path: &Path) -> Option<Option<Cursor>> {
    let (old, current) = open_rest(None, path, None).ok()?;
    let mut files: Vec<Cursor> = old.into_iter().chain(current).collect();
    files.sort_by_key(|file| file.start);
    // One that was just compressed may be met in both shapes.
    files.dedup_by(|one, other| one.start == other.start && one.is_compressed() != other.is_compressed());
    let is_another =
        |file: &Cursor| file.start == cursor.start && !file.is_compressed() && file.inode() != cursor.inode();
    let is_twice = files.windows(2).any(|pair| pair[0].start == pair[1].start);
    if is_twice || (!cursor.is_compressed() && files.iter().any(is_another)) {
        return None;
    }
    Some(files.into_iter().find(|file| file.start > cursor.start))
}

/// By the number in its name.
fn next_by_number(cursor: Cursor, path: &Path) -> Cursor {
    let inode = cursor.inode();
    let same =
        |path: &Path| inode.is_some() && std::fs::metadata(path).ok().map(|metadata| metadata.ino()) == inode;
    // The one with the number before ours is newer: if several rotations happened, none is left out as long as it is
    // not compressed yet.
    let rotated = (1..FILES_MAX).map(|number| (number, numbered(path, number)));
    let ours = rotated.take_while(|(_, path)| path.exists()).find(|(_, path)| same(path));
    let next = match ours {
        Some((number, _)) if number > 1 => open(&numbered(path, number - 1)),
        _ => open(path),
    };
    match next {
        Ok(Some(file)) => Cursor::plain(file),
        _ => cursor,
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Makes the file of a log that nothing was written to.
pub(super) fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().read(true).append(true).create(true).mode(0o640).open(path)
}

pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn open_rotated(path: &Path, number: u32) -> io::Result<Option<Cursor>> {
    let plain = numbered(path, number);
    if let Some(file) = open(&plain)? {
        return Ok(Some(Cursor::plain(file)));
    }
    let mut name = plain.into_os_string();
    name.push(".gz");
    Ok(open(Path::new(&name))?.map(Cursor::compressed))
}

/// Moves the cursors so that `tail` lines follow; `old` is newest first.
fn place(current: Option<&mut Cursor>, old: &mut Vec<Cursor>, tail: u64) -> io::Result<()> {
    let mut wanted = tail;
    if let Some(current) = current {
        wanted -= place_one(current, wanted)?;
    }
    let mut kept = 0;
    for cursor in old.iter_mut() {
        if wanted == 0 {
            break;
        }
        wanted -= place_one(cursor, wanted)?;
        kept += 1;
    }
    old.truncate(kept);
    Ok(())
}

/// Moves one cursor so that at most `wanted` lines follow; answers with how many do.
fn place_one(cursor: &mut Cursor, wanted: u64) -> io::Result<u64> {
    match &mut cursor.source {
        Source::Plain(file) => {
            let (offset, lines) = last_lines(file, wanted)?;
            file.seek(SeekFrom::Start(offset))?;
            cursor.read = offset;
            Ok(lines)
        }
        Source::Compressed(decoder) => {
            let mut lines = 0;
            let mut block = vec![0; BLOCK];
            loop {
                let got = decoder.read(&mut block)?;
                if got == 0 {
                    break;
                }
                lines += block[..got].iter().filter(|byte| **byte == b'\n').count() as u64;
            }
            let mut file = decoder.get_ref().try_clone()?;
            file.seek(SeekFrom::Start(0))?;
            cursor.source = Source::Compressed(Box::new(MultiGzDecoder::new(file)));
            cursor.skip = lines.saturating_sub(wanted);
            Ok(lines.min(wanted))
        }
    }
}

/// Where the last `wanted` whole lines begin, and how many there are.
fn last_lines(file: &File, wanted: u64) -> io::Result<(u64, u64)> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; BLOCK];
    // Each line ends in a newline: the one after the line before the first wanted one is looked for.
    let mut newlines = 0;
    let mut last_newline = None;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK as u64);
        let length = usize::try_from(end - begin).unwrap_or(BLOCK);
        file.read_exact_at(&mut block[..length], begin)?;
        for at in (0..length).rev().filter(|at| block[*at] == b'\n') {
            let place = begin + at as u64 + 1;
            last_newline.get_or_insert(place);
            if newlines == wanted {
                return Ok((place, wanted));
            }
            newlines += 1;
        }
        end = begin;
    }
    if wanted == 0 { Ok((last_newline.unwrap_or(0), 0)) } else { Ok((0, newlines)) }
}
