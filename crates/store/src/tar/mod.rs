//! Tar streams, read strictly and written plainly.
//!
//! Reading accepts what GNU tar, Go and POSIX `pax` write: v7, ustar, old GNU (long names, sparse files) and pax
//! (extended headers, the three sparse formats of GNU). Whatever two readers could understand differently is an
//! error here: contradicting headers, sizes where there can be no data, global headers that change entries, data
//! behind a lone zero block. So an archive that passed a check elsewhere means the same here.

mod header;
mod pax;
mod reader;
mod sparse;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{Entry, Kind, Reader, Segment};
pub use writer::Writer;

/// Whether a block is a header: whether its checksum is right.
pub fn is_header(block: &[u8]) -> bool {
    <&[u8; BLOCK]>::try_from(block).is_ok_and(|block| header::Header::parse(block).is_ok())
}

/// The size of a tar block.
pub const BLOCK: usize = 512;

/// Why a stream is no acceptable tar archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream ends inside an entry.
    #[error("unexpected EOF")]
    Truncated,
    /// A header is not what it must be.
    #[error("archive/tar: invalid tar header: {0}")]
    Header(String),
    /// A header says two things at once, or what readers are known to understand differently.
    #[error("archive/tar: ambiguous tar header: {0}")]
    Ambiguous(String),
    /// The stream cannot be read.
    #[error("read tar stream")]
    Read(#[source] std::io::Error),
}

impl TarError {
    fn read(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Read(error),
        }
    }

    fn header(why: impl Into<String>) -> Self {
        Self::Header(why.into())
    }

    fn ambiguous(why: impl Into<String>) -> Self {
        Self::Ambiguous(why.into())
    }
}
