//! The life of one accepted connection.
//!
//! Most connections are hyper's. Requests that turn their connection into a stream (`attach`, `exec start`) are
//! different: clients older than the `Upgrade` header expect a plain 200 and then raw bytes both ways, and some close
//! their sending side at once; HTTP has a word for neither. So the first bytes of a connection are looked at before
//! hyper has them. Where they are such a request, its head is parsed here and the rest of the connection is ours.
//! Requests of that kind later on a connection go through hyper's own upgrade.
//!
//! ```text
//! accept ─► first bytes ─┬─ POST …/attach, POST /exec/…/start ─► direct ─► answer, or stream
//!                        └─ anything else ─► hyper ─► answers … ─► upgrade ─► stream
//! ```

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::answer::{Answer, Hijack};
use super::body::{Body, RequestBody, Returned, drain};
use super::router;
use super::server::{Server, ended};
use super::stream::{Socket, Stream};
use super::target::Targets;

/// The longest head of a request, which is Go's limit too; bodies are read in pieces of up to this size.
const HEAD_MAX: usize = 1 << 20;

/// The largest body of a request that becomes a stream.
const BODY_MAX: usize = 1 << 20;

/// How long a client may take to send the rest of a head it has begun.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves a connection to its end.
pub(crate) async fn serve(server: Arc<Server>, socket: Socket, tls: Option<TlsAcceptor>) {
    let socket = match (socket, tls) {
        (Socket::Tcp(socket), Some(tls)) => match shake_hands(socket, &tls).await {
            Some(socket) => socket,
            None => return,
        },
        (socket, _) => socket,
    };
    let mut stream = Stream::new(socket);
    let mut buffer = BytesMut::new();
    match first_look(&mut stream, &mut buffer).await {
        Ok(First::Ordinary) => serve_hyper(server, stream.unread(buffer.freeze())).await,
        Ok(First::Stream { head }) => serve_direct(&server, stream, buffer, head).await,
        Ok(First::Gone) | Err(_) => {}
    }
}

/// Begins TLS. Who speaks plain HTTP is told so, as Go's servers do it.
async fn shake_hands(mut socket: TcpStream, tls: &TlsAcceptor) -> Option<Socket> {
    const PLAIN: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let handshake = async {
        let mut first = [0];
        if socket.peek(&mut first).await.ok()? == 1 && first[0].is_ascii_uppercase() {
            let _ = socket.write_all(PLAIN).await; // the client may be gone
            let _ = socket.shutdown().await;
            // A socket that is closed with bytes unread resets its peer before it has read the answer.
            let _ = tokio::io::copy(&mut (&mut socket).take(HEAD_MAX as u64), &mut tokio::io::sink()).await;
            return None;
        }
        match tls.accept(socket).await {
            Ok(socket) => Some(Socket::Tls(Box::new(socket))),
            Err(error) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
        }
    };
    tokio::time::timeout(HEAD_TIMEOUT, handshake).await.ok().flatten()
}

enum First {
    /// A request for hyper.
    Ordinary,
    /// A request that turns its connection into a stream; its head has so many bytes.
    Stream {
        head: usize,
    },
    Gone,
}

