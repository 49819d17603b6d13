//! Sizes and times as Docker's units package writes and reads them.

/// `1.23kB`: powers of 1000, four digits.
pub(crate) fn human_size(bytes: f64) -> String {
    human_size_with(bytes, 4)
}

/// The same with another number of digits (`images` uses three).
pub(crate) fn human_size_with(bytes: f64, digits: usize) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"], digits)
}

/// `1.23KiB`: powers of 1024.
pub(crate) fn bytes_size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"], 4)
}

fn scaled(mut size: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", general(size, digits), units[unit])
}

/// Go's `%.{digits}g`: significant digits without trailing zeros, an exponent for the very large.
pub(crate) fn general(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:.*e}", digits.saturating_sub(1), value);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let digits = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{value:.*}", usize::try_from(digits - 1 - exponent).unwrap_or_default()))
}

/// Reads `64m`, `1.5GiB`, `100`: powers of 1024, as `--memory` does.
pub(crate) fn parse_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, suffix) = text.split_at(last + 1);
    // One blank may stand between the two.
    let number = number.strip_suffix(' ').unwrap_or(number);
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let size: f64 = number.parse().ok().filter(|_| plain).ok_or_else(|| {
        format!("strconv.ParseFloat: parsing {}: invalid syntax", crate::flags::quote(number))
    })?;
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
    Ok((size * 1024.0_f64.powi(power)) as i64)
}

/// "About an hour": how long `seconds` are to a reader.
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Hours are rounded, everything else is cut off.
    let hours = (seconds + 1800).div_euclid(3600);
    match (seconds, minutes, hours) {
        (..1, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, ..48) => format!("{hours} hours"),
        (_, _, ..336) => format!("{} days", hours / 24),
        (_, _, ..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, ..17520) => format!("{} months", hours / 24 / 30),
        (_, _, _) => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_docker_writes_them() {
        for (bytes, expect) in [
            (0.0, "0B"),
            (999.0, "999B"),
            (1000.0, "1kB"),
            (2_026_552.0, "2.027MB"),
            (1_234_567_890.0, "1.235GB"),
            (999_999.0, "1000kB"),
            (999_960.0, "1000kB"),
        ] {
            assert_eq!(human_size(bytes), expect);
        }
        assert_eq!(human_size_with(2_026_552.0, 3), "2.03MB");
        assert_eq!(human_size_with(78_060_000.0, 3), "78.1MB");
        assert_eq!(human_size_with(999_999.0, 3), "1e+03kB");
        assert_eq!(bytes_size(339_968.0), "332KiB");
        assert_eq!(bytes_size(25_275_000_000.0), "23.54GiB");
    }

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
        check("1x", Err("invalid suffix: 'x'"));
        check("1.2.3", Err("strconv.ParseFloat: parsing \"1.2.3\": invalid syntax"));
    }

    #[test]
    fn durations_are_told_as_docker_tells_them() {
        for (seconds, expect) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (730 * 86400, "2 years"),
        ] {
            assert_eq!(human_duration(seconds), expect, "{seconds}");
        }
    }
}
