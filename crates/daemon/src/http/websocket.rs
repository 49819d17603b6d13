//! A connection that speaks websocket (RFC 6455), for the clients of `/containers/{id}/attach/ws`.
//!
//! The bytes of a container and the frames of a client are translated between two sockets, so that an attachment is
//! the same whatever its client speaks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io;

use berth_api::client::{Demultiplexer, FrameError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

use super::answer::Answer;
use super::body::Body;
use super::stream::{Reader, Stream, Writer};

/// The longest control frame. It is held as a whole; the pieces of others are passed on as they come.
const CONTROL_MAX: u64 = 125;

/// The answer to a request that asks for a websocket: what goes into its head, or a refusal.
#[expect(clippy::result_large_err, reason = "an answer is as large as an answer is, once a connection")]
pub(crate) fn accept(headers: &HeaderMap) -> Result<HeaderMap, Answer> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let connection = text(header::CONNECTION).to_ascii_lowercase();
    if !text(header::UPGRADE).eq_ignore_ascii_case("websocket") || !connection.contains("upgrade") {
        return Err(refuse("not websocket protocol"));
    }
    let key = text(header::SEC_WEBSOCKET_KEY);
    if key.is_empty() {
        return Err(refuse("missing or bad key"));
    }
    if text(header::SEC_WEBSOCKET_VERSION) != "13" {
        return Err(refuse("missing or bad WebSocket Version"));
    }
    let mut answer = HeaderMap::new();
    let digest =
        Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let digest = HeaderValue::from_str(&STANDARD.encode(digest)).map_err(|_| refuse("missing or bad key"))?;
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, digest);
    if let Some(protocol) = headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        if protocol.as_bytes().contains(&b',') {
            return Err(refuse("missing or bad WebSocket-Protocol"));
        }
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol.clone());
    }
    Ok(answer)
}

/// A request that is no websocket's.
fn refuse(why: &'static str) -> Answer {
    let mut response = Response::new(Body::Whole(Bytes::from_static(why.as_bytes())));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Answer::Response(response)
}

/// How the container's bytes are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// As text, which clients before API 1.28 expect.
    pub(crate) text: bool,
    /// The bytes come in frames of stdout and stderr, whose heads a websocket has no use for.
    pub(crate) multiplexed: bool,
}

/// Translates until either side ends. `plain` is the other end of the socket that the attachment has.
pub(crate) async fn translate(client: Stream, plain: UnixStream, form: Form) {
    let (from_client, to_client) = client.into_split();
    let (mut from_container, to_container) = plain.into_split();
    let (pongs, pings) = mpsc::channel(4);
    let output = write_frames(&mut from_container, to_client, pings, form);
    tokio::pin!(output);
    tokio::select! {
        _ = &mut output => return,
        _ = read_frames(from_client, to_container, pongs) => {}
    }
    // The client has said its last word and dropped the container's input: what is on its way still reaches it, and
    // the goodbye.
    let _ = output.await;
}

/// What the reading half asks the writing half to send.
#[derive(Debug)]
enum Reply {
    Pong(Bytes),
    Close,
}

async fn write_frames(
    from: &mut (impl AsyncRead + Unpin),
    mut to: Writer,
    mut replies: mpsc::Receiver<Reply>,
    form: Form,
) -> io::Result<()> {
    let mut demultiplexer = form.multiplexed.then(Demultiplexer::default);
    let opcode = if form.text { 1 } else { 2 };
    let mut buffer = BytesMut::with_capacity(32 << 10);
    let mut frames = BytesMut::new();
    loop {
        buffer.clear();
        frames.clear();
        tokio::select! {
            read = from.read_buf(&mut buffer) => {
                if read? == 0 {
                    break;
                }
                match &mut demultiplexer {
                    None => put_frame(&mut frames, opcode, &buffer),
                    Some(demultiplexer) => demultiplexer
                        .push(&buffer, |_, bytes| {
                            if !bytes.is_empty() {
                                put_frame(&mut frames, opcode, bytes);
                            }
                            Ok::<(), FrameError>(())
                        })
                        .map_err(io::Error::other)?,
                }
            }
            reply = replies.recv() => match reply {
                Some(Reply::Pong(bytes)) => put_frame(&mut frames, 10, &bytes),
                Some(Reply::Close) | None => break,
            },
        }
        to.write_all(&frames).await?;
        to.flush().await?;
    }
    frames.clear();
    put_frame(&mut frames, 8, &1000_u16.to_be_bytes());
    to.write_all(&frames).await?;
    to.shutdown().await
}

/// A frame of a server: whole, and not masked.
fn put_frame(into: &mut BytesMut, opcode: u8, bytes: &[u8]) {
    into.put_u8(0x80 | opcode);
    match bytes.len() {
        size @ ..=125 => into.put_u8(u8::try_from(size).unwrap_or(125)),
        size @ ..=0xffff => {
            into.put_u8(126);
            into.put_u16(u16::try_from(size).unwrap_or(u16::MAX));
        }
        size => {
            into.put_u8(127);
            into.put_u64(size as u64);
        }
    }
    into.put_slice(bytes);
}

/// The head of a client's frame.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    opcode: u8,
    length: u64,
    mask: [u8; 4],
}

impl Head {
    /// Takes a head off the buffer; nothing if it is not all there.
    ///
    /// Errors: a frame that no client may send.
    fn take(buffer: &mut BytesMut) -> io::Result<Option<Self>> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let &[first, second, ..] = &buffer[..] else { return Ok(None) };
        let wide = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if second & 0x80 == 0 {
            return Err(invalid("a frame of a client is masked"));
        }
        let opcode = first & 15;
        if first & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) {
            return Err(invalid("a frame of an unknown kind"));
        }
        if buffer.len() < 6 + wide {
            return Ok(None);
        }
        buffer.advance(2);
        let length = match wide {
            0 => u64::from(second & 0x7f),
            2 => u64::from(buffer.get_u16()),
            _ => buffer.get_u64(),
        };
        if opcode >= 8 && length > CONTROL_MAX {
            return Err(invalid("a control frame is too long"));
        }
        let mut mask = [0; 4];
        buffer.copy_to_slice(&mut mask);
        Ok(Some(Self { opcode, length, mask }))
    }
}

