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

pub(crate) use berth_oci::units::parse_bytes;

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
