//! Numbers, truth values and durations as Go's `strconv` and `time` read them, with their error texts.

pub(crate) use berth_oci::units::quote;

fn syntax(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {}: invalid syntax", quote(text))
}

fn range(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {}: value out of range", quote(text))
}

/// `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(syntax("ParseBool", text)),
    }
}

/// `strconv.ParseInt(text, 0, 64)`: decimal, `0x`, `0o` or `0`, `0b`.
pub(crate) fn parse_int(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let size = magnitude(digits).map_err(|error| match error {
        Magnitude::Syntax => syntax("ParseInt", text),
        Magnitude::Range => range("ParseInt", text),
    })?;
    let value = if negative { 0_i128 - i128::from(size) } else { i128::from(size) };
    i64::try_from(value).map_err(|_| range("ParseInt", text))
}

/// `strconv.ParseUint(text, 0, bits)`.
pub(crate) fn parse_uint(text: &str, bits: u32) -> Result<u64, String> {
    let value = magnitude(text).map_err(|error| match error {
        Magnitude::Syntax => syntax("ParseUint", text),
        Magnitude::Range => range("ParseUint", text),
    })?;
    if bits < 64 && value >= 1 << bits {
        return Err(range("ParseUint", text));
    }
    Ok(value)
}

enum Magnitude {
    Syntax,
    Range,
}

fn magnitude(text: &str) -> Result<u64, Magnitude> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = if let Some(digits) = lower.strip_prefix("0x") {
        (16, digits)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (8, digits)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (2, digits)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(Magnitude::Syntax);
    }
    u64::from_str_radix(digits, radix).map_err(|_| Magnitude::Range)
}

/// `time.ParseDuration`: nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let nanoseconds = match unit {
            "" => return Err(format!("time: missing unit in duration {}", quote(text))),
            "ns" => 1_i128,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text))),
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total =
            whole.checked_mul(nanoseconds).and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
        let mut scale = nanoseconds;
        for digit in fraction.bytes() {
            scale /= 10;
            total += i128::from(digit - b'0') * scale;
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers() {
        assert_eq!(parse_int("-0x10"), Ok(-16));
        assert_eq!(parse_int("010"), Ok(8));
        assert_eq!(parse_int("9223372036854775807"), Ok(i64::MAX));
        assert!(parse_int("9223372036854775808").unwrap_err().ends_with("value out of range"));
        assert!(parse_int("08").unwrap_err().ends_with("invalid syntax"));
        assert!(parse_int("").is_err());
        assert_eq!(parse_uint("65535", 16), Ok(65535));
        assert!(parse_uint("65536", 16).unwrap_err().ends_with("value out of range"));
        assert!(parse_uint("-1", 16).unwrap_err().ends_with("invalid syntax"));
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1h2m3.5s"), Ok(3_723_500_000_000));
        assert_eq!(parse_duration("-1.5us"), Ok(-1_500));
        assert_eq!(parse_duration("0"), Ok(0));
        assert_eq!(parse_duration("5").unwrap_err(), r#"time: missing unit in duration "5""#);
        assert_eq!(parse_duration("5x").unwrap_err(), r#"time: unknown unit "x" in duration "5x""#);
        assert_eq!(parse_duration("abc").unwrap_err(), r#"time: invalid duration "abc""#);
    }
}
