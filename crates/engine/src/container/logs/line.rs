//! One line of a `json-file` log: taken apart, and printed as attached clients expect it.
//!
//! Logs are read a million lines at a time, so the usual shape is read by hand; whatever else there is (another
//! engine's order of members) goes the long way round.

use std::borrow::Cow;

use serde::Deserialize;

use crate::container::LogsOptions;
use crate::time::Time;

/// Prints lines into frames.
pub(crate) struct Printer {
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    details: bool,
    framed: bool,
    since: Option<Time>,
    until: Option<Time>,
    past_end: bool,
    text: Vec<u8>,
}

/// A line, taken apart.
struct Line<'a> {
    /// `log`, still with its escapes.
    text: &'a [u8],
    stderr: bool,
    time: &'a str,
    attributes: &'a [u8],
}

/// A line as it is sent elsewhere.
pub(crate) struct Entry {
    /// What the container wrote, with its newline.
    pub(crate) text: Vec<u8>,
    pub(crate) stderr: bool,
    /// Nanoseconds since the epoch.
    pub(crate) nanos: i64,
}

impl Entry {
    /// Takes a line apart; nothing if it is no line of a log.
    pub(crate) fn parse(raw: &[u8]) -> Option<Entry> {
        if let Some(line) = Line::parse(raw) {
            let mut text = Vec::with_capacity(line.text.len());
            unescape(line.text, &mut text);
            return Some(Entry { text, stderr: line.stderr, nanos: nanos(line.time)? });
        }
        let line = serde_json::from_slice::<Foreign<'_>>(raw).ok()?;
        let time = Time::parse_rfc3339(&line.time)?;
        Some(Entry {
            text: line.log.as_bytes().to_vec(),
            stderr: line.stream == "stderr",
            nanos: time.unix_nanos(),
        })
    }
}

/// When a line was written: nanoseconds since the epoch.
pub(super) fn time_of(raw: &[u8]) -> Option<i64> {
    Line::parse(raw).and_then(|line| nanos(line.time))
}

impl Printer {
    pub(crate) fn new(options: &LogsOptions, tty: bool) -> Printer {
        Printer {
            stdout: options.stdout,
            stderr: options.stderr,
            timestamps: options.timestamps,
            details: options.details,
            framed: !tty,
            since: options.since.filter(|since| !since.is_never()),
            until: options.until.filter(|until| !until.is_never()),
            past_end: false,
            text: Vec::new(),
        }
    }

    /// Whether a line later than `until` was seen.
    pub(super) fn is_past_end(&self) -> bool {
        self.past_end
    }

    /// Adds what a client wants to see of a line. What is no line of a log is passed over.
    pub(crate) fn print(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        if self.past_end {
            return;
        }
        match Line::parse(raw) {
            Some(line) => self.put(&line, out),
            None => {
                if let Ok(line) = serde_json::from_slice::<Foreign<'_>>(raw) {
                    self.put_foreign(&line, out);
                }
            }
        }
    }

    fn put(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        if !self.wants(line.stderr, line.time) {
            return;
        }
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.prefix(line.time, line.attributes, &mut text);
        unescape(line.text, &mut text);
        self.frame(line.stderr, &text, out);
        self.text = text;
    }

    fn put_foreign(&mut self, line: &Foreign<'_>, out: &mut Vec<u8>) {
        let stderr = line.stream == "stderr";
        if !self.wants(stderr, &line.time) {
            return;
        }
        let mut text = Vec::new();
        let attributes = line.attrs.map_or("", |attrs| attrs.get());
        self.prefix(&line.time, attributes.as_bytes(), &mut text);
        text.extend_from_slice(line.log.as_bytes());
        self.frame(stderr, &text, out);
    }

    fn wants(&mut self, stderr: bool, time: &str) -> bool {
        if self.since.is_some() || self.until.is_some() {
            let time = nanos(time)
                .map_or_else(|| Time::parse_rfc3339(time).unwrap_or_default(), Time::from_unix_nanos);
            if self.until.is_some_and(|until| time > until) {
                self.past_end = true;
                return false;
            }
            if self.since.is_some_and(|since| time < since) {
                return false;
            }
        }
        if stderr { self.stderr } else { self.stdout }
    }

    fn prefix(&self, time: &str, attributes: &[u8], text: &mut Vec<u8>) {
        if self.timestamps {
            fixed_time(time, text);
            text.push(b' ');
        }
        if self.details {
            details(attributes, text);
            text.push(b' ');
        }
    }

    fn frame(&self, stderr: bool, text: &[u8], out: &mut Vec<u8>) {
        if self.framed {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
            out.extend_from_slice(&[if stderr { 2 } else { 1 }, 0, 0, 0]);
            out.extend_from_slice(&length);
        }
        out.extend_from_slice(text);
    }
}

