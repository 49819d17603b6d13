//! Gzip, as layers that leave for a registry are compressed with.
//!
//! A stream is cut into pieces of one size, and each becomes a member of the file (RFC 1952, section 2.2: a file is a
//! series of members). Whole pieces in memory are what libdeflate wants, which needs half the time of zlib for the
//! same number of bytes, to compress and to decompress alike. For the latter each member says how long it is, in a
//! field of its head that others skip. The same stream makes the same file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, Cursor, Read, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use berth_oci::Digest;
use berth_sys::gzip::Decompressor;
use flate2::bufread::MultiGzDecoder;
use libdeflater::{CompressionLvl, Compressor};
use sha2::Digest as _;

use super::source::{Source, Whole};
use crate::dir::Behind;

/// The bytes of a member before compression. Larger ones hardly compress better.
const MEMBER: usize = 1 << 20;
/// The processors that an image may have: for each of them some 4 MB are on their way.
const CORES_MAX: usize = 8;
/// The pieces that a helper has, so that it need not wait for the next one.
const BACKLOG: usize = 2;
/// How hard to compress. Further levels cost far more time than they save bytes.
const LEVEL: i32 = 1;
/// Of this many bytes, and then of as many times more, samples are taken to tell what does not compress.
const SAMPLE: usize = 1 << 10;
const SAMPLE_EVERY: usize = 16;
/// The bits in a byte of a sample from which on only repetitions could make it shorter.
const DENSE_BITS: f64 = 7.9;
/// The bytes that are compressed to see whether there are repetitions.
const PROBE: usize = 32 << 10;
/// The head of a member: magic number, deflate, an extra field, no time, compressed fast, on no system in particular;
/// the extra field has eight bytes, of which four are the member's length. That follows.
const HEAD: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 4, 255, 8, 0, b'B', b'R', 4, 0];
/// The head with the length.
const HEAD_BYTES: usize = HEAD.len() + 4;
/// What follows the data: checksum and length.
const FOOT_BYTES: usize = 8;

/// Processors to compress with, shared by the layers of an image.
pub(crate) struct Cores {
    state: Mutex<Free>,
    changed: Condvar,
}

struct Free {
    cores: usize,
    waiting: usize,
}

/// One of them, until it is dropped.
struct Core<'a>(&'a Cores);

impl Cores {
    /// Those of this machine, or as many as one image may have.
    pub(crate) fn new() -> Self {
        Self::of(std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(CORES_MAX))
    }

    fn of(cores: usize) -> Self {
        Self { state: Mutex::new(Free { cores, waiting: 0 }), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, Free> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one.
    fn take(&self) -> Core<'_> {
        let mut state = self.state();
        state.waiting += 1;
        while state.cores == 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.cores -= 1;
        Core(self)
    }

    /// Takes one that nobody waits for.
    fn take_idle(&self) -> Option<Core<'_>> {
        let mut state = self.state();
        (state.cores > state.waiting).then(|| {
            state.cores -= 1;
            Core(self)
        })
    }
}

impl Drop for Core<'_> {
    fn drop(&mut self) {
        self.0.state().cores += 1;
        self.0.changed.notify_one();
    }
}

/// Compresses a stream into an empty file; the digest and length of what is in the file then. Waits for a processor,
/// and takes others, too, as soon as they are idle.
///
/// Errors: the stream failed; the disk is full.
pub(crate) fn gzip(stream: impl Read, file: &mut File, cores: &Cores) -> io::Result<(Digest, u64)> {
    let _core = cores.take();
    let mut stream = Whole::new(stream);
    let mut packer = Packer::new()?;
    let mut archive = Archive::new(file);
    std::thread::scope(|scope| {
        let mut helpers: Vec<Helper> = Vec::new();
        let mut queue = VecDeque::new();
        let mut spare = Vec::new();
        loop {
            let mut piece: Piece = spare.pop().unwrap_or_default();
            let more = piece.fill(&mut stream)?;
            // A file without a member is none.
            if piece.plain_bytes == 0 && (archive.size > 0 || !queue.is_empty()) {
                break;
            }
            if let Some(core) = cores.take_idle().filter(|_| more) {
                // Without a thread for it, it only takes longer.
                helpers.extend(Helper::start(scope, core).ok());
            }
            match helpers.iter().position(|helper| helper.backlog < BACKLOG) {
                Some(place) => {
                    helpers[place].give(piece)?;
                    queue.push_back(Packed::By(place));
                }
                None => queue.push_back(Packed::Here(packer.pack(piece)?)),
            }
            while let Some(next) = queue.pop_front() {
                // A helper that is not let run must not make the others fill the memory.
                let waits = queue.len() > 2 * BACKLOG * helpers.len();
                match next.take(&mut helpers, waits)? {
                    Ok(piece) => spare.push(archive.add(piece)?),
                    Err(pending) => {
                        queue.push_front(pending);
                        break;
                    }
                }
            }
        }
        for next in queue {
            if let Ok(piece) = next.take(&mut helpers, true)? {
                archive.add(piece)?;
            }
        }
        Ok(())
    })
    .and_then(|()| archive.finish())
}

