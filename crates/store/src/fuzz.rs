//! The parsers of what lies on disk or comes from strangers, for the fuzz targets of `fuzz/targets`.

use crate::database::fuzz::{changes, journal_file};
use crate::layer::gzip_members;

/// A target's name, what mutation starts from, and the function.
pub type Row = (&'static str, &'static [&'static str], fn(&[u8]));

/// See `fuzz/targets`.
pub const TARGETS: &[Row] = &[
    ("journal", &["berthjnl\u{1}\0\0\0\0\0\0\0\u{1}\0\0\0\0\0\0\0ssssssssssssssss", ""], journal_file),
    ("journal-changes", &["\u{1}\0\0\0t\u{2}\0\0\0ke\u{1}\u{3}\0\0\0val"], changes),
    ("gzip-members", &["\0\0\0\0\0\0what is in a layer, what is in a layer", "\u{10}\u{1}"], gzip_members),
];
