//! The order of names: digits count as numbers, so that `a2` comes before `a10`.

use std::cmp::Ordering;

/// Compares two names.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (mut left_bytes, mut right_bytes) = (left.as_bytes(), right.as_bytes());
    loop {
        match (left_bytes.first(), right_bytes.first()) {
            (None, _) | (_, None) => return left_bytes.len().cmp(&right_bytes.len()),
            (Some(a), Some(b)) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let (a, b) = (number(&mut left_bytes), number(&mut right_bytes));
                // Without leading zeros the longer one is the larger one; of equals the one with fewer zeros is first.
                let order = a.0.len().cmp(&b.0.len()).then(a.0.cmp(b.0)).then(a.1.cmp(&b.1));
                if order != Ordering::Equal {
                    return order;
                }
            }
            (Some(a), Some(b)) if a == b => {
                left_bytes = &left_bytes[1..];
                right_bytes = &right_bytes[1..];
            }
            (Some(a), Some(b)) => return a.cmp(b),
        }
    }
}

/// Takes the digits at the beginning off: those that count, and how many zeros came before them.
fn number<'a>(bytes: &mut &'a [u8]) -> (&'a [u8], usize) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at(end);
    *bytes = rest;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    (&digits[zeros..], zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_numbers() {
        let mut names = vec!["b", "a10", "a2", "a", "a02", "10", "9"];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(names, ["9", "10", "a", "a2", "a02", "a10", "b"]);
    }
}
