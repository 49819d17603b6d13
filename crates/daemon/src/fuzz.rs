//! The parsers of foreign bytes, for the fuzz targets of `fuzz/targets`.

pub use crate::http::fuzz::TARGETS;

/// A target's name, what mutation starts from, and the function.
pub type Row = (&'static str, &'static [&'static str], fn(&[u8]));