/// A piece in its order.
enum Packed {
    Here(Piece),
    /// The next one of this helper.
    By(usize),
}

impl Packed {
    /// The piece if it is packed, or once it is.
    fn take(self, helpers: &mut [Helper], waits: bool) -> io::Result<Result<Piece, Self>> {
        let place = match self {
            Self::Here(piece) => return Ok(Ok(piece)),
            Self::By(place) => place,
        };
        let helper = &mut helpers[place];
        let packed = match helper.packed.try_recv() {
            Err(TryRecvError::Empty) if !waits => return Ok(Err(self)),
            Err(TryRecvError::Empty) => helper.packed.recv().ok(),
            other => other.ok(),
        };
        helper.backlog -= 1;
        packed.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into())).map(Ok)
    }
}

/// A thread that packs pieces in their order, on a processor that was idle.
struct Helper {
    pieces: SyncSender<Piece>,
    packed: Receiver<io::Result<Piece>>,
    /// What was given and not taken back yet.
    backlog: usize,
}

impl Helper {
    /// Starts a thread, which ends when nothing more can come.
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, core: Core<'scope>) -> io::Result<Self> {
        let mut packer = Packer::new()?;
        let (pieces, given) = sync_channel::<Piece>(BACKLOG);
        let (pack, packed) = sync_channel(BACKLOG);
        let work = move || {
            let _core = core;
            for piece in given {
                if pack.send(packer.pack(piece)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("pack".to_owned()).spawn_scoped(scope, work)?;
        Ok(Self { pieces, packed, backlog: 0 })
    }

    fn give(&mut self, piece: Piece) -> io::Result<()> {
        self.backlog += 1;
        self.pieces.send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A part of a stream, and the member that is made of it.
#[derive(Default)]
struct Piece {
    plain: Vec<u8>,
    plain_bytes: usize,
    member: Vec<u8>,
    member_bytes: usize,
}

impl Piece {
    /// Reads the next part; whether it is as long as parts are, so that another one may follow.
    fn fill(&mut self, stream: &mut impl Read) -> io::Result<bool> {
        self.plain.resize(MEMBER, 0);
        self.plain_bytes = stream.read(&mut self.plain)?;
        Ok(self.plain_bytes == MEMBER)
    }
}

/// The file that members are written to.
struct Archive<'a> {
    file: &'a mut File,
    hash: sha2::Sha256,
    behind: Behind,
    size: u64,
}

impl<'a> Archive<'a> {
    fn new(file: &'a mut File) -> Self {
        Self { file, hash: sha2::Sha256::new(), behind: Behind::at(0), size: 0 }
    }

    /// Writes a member; the piece can be used again.
    fn add(&mut self, piece: Piece) -> io::Result<Piece> {
        let member = &piece.member[..piece.member_bytes];
        self.hash.update(member);
        self.file.write_all(member)?;
        self.size += member.len() as u64;
        self.behind.wrote(&*self.file, self.size);
        Ok(piece)
    }

    fn finish(self) -> io::Result<(Digest, u64)> {
        self.behind.end(&*self.file);
        Ok((Digest::from_sha256(&self.hash.finalize().into()), self.size))
    }
}

/// Makes members.
struct Packer {
    compressor: Compressor,
    /// Copies, for what is compressed already.
    copier: Compressor,
    /// The bytes that a member has at most.
    bound: usize,
}

impl Packer {
    fn new() -> io::Result<Self> {
        let at = |level| {
            let level = CompressionLvl::new(level);
            level.map(Compressor::new).map_err(|_| io::Error::other("no such level of compression"))
        };
        let (mut compressor, mut copier) = (at(LEVEL)?, at(0)?);
        let bound = compressor.deflate_compress_bound(MEMBER).max(copier.deflate_compress_bound(MEMBER));
        Ok(Self { compressor, copier, bound: HEAD_BYTES + bound + FOOT_BYTES })
    }

    /// Whether compressing is in vain, as it is for archives, pictures and keys: as far as samples show, all bytes
    /// occur equally often and nothing comes twice. Trying takes longer than for anything else, and they are large.
    fn is_dense(&mut self, plain: &[u8], room: &mut [u8]) -> bool {
        let probe = plain.len() / 2..plain.len() / 2 + PROBE;
        if plain.len() < 2 * PROBE || entropy(plain) < DENSE_BITS {
            return false;
        }
        let compressed = self.compressor.deflate_compress(&plain[probe], room);
        compressed.is_ok_and(|length| length > PROBE - PROBE / 32)
    }

    /// Makes the member of a piece.
    fn pack(&mut self, mut piece: Piece) -> io::Result<Piece> {
        piece.member.resize(self.bound, 0);
        let (plain, member) = (&piece.plain[..piece.plain_bytes], &mut piece.member[..]);
        let dense = self.is_dense(plain, member);
        let compressor = if dense { &mut self.copier } else { &mut self.compressor };
        let compressed = compressor.deflate_compress(plain, &mut member[HEAD_BYTES..]);
        let length = HEAD_BYTES + compressed.map_err(io::Error::other)?;
        let end = length + FOOT_BYTES;
        // A member is about as long as what is in it at most.
        let [whole, bytes] = [end, plain.len()].map(|size| u32::try_from(size).unwrap_or(0).to_le_bytes());
        member[..HEAD.len()].copy_from_slice(&HEAD);
        member[HEAD.len()..HEAD_BYTES].copy_from_slice(&whole);
        member[length..length + 4].copy_from_slice(&libdeflater::crc32(plain).to_le_bytes());
        member[length + 4..end].copy_from_slice(&bytes);
        piece.member_bytes = end;
        Ok(piece)
    }
}

/// The bits that a byte holds on average if each is as likely as it is frequent, by samples from all over.
fn entropy(plain: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for sample in plain.chunks(SAMPLE * SAMPLE_EVERY) {
        for byte in &sample[..sample.len().min(SAMPLE)] {
            counts[usize::from(*byte)] += 1;
        }
    }
    let total = f64::from(counts.iter().sum::<u32>());
    let bits = |count: &u32| -f64::from(*count) / total * (f64::from(*count) / total).log2();
    counts.iter().filter(|count| **count > 0).map(bits).sum()
}

/// How long a member is that begins so; `None` if it does not say so as ours do.
fn member_length(head: &[u8]) -> Option<usize> {
    let length = head.strip_prefix(&HEAD)?.first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (HEAD_BYTES + FOOT_BYTES..=2 * MEMBER).contains(&length).then_some(length)
}

/// Decompresses a series of members: those of ours in one go each, and from the first other one on as a stream.
pub(crate) struct Members<'a> {
    from: From<'a>,
    /// None when there is no memory for one: then all is for a stream.
    decompressor: Option<Decompressor>,
    compressed: Vec<u8>,
    /// Room for a member, of which this part is to be read.
    plain: Vec<u8>,
    unread: std::ops::Range<usize>,
}

enum From<'a> {
    Members(Source<'a>),
    Stream(Box<MultiGzDecoder<Source<'a>>>),
    Nowhere,
}

impl<'a> Members<'a> {
    pub(super) fn new(stream: Source<'a>) -> Self {
        Self {
            from: From::Members(stream),
            decompressor: Decompressor::new(),
            compressed: Vec::new(),
            plain: vec![0; MEMBER],
            unread: 0..0,
        }
    }

    /// What is left of the compressed stream.
    pub(super) fn rest(&mut self) -> Option<&mut Source<'a>> {
        match &mut self.from {
            From::Members(stream) => Some(stream),
            From::Stream(decoder) => Some(decoder.get_mut()),
            From::Nowhere => None,
        }
    }

    /// Decompresses more; nothing at the end.
    fn refill(&mut self) -> io::Result<()> {
        self.unread = 0..0;
        loop {
            match &mut self.from {
                From::Nowhere => return Err(io::ErrorKind::BrokenPipe.into()),
                From::Stream(decoder) => {
                    self.unread = 0..decoder.read(&mut self.plain)?;
                    return Ok(());
                }
                From::Members(stream) => {
                    self.compressed.clear();
                    stream.take(HEAD_BYTES as u64).read_to_end(&mut self.compressed)?;
                    if self.compressed.is_empty() {
                        return Ok(());
                    }
                    if let Some(length) = member_length(&self.compressed) {
                        let rest = (length - HEAD_BYTES) as u64;
                        stream.take(rest).read_to_end(&mut self.compressed)?;
                        if let Some(bytes) = self.inflate(length) {
                            self.unread = 0..bytes;
                            if bytes > 0 {
                                return Ok(());
                            }
                            continue;
                        }
                    }
                }
            }
            self.go_on_as_stream();
        }
    }

    /// Decompresses the member that was read, if it is whole and as long as it says: the length was written by
    /// whoever wrote the file, and others do not look at it.
    fn inflate(&mut self, length: usize) -> Option<usize> {
        let (taken, made) = self.decompressor.as_mut()?.member(&self.compressed, &mut self.plain)?;
        (taken == length).then_some(made)
    }

    /// What is no member of ours, or a damaged one, is for a decoder that knows all kinds, and its errors are to be
    /// told.
    fn go_on_as_stream(&mut self) {
        if let From::Members(stream) = std::mem::replace(&mut self.from, From::Nowhere) {
            let stream = Cursor::new(std::mem::take(&mut self.compressed)).chain(stream);
            self.from = From::Stream(Box::new(MultiGzDecoder::new(Box::new(stream))));
        }
    }
}

impl Read for Members<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let read = available.read(to)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Members<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.unread.is_empty() {
            self.refill()?;
        }
        Ok(&self.plain[self.unread.clone()])
    }

