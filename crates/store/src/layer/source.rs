//! Where the bytes of a layer come from: hashed, counted, decompressed, and carried between threads.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, OnceLock};

use berth_oci::Digest;
use sha2::Digest as _;

use super::checked::Checksum;
use super::gzip::Members;

/// The size of the pieces that are carried, hashed and written at once.
pub(crate) const CHUNK: usize = 256 << 10;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// The bytes by which a format is told.
const MAGIC: usize = 6;

impl Compression {
    /// Tells it by the first bytes. What cannot be read here is an error with the name of the format.
    pub(crate) fn detect(start: &[u8]) -> io::Result<Self> {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // Skippable frames, in front of the data of some zstd writers.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => Err(unsupported("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(unsupported("xz")),
            _ => Ok(Self::None),
        }
    }
}

fn unsupported(format: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("{format} compressed archives are not supported"))
}

/// A stream of a layer or archive, as whoever has it hands it over: the first look into it shows at least the bytes by
/// which [`Compression::detect`] tells the format, unless it is shorter.
pub(crate) type Source<'a> = Box<dyn BufRead + Send + 'a>;

/// Makes a [`Source`] of a stream that comes in pieces of any size.
pub(crate) fn gathered<'a>(stream: impl Read + Send + 'a) -> Source<'a> {
    Box::new(BufReader::with_capacity(CHUNK, Whole::new(stream)))
}

/// Makes a [`Source`] of a stream that comes in pieces of any size, and leaves the pieces as they are.
///
/// Errors: the stream failed.
pub(crate) fn begun<'a>(mut stream: impl BufRead + Send + 'a) -> io::Result<Source<'a>> {
    let mut start = Vec::with_capacity(MAGIC);
    stream.by_ref().take(MAGIC as u64).read_to_end(&mut start)?;
    Ok(Box::new(io::Cursor::new(start).chain(stream)))
}

/// A decompressed stream.
pub(crate) enum Decoder<'a> {
    Plain(Source<'a>),
    Gzip(Box<Members<'a>>),
    Zstd(BufReader<zstd::stream::read::Decoder<'static, Source<'a>>>),
}

impl<'a> Decoder<'a> {
    /// Looks at the first bytes and decompresses accordingly.
    pub(crate) fn new(mut stream: Source<'a>) -> io::Result<Self> {
        Ok(match Compression::detect(stream.fill_buf()?)? {
            Compression::None => Self::Plain(stream),
            Compression::Gzip => Self::Gzip(Box::new(Members::new(stream))),
            Compression::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(stream)?;
                Self::Zstd(BufReader::with_capacity(CHUNK, decoder))
            }
        })
    }

    /// How the stream is compressed.
    pub(crate) fn compression(&self) -> Compression {
        match self {
            Self::Plain(_) => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) => Compression::Zstd,
        }
    }

    /// Reads what is left of the compressed stream, so that its digest covers all of it.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        let rest = match self {
            Self::Plain(stream) => Some(stream),
            Self::Gzip(stream) => stream.rest(),
            Self::Zstd(stream) => Some(stream.get_mut().get_mut()),
        };
        rest.map_or(Ok(0), |rest| io::copy(rest, &mut io::sink())).map(drop)
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(to),
            Self::Gzip(stream) => stream.read(to),
            Self::Zstd(stream) => stream.read(to),
        }
    }
}

impl BufRead for Decoder<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(stream) => stream.fill_buf(),
            Self::Gzip(stream) => stream.fill_buf(),
            Self::Zstd(stream) => stream.fill_buf(),
        }
    }

    fn consume(&mut self, bytes: usize) {
        match self {
            Self::Plain(stream) => stream.consume(bytes),
            Self::Gzip(stream) => stream.consume(bytes),
            Self::Zstd(stream) => stream.consume(bytes),
        }
    }
}

/// Fills each read as far as the stream goes, so that what follows works on large pieces however the bytes trickle.
pub(crate) struct Whole<R> {
    stream: R,
    /// What went wrong after some bytes had been read; they come first.
    failure: Option<io::Error>,
}

impl<R> Whole<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, failure: None }
    }
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let mut done = 0;
        while done < to.len() {
            match self.stream.read(&mut to[done..]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if done == 0 => return Err(error),
                Err(error) => {
                    self.failure = Some(error);
                    break;
                }
            }
        }
        Ok(done)
    }
}

/// The digest of a stream that another thread hashes: it is there before the stream's end is.
pub(crate) type Promise = Arc<OnceLock<Digest>>;

/// Who hashes a stream.
enum Hash {
    Here(sha2::Sha256),
    Elsewhere(Promise),
}

/// Hashes and counts what is read, and gives a copy to `tee`.
pub(crate) struct Hashed<R, W = io::Sink> {
    stream: R,
    notes: Notes<W>,
    /// The bytes that were shown by `fill_buf`, and so are hashed, but not consumed yet.
    shown: usize,
}

