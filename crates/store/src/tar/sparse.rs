//! Maps of sparse files: where in the file the data of an entry belongs.

use super::header::number;
use super::reader::Segment;
use super::{BLOCK, TarError};

/// The number of segments a file may have; GNU tar writes a few thousand at most.
const SEGMENTS_MAX: usize = 1 << 20;

/// Adds the segments of an old GNU map: pairs of 12-byte fields, ended by an empty one.
pub(super) fn gnu_fields(fields: &[u8], segments: &mut Vec<Segment>) -> Result<(), TarError> {
    for pair in fields.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let field = |bytes: &[u8]| {
            number(bytes)
                .and_then(|value| u64::try_from(value).ok())
                .ok_or_else(|| TarError::header("sparse map is no number"))
        };
        push(segments, field(&pair[..12])?, field(&pair[12..])?)?;
    }
    Ok(())
}

/// Segments from offsets and lengths in turn.
pub(super) fn pairs(map: &[u64]) -> Result<Vec<Segment>, TarError> {
    if !map.len().is_multiple_of(2) {
        return Err(TarError::header("sparse map has an odd number of values"));
    }
    let mut segments = Vec::with_capacity(map.len() / 2);
    for pair in map.chunks_exact(2) {
        push(&mut segments, pair[0], pair[1])?;
    }
    Ok(segments)
}

fn push(segments: &mut Vec<Segment>, offset: u64, length: u64) -> Result<(), TarError> {
    if segments.len() >= SEGMENTS_MAX {
        return Err(TarError::header("sparse map is too long"));
    }
    segments.push(Segment { offset, length });
    Ok(())
}

/// Checks that segments are in order, do not overlap, lie inside the file and hold exactly `stored` bytes.
pub(super) fn check(segments: &[Segment], size: u64, stored: u64) -> Result<(), TarError> {
    let (mut end, mut total) = (0u64, 0u64);
    for segment in segments {
        let next = segment.offset.checked_add(segment.length);
        let Some(next) = next.filter(|next| segment.offset >= end && *next <= size) else {
            return Err(TarError::header("sparse map is out of order or beyond the file"));
        };
        end = next;
        total += segment.length;
    }
    if total != stored {
        return Err(TarError::ambiguous("sparse map does not fit the size"));
    }
    Ok(())
}

/// Reads the map of pax format 1.0, which is in front of the data: decimal lines, filled up to whole blocks.
#[derive(Default)]
pub(super) struct MapReader {
    numbers: Vec<u64>,
    digits: Vec<u8>,
}

impl MapReader {
    /// Takes one block; true when the map is complete.
    pub(super) fn take(&mut self, block: &[u8; BLOCK]) -> Result<bool, TarError> {
        for byte in block {
            if self.is_complete() {
                // Filling follows.
                return Ok(true);
            }
            if *byte != b'\n' {
                self.digits.push(*byte);
                if self.digits.len() > 20 {
                    return Err(TarError::header("sparse map is no number"));
                }
                continue;
            }
            let value = super::pax::decimal(&self.digits);
            let value = value.ok_or_else(|| TarError::header("sparse map is no number"))?;
            self.digits.clear();
            self.numbers.push(value);
            if self.numbers.len() == 1 && usize::try_from(value).is_ok_and(|count| count > SEGMENTS_MAX) {
                return Err(TarError::header("sparse map is too long"));
            }
        }
        Ok(self.is_complete())
    }

    fn is_complete(&self) -> bool {
        self.numbers.first().is_some_and(|count| self.numbers.len() as u64 == 1 + count.saturating_mul(2))
    }

    pub(super) fn segments(&self) -> Result<Vec<Segment>, TarError> {
        pairs(self.numbers.get(1..).unwrap_or(&[]))
    }
}
