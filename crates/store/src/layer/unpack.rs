//! Unpacking of one layer: a tar stream in, a directory for overlay and a recipe out.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::recipe::RecipeWriter;
use super::source::{Compression, Decoder, Hashed, Promise, Source, channel, send_all};
use super::tree::{self, LayerPath, Tree};
use super::{LayerError, LayerRecord, Limits, META, RECIPE, latin1};
use crate::dir::{self, Behind};
use crate::tar::{Entry, Kind, Reader, TarError};

const WHITEOUT: &[u8] = b".wh.";
/// Names of aufs itself; all but the one below are skipped, as Docker does.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
/// The bytes that a recipe may hold itself.
const INLINE_BYTES_MAX: u64 = 64 << 20;

/// How far unpacking is, for those who watch, and what it may use.
pub(crate) struct Job<'a> {
    pub(crate) limits: &'a Limits,
    /// The path of what it is unpacked into, for messages.
    pub(crate) place: &'a str,
    /// The compressed bytes read so far.
    pub(crate) read: Arc<AtomicU64>,
    /// The digest of a layer that is not compressed, if another thread hashes it.
    pub(crate) promise: Option<&'a Promise>,
}

/// Unpacks a layer into the empty directory `target`, which becomes `layers/<…>`. The stream is read to its end.
///
/// Errors: [`LayerError`]; what was written so far stays in `target` for the caller to delete.
pub(crate) fn unpack(
    stream: Source<'_>,
    target: BorrowedFd<'_>,
    job: &Job<'_>,
) -> Result<LayerRecord, LayerError> {
    let decoder = Decoder::new(stream).map_err(reading)?;
    if decoder.compression() == Compression::None {
        let hashed = match job.promise {
            Some(promise) => Hashed::elsewhere(decoder, Arc::clone(promise)),
            None => Hashed::new(decoder),
        };
        return unpack_plain(hashed, target, job);
    }
    // Decompression is the slowest step, so it gets a thread of its own.
    std::thread::scope(|scope| {
        let (sender, pieces) = channel();
        let decompress = scope.spawn(move || {
            let mut decoder = decoder;
            if send_all(&mut decoder, &sender) { decoder.drain() } else { Ok(()) }
        });
        let result = unpack_plain(Hashed::new(pieces), target, job);
        let drained = decompress.join().unwrap_or_else(|_| Err(io::Error::other("decompression panicked")));
        let record = result?;
        drained.map_err(reading)?;
        Ok(record)
    })
}

fn unpack_plain<R: BufRead>(
    stream: Hashed<R>,
    target: BorrowedFd<'_>,
    job: &Job<'_>,
) -> Result<LayerRecord, LayerError> {
    let place = job.place;
    dir::make(target, super::DIFF, 0o755).map_err(writing(place, super::DIFF))?;
    let root = dir::open(target, super::DIFF).map_err(writing(place, super::DIFF))?;
    let layer = target.try_clone_to_owned().map_err(writing(place, super::DIFF))?;
    let recipe = create(target, place, RECIPE)?;
    let unpacked = stream.counter();
    let mut unpacker = Unpacker {
        place,
        reader: Reader::with_raw(stream.summed()),
        tree: Tree::new(root, layer),
        recipe: RecipeWriter::new(recipe).map_err(writing(place, RECIPE))?,
        record: LayerRecord::default(),
        times: Vec::new(),
        raw: Vec::new(),
        inlined: 0,
        meter: Meter { limits: job.limits, read: Arc::clone(&job.read), unpacked, logical: 0 },
    };
    unpacker.run()?;
    let record = unpacker.finish()?;
    let json = serde_json::to_vec(&record)
        .map_err(|error| LayerError::Io { what: format!("write {place}/{META}"), source: error.into() })?;
    let file = create(target, place, META)?;
    io::Write::write_all(&mut &file, &json).map_err(writing(place, META))?;
    Ok(record)
}

fn create(dir: BorrowedFd<'_>, place: &str, name: &str) -> Result<File, LayerError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600));
    fd.map(File::from).map_err(|error| writing(place, name)(error.into()))
}

fn writing(place: &str, name: &str) -> impl FnOnce(io::Error) -> LayerError {
    move |source| LayerError::Io { what: format!("write {place}/{name}"), source }
}

