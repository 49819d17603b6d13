//! Layers: a directory for each diff ID, unpacked on its own from a tar stream.
//!
//! A layer is unpacked without looking at those below it, so that all layers of an image are unpacked at once. What
//! depends on lower layers is only noted in its record, and made good when an image stacks its layers (`fixup`):
//! directories that an entry lies in but that have no entry themselves, and hard links to files of lower layers.

mod checked;
mod fixup;
mod gzip;
mod recipe;
mod source;
mod tree;
mod unpack;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use berth_oci::Digest;
use serde::{Deserialize, Serialize};

pub(crate) use checked::Checked;
pub(crate) use fixup::{Stack, stack};
pub(crate) use gzip::{Cores, fuzz::members as gzip_members, gzip};
pub(crate) use recipe::RecipeReader;
pub(crate) use source::{
    CHUNK, Compression, Decoder, Hashed, Piece, Promise, Source, begun, channel, gathered,
};
pub(crate) use unpack::{Job, Unkept, reading, unpack};

/// The files of a layer.
pub(crate) const DIFF: &str = "diff";
const META: &str = "layer.json";
const RECIPE: &str = "recipe";

/// Why an archive or layer is not acceptable, or could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The stream is no tar, or is cut short, or says two things at once.
    #[error("{0}")]
    Malformed(String),
    /// A bound was reached: see [`Limits`].
    #[error("layer is refused: {0}")]
    Limit(String),
    /// A path leaves the layer, or cannot be what the archive says it is.
    #[error("invalid path in layer: {0}")]
    Path(String),
    /// The content does not have the digest or length that it was announced with.
    #[error("{0}")]
    Digest(String),
    /// The system refused.
    #[error("{what}")]
    Io {
        /// What was tried, and on what.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl LayerError {
    /// Whether the archive is at fault, not the machine.
    pub fn is_callers_fault(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// Bounds on what a layer may hold; whoever exceeds one is refused and nothing is left behind.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of entries of one layer.
    pub entries_max: u64,
    /// The number of components of a path.
    pub depth_max: usize,
    /// The length of a path in bytes.
    pub path_bytes_max: usize,
    /// The size of one unpacked layer in bytes.
    pub layer_bytes_max: u64,
    /// How many times larger than the stream as it was sent the unpacked layer may be, once it is larger than
    /// `ratio_free_bytes`.
    pub ratio_max: u64,
    /// The unpacked size below which the ratio does not matter.
    pub ratio_free_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries_max: 4_000_000,
            depth_max: 1024,
            path_bytes_max: 4096,
            layer_bytes_max: 256 << 30,
            ratio_max: 200,
            ratio_free_bytes: 2 << 30,
        }
    }
}

/// What a layer is: `layer.json`. Paths are spelled with one character for each byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// The digest of its tar; always there in a finished record.
    pub(crate) diff_id: Option<Digest>,
    /// The bytes of its files.
    pub(crate) size: u64,
    /// The bytes of its tar.
    pub(crate) tar_size: u64,
    /// The checksum of its tar: see [`Checked`]. Records of former versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<String>,
    pub(crate) entries: u64,
    /// Nothing of lower layers shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) opaque: bool,
    /// Directories that only exist because something lies in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) implicit: Vec<String>,
    /// Hard links to files of lower layers: path and target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<(String, String)>,
    /// Paths of files that later entries of the same layer replaced, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) kept: Vec<String>,
}

impl LayerRecord {
    /// Reads the record in a layer's directory.
    pub(crate) fn read(layer: BorrowedFd<'_>) -> io::Result<Self> {
        let bytes = read_file(layer, META)?;
        serde_json::from_slice(&bytes).map_err(io::Error::from)
    }
}

/// Opens a layer's tar for reading, byte for byte as it came.
pub(crate) fn open_tar(layer: BorrowedFd<'_>) -> io::Result<RecipeReader> {
    tar_of(layer, &LayerRecord::read(layer)?)
}

fn tar_of(layer: BorrowedFd<'_>, record: &LayerRecord) -> io::Result<RecipeReader> {
    let mut replaced: HashMap<Vec<u8>, VecDeque<File>> = HashMap::new();
    for (number, path) in record.kept.iter().enumerate() {
        let file = open_file(layer, &tree::kept_name(number))?;
        replaced.entry(from_latin1(path)).or_default().push_back(file);
    }
    RecipeReader::new(open_file(layer, RECIPE)?, crate::dir::open(layer, DIFF)?, replaced)
}

/// Decompresses a stream, whatever it is compressed with; one that is not compressed is passed on.
///
/// Errors: the stream cannot be read; a format that is not supported.
pub fn decompress(stream: impl io::Read + Send + 'static) -> io::Result<Box<dyn io::BufRead + Send>> {
    Ok(Box::new(Decoder::new(gathered(stream))?))
}

fn open_file(dir: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?))
}

fn read_file(dir: BorrowedFd<'_>, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut open_file(dir, name)?, &mut bytes)?;
    Ok(bytes)
}

/// The name of a layer's directory: long enough that no two layers share it by chance, short enough for the mount
/// option of 128 layers to fit into a page. Whoever makes two that collide finds the second one refused.
pub(crate) fn directory_name(diff_id: &Digest) -> &str {
    &diff_id.hex()[..24]
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn from_latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()
}
