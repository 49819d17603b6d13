//! The parsers of what lies on disk, for the fuzz targets of `fuzz/targets`.

pub use crate::database::fuzz::TARGETS;

/// A target's name, what mutation starts from, and the function.
pub type Row = (&'static str, &'static [&'static str], fn(&[u8]));
