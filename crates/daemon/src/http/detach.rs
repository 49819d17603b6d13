//! The keys that leave a container's terminal without ending it.

use bytes::BytesMut;

/// A sequence of key presses, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q`, `a,b` and the like; empty text is the default.
    ///
    /// Errors: Docker's text for what is no key.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(vec![0x10, 0x11]));
        }
        text.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }
}

impl DetachKeys {
    /// The bytes as Go writes them in JSON.
    pub(crate) fn base64(&self) -> String {
        base64(&self.0)
    }
}

/// Bytes in base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits =
            part.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - part.len()));
        for place in 0..4 {
            let letter = LETTERS[bits >> (18 - 6 * place) & 63];
            text.push(if place <= part.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// The byte of one key.
fn key(text: &str) -> Result<u8, String> {
    let unknown = || format!("Unknown character: '{text}'");
    if let [byte] = text.as_bytes() {
        return Ok(*byte);
    }
    match text.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
        Some(b"@") => Ok(0),
        Some(b"[") => Ok(27),
        Some(b"\\") => Ok(28),
        Some(b"]") => Ok(29),
        Some(b"^") => Ok(30),
        Some(b"_") => Ok(31),
        _ => Err(unknown()),
    }
}

/// Looks for the sequence in what a client types, across reads.
#[derive(Debug)]
pub(crate) struct Watcher {
    keys: Vec<u8>,
    /// How much of the sequence was seen and is held back.
    seen: usize,
}

impl Watcher {
    pub(crate) fn new(keys: DetachKeys) -> Self {
        Self { keys: keys.0, seen: 0 }
    }

    /// Adds to `out` what is not part of the sequence. `true`: the sequence is complete, what follows it is dropped.
    pub(crate) fn pass(&mut self, input: &[u8], out: &mut BytesMut) -> bool {
        for &byte in input {
            if byte == self.keys[self.seen] {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    self.seen = 0;
                    return true;
                }
                continue;
            }
            // What was held back is given out. The byte may itself begin the sequence.
            out.extend_from_slice(&self.keys[..self.seen]);
            self.seen = usize::from(byte == self.keys[0]);
            if self.seen == 0 {
                out.extend_from_slice(&[byte]);
            } else if self.keys.len() == 1 {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keys: &str, reads: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut watcher = Watcher::new(DetachKeys::parse(keys).unwrap());
        let mut out = BytesMut::new();
        let detached = reads.iter().any(|read| watcher.pass(read, &mut out));
        (out.to_vec(), detached)
    }

    #[test]
    fn keys_are_read() {
        assert_eq!(DetachKeys::parse(""), Ok(DetachKeys(vec![16, 17])));
        assert_eq!(DetachKeys::parse("ctrl-p,ctrl-q"), Ok(DetachKeys(vec![16, 17])));
        assert_eq!(DetachKeys::parse("a,ctrl-],ctrl-@,ctrl-["), Ok(DetachKeys(vec![b'a', 29, 0, 27])));
        for bad in ["ctrl-", "ctrl-A", "ctrl-pp", "ab", "a,,b", ","] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad}");
        }
        let base64 = |keys: &str| DetachKeys::parse(keys).unwrap().base64();
        assert_eq!(
            (base64("ctrl-p").as_str(), base64("").as_str(), base64("a,b,c").as_str()),
            ("EA==", "EBE=", "YWJj")
        );
        assert_eq!(DetachKeys::parse("ctrl-8"), Err("Unknown character: 'ctrl-8'".to_owned()));
    }

    #[test]
    fn the_sequence_is_found_across_reads_and_nothing_else_is_lost() {
        assert_eq!(run("", &[b"ls\n", &[16], &[17], b"x"]), (b"ls\n".to_vec(), true));
        assert_eq!(run("", &[&[16, b'a', 17]]), (vec![16, b'a', 17], false));
        assert_eq!(run("", &[&[16, 16, 17]]), (vec![16], true));
        assert_eq!(run("x", &[b"abx"]), (b"ab".to_vec(), true));
        assert_eq!(run("a,b", &[b"aab"]), (b"a".to_vec(), true));
        assert_eq!(run("a,b,c", &[b"ab", b"abc"]), (b"ab".to_vec(), true));
    }
}
