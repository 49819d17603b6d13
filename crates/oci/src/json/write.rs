//! Writing JSON as Go's encoder does.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Writes a value as Docker's plain answers are written: Go's encoder with its HTML escapes off, no newline.
///
/// Errors: only those that the value's own `Serialize` makes.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(256);
    to_writer(&mut out, value, false)?;
    Ok(out)
}

/// Writes a value as Docker's streams (events, stats, progress) are written: `<`, `>` and `&` escaped.
pub fn to_vec_html<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(256);
    to_writer(&mut out, value, true)?;
    Ok(out)
}

/// Writes a value to a writer; `html` is Go's `SetEscapeHTML`.
pub fn to_writer<W: Write, T: Serialize + ?Sized>(
    writer: W,
    value: &T,
    html: bool,
) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(writer, Go { html }))
}

struct Go {
    html: bool,
}

impl Go {
    fn escaped(&self, c: char) -> Option<&'static str> {
        match c {
            '\u{2028}' => Some(r"\u2028"),
            '\u{2029}' => Some(r"\u2029"),
            '<' if self.html => Some(r"\u003c"),
            '>' if self.html => Some(r"\u003e"),
            '&' if self.html => Some(r"\u0026"),
            _ => None,
        }
    }
}

impl Formatter for Go {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        // The three-byte separators begin with 0xe2: without that byte and the HTML letters there is nothing to do.
        let special = |byte: &u8| *byte == 0xe2 || self.html && matches!(byte, b'<' | b'>' | b'&');
        if rest.as_bytes().iter().any(special) {
            while let Some((at, escape)) =
                rest.char_indices().find_map(|(at, c)| self.escaped(c).map(|e| (at, (c, e))))
            {
                writer.write_all(&rest.as_bytes()[..at])?;
                writer.write_all(escape.1.as_bytes())?;
                rest = &rest[at + escape.0.len_utf8()..];
            }
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        let text: &[u8] = match escape {
            CharEscape::Quote => b"\\\"",
            CharEscape::ReverseSolidus => b"\\\\",
            CharEscape::Solidus => b"\\/",
            CharEscape::Backspace => b"\\b",
            CharEscape::FormFeed => b"\\f",
            CharEscape::LineFeed => b"\\n",
            CharEscape::CarriageReturn => b"\\r",
            CharEscape::Tab => b"\\t",
            CharEscape::AsciiControl(byte) => return write!(writer, "\\u{byte:04x}"),
        };
        writer.write_all(text)
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if size != 0.0 && !(1e-6..1e21).contains(&size) {
            // Go cuts a leading zero of the exponent and writes its sign: 1e-7, 1e+21.
            let text = format!("{value:e}");
            return match text.split_once('e') {
                Some((digits, power)) if !power.starts_with('-') => write!(writer, "{digits}e+{power}"),
                _ => writer.write_all(text.as_bytes()),
            };
        }
        write!(writer, "{value}")
    }
}
