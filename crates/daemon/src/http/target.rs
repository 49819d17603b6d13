//! Request targets as Go's servers take them.
//!
//! Clients send `filters={"name":["x"]}` unescaped; Go reads it, hyper answers 400. So what hyper reads goes through
//! here: characters that may not stand in a target are escaped on their way. All other bytes pass as they are, and to
//! know which bytes are a target the framing of the requests is followed (RFC 9112). Where that is not beyond doubt
//! nothing is touched any more, and hyper judges.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose request targets can be read by hyper.
#[derive(Debug)]
pub(crate) struct Targets<S> {
    stream: S,
    framing: Framing,
    /// Bytes that were escaped and are still to be read.
    ready: Bytes,
    /// What is still to be written in place of so many bytes of hyper's.
    instead: Option<(Bytes, usize)>,
}

impl<S> Targets<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, framing: Framing::default(), ready: Bytes::new(), instead: None }
    }

    /// The connection, and what was read from it and not given out.
    pub(crate) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.ready)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Targets<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ready.is_empty() {
            let before = into.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, into))?;
            let Some(escaped) = this.framing.escape(&into.filled()[before..]) else {
                return Poll::Ready(Ok(()));
            };
            into.set_filled(before);
            this.ready = escaped.into();
        }
        let size = this.ready.len().min(into.remaining());
        into.put_slice(&this.ready[..size]);
        this.ready.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Targets<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.instead.is_none() {
            this.instead = refusal(from).map(|text| (text, from.len()));
        }
        while let Some((text, _)) = this.instead.as_mut().filter(|(text, _)| !text.is_empty()) {
            let size = ready!(Pin::new(&mut this.stream).poll_write(context, text))?;
            text.advance(size);
        }
        match this.instead.take() {
            Some((_, size)) => Poll::Ready(Ok(size)),
            None => Pin::new(&mut this.stream).poll_write(context, from),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match from {
            [only] => self.poll_write(context, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(context, from),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What Go's servers write where hyper has refused a request by itself: the same with a body.
///
/// Nothing of ours looks like it: our refusals have bodies, or other statuses.
fn refusal(written: &[u8]) -> Option<Bytes> {
    let head = written.strip_suffix(b"\r\n\r\n")?;
    let status = head.strip_prefix(b"HTTP/1.1 ")?.split(|byte| *byte == b'\r').next()?;
    let known = [b"400 ", b"414 ", b"431 "].iter().any(|code| status.starts_with(*code));
    if !known || !head.windows(19).any(|part| part == b"\r\nContent-Length: 0") {
        return None;
    }
    let status = String::from_utf8_lossy(status);
    let head = "Content-Type: text/plain; charset=utf-8\r\nConnection: close";
    Some(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{status}").into())
}

/// Lines that say how a request is framed are shorter.
const LINE_MAX: usize = 256;

/// Where in a request the next byte stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Method,
    Target,
    /// The rest of the request line.
    Version,
    Field,
    Body(u64),
    ChunkSize,
    /// A chunk with the line break behind it.
    Chunk(u64),
    Trailer,
    /// No longer followed: all bytes pass.
    Opaque,
}

/// What is known of the request whose bytes pass.
#[derive(Debug, Default)]
struct Framing {
    place: Place,
    /// The line that is being read, as far as it came.
    line: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    /// The connection may become a stream after this request.
    upgrade: bool,
    /// The request can be read in more than one way.
    doubtful: bool,
}

impl Framing {
    /// Follows the bytes. The bytes to take in their place, if any of them had to be escaped.
    fn escape(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut escaped: Option<Vec<u8>> = None;
        let mut copied = 0;
        let mut at = 0;
        while at < bytes.len() {
            match self.place {
                Place::Opaque => break,
                Place::Body(left) | Place::Chunk(left) => at += self.skip(left, bytes.len() - at),
                Place::Target => {
                    let byte = bytes[at];
                    if is_forbidden(byte) {
                        let escaped = escaped.get_or_insert_default();
                        escaped.extend_from_slice(&bytes[copied..at]);
                        escaped.extend_from_slice(&percent(byte));
                        copied = at + 1;
                    } else if byte == b' ' {
                        self.place = Place::Version;
                    } else if byte == b'\n' {
                        self.place = Place::Opaque;
                    }
                    at += 1;
                }
                Place::Method => {
                    self.method(bytes[at]);
                    at += 1;
                }
                Place::Version | Place::Field | Place::ChunkSize | Place::Trailer => {
                    at += self.take_line(&bytes[at..]);
                }
            }
        }
        if let Some(escaped) = &mut escaped {
            escaped.extend_from_slice(&bytes[copied..]);
        }
        escaped
    }

    /// Passes over data; how much of it.
    fn skip(&mut self, left: u64, available: usize) -> usize {
        let size = left.min(available as u64);
        let rest = left - size;
        self.place = match self.place {
            Place::Body(_) if rest > 0 => Place::Body(rest),
            Place::Chunk(_) if rest > 0 => Place::Chunk(rest),
            Place::Chunk(_) => Place::ChunkSize,
            _ => self.next_request(),
        };
        usize::try_from(size).unwrap_or(available)
    }

    fn method(&mut self, byte: u8) {
        match byte {
            b' ' => {
                self.place = Place::Target;
                self.line.clear();
            }
            b'\r' | b'\n' if self.line.is_empty() => {}
            b'\r' | b'\n' => self.place = Place::Opaque,
            byte => self.push(&[byte]),
        }
    }

    /// Takes bytes of a line; how many.
    fn take_line(&mut self, bytes: &[u8]) -> usize {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.push(bytes);
            return bytes.len();
        };
        self.push(&bytes[..end]);
        let mut line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\r").unwrap_or(&line);
        self.place = match self.place {
            Place::Version => Place::Field,
            Place::Field if text.is_empty() => self.end_of_head(),
            Place::Field => {
                self.field(text);
                Place::Field
            }
            Place::ChunkSize => match chunk_size(text) {
                None => Place::Opaque,
                Some(0) => Place::Trailer,
                Some(size) => Place::Chunk(size + 2),
            },
            Place::Trailer if text.is_empty() => self.next_request(),
            place => place,
        };
        line.clear();
        self.line = line;
        end + 1
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = LINE_MAX - self.line.len().min(LINE_MAX);
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn field(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            self.doubtful = true;
            return;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let number =
                std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let number = number.and_then(|text| text.parse().ok());
            self.doubtful |= number.is_none() || self.length.is_some() || line.len() >= LINE_MAX;
            self.length = number;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.doubtful |= self.chunked || !value.eq_ignore_ascii_case(b"chunked");
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else {
            self.doubtful |= name.is_empty() || name.iter().any(u8::is_ascii_whitespace);
        }
    }

    fn end_of_head(&mut self) -> Place {
        if self.doubtful || self.chunked && self.length.is_some() {
            return Place::Opaque;
        }
        match self.length.take() {
            _ if std::mem::take(&mut self.chunked) => Place::ChunkSize,
            None | Some(0) => self.next_request(),
            Some(length) => Place::Body(length),
        }
    }

    fn next_request(&mut self) -> Place {
        if self.upgrade { Place::Opaque } else { Place::Method }
    }
}

/// What may not stand in a target by RFC 3986, but for what Go's servers refuse as well.
fn is_forbidden(byte: u8) -> bool {
    matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80..)
}

fn percent(byte: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// The number at the beginning of a chunk, extensions left aside.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let number = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let text = std::str::from_utf8(number).ok()?;
    if text.is_empty() || text.len() > 8 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hyper reads, with the bytes arriving in pieces of each size.
    fn check(input: &str, expect: &str) {
        for size in [1, 2, 3, 7, 64, input.len()] {
            let mut framing = Framing::default();
            let mut got = Vec::new();
            for piece in input.as_bytes().chunks(size) {
                match framing.escape(piece) {
                    Some(escaped) => got.extend(escaped),
                    None => got.extend_from_slice(piece),
                }
            }
            assert_eq!(String::from_utf8(got).unwrap(), expect, "in pieces of {size}");
        }
    }

    const RAW: &str = "GET /a?f={\"n\":[\"é\"]}&x=<|>#y HTTP/1.1\r\nHost: \"{d}\"\r\n\r\n";
    const ESCAPED: &str =
        "GET /a?f=%7B%22n%22:[%22%C3%A9%22]%7D&x=%3C%7C%3E%23y HTTP/1.1\r\nHost: \"{d}\"\r\n\r\n";

    #[test]
    fn targets_are_escaped_and_nothing_else() {
        check(RAW, ESCAPED);
        check("GET /a%22b?c=d+e HTTP/1.1\r\n\r\n", "GET /a%22b?c=d+e HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn bodies_pass_and_the_request_behind_them_is_found() {
        let body = RAW;
        let length = format!("POST /{{}} HTTP/1.1\r\ncontent-LENGTH:  {} \r\n\r\n{body}", body.len());
        check(&(length.clone() + RAW), &(length.replace("/{}", "/%7B%7D") + ESCAPED));
        let chunked = format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:x};a=b\r\n{body}\r\n2\r\n{{}}\r\n0\r\nX: {{}}\r\n\r\n",
            body.len()
        );
        check(&(chunked.clone() + RAW + RAW), &(chunked + ESCAPED + ESCAPED));
    }

    #[test]
    fn where_the_framing_is_in_doubt_nothing_is_touched() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Content-Length : 1\r\n",
            " folded\r\n",
            "Upgrade: tcp\r\n",
            "nothing\r\n",
        ] {
            let head = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            check(&(head.clone() + "x" + RAW), &(head + "x" + RAW));
        }
        check(&format!("garbage\r\n{RAW}"), &format!("garbage\r\n{RAW}"));
    }
}