/// The failure to keep what is read. It travels as an error of reading, through decompression and other threads.
#[derive(Debug, thiserror::Error)]
#[error("write {path}: {source}")]
pub(crate) struct Unkept {
    /// The file that could not be written.
    pub(crate) path: String,
    /// Why.
    pub(crate) source: io::Error,
}

/// Puts an error of the stream into words: a broken stream is the sender's fault, a broken disk is not.
pub(crate) fn reading(error: io::Error) -> LayerError {
    let error = match error.downcast::<Unkept>() {
        Ok(Unkept { path, source }) => return LayerError::Io { what: format!("write {path}"), source },
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::UnexpectedEof => LayerError::Malformed("unexpected EOF".to_owned()),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
            LayerError::Malformed(error.to_string())
        }
        // What decompressors say about a damaged stream.
        io::ErrorKind::Other if error.raw_os_error().is_none() => LayerError::Malformed(error.to_string()),
        _ => LayerError::Io { what: "read the archive".to_owned(), source: error },
    }
}

impl From<TarError> for LayerError {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Read(error) => reading(error),
            other => Self::Malformed(other.to_string()),
        }
    }
}

/// Watches the bounds.
struct Meter<'a> {
    limits: &'a Limits,
    read: Arc<AtomicU64>,
    unpacked: Arc<AtomicU64>,
    /// The size of all files, holes included.
    logical: u64,
}

impl Meter<'_> {
    fn check(&self) -> Result<(), LayerError> {
        let limits = self.limits;
        let size = self.unpacked.load(Ordering::Relaxed).max(self.logical);
        if size > limits.layer_bytes_max {
            return Err(LayerError::Limit(format!(
                "unpacked it is larger than {} bytes",
                limits.layer_bytes_max
            )));
        }
        let read = self.read.load(Ordering::Relaxed);
        if size > limits.ratio_free_bytes && read > 0 && size / read > limits.ratio_max {
            let ratio = limits.ratio_max;
            return Err(LayerError::Limit(format!(
                "unpacked it is more than {ratio} times as large as sent"
            )));
        }
        Ok(())
    }
}

struct Unpacker<'a, R: BufRead> {
    place: &'a str,
    reader: Reader<Hashed<R>>,
    tree: Tree,
    recipe: RecipeWriter,
    record: LayerRecord,
    /// Directories and their times, which are set when nothing changes in them any more.
    times: Vec<(Vec<u8>, (i64, u32))>,
    raw: Vec<u8>,
    inlined: u64,
    meter: Meter<'a>,
}

