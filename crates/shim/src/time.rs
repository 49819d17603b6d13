//! Clocks, and Go's way to write a moment.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the epoch.
pub(crate) fn now_nanos() -> u64 {
    nanos(ClockId::Realtime)
}

/// Nanoseconds of the monotonic clock, which all processes of a boot share.
pub(crate) fn monotonic_nanos() -> u64 {
    nanos(ClockId::Monotonic)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Appends a moment as Go's `time.RFC3339Nano` does in UTC: trailing zeros of the fraction are left out.
pub(crate) fn push_rfc3339_nano(out: &mut Vec<u8>, nanos_since_epoch: u64) {
    let (seconds, nanos) = (nanos_since_epoch / 1_000_000_000, nanos_since_epoch % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    push_digits(out, year, 4);
    for (separator, value) in
        [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)]
    {
        out.push(separator);
        push_digits(out, value, 2);
    }
    if nanos != 0 {
        out.push(b'.');
        push_digits(out, nanos, 9);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

/// The Gregorian date of a day since 1970-01-01, counted in years that begin in March so that the leap day is last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn push_digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nanos: u64, expect: &str) {
        let mut out = Vec::new();
        push_rfc3339_nano(&mut out, nanos);
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn moments_read_as_go_writes_them() {
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399_999_999_999, "2000-02-28T23:59:59.999999999Z");
        check(951_782_400_000_000_000, "2000-02-29T00:00:00Z");
        check(1_709_164_800_500_000_000, "2024-02-29T00:00:00.5Z");
        check(1_735_689_599_000_000_120, "2024-12-31T23:59:59.00000012Z");
        check(4_107_542_400_000_000_000, "2100-03-01T00:00:00Z");
    }

    #[test]
    fn every_day_of_four_centuries_is_the_day_after_the_one_before() {
        let length = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut before = civil(0);
        for day in 1..146_097 {
            let (year, month, date) = before;
            before = if date < length(year, month) {
                (year, month, date + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
            assert_eq!(civil(day), before);
        }
    }
}