/// What [`Hashed`] keeps of the bytes.
struct Notes<W> {
    hash: Hash,
    checksum: Option<Checksum>,
    count: Arc<AtomicU64>,
    tee: Option<W>,
}

impl<W: io::Write> Notes<W> {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Hash::Here(hash) = &mut self.hash {
            hash.update(bytes);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
        self.count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.tee.as_mut().map_or(Ok(()), |tee| tee.write_all(bytes))
    }
}

impl<R: Read> Hashed<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self::with(stream, Hash::Here(sha2::Sha256::new()), None)
    }

    /// Only counts; the digest is promised.
    pub(crate) fn elsewhere(stream: R, promise: Promise) -> Self {
        Self::with(stream, Hash::Elsewhere(promise), None)
    }
}

impl<R: Read, W: io::Write> Hashed<R, W> {
    pub(crate) fn with_tee(stream: R, tee: W) -> Self {
        Self::with(stream, Hash::Here(sha2::Sha256::new()), Some(tee))
    }

    fn with(stream: R, hash: Hash, tee: Option<W>) -> Self {
        Self { stream, notes: Notes { hash, checksum: None, count: Arc::default(), tee }, shown: 0 }
    }

    /// Makes a checksum, too, of what is read from now on.
    pub(crate) fn summed(mut self) -> Self {
        self.notes.checksum = Some(Checksum::new());
        self
    }

    /// The checksum, if one is made, of what was read so far.
    pub(crate) fn checksum(&self) -> Option<String> {
        self.notes.checksum.as_ref().map(Checksum::text)
    }

    /// The number of bytes so far, to be looked at from elsewhere.
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.notes.count)
    }

    /// The digest and the number of all bytes. Of a stream that is hashed elsewhere and was not read to its end the
    /// digest is that of nothing.
    pub(crate) fn finish(self) -> (Digest, u64) {
        let hashed = |hash: sha2::Sha256| Digest::from_sha256(&hash.finalize().into());
        let digest = match self.notes.hash {
            Hash::Here(hash) => hashed(hash),
            Hash::Elsewhere(promise) => promise.get().cloned().unwrap_or_else(|| hashed(sha2::Sha256::new())),
        };
        (digest, self.notes.count.load(Ordering::Relaxed))
    }
}

impl<R: Read, W: io::Write> Read for Hashed<R, W> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.shown > 0 {
            let usable = to.len().min(self.shown);
            let read = self.stream.read(&mut to[..usable])?;
            self.shown -= read;
            return Ok(read);
        }
        let read = self.stream.read(to)?;
        self.notes.take(&to[..read])?;
        Ok(read)
    }
}

impl<R: BufRead, W: io::Write> BufRead for Hashed<R, W> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let data = self.stream.fill_buf()?;
        if self.shown == 0 {
            self.notes.take(data)?;
            self.shown = data.len();
        }
        Ok(data)
    }

    fn consume(&mut self, bytes: usize) {
        self.shown = self.shown.saturating_sub(bytes);
        self.stream.consume(bytes);
    }
}

/// One piece on its way between threads.
pub(crate) type Piece = io::Result<Vec<u8>>;

/// A channel for pieces; what is on its way is bounded.
pub(crate) fn channel() -> (SyncSender<Piece>, Pieces) {
    let (sender, receiver) = std::sync::mpsc::sync_channel(8);
    (sender, Pieces { receiver, piece: Vec::new(), used: 0, ended: false })
}

/// Reads pieces that another thread sends. The end is an empty piece; a sender that just goes away has failed.
pub(crate) struct Pieces {
    receiver: Receiver<Piece>,
    piece: Vec<u8>,
    used: usize,
    ended: bool,
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.used == self.piece.len() && !self.ended {
            let piece = self.receiver.recv().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))??;
            self.ended = piece.is_empty();
            self.piece = piece;
            self.used = 0;
        }
        Ok(&self.piece[self.used..])
    }

    fn consume(&mut self, bytes: usize) {
        self.used = (self.used + bytes).min(self.piece.len());
    }
}

impl Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let read = available.len().min(to.len());
        to[..read].copy_from_slice(&available[..read]);
        self.consume(read);
        Ok(read)
    }
}

/// Sends a whole stream in pieces; false if the receiver has gone.
pub(crate) fn send_all(stream: &mut impl Read, to: &SyncSender<Piece>) -> bool {
    loop {
        let mut piece = Vec::with_capacity(CHUNK);
        let piece = match stream.take(CHUNK as u64).read_to_end(&mut piece) {
            Ok(_) => Ok(piece),
            Err(error) => Err(error),
        };
        let ends = piece.as_ref().map_or(true, Vec::is_empty);
        if to.send(piece).is_err() {
            return false;
        }
        if ends {
            return true;
        }
    }
}
