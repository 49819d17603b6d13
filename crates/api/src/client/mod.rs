//! The typed client of the Engine API.
//!
//! One [`Client`] talks to one engine over a unix socket or TCP. It keeps the connection it has for the next request;
//! requests that overlap get connections of their own. It runs on any tokio runtime, a current-thread one suffices.
//!
//! There is no `_ping` before the first request: the newest version of the API is spoken at once, and only an engine
//! that finds it too new costs a second attempt. Uploads, which cannot be sent twice, ask first.
//!
//! Invariant: nothing here prints, retries what an engine has refused, or knows the command line.

mod archive;
mod connection;
mod containers;
mod documents;
mod error;
mod exec;
mod host;
mod images;
mod process;
mod query;
mod stdcopy;
mod stream;
mod system;
mod tls;
mod transport;
mod upload;
mod volumes;

use std::sync::Mutex;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use archive::{CommitOptions, ExtractOptions};
pub use containers::{AttachOptions, ListOptions, LogsOptions, RemoveOptions, WaitCondition};
pub use documents::DocumentOptions;
pub use error::Error;
pub use host::{Host, HostError, SshHost};
pub use images::ImportOptions;
pub use query::Query;
pub use stdcopy::{Demultiplexer, FrameError, Output};
pub use stream::{Body, Hijacked, HijackedReader, HijackedWriter, JsonStream};
pub use tls::{FileError, Tls, TlsError, TlsOptions, read_certificates, read_key};

use crate::ErrorResponse;
use crate::version::Version;
use connection::{Connection, RequestBody};

use transport::Transport;
pub use upload::{Upload, bytes_piece, file_pieces};

/// A header of a request.
type Header = (header::HeaderName, header::HeaderValue);

/// The headers of a request that turns its connection into a stream.
fn upgrade() -> [Header; 3] {
    [
        (header::CONTENT_TYPE, header::HeaderValue::from_static("application/json")),
        (header::CONNECTION, header::HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, header::HeaderValue::from_static("tcp")),
    ]
}

/// A client of one engine.
#[derive(Debug)]
pub struct Client {
    host: Host,
    tls: Option<Tls>,
    /// What every request says besides.
    headers: Vec<(header::HeaderName, header::HeaderValue)>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    version: Version,
    /// Whether the engine has accepted `version`, or the user insists on it.
    settled: bool,
    idle: Vec<Connection>,
}

impl Client {
    /// A client of the engine at `host`. With `version` that version is spoken, whatever the engine says about it.
    pub fn new(host: Host, version: Option<Version>) -> Self {
        let settled = version.is_some();
        let state = State { version: version.unwrap_or(Version::NEWEST), settled, idle: Vec::new() };
        Self { host, tls: None, headers: Vec::new(), state: Mutex::new(state) }
    }

