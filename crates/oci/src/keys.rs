//! Keys that leave a terminal without ending what runs there: as users write them, and found in what is typed.

/// Ctrl-P, Ctrl-Q.
pub const DEFAULT: &[u8] = &[16, 17];

/// A key that there is none of, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unknown character: '{0}'")]
pub struct UnknownKey(pub String);

/// The bytes that the keys send: `ctrl-p,ctrl-q`, `a,DEL`, `ctrl-[`. Without any, the default.
///
/// # Errors
/// The first that is no key. Docker's clients and engines tell upper from lower case: there is no `ctrl-P`.
pub fn parse(keys: &str) -> Result<Vec<u8>, UnknownKey> {
    if keys.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    keys.split(',').map(|key| byte(key).ok_or_else(|| UnknownKey(key.to_owned()))).collect()
}

fn byte(key: &str) -> Option<u8> {
    if let [single] = key.as_bytes() {
        return Some(*single);
    }
    if key == "DEL" {
        return Some(127);
    }
    match key.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        b"@" => Some(0),
        b"[" => Some(27),
        b"\\" => Some(28),
        b"]" => Some(29),
        b"^" => Some(30),
        b"_" => Some(31),
        _ => None,
    }
}

/// Looks for a sequence of keys in input that comes in pieces. Keys that might begin the sequence are held back until
/// it is clear whether they do.
#[derive(Debug, Clone)]
pub struct Watcher {
    keys: Vec<u8>,
    matched: usize,
}

impl Watcher {
    /// Looks for these bytes; no bytes are never found.
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Adds to `passed` what of a piece is not part of the sequence. `true`: the sequence is complete, what follows it
    /// is dropped.
    pub fn pass(&mut self, piece: &[u8], passed: &mut Vec<u8>) -> bool {
        let Some(first) = self.keys.first().filter(|first| self.matched > 0 || piece.contains(first)) else {
            passed.extend_from_slice(piece);
            return false;
        };
        let first = *first;
        for &byte in piece {
            if byte != self.keys[self.matched] {
                passed.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
                if byte != first {
                    passed.push(byte);
                    continue;
                }
            }
            self.matched += 1;
            if self.matched == self.keys.len() {
                self.matched = 0;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        let check = |keys: &str, bytes: &[u8]| assert_eq!(parse(keys).unwrap(), bytes, "{keys}");
        check("", &[16, 17]);
        check("ctrl-p,ctrl-q", &[16, 17]);
        check("ctrl-a,x,DEL, ", &[1, b'x', 127, b' ']);
        check("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", &[0, 27, 28, 29, 30, 31]);
        for bad in ["ctrl-", "ctrl-P", "Ctrl-p", "ctrl-pp", "ctrl-?", "del", "ab", "ctrl-a,,", ",", "é"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("a,ctrl-8").unwrap_err().to_string(), "Unknown character: 'ctrl-8'");
    }

    #[test]
    fn the_sequence_is_found_wherever_it_is_cut_and_nothing_else_is_lost() {
        let check = |keys: &str, pieces: &[&[u8]], expect: &[u8], found: bool| {
            let mut watcher = Watcher::new(parse(keys).unwrap());
            let mut passed = Vec::new();
            let is_found = pieces.iter().any(|piece| watcher.pass(piece, &mut passed));
            assert_eq!((passed.as_slice(), is_found), (expect, found), "{keys} in {pieces:?}");
        };
        check("", &[b"ls\n"], b"ls\n", false);
        check("", &[b"ls\x10\x11rest"], b"ls", true);
        check("", &[b"ls\n", b"\x10", b"\x11", b"x"], b"ls\n", true);
        check("", &[b"\x10", b"x"], b"\x10x", false);
        check("", &[b"\x10\x10\x11"], b"\x10", true);
        check("", &[b"a\x10"], b"a", false);
        check("", &[b"\x11\x10b\x11"], b"\x11\x10b\x11", false);
        check("x", &[b"abx"], b"ab", true);
        check("a,b", &[b"aab"], b"a", true);
        check("a,b,c", &[b"ab", b"abc"], b"ab", true);
        let mut passed = Vec::new();
        assert!(!Watcher::new(Vec::new()).pass(b"\x10\x11", &mut passed));
        assert_eq!(passed, b"\x10\x11");
    }
}
