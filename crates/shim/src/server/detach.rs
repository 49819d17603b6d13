//! Detach keys in the input of a terminal.

/// Looks for a sequence of keys across reads. What may be its beginning is held back until it is known.
#[derive(Debug)]
pub(super) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// None if there are no keys.
    pub(super) fn new(keys: Vec<u8>) -> Option<DetachKeys> {
        (!keys.is_empty()).then_some(DetachKeys { keys, matched: 0 })
    }

    /// Turns what was read into what is to be passed on; true if the keys were found, and then nothing after them
    /// counts.
    pub(super) fn filter(&mut self, input: &mut Vec<u8>) -> bool {
        if self.matched == 0 && !input.contains(&self.keys[0]) {
            return false;
        }
        let mut passed = Vec::with_capacity(input.len() + self.matched);
        for &byte in input.iter() {
            if byte != self.keys[self.matched] {
                passed.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if byte == self.keys[self.matched] {
                self.matched += 1;
            } else {
                passed.push(byte);
            }
            if self.matched == self.keys.len() {
                *input = passed;
                return true;
            }
        }
        *input = passed;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reads: &[&[u8]], passed: &[u8], found: bool) {
        let mut keys = DetachKeys::new(vec![16, 17]).unwrap();
        let mut all = Vec::new();
        let mut detached = false;
        for read in reads {
            let mut input = read.to_vec();
            detached = keys.filter(&mut input);
            all.extend(input);
            if detached {
                break;
            }
        }
        assert_eq!((all.as_slice(), detached), (passed, found), "{reads:?}");
    }

    #[test]
    fn keys_are_found_within_and_across_reads() {
        check(&[b"ls\n"], b"ls\n", false);
        check(&[b"ls\x10\x11rest"], b"ls", true);
        check(&[b"ls\x10", b"\x11"], b"ls", true);
        check(&[b"\x10", b"x"], b"\x10x", false);
        check(&[b"\x10\x10\x11"], b"\x10", true);
        check(&[b"a\x10"], b"a", false);
        check(&[b"\x11\x10b\x11"], b"\x11\x10b\x11", false);
    }

    #[test]
    fn no_keys_are_no_filter() {
        assert!(DetachKeys::new(Vec::new()).is_none());
    }
}
