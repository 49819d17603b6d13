//! Reading of tar streams, entry by entry.

use std::io::BufRead;

use super::header::{Dialect, Header};
use super::pax::{self, Extended};
use super::sparse;
use super::{BLOCK, TarError};

/// The data of an extended header or a long name; Go draws the line in the same place.
const SPECIAL_BYTES_MAX: u64 = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    #[default]
    File,
    /// Another name of an earlier file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A run of data in a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file it starts.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
}

/// One entry of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its name as it stands in the archive.
    pub path: Vec<u8>,
    /// What it links to.
    pub link: Vec<u8>,
    /// Permissions, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds and nanoseconds of the last change.
    pub mtime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// The size of a regular file, holes included.
    pub size: u64,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data of a sparse file belongs; `None` if the file is not sparse.
    pub segments: Option<Vec<Segment>>,
}

/// Reads entries from a stream. After [`Reader::next`] the data of the entry is read with [`Reader::data`]; what is
/// not read is skipped.
pub struct Reader<R> {
    stream: R,
    /// The bytes of the present entry's data that were not read yet.
    remaining: u64,
    /// The bytes that fill its last block.
    padding: usize,
    /// All bytes read that are not data, since they were last taken; only kept if asked for.
    raw: Option<Vec<u8>>,
    ended: bool,
}

/// What the headers before the main one say.
#[derive(Default)]
struct Pending {
    extended: Option<Extended>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    /// Reads from this stream. It is not read beyond the end of the archive.
    pub fn new(stream: R) -> Self {
        Self { stream, remaining: 0, padding: 0, raw: None, ended: false }
    }

    /// As [`Reader::new`], and keeps all bytes that are not data for [`Reader::take_raw`].
    pub fn with_raw(stream: R) -> Self {
        Self { raw: Some(Vec::new()), ..Self::new(stream) }
    }

    /// Hands over the bytes that were read since the last call and are not data: headers and filling.
    pub fn take_raw(&mut self, to: &mut Vec<u8>) {
        if let Some(raw) = &mut self.raw {
            to.append(raw);
        }
    }

    /// The stream, after the last entry.
    pub fn into_inner(self) -> R {
        self.stream
    }

    /// Goes to the next entry and puts it into `entry`; false at the end of the archive.
    ///
    /// Errors: [`TarError`]; the reader is of no use afterwards.
    pub fn next(&mut self, entry: &mut Entry) -> Result<bool, TarError> {
        self.finish_entry()?;
        let mut pending = Pending::default();
        let mut block = [0; BLOCK];
        loop {
            if self.ended || !self.block_or_end(&mut block)? {
                self.ended = true;
                return match pending.is_empty() {
                    true => Ok(false),
                    false => Err(TarError::Truncated),
                };
            }
            let header = Header::parse(&block)?;
            match header.typeflag() {
                b'x' => {
                    let data = self.special(&header)?;
                    let previous = pending.extended.replace(Extended::parse(&data)?);
                    refuse_second(previous.is_some(), "extended header")?;
                }
                b'g' => {
                    let data = self.special(&header)?;
                    refuse_second(!pending.is_empty(), "header before a global header")?;
                    pax::check_global(&data)?;
                }
                b'L' => {
                    let name = long(self.special(&header)?)?;
                    refuse_second(pending.long_name.replace(name).is_some(), "long name")?;
                }
                b'K' => {
                    let link = long(self.special(&header)?)?;
                    refuse_second(pending.long_link.replace(link).is_some(), "long link name")?;
                }
                _ => {
                    self.main_header(&header, pending, entry)?;
                    return Ok(true);
                }
            }
        }
    }