    /// Speaks TLS to an engine that is reached over TCP.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Says these in every request; a name that we say ourselves is said anew.
    ///
    /// # Errors
    /// [`Error::Request`] for what cannot be a header.
    pub fn with_headers<'a>(
        mut self,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        for (name, value) in headers {
            let wrong = || Error::Request(format!("{name}: {value} is not a header"));
            let name = header::HeaderName::try_from(name).map_err(|_| wrong())?;
            self.headers.push((name, header::HeaderValue::try_from(value).map_err(|_| wrong())?));
        }
        Ok(self)
    }

    /// Opens a connection that carries whatever the caller likes.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn dial(&self) -> Result<Hijacked, Error> {
        let transport = Connection::transport(&self.host, self.tls.as_ref()).await?;
        Ok(Hijacked::new(transport, Bytes::new(), String::new()))
    }

    /// Speaks this version or an older one: answers have the shape that its users expect.
    #[must_use]
    pub fn up_to(self, version: Version) -> Self {
        let mut state = self.lock();
        if !state.settled {
            state.version = state.version.min(version);
        }
        drop(state);
        self
    }

    /// Where the engine is.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The version spoken so far.
    pub fn version(&self) -> Version {
        self.lock().version
    }

    /// Opens the first connection, so that the caller learns whether there is an engine.
    ///
    /// # Errors
    /// [`Error::Connect`] and [`Error::Permission`].
    pub async fn connect(&self) -> Result<(), Error> {
        let connection = Connection::open(&self.host, self.tls.as_ref()).await?;
        self.keep(connection);
        Ok(())
    }

    /// Sends a request with an optional JSON body; the answer's body is read by the caller.
    ///
    /// # Errors
    /// [`Error::Api`] for every status of 400 and above.
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Body, Error> {
        let json = body.map(serde_json::to_vec).transpose()?.map(Bytes::from);
        self.stream_with(method, path, query, json, &[]).await
    }

    /// The same with a body that is JSON already, and with headers.
    async fn stream_with(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        json: Option<Bytes>,
        headers: &[Header],
    ) -> Result<Body, Error> {
        let (response, connection) = self.send(&method, path, query, json, headers).await?;
        let content_type = content_type(&response);
        Ok(Body::new(response.into_body(), connection, content_type))
    }

    /// Sends a request with an optional JSON body and returns the whole answer.
    ///
    /// # Errors
    /// [`Error::Api`] for every status of 400 and above.
    pub async fn bytes(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<(StatusCode, Bytes), Error> {
        let json = body.map(serde_json::to_vec).transpose()?.map(Bytes::from);
        let (response, connection) = self.send(&method, path, query, json, &[]).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        self.keep(connection);
        Ok((status, bytes))
    }

    /// `GET` of a JSON value.
    ///
    /// # Errors
    /// As [`Client::bytes`], and [`Error::Json`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, Error> {
        let (_, bytes) = self.bytes(Method::GET, path, query, NOTHING).await?;
        decode(&bytes)
    }

    /// `GET` of JSON values, one after the other.
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub async fn json_stream<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
    ) -> Result<JsonStream<T>, Error> {
        Ok(JsonStream::new(self.stream(Method::GET, path, query, NOTHING).await?))
    }

    /// `GET` of the thing called `name` under `path`, as the engine wrote it.
    ///
    /// # Errors
    /// As [`Client::bytes`].
    pub async fn raw(&self, path: &str, name: &str) -> Result<Vec<u8>, Error> {
        let path = format!("{path}{}", query::segment(name));
        let (_, bytes) = self.bytes(Method::GET, &path, &Query::new(), NOTHING).await?;
        Ok(bytes.to_vec())
    }

    /// `POST` with a JSON value in the answer.
    ///
    /// # Errors
    /// As [`Client::bytes`], and [`Error::Json`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Error> {
        let (_, bytes) = self.bytes(Method::POST, path, query, body).await?;
        decode(&bytes)
    }

    /// `POST` of something that is read as it is sent (an archive).
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub async fn upload(
        &self,
        path: &str,
        query: &Query,
        content_type: &'static str,
        source: impl Upload,
    ) -> Result<Body, Error> {
        self.send_archive(&Method::POST, path, query, content_type, source).await
    }

    /// The same with any method.
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub async fn send_archive(
        &self,
        method: &Method,
        path: &str,
        query: &Query,
        content_type: &'static str,
        source: impl Upload,
    ) -> Result<Body, Error> {
        self.send_archive_with(method, path, query, content_type, source, &[]).await
    }

    /// The same with headers.
    async fn send_archive_with(
        &self,
        method: &Method,
        path: &str,
        query: &Query,
        content_type: &'static str,
        source: impl Upload,
        headers: &[Header],
    ) -> Result<Body, Error> {
        self.settle().await?;
        let body = BodyExt::boxed(StreamBody::new(source.map_ok(Frame::data)));
        let mut request = self.request(method, path, query, body)?;
        request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
        request.headers_mut().extend(headers.iter().cloned());
        let mut connection = self.connection().await?;
        let response = checked(connection.send(request).await?).await?;
        let kind = self::content_type(&response);
        Ok(Body::new(response.into_body(), connection, kind))
    }

    /// `HEAD`: the headers of the answer.
    ///
    /// # Errors
    /// As [`Client::bytes`].
    pub async fn head(&self, path: &str, query: &Query) -> Result<hyper::HeaderMap, Error> {
        let (response, connection) = self.send(&Method::HEAD, path, query, None, &[]).await?;
        let headers = response.headers().clone();
        let _ = response.into_body().collect().await?;
        self.keep(connection);
        Ok(headers)
    }

    /// `GET`: the headers of the answer, and its body to be read by the caller.
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub async fn download(&self, path: &str, query: &Query) -> Result<(hyper::HeaderMap, Body), Error> {
        let (response, connection) = self.send(&Method::GET, path, query, None, &[]).await?;
        let headers = response.headers().clone();
        let content_type = content_type(&response);
        Ok((headers, Body::new(response.into_body(), connection, content_type)))
    }

    /// `POST` that turns the connection into a stream of bytes both ways.
    ///
    /// # Errors
    /// [`Error::Api`] for every status of 400 and above.
    pub async fn hijack(
        &self,
        path: &str,
        query: &Query,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Hijacked, Error> {
        let json = body.map(serde_json::to_vec).transpose()?.map(Bytes::from);
        let (response, _connection) = self.send(&Method::POST, path, query, json, &upgrade()).await?;
        let content_type = content_type(&response);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::Request(format!(
                "unable to upgrade to tcp, received {}",
                response.status().as_u16()
            )));
        }
        let parts = hyper::upgrade::on(response).await?.downcast::<TokioIo<Transport>>();
        let parts = parts.map_err(|_| Error::Request("the connection is not one of ours".to_owned()))?;
        Ok(Hijacked::new(parts.io.into_inner(), parts.read_buf, content_type))
    }

    /// Asks the engine for its version, if no answer has shown it yet.
    ///
    /// # Errors
    /// [`Error::Connect`] and the like; an engine without `/_ping` is taken as it is.
    pub async fn settle(&self) -> Result<(), Error> {
        if self.lock().settled {
            return Ok(());
        }
        let mut connection = self.connection().await?;
        let uri = format!("{}/_ping", self.base());
        let request =
            bare(&Method::HEAD, &uri, BodyExt::boxed(Empty::new().map_err(|never| match never {})))?;
        let response = connection.send(request).await?;
        self.note_version(api_version(&response));
        let _ = response.into_body().collect().await?;
        self.keep(connection);
        Ok(())
    }

    /// Sends, and once more with the engine's own version if the engine finds ours too new.
    async fn send(
        &self,
        method: &Method,
        path: &str,
        query: &Query,
        json: Option<Bytes>,
        more: &[Header],
    ) -> Result<(Response<Incoming>, Connection), Error> {
        loop {
            let (spoken, settled) = {
                let state = self.lock();
                (state.version, state.settled)
            };
            let mut request = self.request(method, path, query, full(json.clone()))?;
            let headers = request.headers_mut();
            if json.is_some() {
                headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            }
            headers.extend(more.iter().cloned());
            let mut connection = self.connection().await?;
            let response = connection.send(request).await?;
            match checked(response).await {
                Ok(response) => {
                    self.lock().settled = true;
                    return Ok((response, connection));
                }
                Err(Error::Api { status: 400, message }) if !settled => {
                    self.settle().await?;
                    if self.version() >= spoken {
                        return Err(Error::Api { status: 400, message });
                    }
                }
                Err(error) => {
                    self.keep(connection);
                    return Err(error);
                }
            }
        }
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        query: &Query,
        body: RequestBody,
    ) -> Result<Request<RequestBody>, Error> {
        // A name may begin with a slash, and an empty one leaves the path with one at its end.
        let path = path.trim_end_matches('/').replace("//", "/");
        let uri = format!("{}/v{}{path}{}", self.base(), self.version(), query.as_str());
        let mut request = bare(method, &uri, body)?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }

    fn base(&self) -> &str {
        match &self.host {
            Host::Unix(_) | Host::Ssh(_) => "",
            Host::Tcp { base, .. } => base,
        }
    }

    async fn connection(&self) -> Result<Connection, Error> {
        loop {
            let idle = self.lock().idle.pop();
            match idle {
                Some(connection) if connection.is_usable() => return Ok(connection),
                Some(_) => {}
                None => return Connection::open(&self.host, self.tls.as_ref()).await,
            }
        }
    }

    fn keep(&self, connection: Connection) {
        self.lock().idle.push(connection);
    }

    fn note_version(&self, version: Option<Version>) {
        let mut state = self.lock();
        if let Some(version) = version.filter(|version| *version < state.version) {
            state.version = version;
        }
        state.settled = true;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while the lock is held, so a poisoned one still holds a whole state.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// No request body.
pub(crate) const NOTHING: Option<&()> = None;

/// Reads an answer. Engines write `null` where our types have an empty list, so Go's rules apply.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    berth_oci::json::from_slice(bytes).map_err(|error| Error::Json(error.to_string()))
}

