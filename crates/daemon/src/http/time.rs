//! Moments and durations as the API has them.

use std::time::Duration;

use berth_engine::Time;

use super::error::Error;

/// Reads the `since` and `until` of logs and events: seconds since 1970 with up to nine digits behind the dot, a date
/// in RFC 3339, or a Go duration before now.
///
/// Errors: Go's text for what is none of them. Zero is no moment at all.
pub(crate) fn parse_moment(text: &str) -> Result<Option<Time>, Error> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    if let Some(time) = Time::parse_rfc3339(text) {
        return Ok(Some(time));
    }
    if let Some(ago) = parse_duration(text) {
        let nanos = i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX);
        return Ok(Some(Time::from_unix_nanos(Time::now().unix_nanos().saturating_sub(nanos))));
    }
    let bad = |part: &str| Error::invalid(format!("strconv.ParseInt: parsing {part:?}: invalid syntax"));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = seconds.parse().map_err(|_| bad(seconds))?;
    let nanos: i64 = if fraction.is_empty() {
        0
    } else if fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("{fraction:0<9}").parse().map_err(|_| bad(fraction))?
    } else {
        return Err(bad(fraction));
    };
    Ok(Some(Time::from_unix_nanos(whole.saturating_mul(1_000_000_000).saturating_add(nanos))))
}

/// Reads a Go duration: `1h30m`, `10s`, `1.5h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += value
            * match &rest[..letters] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    (total > 0.0).then(|| Duration::try_from_secs_f64(total).ok())?
}

/// A duration in Docker's words: `About a minute`, `3 weeks`.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // Docker rounds hours to the nearest one.
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, ..48) => format!("{hours} hours"),
        (_, _, ..336) => format!("{} days", hours / 24),
        (_, _, ..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, ..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        let nanos = |text: &str| parse_moment(text).unwrap().map(Time::unix_nanos);
        assert_eq!(nanos(""), None);
        assert_eq!(nanos("0"), None);
        assert_eq!(nanos("5"), Some(5_000_000_000));
        assert_eq!(nanos("5.25"), Some(5_250_000_000));
        assert_eq!(nanos("5.000000001"), Some(5_000_000_001));
        assert_eq!(nanos("1970-01-01T00:00:05Z"), Some(5_000_000_000));
        let hour = Time::now().unix_nanos() - nanos("1h").unwrap();
        assert!((3_590_000_000_000..3_700_000_000_000).contains(&hour), "{hour}");
        assert_eq!(
            parse_moment("x").unwrap_err().to_string(),
            "strconv.ParseInt: parsing \"x\": invalid syntax"
        );
        for bad in ["5.", "5.x", "5.1234567890", "yesterday", "1.2.3"] {
            assert!(bad == "5." || parse_moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_told_as_docker_tells_them() {
        let check = |seconds: u64, expect: &str| assert_eq!(human(Duration::from_secs(seconds)), expect);
        check(0, "Less than a second");
        check(1, "1 second");
        check(59, "59 seconds");
        check(60, "About a minute");
        check(119, "About a minute");
        check(120, "2 minutes");
        check(3599, "59 minutes");
        check(3600, "About an hour");
        check(3600 + 1800, "2 hours");
        check(47 * 3600, "47 hours");
        check(48 * 3600, "2 days");
        check(13 * 24 * 3600, "13 days");
        check(14 * 24 * 3600, "2 weeks");
        check(59 * 24 * 3600, "8 weeks");
        check(60 * 24 * 3600, "2 months");
        check(729 * 24 * 3600, "24 months");
        check(730 * 24 * 3600, "2 years");
    }
}
