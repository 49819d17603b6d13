//! Moments: as the engine sends them, as lists show them, as `--since` reads them.

use jiff::{Timestamp, Zoned, tz::TimeZone};

use super::units::human_duration;

/// `2 hours ago`, or nothing for a moment that is no moment (Go's zero time).
pub(crate) fn ago(unix_seconds: i64, now: i64) -> String {
    format!("{} ago", human_duration(now.saturating_sub(unix_seconds)))
}

/// The clock, in seconds.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Go's `Time.String` of a whole second, in the user's time zone: `2006-01-02 15:04:05 +0000 UTC`.
pub(crate) fn local(unix_seconds: i64) -> String {
    zoned(unix_seconds).map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string())
}

/// RFC 3339 in the user's time zone, `Z` for UTC: `2006-01-02T15:04:05Z`.
pub(crate) fn rfc3339(unix_seconds: i64) -> String {
    zoned(unix_seconds).map_or_else(String::new, |time| with_zone(&time, "%Y-%m-%dT%H:%M:%S"))
}

/// RFC 3339 with nine digits after the point, as event lists show it.
pub(crate) fn rfc3339_nano(nanoseconds: i64) -> String {
    let Ok(timestamp) = Timestamp::from_nanosecond(i128::from(nanoseconds)) else { return String::new() };
    with_zone(&timestamp.to_zoned(TimeZone::system()), "%Y-%m-%dT%H:%M:%S.%9f")
}

fn with_zone(time: &Zoned, format: &str) -> String {
    let offset = if time.offset().is_zero() { "Z".to_owned() } else { time.strftime("%:z").to_string() };
    format!("{}{offset}", time.strftime(format))
}

fn zoned(unix_seconds: i64) -> Option<Zoned> {
    Some(Timestamp::from_second(unix_seconds).ok()?.to_zoned(TimeZone::system()))
}

/// What `--since` and `--until` send: a duration (`10m`) is that long ago, a date or time is itself, anything else is
/// sent as it is.
///
/// # Errors
/// The text for a value that looks like a time and is none.
pub(crate) fn since(text: &str, now: Timestamp) -> Result<String, String> {
    if let Ok(nanoseconds) = crate::flags::parse_duration(text) {
        let then = now.as_nanosecond() - i128::from(nanoseconds);
        return Ok(unix_text(then));
    }
    let zoned = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d"]
        .iter()
        .find_map(|format| local_time(text, format));
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(unix_text(timestamp.as_nanosecond()));
    }
    if let Some(timestamp) = zoned {
        return Ok(unix_text(timestamp.as_nanosecond()));
    }
    let number = text.split_once('.').map_or(text, |(seconds, _)| seconds);
    if number.parse::<i64>().is_ok()
        && text.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte))
    {
        return Ok(text.to_owned());
    }
    Err(format!("failed to parse value as time or duration: {}", crate::flags::quote(text)))
}

fn local_time(text: &str, format: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z').map_or((text, false), |text| (text, true));
    let civil = jiff::civil::DateTime::strptime(format, text.0)
        .or_else(|_| jiff::civil::Date::strptime(format, text.0).map(|date| date.at(0, 0, 0, 0)))
        .ok()?;
    let zone = if text.1 { TimeZone::UTC } else { TimeZone::system() };
    Some(civil.to_zoned(zone).ok()?.timestamp())
}

fn unix_text(nanoseconds: i128) -> String {
    format!("{}.{:09}", nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_durations_dates_and_seconds() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert_eq!(since("10m", now).unwrap(), "999400.000000000");
        assert_eq!(since("1136073600.5", now).unwrap(), "1136073600.5");
        assert_eq!(since("2006-01-01T00:00:00Z", now).unwrap(), "1136073600.000000000");
        assert_eq!(since("2006-01-01T00:00:00.25+01:00", now).unwrap(), "1136070000.250000000");
        assert_eq!(since("2006-01-01Z", now).unwrap(), "1136073600.000000000");
        assert!(since("yesterday", now).is_err());
    }

    #[test]
    fn moments() {
        assert_eq!(ago(10, 75), "About a minute ago");
    }
}