/// Reads as much as is needed to know what kind of request comes first.
async fn first_look(stream: &mut Stream, buffer: &mut BytesMut) -> io::Result<First> {
    loop {
        // Waiting here costs an idle connection next to nothing: no buffer is held yet.
        let size = if buffer.is_empty() {
            buffer.reserve(1 << 10);
            stream.read_buf(buffer).await?
        } else {
            match tokio::time::timeout(HEAD_TIMEOUT, stream.read_buf(buffer)).await {
                Ok(read) => read?,
                Err(_) => return Ok(First::Ordinary),
            }
        };
        if size == 0 {
            return Ok(if buffer.is_empty() { First::Gone } else { First::Ordinary });
        }
        match looks_like(buffer) {
            Look::Other => return Ok(First::Ordinary),
            Look::Stream { head } => return Ok(First::Stream { head }),
            Look::TooShort if buffer.len() > HEAD_MAX => return Ok(First::Ordinary),
            Look::TooShort => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    Other,
    Stream { head: usize },
    TooShort,
}

/// Tells from the beginning of a request whether it turns its connection into a stream.
pub(super) fn looks_like(bytes: &[u8]) -> Look {
    const POST: &[u8] = b"POST ";
    let common = bytes.len().min(POST.len());
    if bytes[..common] != POST[..common] {
        return Look::Other;
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Look::TooShort };
    let target = bytes[POST.len()..end].split(|byte| *byte == b' ').next().unwrap_or_default();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if !(path.ends_with(b"/attach")
        || path.ends_with(b"/start") && path.windows(6).any(|part| part == b"/exec/"))
    {
        return Look::Other;
    }
    match bytes.windows(4).position(|part| part == b"\r\n\r\n") {
        Some(at) => Look::Stream { head: at + 4 },
        None => Look::TooShort,
    }
}

/// Serves a request that turns its connection into a stream, and the stream.
async fn serve_direct(server: &Arc<Server>, mut stream: Stream, mut buffer: BytesMut, head: usize) {
    let Some(request) = Head::parse(&buffer[..head]) else {
        // Malformed, or with a body that only hyper reads: it knows what to answer.
        return serve_hyper(server.clone(), stream.unread(buffer.freeze())).await;
    };
    let _ = buffer.split_to(head);
    while buffer.len() < request.length {
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let body = buffer.split_to(request.length).freeze();
    let upgrade = request.headers.contains_key(header::UPGRADE);
    let answer =
        router::answer(server, &Method::POST, &request.target, request.headers, RequestBody::Read(body))
            .await;
    let mut stream = stream.unread(buffer.freeze());
    match answer {
        (Answer::Hijack(hijack), headers) => {
            let head = stream_head(&hijack, &headers, upgrade);
            if stream.write_all(&head).await.is_ok() && stream.flush().await.is_ok() {
                (hijack.run)(stream).await;
            }
        }
        (Answer::Response(response), headers) => {
            let _ = stream.write_all(&whole_response(response, &headers)).await; // the client may be gone
            let _ = stream.shutdown().await;
        }
    }
}

/// The head of a request that was read here.
pub(super) struct Head {
    target: String,
    headers: HeaderMap,
    length: usize,
}

impl Head {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut fields);
        if !request.parse(bytes).ok()?.is_complete() || request.version != Some(1) {
            return None;
        }
        let target = request.path?.to_owned();
        let mut headers = HeaderMap::with_capacity(request.headers.len());
        for field in request.headers.iter() {
            headers.append(
                HeaderName::from_bytes(field.name.as_bytes()).ok()?,
                HeaderValue::from_bytes(field.value).ok()?,
            );
        }
        if headers.contains_key(header::TRANSFER_ENCODING) || headers.contains_key(header::EXPECT) {
            return None;
        }
        // Two lengths, even equal ones, are hyper's to judge: a request must be read in one way only.
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
        let length = match (lengths.next(), lengths.next()) {
            (None, _) => 0,
            (Some(length), None) => {
                let text = length.to_str().ok()?;
                text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())??
            }
            _ => return None,
        };
        (length <= BODY_MAX).then_some(Self { target, headers, length })
    }
}

/// The answer after which the connection is a stream.
fn stream_head(hijack: &Hijack, headers: &HeaderMap, upgrade: bool) -> Vec<u8> {
    let mut head: Vec<u8> = if upgrade {
        b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n".to_vec()
    } else {
        b"HTTP/1.1 200 OK\r\n".to_vec()
    };
    head.extend_from_slice(b"Content-Type: ");
    head.extend_from_slice(hijack.content_type.as_bytes());
    head.extend_from_slice(b"\r\n");
    write_headers(&mut head, headers);
    head.extend_from_slice(b"\r\n");
    head
}

/// An ordinary answer to a request that was read here; the connection ends with it.
fn whole_response(response: Response<Body>, common: &HeaderMap) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    let body = match body {
        Body::Whole(bytes) => bytes,
        Body::Stream(_) => Bytes::new(), // no handler of such a request answers with a stream of its own
    };
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut text =
        format!("HTTP/1.1 {} {reason}\r\nConnection: close\r\n", parts.status.as_u16()).into_bytes();
    write_headers(&mut text, common);
    write_headers(&mut text, &parts.headers);
    text.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    text.extend_from_slice(&body);
    text
}

fn write_headers(into: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        // As Go writes them: `Api-Version`.
        let mut begin = true;
        for byte in name.as_str().bytes() {
            into.push(if begin { byte.to_ascii_uppercase() } else { byte });
            begin = byte == b'-';
        }
        into.extend_from_slice(b": ");
        into.extend_from_slice(value.as_bytes());
        into.extend_from_slice(b"\r\n");
    }
}

/// Serves HTTP until the client is done.
async fn serve_hyper(server: Arc<Server>, stream: Stream) {
    let service = service_fn(|request: Request<Incoming>| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(serve_request(&server, request).await) }
    });
    let mut shutdown = server.shutdown.clone();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .title_case_headers(true)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(Targets::new(stream)), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // An error is a client that is gone or speaks no HTTP; hyper has answered what can be answered.
        _ = connection.as_mut() => return,
        () = ended(&mut shutdown) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn serve_request(server: &Arc<Server>, mut request: Request<Incoming>) -> Response<Body> {
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    if let Some(answer) = refuse(&parts) {
        return answer;
    }
    let wants_upgrade = parts.headers.contains_key(header::UPGRADE);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let is_head = parts.method == Method::HEAD;
    let (body, returned) = Returned::new(body);
    let (answer, common) =
        router::answer(server, &parts.method, &target, parts.headers, RequestBody::Incoming(body)).await;
    tokio::spawn(drain(returned));
    let mut response = match answer {
        Answer::Response(response) => response,
        Answer::Hijack(hijack) if wants_upgrade => upgraded(hijack, on_upgrade),
        Answer::Hijack(hijack) => output_only(hijack),
    };
    // A websocket's answer has its own headers only, as Docker's has.
    if response.headers().get(header::SEC_WEBSOCKET_ACCEPT).is_none() {
        response.headers_mut().extend(common);
    }
    if is_head && let Body::Whole(bytes) = response.body() {
        let length = HeaderValue::from(if target_is_ping(&target) { 0 } else { bytes.len() });
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
        *response.body_mut() = Body::empty();
    }
    response
}

