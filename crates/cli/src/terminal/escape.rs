//! The keys that detach, found in what is typed.

/// Looks for a sequence of keys in input that comes in pieces. Keys that might begin the sequence are held back until
/// it is clear whether they do.
#[derive(Debug)]
pub(crate) struct Escape {
    keys: Vec<u8>,
    matched: usize,
}

/// What a piece of input holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// What goes to the container.
    pub(crate) bytes: Vec<u8>,
    /// The sequence is complete.
    pub(crate) detach: bool,
}

impl Escape {
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Takes the next piece.
    pub(crate) fn scan(&mut self, piece: &[u8]) -> Scanned {
        let mut bytes = Vec::with_capacity(piece.len());
        for &byte in piece {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return Scanned { bytes, detach: true };
                }
                continue;
            }
            bytes.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(&byte) {
                self.matched = 1;
            } else {
                bytes.push(byte);
            }
        }
        Scanned { bytes, detach: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_found_wherever_it_is_cut() {
        let mut escape = Escape::new(vec![16, 17]);
        assert_eq!(escape.scan(b"ab"), Scanned { bytes: b"ab".to_vec(), detach: false });
        assert_eq!(escape.scan(&[16]), Scanned { bytes: vec![], detach: false });
        assert_eq!(escape.scan(&[16, b'x']), Scanned { bytes: vec![16, 16, b'x'], detach: false });
        assert_eq!(escape.scan(&[b'y', 16]), Scanned { bytes: vec![b'y'], detach: false });
        assert_eq!(escape.scan(&[17, b'z']), Scanned { bytes: vec![], detach: true });
    }
}
