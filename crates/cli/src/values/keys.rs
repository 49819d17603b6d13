//! `--detach-keys`: `ctrl-p,ctrl-q`.

/// The bytes that the keys send.
///
/// # Errors
/// Docker's text for a key that does not exist.
pub(crate) fn parse(keys: &str) -> Result<Vec<u8>, String> {
    if keys.is_empty() {
        return Ok(vec![0x10, 0x11]);
    }
    keys.split(',').map(|key| key_code(key).ok_or_else(|| format!("Unknown character: '{key}'"))).collect()
}

fn key_code(key: &str) -> Option<u8> {
    if let [byte] = key.as_bytes() {
        return Some(*byte);
    }
    let control = key.to_lowercase();
    match control.strip_prefix("ctrl-")?.as_bytes() {
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
        assert_eq!(parse("").unwrap(), [16, 17]);
        assert_eq!(parse("ctrl-a,x,ctrl-[").unwrap(), [1, b'x', 27]);
        assert_eq!(parse("foo").unwrap_err(), "Unknown character: 'foo'");
    }
}
