//! Moments, as Docker writes them: RFC 3339 in UTC with up to nine digits, `0001-01-01T00:00:00Z` for "never".

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment in nanoseconds since 1970, or never.
///
/// Units: nanoseconds. Never (the default) is shown as Go's zero time, as Docker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// Never.
    pub const NEVER: Time = Time(0);

    /// This moment.
    pub fn now() -> Time {
        SystemTime::now().into()
    }

    /// The moment so many nanoseconds after 1970.
    pub const fn from_unix_nanos(nanos: i64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since 1970; 0 for never.
    pub const fn unix_nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970; 0 for never.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Whether this is no moment at all.
    pub const fn is_never(self) -> bool {
        self.0 == 0
    }

    /// How long ago `earlier` was; zero if it is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// Reads RFC 3339 with any offset and up to nine digits of a second, or nothing.
    pub fn parse_rfc3339(text: &str) -> Option<Time> {
        if text.starts_with("0001-01-01T00:00:00") {
            return Some(Time::NEVER);
        }
        let stamp: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(stamp.as_nanosecond()).ok().map(Time)
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Time {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Time(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// As Go's `time.RFC3339Nano` in UTC: trailing zeros of the fraction left out.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_never() {
            return f.write_str("0001-01-01T00:00:00Z");
        }
        let (date, seconds) = civil(self.unix_seconds());
        let (year, month, day) = date;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        let mut fraction = self.0.rem_euclid(1_000_000_000);
        if fraction != 0 {
            let mut width = 9;
            while fraction % 10 == 0 {
                fraction /= 10;
                width -= 1;
            }
            write!(f, ".{fraction:0width$}")?;
        }
        f.write_str("Z")
    }
}

/// Year, month and day of the Gregorian calendar, and the seconds into that day.
/// Source: the usual days-to-civil computation with years that begin in March.
fn civil(unix_seconds: i64) -> ((i64, i64, i64), i64) {
    let days = unix_seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    ((year, month, day), unix_seconds.rem_euclid(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_as_go_does() {
        let check = |nanos: i64, expect: &str| assert_eq!(Time(nanos).to_string(), expect);
        check(0, "0001-01-01T00:00:00Z");
        check(1_000_000_000, "1970-01-01T00:00:01Z");
        check(1_709_164_800_000_000_000, "2024-02-29T00:00:00Z");
        check(1_709_164_800_123_450_000, "2024-02-29T00:00:00.12345Z");
        check(4_102_444_799_999_999_999, "2099-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn reads_what_it_shows() {
        for nanos in [0, 1, 1_709_164_800_123_450_000, 951_782_400_000_000_001] {
            assert_eq!(Time::parse_rfc3339(&Time(nanos).to_string()), Some(Time(nanos)));
        }
        assert_eq!(Time::parse_rfc3339("2024-02-29T02:00:00+02:00"), Some(Time(1_709_164_800_000_000_000)));
        assert_eq!(Time::parse_rfc3339("yesterday"), None);
    }
}