/// Passes the data of the client's frames on until the client says goodbye, is gone, or nobody takes its data.
async fn read_frames(mut from: Reader, to: OwnedWriteHalf, replies: mpsc::Sender<Reply>) -> io::Result<()> {
    let mut to = Some(to);
    let mut buffer = BytesMut::with_capacity(8 << 10);
    loop {
        let head = loop {
            match Head::take(&mut buffer)? {
                Some(head) => break head,
                None if from.read_buf(&mut buffer).await? == 0 => return Ok(()),
                None => {}
            }
        };
        let mut left = head.length;
        let mut offset = 0;
        let control = head.opcode >= 8;
        loop {
            let here =
                if control && (buffer.len() as u64) < left { 0 } else { left.min(buffer.len() as u64) };
            let mut data = buffer.split_to(usize::try_from(here).unwrap_or(0));
            for byte in data.iter_mut() {
                *byte ^= head.mask[offset % 4];
                offset += 1;
            }
            left -= here;
            match head.opcode {
                0..=2 if !data.is_empty() => {
                    if let Some(writer) = &mut to
                        && writer.write_all(&data).await.is_err()
                    {
                        to = None; // a process that reads no more still writes
                    }
                }
                8 if left == 0 => {
                    let _ = replies.send(Reply::Close).await; // the writer may have ended
                    return Ok(());
                }
                9 if left == 0 => {
                    let _ = replies.send(Reply::Pong(data.freeze())).await;
                }
                _ => {}
            }
            if left == 0 {
                break;
            }
            if from.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::stream::Socket;

    /// A frame of a client.
    fn masked(opcode: u8, bytes: &[u8]) -> Vec<u8> {
        let mut frame = BytesMut::new();
        put_frame(&mut frame, opcode, bytes);
        let at = frame.len() - bytes.len();
        frame[1] |= 0x80;
        let mask = [1, 2, 3, 4];
        let data: Vec<u8> = bytes.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        [&frame[..at], &mask, &data].concat()
    }

    struct Pair {
        client: UnixStream,
        container: UnixStream,
        task: tokio::task::JoinHandle<()>,
    }

    fn pair(form: Form) -> Pair {
        let (client, theirs) = UnixStream::pair().unwrap();
        let (container, plain) = UnixStream::pair().unwrap();
        let stream = Stream::new(Socket::Unix(theirs));
        Pair { client, container, task: tokio::spawn(translate(stream, plain, form)) }
    }

    const BINARY: Form = Form { text: false, multiplexed: false };

    async fn read(stream: &mut UnixStream, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn data_goes_both_ways() {
        let Pair { mut client, mut container, task } = pair(BINARY);
        let long = vec![7; 70_000];
        for piece in [masked(1, b"in"), masked(0, b"put"), masked(2, &long)].concat().chunks(1000) {
            client.write_all(piece).await.unwrap();
        }
        assert_eq!(read(&mut container, 70_005).await, [b"input".as_slice(), &long].concat());
        container.write_all(b"out").await.unwrap();
        assert_eq!(read(&mut client, 5).await, b"\x82\x03out");
        drop(container);
        assert_eq!(read(&mut client, 4).await, b"\x88\x02\x03\xe8");
        task.await.unwrap();
    }

    #[tokio::test]
    async fn heads_of_streams_are_taken_off() {
        let Pair { mut client, mut container, .. } = pair(Form { text: true, multiplexed: true });
        container.write_all(b"\x01\0\0\0\0\0\0\x02ab\x02\0\0\0\0\0\0\x01").await.unwrap();
        assert_eq!(read(&mut client, 4).await, b"\x81\x02ab");
        container.write_all(b"c").await.unwrap();
        assert_eq!(read(&mut client, 3).await, b"\x81\x01c");
    }

    #[tokio::test]
    async fn pings_are_answered_and_a_goodbye_ends() {
        let Pair { mut client, mut container, task } = pair(BINARY);
        client.write_all(&masked(9, b"hi")).await.unwrap();
        assert_eq!(read(&mut client, 4).await, b"\x8a\x02hi");
        client.write_all(&masked(8, b"")).await.unwrap();
        assert_eq!(read(&mut client, 4).await, b"\x88\x02\x03\xe8");
        task.await.unwrap();
        assert_eq!(container.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn frames_that_no_client_may_send_end_the_connection() {
        for bad in
            [b"\x82\x01a".as_slice(), b"\x83\x81\0\0\0\0a", b"\x89\xfe\0\x7e\0\0\0\0", b"\xc2\x81\0\0\0\0a"]
        {
            let Pair { mut client, mut container, task } = pair(BINARY);
            client.write_all(bad).await.unwrap();
            assert_eq!(container.read(&mut [0]).await.unwrap(), 0, "{bad:?}");
            drop(container);
            task.await.unwrap();
        }
    }

    #[test]
    fn the_handshake_is_that_of_the_standard() {
        let headers = |list: &[(&'static str, &'static str)]| -> HeaderMap {
            list.iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect()
        };
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let answer = accept(&headers(&good)).ok().unwrap();
        assert_eq!(answer[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for leave_out in 0..good.len() {
            let mut rest = good.to_vec();
            rest.remove(leave_out);
            assert!(accept(&headers(&rest)).is_err(), "{leave_out}");
        }
    }
}
