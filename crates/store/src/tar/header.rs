//! One header block: its fields and their spellings.

use super::{BLOCK, TarError};

/// A header block whose checksum is right.
pub(super) struct Header<'a> {
    bytes: &'a [u8; BLOCK],
}

/// The dialect of a header, by its magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// No magic.
    V7,
    /// POSIX ustar and pax.
    Ustar,
    /// Old GNU.
    Gnu,
}

impl<'a> Header<'a> {
    /// Checks the checksum: the sum of the bytes, taken as unsigned or, as old writers did, as signed.
    pub(super) fn parse(bytes: &'a [u8; BLOCK]) -> Result<Self, TarError> {
        let field = |byte: usize| (148..156).contains(&byte);
        let (mut unsigned, mut signed) = (0u64, 0i64);
        for (index, byte) in bytes.iter().enumerate() {
            let byte = if field(index) { b' ' } else { *byte };
            unsigned += u64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        let stated = octal(&bytes[148..156]).ok_or_else(|| TarError::header("checksum is no number"))?;
        if stated != unsigned && i64::try_from(stated) != Ok(signed) {
            return Err(TarError::header("checksum is wrong"));
        }
        Ok(Self { bytes })
    }

    pub(super) fn dialect(&self) -> Dialect {
        match &self.bytes[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            [b'u', b's', b't', b'a', b'r', 0, ..] => Dialect::Ustar,
            _ => Dialect::V7,
        }
    }

    pub(super) fn typeflag(&self) -> u8 {
        self.bytes[156]
    }

    /// Appends the name, with its prefix where the dialect has one.
    pub(super) fn name(&self, to: &mut Vec<u8>) -> Result<(), TarError> {
        if self.dialect() == Dialect::Ustar {
            let prefix = text(&self.bytes[345..500]);
            // In star's variant of ustar the last bytes of the prefix are times.
            if &self.bytes[508..512] == b"tar\0" && prefix.len() > 130 {
                return Err(TarError::ambiguous("prefix of a star header"));
            }
            if !prefix.is_empty() {
                to.extend_from_slice(prefix);
                to.push(b'/');
            }
        }
        to.extend_from_slice(text(&self.bytes[..100]));
        Ok(())
    }

    pub(super) fn link(&self) -> &'a [u8] {
        text(&self.bytes[157..257])
    }

    pub(super) fn mode(&self) -> Result<u32, TarError> {
        let mode = self.number(100..108, "mode")?;
        // File type bits above the permissions are written by some, and meaningless.
        Ok(u32::try_from(mode & 0o7777).unwrap_or(0))
    }

    pub(super) fn uid(&self) -> Result<u32, TarError> {
        self.small(108..116, "uid")
    }

    pub(super) fn gid(&self) -> Result<u32, TarError> {
        self.small(116..124, "gid")
    }

    pub(super) fn size(&self) -> Result<u64, TarError> {
        self.unsigned(124..136, "size")
    }

    pub(super) fn mtime(&self) -> Result<i64, TarError> {
        self.number(136..148, "mtime")
    }

    /// Major and minor number; empty in v7.
    pub(super) fn device(&self) -> Result<(u32, u32), TarError> {
        if self.dialect() == Dialect::V7 {
            return Ok((0, 0));
        }
        Ok((self.small(329..337, "devmajor")?, self.small(337..345, "devminor")?))
    }

    /// The old GNU sparse map in this header: its fields, whether more blocks follow, and the real size.
    pub(super) fn gnu_sparse(&self) -> Result<(&'a [u8], bool, u64), TarError> {
        let real = self.unsigned(483..495, "real size")?;
        Ok((&self.bytes[386..482], self.bytes[482] != 0, real))
    }

    fn number(&self, field: std::ops::Range<usize>, name: &str) -> Result<i64, TarError> {
        number(&self.bytes[field]).ok_or_else(|| TarError::header(format!("{name} is no number")))
    }

    fn unsigned(&self, field: std::ops::Range<usize>, name: &str) -> Result<u64, TarError> {
        u64::try_from(self.number(field, name)?).map_err(|_| TarError::header(format!("{name} is negative")))
    }

    fn small(&self, field: std::ops::Range<usize>, name: &str) -> Result<u32, TarError> {
        let value = self.number(field, name)?;
        u32::try_from(value).map_err(|_| TarError::header(format!("{name} {value} is out of range")))
    }
}

/// Text up to the first NUL or the end of the field.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

/// A numeric field: octal digits, or base 256 when the first bit is set.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 == 0 {
        return octal(field).and_then(|value| i64::try_from(value).ok());
    }
    // Two's complement; the first bit is the marker, the second the sign.
    let negative = first & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in field.iter().enumerate() {
        let byte = match (index, negative) {
            (0, true) => *byte | 0x80,
            (0, false) => *byte & 0x7f,
            _ => *byte,
        };
        value = value.checked_mul(256)? | i128::from(byte);
        if value > i128::from(i64::MAX) || value < i128::from(i64::MIN) {
            return None;
        }
    }
    i64::try_from(value).ok()
}

/// Octal digits, with spaces and NULs around them; nothing at all is zero.
fn octal(field: &[u8]) -> Option<u64> {
    let start = field.iter().position(|b| !matches!(b, b' ' | 0)).unwrap_or(field.len());
    let field = &field[start..];
    let end = field.iter().position(|b| matches!(b, b' ' | 0)).unwrap_or(field.len());
    let (digits, rest) = field.split_at(end);
    if rest.iter().any(|b| !matches!(b, b' ' | 0)) {
        return None;
    }
    let mut value = 0u64;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: &[u8], expect: Option<i64>) {
        assert_eq!(number(field), expect, "{field:?}");
    }

    #[test]
    fn numbers() {
        check(b"0000644\0", Some(0o644));
        check(b"   644 \0", Some(0o644));
        check(b"\0\0\0\0\0\0\0\0", Some(0));
        check(b"77777777777 ", Some(0o77777777777));
        check(b"644x\0\0\0\0", None);
        check(b"0000 644", None);
        check(b"-0000644", None);
        check(b"+0000644", None);
        check(b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2));
        check(b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None);
        check(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None);
    }
}