impl<R: BufRead> Unpacker<'_, R> {
    fn run(&mut self) -> Result<(), LayerError> {
        let mut entry = Entry::default();
        while self.reader.next(&mut entry)? {
            self.record.entries += 1;
            if self.record.entries > self.meter.limits.entries_max {
                let most = self.meter.limits.entries_max;
                return Err(LayerError::Limit(format!("it has more than {most} entries")));
            }
            self.meter.logical = self.meter.logical.saturating_add(entry.size);
            self.meter.check()?;
            self.flush_raw()?;
            self.entry(&entry)?;
            self.skip_data()?;
        }
        Ok(())
    }

    /// Hands the headers read so far to the recipe.
    fn flush_raw(&mut self) -> Result<(), LayerError> {
        self.raw.clear();
        self.reader.take_raw(&mut self.raw);
        self.recipe.raw(&self.raw).map_err(writing(self.place, RECIPE))
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let path = LayerPath::parse(&entry.path, self.meter.limits)?;
        let (parent, name) = path.split();
        if name == WHITEOUT_OPAQUE {
            if parent.is_empty() {
                // Overlay does not look for the attribute on the root: lower layers are left out when stacking.
                self.record.opaque = true;
                return Ok(());
            }
            let parent = parent.to_vec();
            return self.tree.opaque(&parent);
        }
        if name.starts_with(WHITEOUT_META) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            let whole = if parent.is_empty() { hidden.to_vec() } else { [parent, b"/", hidden].concat() };
            let hidden = LayerPath::parse(&whole, self.meter.limits)?;
            if hidden.split().0 != parent || hidden.is_root() {
                return Err(LayerError::Path(tree::spell(&entry.path)));
            }
            return self.tree.whiteout(&hidden);
        }
        if path.is_root() && entry.kind != Kind::Directory {
            return Err(LayerError::Path("the root is no directory".to_owned()));
        }
        match entry.kind {
            Kind::File => self.file(&path, entry),
            Kind::Directory => self.directory(path, entry),
            Kind::HardLink => self.hard_link(&path, entry),
            Kind::Symlink => {
                // Counted as Docker counts it: a link is as long as what it says.
                self.record.size = self.record.size.saturating_add(entry.link.len() as u64);
                let made = |place: &tree::Place<'_>| {
                    rustix::fs::symlinkat(entry.link.as_slice(), place.dir, &place.name)
                };
                self.tree.make(&path, made)?;
                tree::attributes_at(&self.tree.place(&path)?, entry, &path)
            }
            // A device that overlay takes for a whiteout is one.
            Kind::Character if entry.device == (0, 0) => self.tree.whiteout(&path),
            Kind::Character => self.node(&path, entry, FileType::CharacterDevice),
            Kind::Block => self.node(&path, entry, FileType::BlockDevice),
            Kind::Fifo => self.node(&path, entry, FileType::Fifo),
        }
    }

    fn directory(&mut self, path: LayerPath, entry: &Entry) -> Result<(), LayerError> {
        if path.is_root() {
            // Docker's root is 0755 and root's whatever an archive says: `tar -C "$(mktemp -d)" .` must not lock users out.
            return Ok(());
        }
        let dir = self.tree.directory(&path)?;
        tree::attributes(dir.as_fd(), entry, &path)?;
        self.times.push((path.into_bytes(), entry.mtime));
        Ok(())
    }

    fn node(&mut self, path: &LayerPath, entry: &Entry, kind: FileType) -> Result<(), LayerError> {
        let device = match kind {
            FileType::Fifo => 0,
            _ => rustix::fs::makedev(entry.device.0, entry.device.1),
        };
        let made = |place: &tree::Place<'_>| {
            rustix::fs::mknodat(place.dir, &place.name, kind, Mode::from_raw_mode(0o600), device)
        };
        self.tree.make(path, made)?;
        tree::attributes_at(&self.tree.place(path)?, entry, path)
    }

    fn hard_link(&mut self, path: &LayerPath, entry: &Entry) -> Result<(), LayerError> {
        let target = LayerPath::parse(&entry.link, self.meter.limits)?;
        if target.is_root() || path.is_root() {
            return Err(LayerError::Path("hard link of the root".to_owned()));
        }
        if !self.tree.hard_link(path, &target)? {
            // The file is in a lower layer; the link is made when the layers are stacked.
            self.record.links.push((latin1(path.bytes()), latin1(target.bytes())));
        }
        Ok(())
    }

    fn file(&mut self, path: &LayerPath, entry: &Entry) -> Result<(), LayerError> {
        self.record.size = self.record.size.saturating_add(entry.size);
        let (fd, inline) = self.tree.file(path, entry.mode)?;
        let mut is_first = true;
        let whole = [crate::tar::Segment { offset: 0, length: entry.size }];
        let segments = entry.segments.as_deref().unwrap_or(&whole);
        let mut end = 0;
        for segment in segments {
            if inline {
                self.copy(&fd, path, segment.offset, segment.length, true)?;
            } else {
                self.recipe_segment(path, segment.offset, segment.length, entry.size, is_first)?;
                self.copy(&fd, path, segment.offset, segment.length, false)?;
            }
            is_first = false;
            // A run of nothing at the end is how GNU tar says how long a file is that ends with a hole.
            if segment.length > 0 {
                end = segment.offset + segment.length;
            }
        }
        if segments.is_empty() && !inline {
            self.recipe_segment(path, 0, 0, entry.size, true)?;
        }
        if end < entry.size {
            rustix::fs::ftruncate(&fd, entry.size).map_err(|error| tree::at(path.bytes(), error))?;
        }
        tree::attributes(fd.as_fd(), entry, path)
    }

    /// Every file that is not empty has exactly one first segment: replaced files are counted by it.
    fn recipe_segment(
        &mut self,
        path: &LayerPath,
        offset: u64,
        length: u64,
        size: u64,
        is_first: bool,
    ) -> Result<(), LayerError> {
        let written = match (size, is_first) {
            (0, _) => Ok(()),
            (_, true) => self.recipe.file(path.bytes(), offset, length),
            (_, false) => self.recipe.more(offset, length),
        };
        written.map_err(writing(self.place, RECIPE))
    }

    /// Copies data of the entry into a file. Whole pieces of zeros become holes.
    fn copy(
        &mut self,
        fd: &OwnedFd,
        path: &LayerPath,
        mut offset: u64,
        length: u64,
        inline: bool,
    ) -> Result<(), LayerError> {
        let end = offset + length;
        let mut behind = Behind::at(offset);
        let mut hole = false;
        while offset < end {
            let data = self.reader.data()?;
            if data.is_empty() {
                return Err(TarError::Truncated.into());
            }
            let usable = usize::try_from(end - offset).unwrap_or(usize::MAX).min(data.len());
            let data = &data[..usable];
            if inline {
                self.inlined += data.len() as u64;
                if self.inlined > INLINE_BYTES_MAX {
                    return Err(LayerError::Limit("too much data behind links".to_owned()));
                }
                self.recipe.raw(data).map_err(writing(self.place, RECIPE))?;
            }
            hole = is_zero(data);
            let mut rest = if hole { &[] } else { data };
            let mut position = offset;
            while !rest.is_empty() {
                let written =
                    rustix::io::pwrite(fd, rest, position).map_err(|error| tree::at(path.bytes(), error))?;
                rest = &rest[written..];
                position += written as u64;
            }
            offset += usable as u64;
            behind.wrote(fd, offset);
            self.reader.consume(usable);
            self.meter.check()?;
        }
        if hole {
            rustix::fs::ftruncate(fd, end).map_err(|error| tree::at(path.bytes(), error))?;
        }
        behind.end(fd);
        Ok(())
    }

    /// Data of entries that were skipped is kept by the recipe itself.
    fn skip_data(&mut self) -> Result<(), LayerError> {
        loop {
            let data = self.reader.data()?;
            if data.is_empty() {
                return Ok(());
            }
            let length = data.len();
            self.inlined += length as u64;
            if self.inlined > INLINE_BYTES_MAX {
                return Err(LayerError::Limit("too much data in entries that are skipped".to_owned()));
            }
            self.recipe.raw(data).map_err(writing(self.place, RECIPE))?;
            self.reader.consume(length);
        }
    }

    /// Reads what follows the archive, sets the times of directories and completes recipe and record.
    fn finish(mut self) -> Result<LayerRecord, LayerError> {
        self.flush_raw()?;
        let mut stream = self.reader.into_inner();
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = stream.read(&mut piece).map_err(reading)?;
            if read == 0 {
                break;
            }
            self.meter.check()?;
            if !is_zero(&piece[..read]) {
                self.inlined += read as u64;
                if self.inlined > INLINE_BYTES_MAX {
                    return Err(LayerError::Limit("too much data behind the end of the archive".to_owned()));
                }
            }
            self.recipe.raw(&piece[..read]).map_err(writing(self.place, RECIPE))?;
        }
        self.recipe.finish().map_err(writing(self.place, RECIPE))?;
        for (path, mtime) in self.times.iter().rev() {
            self.tree.directory_time(path, *mtime)?;
        }
        self.record.checksum = stream.checksum();
        let (diff_id, tar_size) = stream.finish();
        self.record.diff_id = Some(diff_id);
        self.record.tar_size = tar_size;
        self.record.implicit = self.tree.implicit.iter().map(|path| latin1(path)).collect();
        self.record.implicit.sort();
        self.record.kept = self.tree.kept.iter().map(|path| latin1(path)).collect();
        // A link to a lower layer that a later entry of this one replaced is none any more.
        let tree = &mut self.tree;
        let mut links = std::mem::take(&mut self.record.links);
        links.retain(|(path, _)| {
            let path = super::from_latin1(path);
            rustix::fs::statat(tree.root(), path.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_err()
        });
        self.record.links = links;
        Ok(self.record)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Nearly everything ends at the first comparison.
    bytes.first() == Some(&0) && bytes.iter().all(|b| *b == 0)
}