/// The answer to a request that no handler gets to see; nothing for all others.
fn refuse(parts: &Parts) -> Option<Response<Body>> {
    let hosts = parts.headers.get_all(header::HOST).iter().count();
    if parts.version == Version::HTTP_11 && hosts == 0 {
        return Some(malformed("400 Bad Request: missing required Host header"));
    }
    if hosts > 1 {
        return Some(malformed("400 Bad Request"));
    }
    let expects = parts.headers.get(header::EXPECT);
    if expects.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::EXPECTATION_FAILED;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return Some(response);
    }
    // About the server as a whole: there is nothing to say.
    (parts.method == Method::OPTIONS && parts.uri.path() == "*").then(|| Response::new(Body::empty()))
}

/// The answer to what is not HTTP as Go's servers read it.
fn malformed(why: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::from_static(why.as_bytes())));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn target_is_ping(target: &str) -> bool {
    target.ends_with("/_ping")
}

/// Lets hyper give the connection away, then runs the stream on it.
fn upgraded(hijack: Hijack, on_upgrade: OnUpgrade) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    if let Some(websocket) = hijack.websocket {
        *response.headers_mut() = websocket;
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    } else {
        response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(hijack.content_type));
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    }
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    tokio::spawn(async move {
        let Ok(upgraded) = on_upgrade.await else { return };
        if let Ok(parts) = upgraded.downcast::<TokioIo<Targets<Stream>>>() {
            let (stream, ahead) = parts.io.into_inner().into_parts();
            (hijack.run)(stream.unread(ahead).unread(parts.read_buf)).await;
        }
    });
    response
}

/// The stream's output as a body, for a client that neither upgrades nor comes first on its connection.
fn output_only(hijack: Hijack) -> Response<Body> {
    let content_type = hijack.content_type;
    let Ok((ours, theirs)) = UnixStream::pair() else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    tokio::spawn((hijack.run)(Stream::new(Socket::Unix(theirs))));
    let chunks = futures_util::stream::try_unfold((ours, false), |(mut ours, closed)| async move {
        if !closed {
            ours.shutdown().await?;
        }
        let mut chunk = BytesMut::with_capacity(16 << 10);
        let size = ours.read_buf(&mut chunk).await?;
        Ok((size > 0).then(|| (chunk.freeze(), (ours, true))))
    });
    let mut response = Response::new(Body::stream(chunks));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_become_streams_are_recognised() {
        let check = |text: &str, expect: Look| assert_eq!(looks_like(text.as_bytes()), expect, "{text:?}");
        let stream = |text: &str| check(text, Look::Stream { head: text.len() });
        stream("POST /v1.24/containers/abc/attach?stream=1&stdin=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        stream("POST /exec/abc/start HTTP/1.1\r\nHost: x\r\n\r\n");
        for other in [
            "GET /x HTTP/1.1\r\n",
            "G",
            "POST /containers/abc/start HTTP/1.1\r\n\r\n",
            "POST /containers/create HTTP/1.1\r\n",
        ] {
            check(other, Look::Other);
        }
        for short in ["P", "POST", "POST /containers/a", "POST /exec/a/start HTTP/1.1\r\nHost: x\r\n"] {
            check(short, Look::TooShort);
        }
    }

    #[test]
    fn a_head_that_could_be_read_in_two_ways_is_left_to_hyper() {
        let parse =
            |fields: &str| Head::parse(format!("POST /exec/a/start HTTP/1.1\r\n{fields}\r\n").as_bytes());
        assert_eq!(parse("").unwrap().length, 0);
        assert_eq!(parse("Content-Length: 12\r\n").unwrap().length, 12);
        for fields in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: 99999999\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Expect: 100-continue\r\n",
            "Bad Header: x\r\n",
        ] {
            assert!(parse(fields).is_none(), "{fields:?}");
        }
    }

    #[test]
    fn headers_are_written_as_go_writes_them() {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("api-version"),
            HeaderValue::from_static("1.52"),
        )]);
        let mut text = Vec::new();
        write_headers(&mut text, &headers);
        assert_eq!(text, b"Api-Version: 1.52\r\n");
    }
}