    /// The next bytes of the entry's data; empty at its end. Call [`Reader::consume`] for those that were used.
    pub fn data(&mut self) -> Result<&[u8], TarError> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let available = fill(&mut self.stream)?;
        if available.is_empty() {
            return Err(TarError::Truncated);
        }
        let usable = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available.len());
        Ok(&available[..usable])
    }

    /// Marks bytes that [`Reader::data`] gave as read.
    pub fn consume(&mut self, bytes: usize) {
        self.remaining = self.remaining.saturating_sub(bytes as u64);
        self.stream.consume(bytes);
    }

    /// The bytes of data that are still to come in the archive for this entry (holes are not).
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The whole data of a small entry.
    ///
    /// Errors: it is longer than `max`; as [`Reader::data`].
    pub fn read_small(&mut self, max: u64) -> Result<Vec<u8>, TarError> {
        if self.remaining > max {
            return Err(TarError::header(format!("entry is larger than {max} bytes")));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.remaining).unwrap_or(0));
        loop {
            let data = self.data()?;
            if data.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(data);
            let read = data.len();
            self.consume(read);
        }
    }

    /// Skips what is left of the present entry, its filling included.
    fn finish_entry(&mut self) -> Result<(), TarError> {
        while self.remaining > 0 {
            let skip = self.data()?.len();
            self.consume(skip);
        }
        let padding = std::mem::take(&mut self.padding);
        if padding > 0 {
            let mut bytes = [0; BLOCK];
            self.exact(&mut bytes[..padding])?;
        }
        Ok(())
    }

    /// Reads a header block; false at the end, be it marked by two zero blocks or just the end of the stream.
    fn block_or_end(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, TarError> {
        if fill(&mut self.stream)?.is_empty() {
            return Ok(false);
        }
        self.exact(block)?;
        if block.iter().any(|b| *b != 0) {
            return Ok(true);
        }
        if !fill(&mut self.stream)?.is_empty() {
            self.exact(block)?;
            if block.iter().any(|b| *b != 0) {
                return Err(TarError::ambiguous("data behind a lone zero block"));
            }
        }
        Ok(false)
    }

    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), TarError> {
        self.stream.read_exact(bytes).map_err(TarError::read)?;
        if let Some(raw) = &mut self.raw {
            raw.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// The data of a header that only describes the next one.
    fn special(&mut self, header: &Header<'_>) -> Result<Vec<u8>, TarError> {
        let size = header.size()?;
        if size > SPECIAL_BYTES_MAX {
            return Err(TarError::header("extended header is too long"));
        }
        let length = usize::try_from(size).unwrap_or(0);
        let mut data = vec![0; length.next_multiple_of(BLOCK)];
        self.exact(&mut data)?;
        data.truncate(length);
        Ok(data)
    }

    fn main_header(
        &mut self,
        header: &Header<'_>,
        pending: Pending,
        entry: &mut Entry,
    ) -> Result<(), TarError> {
        let Pending { extended, long_name, long_link } = pending;
        let extended = extended.unwrap_or_default();
        entry.mode = header.mode()?;
        entry.uid = extended.uid.map_or_else(|| header.uid(), Ok)?;
        entry.gid = extended.gid.map_or_else(|| header.gid(), Ok)?;
        entry.mtime = extended.mtime.map_or_else(|| header.mtime().map(|seconds| (seconds, 0)), Ok)?;
        entry.segments = None;
        entry.path.clear();
        let is_sparse = extended.sparse.is_present();
        let sparse_name = if is_sparse { extended.sparse.name.clone() } else { None };
        // With a sparse file, `path` is a stand-in for readers that do not know of sparse files.
        match sparse_name.or(one_of(extended.path, long_name, "name")?) {
            Some(path) => entry.path = path,
            None => header.name(&mut entry.path)?,
        }
        entry.link.clear();
        match one_of(extended.link, long_link, "link name")? {
            Some(link) => entry.link = link,
            None => entry.link.extend_from_slice(header.link()),
        }
        entry.xattrs = extended.xattrs;
        entry.kind = kind(header.typeflag(), &entry.path)?;
        entry.device = match entry.kind {
            Kind::Character | Kind::Block => header.device()?,
            _ => (0, 0),
        };
        let stored = stored_size(entry.kind, header.size()?, extended.size)?;
        self.remaining = stored;
        self.padding = (BLOCK - usize::try_from(stored % BLOCK as u64).unwrap_or(0)) % BLOCK;
        entry.size = stored;
        if header.typeflag() == b'S' {
            if is_sparse {
                return Err(TarError::ambiguous("two kinds of sparse file"));
            }
            self.gnu_sparse(header, entry)
        } else if is_sparse {
            self.pax_sparse(&extended.sparse, entry)
        } else {
            Ok(())
        }
    }

    /// The map of an old GNU sparse file: in the header, and in blocks behind it.
    fn gnu_sparse(&mut self, header: &Header<'_>, entry: &mut Entry) -> Result<(), TarError> {
        if header.dialect() != Dialect::Gnu {
            return Err(TarError::header("sparse file that is not in GNU format"));
        }
        let (fields, mut more, real_size) = header.gnu_sparse()?;
        let mut segments = Vec::new();
        sparse::gnu_fields(fields, &mut segments)?;
        let mut block = [0; BLOCK];
        while more {
            self.exact(&mut block)?;
            sparse::gnu_fields(&block[..504], &mut segments)?;
            more = block[504] != 0;
        }
        sparse::check(&segments, real_size, self.remaining)?;
        entry.size = real_size;
        entry.segments = Some(segments);
        Ok(())
    }

    /// The map of a pax sparse file: in the extended header (0.0, 0.1) or in front of the data (1.0).
    fn pax_sparse(&mut self, keys: &pax::SparseKeys, entry: &mut Entry) -> Result<(), TarError> {
        if entry.kind != Kind::File {
            return Err(TarError::ambiguous("sparse map of something that is no file"));
        }
        let real_size = keys.real_size.ok_or_else(|| TarError::header("sparse file without a real size"))?;
        let segments = match (keys.major.unwrap_or(0), keys.minor.unwrap_or(0)) {
            (0, _) => {
                let segments = sparse::pairs(&keys.map)?;
                if keys.blocks.is_some_and(|blocks| blocks != segments.len() as u64) {
                    return Err(TarError::header("sparse map of another length than stated"));
                }
                segments
            }
            (1, 0) if keys.map.is_empty() => self.map_in_data()?,
            _ => return Err(TarError::header("unknown version of sparse file")),
        };
        sparse::check(&segments, real_size, self.remaining)?;
        entry.size = real_size;
        entry.segments = Some(segments);
        Ok(())
    }

    fn map_in_data(&mut self) -> Result<Vec<Segment>, TarError> {
        let mut map = sparse::MapReader::default();
        let mut block = [0; BLOCK];
        loop {
            if self.remaining < BLOCK as u64 {
                return Err(TarError::header("sparse map is longer than the data"));
            }
            self.exact(&mut block)?;
            self.remaining -= BLOCK as u64;
            if map.take(&block)? {
                return map.segments();
            }
        }
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.extended.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

fn fill<R: BufRead>(stream: &mut R) -> Result<&[u8], TarError> {
    // A first call that is interrupted is tried again; the second borrow is the one that is returned.
    while let Err(error) = stream.fill_buf() {
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(TarError::read(error));
        }
    }
    stream.fill_buf().map_err(TarError::read)
}

fn refuse_second(is_second: bool, what: &str) -> Result<(), TarError> {
    if is_second { Err(TarError::ambiguous(format!("second {what}"))) } else { Ok(()) }
}

/// The text of a long name: up to a NUL, behind which there may only be more of them.
fn long(mut data: Vec<u8>) -> Result<Vec<u8>, TarError> {
    let end = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    if end == 0 || data[end..].iter().any(|b| *b != 0) {
        return Err(TarError::header("malformed long name"));
    }
    data.truncate(end);
    Ok(data)
}

/// A pax name and a GNU long name may only both be there if they agree.
fn one_of(pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>, what: &str) -> Result<Option<Vec<u8>>, TarError> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => Err(TarError::ambiguous(format!("two values of the {what}"))),
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

fn kind(typeflag: u8, path: &[u8]) -> Result<Kind, TarError> {
    Ok(match typeflag {
        // Before there was a type for directories, a slash at the end of the name made one.
        0 if path.ends_with(b"/") => Kind::Directory,
        b'0' | b'7' | b'S' if path.ends_with(b"/") => {
            return Err(TarError::ambiguous("file with the name of a directory"));
        }
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character,
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => {
            return Err(TarError::header(format!("unknown type {}", char::from(other).escape_default())));
        }
    })
}

/// The bytes of data behind the header. Only files have any: of other entries with a size some readers skip that
/// much and some do not, but for hard links, whose size all take for that of the file.
fn stored_size(kind: Kind, stated: u64, extended: Option<u64>) -> Result<u64, TarError> {
    let size = extended.unwrap_or(stated);
    match kind {
        Kind::File => Ok(size),
        Kind::HardLink if extended.is_none_or(|size| size == 0) => Ok(0),
        _ if size == 0 && stated == 0 => Ok(0),
        _ => Err(TarError::ambiguous("size of something that has no data")),
    }
}
