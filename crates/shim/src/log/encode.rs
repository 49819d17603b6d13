//! Lines as Docker's `json-file` driver writes them.
//!
//! `{"log":"text\n","stream":"stdout","time":"2024-02-29T00:00:00.5Z"}` and a newline. A line without its end (after
//! 16 KiB, or the last one) has no `\n` in its text; the pieces of one line share the time of the first.

use crate::time;

/// A longer line is cut into pieces of this many bytes.
pub(crate) const PIECE_MAX: usize = 16 * 1024;

const PREFIX: &[u8] = b"{\"log\":\"";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// What of a text was taken by [`text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// A whole line; this many bytes with its newline.
    Line(usize),
    /// All of it, and no newline was met.
    All,
}

/// Begins an entry.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(PREFIX);
}

/// Builds what follows the text of an entry, from the closing quote to the newline.
pub(super) fn tail(out: &mut Vec<u8>, stream: &str, attrs: &str, nanos: u64) {
    out.clear();
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.as_bytes());
    out.push(b'"');
    if !attrs.is_empty() {
        out.extend_from_slice(b",\"attrs\":");
        out.extend_from_slice(attrs.as_bytes());
    }
    out.extend_from_slice(b",\"time\":\"");
    time::push_rfc3339_nano(out, nanos);
    out.extend_from_slice(b"\"}\n");
}

/// Appends text up to and with the first newline (written as `\n`), escaped as Docker escapes it.
pub(super) fn text(out: &mut Vec<u8>, source: &[u8]) -> Taken {
    let (mut start, mut at) = (0, 0);
    loop {
        while source[at..].first_chunk::<32>().is_some_and(is_plain) {
            at += 32;
        }
        while at < source.len() && PLAIN[source[at] as usize] {
            at += 1;
        }
        out.extend_from_slice(&source[start..at]);
        let Some(&byte) = source.get(at) else { return Taken::All };
        at += match byte {
            b'\n' => {
                out.extend_from_slice(b"\\n");
                return Taken::Line(at + 1);
            }
            0x80.. => rune(out, &source[at..]),
            _ => {
                escape(out, byte);
                1
            }
        };
        start = at;
    }
}

/// Whether all bytes stand for themselves. Without branches, so that it becomes vector instructions.
fn is_plain(block: &[u8; 32]) -> bool {
    let mut special = 0u8;
    for &byte in block {
        special |= u8::from(!plain(byte));
    }
    special == 0
}

const fn plain(byte: u8) -> bool {
    byte >= 0x20
        && byte < 0x80
        && byte != b'"'
        && byte != b'\\'
        && byte != b'<'
        && byte != b'>'
        && byte != b'&'
}

static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = plain(byte as u8);
        byte += 1;
    }
    table
};

fn escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => out.extend_from_slice(&[
            b'\\',
            b'u',
            b'0',
            b'0',
            HEX[byte as usize >> 4],
            HEX[byte as usize & 15],
        ]),
    }
}

/// Appends the character at the start of `source`; gives its length. A byte that begins none is U+FFFD.
fn rune(out: &mut Vec<u8>, source: &[u8]) -> usize {
    let length = match source[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    match source.get(..length).map(std::str::from_utf8) {
        Some(Ok("\u{2028}")) => out.extend_from_slice(b"\\u2028"),
        Some(Ok("\u{2029}")) => out.extend_from_slice(b"\\u2029"),
        Some(Ok(text)) => out.extend_from_slice(text.as_bytes()),
        _ => {
            out.extend_from_slice(b"\\ufffd");
            return 1;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &[u8], expect: &str, taken: Taken) {
        let mut out = Vec::new();
        assert_eq!(text(&mut out, source), taken, "{source:?}");
        assert_eq!(String::from_utf8(out).unwrap(), expect, "{source:?}");
    }

    #[test]
    fn text_is_escaped_as_docker_does() {
        check(b"", "", Taken::All);
        check(b"plain\nnext", "plain\\n", Taken::Line(6));
        check(b"a\"b\\c\td\re\x01\x7f", "a\\\"b\\\\c\\u0009d\\re\\u0001\u{7f}", Taken::All);
        check(b"<a href=\"x\">&</a>", "\\u003ca href=\\\"x\\\"\\u003e\\u0026\\u003c/a\\u003e", Taken::All);
        check("é한\u{2028}\u{2029}🦀".as_bytes(), "é한\\u2028\\u2029🦀", Taken::All);
        check(
            b"\xff\xc3(\xe2\x82\xed\xa0\x80\xf5\x80",
            &format!("\\ufffd\\ufffd({}", "\\ufffd".repeat(7)),
            Taken::All,
        );
        check(b"\xed\x95", "\\ufffd\\ufffd", Taken::All);
    }

    #[test]
    fn a_special_byte_is_seen_at_every_place_of_a_block() {
        for length in 0..100 {
            for place in 0..length {
                for (byte, expect) in
                    [(b'<', "\\u003c"), (0x80, "\\ufffd"), (0x1f, "\\u001f"), (b'"', "\\\"")]
                {
                    let mut source = vec![b'.'; length];
                    source[place] = byte;
                    let expect = format!("{}{expect}{}", ".".repeat(place), ".".repeat(length - place - 1));
                    check(&source, &expect, Taken::All);
                }
            }
        }
    }

    #[test]
    fn the_tail_names_stream_attributes_and_time() {
        let mut out = Vec::new();
        tail(&mut out, "stderr", "", 1_500_000_000);
        assert_eq!(out, b"\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:01.5Z\"}\n");
        tail(&mut out, "stdout", "{\"a\":\"b\"}", 0);
        assert_eq!(
            out,
            b"\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"b\"},\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }
}
