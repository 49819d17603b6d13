//! Sizes as users write them, and texts as Go quotes them.

/// Reads `64m`, `1.5GiB`, `100`: powers of 1024, as `--memory` does.
///
/// # Errors
/// Docker's text.
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, suffix) = text.split_at(last + 1);
    // One blank may stand between the two.
    let number = number.strip_suffix(' ').unwrap_or(number);
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let size: f64 = number
        .parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(number)))?;
    if size < 0.0 {
        return Err(invalid());
    }
    let bad = |suffix: &str| Err(format!("invalid suffix: '{suffix}'"));
    if suffix.len() > 3 {
        return bad(suffix);
    }
    let suffix = suffix.to_ascii_lowercase();
    let power = match suffix.strip_suffix("ib").or(suffix.strip_suffix('b')).unwrap_or(&suffix) {
        "" if suffix != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return bad(&suffix),
    };
    let bytes = size * 1024.0_f64.powi(power);
    if bytes < 9.2e18 { Ok(bytes as i64) } else { Err(invalid()) }
}

/// Go's `%q`: a double-quoted text.
pub fn quote(text: &str) -> String {
    use std::fmt::Write;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            character if u32::from(character) < 0x20 || character == '\u{7f}' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(character)); // writing to a String cannot fail
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        let check = |text: &str, expect: Result<i64, &str>| {
            assert_eq!(parse_bytes(text), expect.map_err(str::to_owned), "{text}");
        };
        check("64m", Ok(64 << 20));
        check("1.5GiB", Ok(3 << 29));
        check("100", Ok(100));
        check("1 kb", Ok(1024));
        check("10B", Ok(10));
        check("abc", Err("invalid size: 'abc'"));
        check("", Err("invalid size: ''"));
        check("-1", Err("invalid size: '-1'"));
        check("1e30p", Err("invalid size: '1e30p'"));
        check("1x", Err("invalid suffix: 'x'"));
        check("1.2.3", Err("strconv.ParseFloat: parsing \"1.2.3\": invalid syntax"));
    }
}