    fn consume(&mut self, bytes: usize) {
        self.unread.start = (self.unread.start + bytes).min(self.unread.end);
    }
}

/// See `fuzz/targets`.
pub(crate) mod fuzz {
    use super::*;

    /// Decompresses with [`Members`] and with a decoder that knows nothing of them.
    pub(crate) fn both(compressed: &[u8]) -> [io::Result<Vec<u8>>; 2] {
        let read = |decoder: &mut dyn Read| {
            let mut plain = Vec::new();
            decoder.take(16 << 20).read_to_end(&mut plain).map(|_| plain)
        };
        let ours = read(&mut Members::new(Box::new(io::BufReader::with_capacity(1000, compressed))));
        [ours, read(&mut MultiGzDecoder::new(compressed))]
    }

    /// Members, the last of them empty, damaged where the first bytes say: both decoders say the same of it.
    pub(crate) fn members(data: &[u8]) {
        let (damage, plain) = data.split_at(data.len().min(6));
        let Ok(mut packer) = Packer::new() else { return };
        let mut file = Vec::new();
        for half in plain.chunks(plain.len() / 2 + 1).chain([&[][..]]) {
            let plain = Piece { plain: half.to_vec(), plain_bytes: half.len(), ..Piece::default() };
            if let Ok(piece) = packer.pack(plain) {
                file.extend_from_slice(&piece.member[..piece.member_bytes]);
            }
        }
        for pair in damage.chunks_exact(2) {
            let length = file.len().max(1);
            if let Some(byte) = file.get_mut(usize::from(pair[0]) % length) {
                *byte ^= pair[1];
            }
        }
        match both(&file) {
            [Ok(ours), Ok(others)] => assert!(ours == others, "the two read something else"),
            [Err(_), Err(_)] => {}
            [ours, others] => panic!("one reads what the other refuses: {:?} {:?}", ours.err(), others.err()),
        }
        drop(both(data));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;

    use super::*;

    fn round(plain: &[u8]) -> (Vec<u8>, Digest, u64) {
        let mut file = tempfile::tempfile().unwrap();
        let (digest, size) = gzip(plain, &mut file, &Cores::new()).unwrap();
        file.rewind().unwrap();
        let mut compressed = Vec::new();
        file.read_to_end(&mut compressed).unwrap();
        (compressed, digest, size)
    }

    struct Fails;

    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    fn some(length: usize) -> Vec<u8> {
        (0..length).map(|at| ((at % 251) ^ (at >> 9)) as u8).collect()
    }

    #[test]
    fn what_is_compressed_is_read_again_whatever_its_length() {
        for length in [0, 1, MEMBER - 1, MEMBER, MEMBER + 1, 3 * MEMBER + 17] {
            let plain = some(length);
            let (compressed, digest, size) = round(&plain);
            assert_eq!(size, compressed.len() as u64);
            assert_eq!(digest, crate::digest_of(&compressed));
            for read in fuzz::both(&compressed) {
                assert!(read.unwrap() == plain, "{length}");
            }
            assert_eq!(round(&plain).1, digest, "the same again");
        }
    }

    #[test]
    fn however_many_processors_help_the_bytes_are_the_same() {
        let plain: Vec<u8> = (0..40).flat_map(|part| some(MEMBER / 3 + part * 1000)).collect();
        let packed = |cores: &Cores| gzip(&plain[..], &mut tempfile::tempfile().unwrap(), cores).unwrap();
        let expect = packed(&Cores::of(1));
        for count in [2, 3, 8] {
            let cores = Cores::of(count);
            std::thread::scope(|scope| {
                let layers: Vec<_> = (0..5).map(|_| scope.spawn(|| packed(&cores))).collect();
                for layer in layers {
                    assert_eq!(layer.join().unwrap(), expect);
                }
            });
            assert_eq!(cores.state().cores, count, "all came back");
        }
        // One that fails gives its processors back, too.
        let cores = Cores::of(2);
        let start = some(5 * MEMBER);
        let fails = start.chain(Fails);
        assert!(gzip(fails, &mut tempfile::tempfile().unwrap(), &cores).is_err());
        assert_eq!(cores.state().cores, 2);
    }

    #[test]
    fn what_does_not_compress_is_copied_and_what_repeats_is_not() {
        let noise = |length: usize| {
            let mut bytes = vec![0; length];
            getrandom::fill(&mut bytes).unwrap();
            bytes
        };
        let copied = |plain: &[u8]| {
            let (compressed, ..) = round(plain);
            for read in fuzz::both(&compressed) {
                assert!(read.unwrap() == plain);
            }
            assert!(compressed.len() < plain.len() + plain.len() / 1000 + 100);
            // RFC 1951, section 3.2.3: the kind of the first block.
            compressed[HEAD_BYTES] >> 1 & 3 == 0
        };
        let mixed = [noise(MEMBER / 2), some(MEMBER / 2)].concat();
        let again = noise(16 << 10).repeat(MEMBER / (16 << 10));
        assert!(copied(&noise(2 * MEMBER + 12345)));
        assert!(!copied(&some(MEMBER)));
        assert!(!copied(&again) && round(&again).2 < 100_000);
        assert!(round(&mixed).2 < MEMBER as u64 * 3 / 4);
    }

    #[test]
    fn members_of_others_may_follow() {
        let (mut compressed, ..) = round(&some(MEMBER + 9));
        let mut other = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        other.write_all(b"of another").unwrap();
        compressed.extend(other.finish().unwrap());
        compressed.extend(round(&some(77)).0);
        let expect = [some(MEMBER + 9), b"of another".to_vec(), some(77)].concat();
        for read in fuzz::both(&compressed) {
            assert!(read.unwrap() == expect);
        }
    }

    /// Whoever looks an image through must see what we unpack.
    #[test]
    fn a_member_that_says_it_is_longer_hides_nothing() {
        let mut first = round(b"seen").0;
        let second = round(b" by all").0;
        let both = u32::try_from(first.len() + second.len()).unwrap();
        first[HEAD.len()..HEAD_BYTES].copy_from_slice(&both.to_le_bytes());
        for read in fuzz::both(&[first, second].concat()) {
            assert_eq!(read.unwrap(), b"seen by all");
        }
    }

    #[test]
    fn what_is_damaged_is_refused_in_the_words_of_any_other_gzip() {
        let whole = round(&some(MEMBER + 9)).0;
        let first = member_length(&whole).unwrap();
        let mut cases =
            vec![whole[..whole.len() - 1].to_vec(), whole[..first + 5].to_vec(), whole[..first - 1].to_vec()];
        // A byte of the data, of the checksum, of the length, and of the stated length of a member.
        for at in [HEAD_BYTES + 3, first - 8, first - 1, first + HEAD.len(), HEAD.len() + 2] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            cases.push(damaged);
        }
        cases.push([&whole, &b"more"[..]].concat());
        for case in cases {
            match fuzz::both(&case) {
                [Ok(ours), Ok(other)] => assert!(ours == other),
                [Err(ours), Err(other)] => assert_eq!(ours.to_string(), other.to_string()),
                [ours, other] => panic!("{:?}, {:?}", ours.map(|b| b.len()), other.map(|b| b.len())),
            }
        }
    }

    #[test]
    fn gunzip_reads_it() {
        let plain = vec![b'x'; 2 * MEMBER + 5];
        let (compressed, ..) = round(&plain);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&compressed).unwrap();
        let unpacked = std::process::Command::new("gzip").arg("-dc").stdin(file.reopen().unwrap()).output();
        assert!(unpacked.unwrap().stdout == plain);
    }
}