/// The response, or the error that it is.
async fn checked(response: Response<Incoming>) -> Result<Response<Incoming>, Error> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(response);
    }
    let bytes = response.into_body().collect().await?.to_bytes();
    let message = match serde_json::from_slice::<ErrorResponse>(&bytes) {
        Ok(refusal) if !refusal.message.is_empty() => refusal.message,
        _ if bytes.is_empty() => {
            let reason = status.canonical_reason().unwrap_or("unknown");
            format!(
                "request returned {reason} for API route and version, check if the server supports the requested API version"
            )
        }
        _ => String::from_utf8_lossy(&bytes).trim().to_owned(),
    };
    Err(Error::Api { status: status.as_u16(), message })
}

fn content_type(response: &Response<Incoming>) -> String {
    let value = response.headers().get(header::CONTENT_TYPE);
    value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn api_version(response: &Response<Incoming>) -> Option<Version> {
    Version::parse(response.headers().get("api-version")?.to_str().ok()?)
}

fn bare(method: &Method, uri: &str, body: RequestBody) -> Result<Request<RequestBody>, Error> {
    Request::builder()
        .method(method)
        .uri(uri)
        .header(header::HOST, "api.moby.localhost")
        .header(header::USER_AGENT, concat!("Berth-Client/", env!("CARGO_PKG_VERSION"), " (linux)"))
        .body(body)
        .map_err(|error| Error::Request(error.to_string()))
}

fn full(json: Option<Bytes>) -> RequestBody {
    match json {
        Some(bytes) => BodyExt::boxed(Full::new(bytes).map_err(|never| match never {})),
        None => BodyExt::boxed(Empty::new().map_err(|never| match never {})),
    }
}
