//! Extended headers of pax: `length key=value\n`, one after the other.

use super::TarError;

/// What extended headers say about the entry that follows.
#[derive(Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseKeys,
}

/// The `GNU.sparse.` keys.
#[derive(Default)]
pub(super) struct SparseKeys {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    pub(super) blocks: Option<u64>,
    /// Offsets and lengths in turn, from `map` (0.1) or from `offset` and `numbytes` (0.0).
    pub(super) map: Vec<u64>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";
/// Keys that change what an entry is; in a global header readers differ about them.
const MEANINGFUL: [&[u8]; 6] = [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"];

/// Splits extended header data into keys and values.
fn records(data: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), TarError>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = split_record(&mut rest);
        if record.is_none() {
            rest = &[];
        }
        Some(record.ok_or_else(|| TarError::header("malformed extended header")))
    })
}

fn split_record<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let space = rest.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(&rest[..space])?).ok()?;
    let (record, after) = rest.split_at_checked(length)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    if key.is_empty() {
        return None;
    }
    *rest = after;
    Some((key, value))
}

/// Decimal digits and nothing else, no superfluous zero in front.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

impl Extended {
    /// Reads the data of an `x` header.
    pub(super) fn parse(data: &[u8]) -> Result<Self, TarError> {
        let mut extended = Self::default();
        for record in records(data) {
            let (key, value) = record?;
            extended.take(key, value)?;
        }
        Ok(extended)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        match key {
            b"path" => self.path = Some(name(key, value)?),
            b"linkpath" => self.link = Some(name(key, value)?),
            b"size" => self.size = Some(number(key, value)?),
            b"uid" => self.uid = Some(small(key, value)?),
            b"gid" => self.gid = Some(small(key, value)?),
            b"mtime" => self.mtime = Some(time(value).ok_or_else(|| bad(key))?),
            _ if key.starts_with(XATTR) => {
                let name = &key[XATTR.len()..];
                if name.is_empty() || name.contains(&0) {
                    return Err(bad(key));
                }
                self.xattrs.retain(|(other, _)| other != name);
                self.xattrs.push((name.to_vec(), value.to_vec()));
            }
            _ if key.starts_with(SPARSE) => self.sparse.take(key, value)?,
            _ => {}
        }
        Ok(())
    }
}

impl SparseKeys {
    pub(super) fn is_present(&self) -> bool {
        self.major.is_some() || self.real_size.is_some() || self.blocks.is_some() || !self.map.is_empty()
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        match &key[SPARSE.len()..] {
            b"major" => self.major = Some(number(key, value)?),
            b"minor" => self.minor = Some(number(key, value)?),
            b"name" => self.name = Some(name(key, value)?),
            b"size" | b"realsize" => {
                let size = number(key, value)?;
                if self.real_size.is_some_and(|other| other != size) {
                    return Err(TarError::ambiguous("two real sizes of a sparse file"));
                }
                self.real_size = Some(size);
            }
            b"numblocks" => self.blocks = Some(number(key, value)?),
            b"offset" if self.map.len().is_multiple_of(2) => self.map.push(number(key, value)?),
            b"numbytes" if !self.map.len().is_multiple_of(2) => self.map.push(number(key, value)?),
            b"offset" | b"numbytes" => return Err(bad(key)),
            b"map" => {
                if !self.map.is_empty() {
                    return Err(TarError::ambiguous("two maps of a sparse file"));
                }
                for part in value.split(|b| *b == b',').filter(|_| !value.is_empty()) {
                    self.map.push(number(key, part)?);
                }
            }
            _ => return Err(TarError::header(format!("unknown key {}", String::from_utf8_lossy(key)))),
        }
        Ok(())
    }
}

/// Checks the data of a global header: it may say nothing that changes an entry, for readers differ about that.
pub(super) fn check_global(data: &[u8]) -> Result<(), TarError> {
    for record in records(data) {
        let (key, _) = record?;
        if MEANINGFUL.contains(&key) || key.starts_with(SPARSE) || key.starts_with(XATTR) {
            let key = String::from_utf8_lossy(key);
            return Err(TarError::ambiguous(format!("global header sets {key}")));
        }
    }
    Ok(())
}

fn bad(key: &[u8]) -> TarError {
    TarError::header(format!("bad value of {}", String::from_utf8_lossy(key)))
}

/// A name: not empty, for then some take the one of the header and some none, and without NUL, for some stop there.
fn name(key: &[u8], value: &[u8]) -> Result<Vec<u8>, TarError> {
    if value.is_empty() || value.contains(&0) {
        return Err(bad(key));
    }
    Ok(value.to_vec())
}

fn number(key: &[u8], value: &[u8]) -> Result<u64, TarError> {
    // A size beyond the largest file offset is none.
    decimal(value).filter(|value| i64::try_from(*value).is_ok()).ok_or_else(|| bad(key))
}

fn small(key: &[u8], value: &[u8]) -> Result<u32, TarError> {
    number(key, value)?.try_into().map_err(|_| bad(key))
}

/// Seconds with an optional sign and fraction; nanoseconds count up from the second below.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let (negative, value) = match value {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, value),
    };
    let dot = value.iter().position(|b| *b == b'.');
    let (whole, fraction) = value.split_at(dot.unwrap_or(value.len()));
    let fraction = fraction.strip_prefix(b".").unwrap_or(fraction);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let seconds = whole
        .iter()
        .try_fold(0i64, |value, digit| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')))?;
    let mut nanos = 0u32;
    for index in 0..9 {
        nanos = nanos * 10 + fraction.get(index).map_or(0, |digit| u32::from(digit - b'0'));
    }
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_time(text: &str, expect: Option<(i64, u32)>) {
        assert_eq!(time(text.as_bytes()), expect, "{text}");
    }

    #[test]
    fn times() {
        check_time("0", Some((0, 0)));
        check_time("1350244992.023960108", Some((1350244992, 23960108)));
        check_time("1.5", Some((1, 500_000_000)));
        check_time("-1.5", Some((-2, 500_000_000)));
        check_time("-3", Some((-3, 0)));
        check_time("1.1234567899", Some((1, 123_456_789)));
        check_time("", None);
        check_time("-", None);
        check_time("1e5", None);
        check_time("99999999999999999999", None);
    }

    #[test]
    fn records_are_taken_apart() {
        let data = b"17 path=some/name\n";
        assert!(Extended::parse(data).is_err(), "the length does not fit");
        let data = b"18 path=some/name\n11 uid=100\n25 SCHILY.xattr.user.a=\0\n";
        let extended = Extended::parse(data).unwrap();
        assert_eq!(extended.path.unwrap(), b"some/name");
        assert_eq!(extended.uid, Some(100));
        assert_eq!(extended.xattrs, [(b"user.a".to_vec(), b"\0".to_vec())]);
    }

    #[test]
    fn odd_records_are_refused() {
        for data in [
            &b"5 a=b\n"[..],
            b"6 a=b",
            b"06 a=b\n",
            b" a=b\n",
            b"99 a=b\n",
            b"18446744073709551616 a=b\n",
            b"5 =b\n",
            b"5 ab\n",
            b"0 a=b\n",
            b"-6 a=b\n",
            b"9 path=\n",
            b"14 path=a\0/b\n\n",
            b"12 size=-10\n",
            b"12 size=0x1\n",
        ] {
            assert!(Extended::parse(data).is_err(), "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn global_headers_may_only_comment() {
        assert!(check_global(b"52 comment=0123456789012345678901234567890123456789\n").is_ok());
        assert!(check_global(b"9 size=1\n").is_err());
    }
}