impl<'a> Line<'a> {
    /// Takes a line apart that has its members in our order: `log`, `stream`, perhaps `attrs`, `time`.
    fn parse(raw: &'a [u8]) -> Option<Line<'a>> {
        let rest = raw.strip_prefix(b"{\"log\":\"")?;
        let end = string_end(rest)?;
        let (text, rest) = rest.split_at(end);
        let rest = rest.strip_prefix(b"\",\"stream\":\"std")?;
        let (stderr, rest) = match rest.strip_prefix(b"out\",") {
            Some(rest) => (false, rest),
            None => (true, rest.strip_prefix(b"err\",")?),
        };
        let (attributes, rest) = match rest.strip_prefix(b"\"attrs\":") {
            Some(rest) => {
                let end = object_end(rest)?;
                (&rest[..end], rest[end..].strip_prefix(b",")?)
            }
            None => (&b""[..], rest),
        };
        let rest = rest.strip_prefix(b"\"time\":\"")?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let time = std::str::from_utf8(&rest[..end]).ok()?;
        (rest[end..].trim_ascii_end() == b"\"}").then_some(Line { text, stderr, time, attributes })
    }
}

/// A line in any order of its members.
#[derive(Deserialize)]
struct Foreign<'a> {
    #[serde(default, borrow)]
    log: Cow<'a, str>,
    #[serde(default, borrow)]
    stream: Cow<'a, str>,
    #[serde(default, borrow)]
    time: Cow<'a, str>,
    #[serde(default, borrow)]
    attrs: Option<&'a serde_json::value::RawValue>,
}

/// Where a JSON string ends whose opening quote is already read.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += text[at..].iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
        if at > text.len() {
            return None;
        }
    }
}

/// Where a flat JSON object ends.
fn object_end(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'}' => return Some(at + 1),
            b'"' => at += 2 + string_end(text.get(at + 1..)?)?,
            _ => at += 1,
        }
    }
}

/// Adds a JSON string without its escapes.
fn unescape(mut source: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = source.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&source[..at]);
        let (skip, byte) = match source.get(at + 1) {
            Some(b'n') => (2, b'\n'),
            Some(b't') => (2, b'\t'),
            Some(b'r') => (2, b'\r'),
            Some(b'b') => (2, 8),
            Some(b'f') => (2, 12),
            Some(b'u') => {
                source = &source[at + unescape_rune(&source[at..], out)..];
                continue;
            }
            Some(other) => (2, *other),
            None => return,
        };
        out.push(byte);
        source = &source[at + skip..];
    }
    out.extend_from_slice(source);
}

/// Adds the character of `\uXXXX` (or of two of them, a surrogate pair); answers with the length of what was read.
fn unescape_rune(source: &[u8], out: &mut Vec<u8>) -> usize {
    let unit = |at: usize| {
        let digits = source.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let Some(first) = unit(0) else { return source.len().min(2) };
    let units = [Some(first), unit(6)];
    let mut decoded = char::decode_utf16(units.into_iter().flatten());
    let character = decoded.next().and_then(Result::ok);
    let mut buffer = [0; 4];
    let text = character.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut buffer);
    out.extend_from_slice(text.as_bytes());
    if text.len() == 4 { 12 } else { 6 }
}

/// A time with all nine digits, as clients get them.
fn fixed_time(time: &str, out: &mut Vec<u8>) {
    let Some(bare) = time.strip_suffix('Z') else { return out.extend_from_slice(time.as_bytes()) };
    let (seconds, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    out.extend_from_slice(seconds.as_bytes());
    out.push(b'.');
    out.extend(fraction.bytes().chain(std::iter::repeat(b'0')).take(9));
    out.push(b'Z');
}

/// Attributes as `name=value,…`, sorted by name and escaped as in a query.
fn details(attributes: &[u8], out: &mut Vec<u8>) {
    let parsed =
        serde_json::from_slice::<std::collections::BTreeMap<String, String>>(attributes).unwrap_or_default();
    for (index, (name, value)) in parsed.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        query_escape(name, out);
        out.push(b'=');
        query_escape(value, out);
    }
}

