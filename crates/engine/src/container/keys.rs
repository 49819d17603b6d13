//! Keys that detach a client, as users write them: `ctrl-p,ctrl-q`.

use crate::error::{Error, Result};

/// What detaches when nothing else was said.
const DEFAULT: &[u8] = &[16, 17];

/// The bytes of a sequence of keys; `None`: Docker's own; empty: none.
///
/// Errors: Docker's text.
pub(crate) fn parse(keys: Option<&str>) -> Result<Vec<u8>> {
    let Some(keys) = keys.filter(|keys| !keys.is_empty()) else { return Ok(DEFAULT.to_vec()) };
    keys.split(',').map(|key| byte(key).ok_or_else(|| unknown(key))).collect()
}

fn unknown(key: &str) -> Error {
    Error::invalid(format!("Invalid detach keys provided: Unknown character: '{key}'"))
}

fn byte(key: &str) -> Option<u8> {
    if let [single] = key.as_bytes() {
        return single.is_ascii().then_some(*single);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences() {
        let check = |keys: Option<&str>, expect: &[u8]| assert_eq!(parse(keys).unwrap(), expect, "{keys:?}");
        check(None, &[16, 17]);
        check(Some(""), &[16, 17]);
        check(Some("ctrl-a,d"), &[1, b'd']);
        check(Some("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_"), &[0, 27, 28, 29, 30, 31]);
        for bad in ["ctrl-", "ctrl-A", "ab", "ctrl-a,,"] {
            assert!(parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