/// As Go's `url.QueryEscape`.
fn query_escape(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            other => out.extend_from_slice(format!("%{other:02X}").as_bytes()),
        }
    }
}

/// Nanoseconds since 1970 of a time in the one shape that we write; a great many are read.
fn nanos(time: &str) -> Option<i64> {
    let bytes = time.as_bytes();
    let shape = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
    if !(shape(4, b'-') && shape(7, b'-') && shape(10, b'T') && shape(13, b':') && shape(16, b':')) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        bytes
            .get(range)?
            .iter()
            .try_fold(0_i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let seconds = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    let fraction = match bytes.get(19)? {
        b'Z' => 0,
        b'.' => {
            let digits = bytes.len().checked_sub(21).filter(|digits| (1..=9).contains(digits))?;
            number(20..20 + digits)? * 10_i64.pow(9 - u32::try_from(digits).ok()?)
        }
        _ => return None,
    };
    if bytes.last() != Some(&b'Z') || !(1..=12).contains(&month) {
        return None;
    }
    Some((days(year, month, day) * 86_400 + seconds) * 1_000_000_000 + fraction)
}

/// Days since 1970 of a date, by years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(options: &LogsOptions, tty: bool, raw: &str) -> String {
        let mut out = Vec::new();
        Printer::new(options, tty).print(raw.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn both() -> LogsOptions {
        LogsOptions { stdout: true, stderr: true, ..LogsOptions::default() }
    }

    #[test]
    fn lines_become_frames() {
        let line = r#"{"log":"a\tb\u003c\"\\é\n","stream":"stderr","time":"2024-02-29T00:00:00.5Z"}"#;
        assert_eq!(print(&both(), true, line), "a\tb<\"\\é\n");
        assert_eq!(print(&both(), false, line), "\u{2}\0\0\0\0\0\0\u{9}a\tb<\"\\é\n");
        assert_eq!(print(&LogsOptions { stderr: false, ..both() }, true, line), "");
        let stamped = LogsOptions { timestamps: true, ..both() };
        assert_eq!(print(&stamped, true, line), "2024-02-29T00:00:00.500000000Z a\tb<\"\\é\n");
    }

    #[test]
    fn both_ways_of_reading_agree() {
        let ours = r#"{"log":"x\ud83d\ude00\ud800y\n","stream":"stdout","attrs":{"b":"2 3","a":"}\""},"time":"2024-01-01T00:00:00Z"}"#;
        let theirs = r#"{"stream":"stdout","time":"2024-01-01T00:00:00Z","log":"x😀y\n","attrs":{"b":"2 3","a":"}\""}}"#;
        let options = LogsOptions { details: true, timestamps: true, ..both() };
        let expect = |text: &str| format!("2024-01-01T00:00:00.000000000Z a=%7D%22,b=2+3 {text}\n");
        assert_eq!(print(&options, true, ours), expect("x😀\u{fffd}y"));
        assert_eq!(print(&options, true, theirs), expect("x😀y"));
        for broken in
            ["", "{", "{\"log\":\"x", "{\"log\":\"x\\", "x", r#"{"log":"a","stream":"stdout","time":"x"}z"#]
        {
            assert_eq!(print(&both(), true, broken), "", "{broken}");
        }
    }

    #[test]
    fn times_bound_what_is_printed() {
        let line = |second: u32| {
            format!(r#"{{"log":"{second}","stream":"stdout","time":"1970-01-01T00:00:{second:02}Z"}}"#)
        };
        let options = LogsOptions {
            since: Some(Time::from_unix_nanos(2_000_000_000)),
            until: Some(Time::from_unix_nanos(4_000_000_000)),
            ..both()
        };
        let mut printer = Printer::new(&options, true);
        let mut out = Vec::new();
        (1..9).for_each(|second| printer.print(line(second).as_bytes(), &mut out));
        assert_eq!(out, b"234");
        assert!(printer.is_past_end());
    }

    #[test]
    fn times_are_read_as_they_are_shown() {
        for value in [1, 999_999_999, 1_709_164_799_123_000_000, 4_102_444_799_999_999_999] {
            assert_eq!(nanos(&Time::from_unix_nanos(value).to_string()), Some(value));
        }
        for bad in ["2024-02-29", "2024-02-29T00:00:00", "2024-13-01T00:00:00Z", "2024-02-29T00:00:00+01:00"]
        {
            assert_eq!(nanos(bad), None, "{bad}");
        }
    }
}
