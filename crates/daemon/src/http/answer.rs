//! What a handler answers.

use std::future::Future;
use std::io;
use std::pin::Pin;

use berth_api::Version;
use berth_api::version::{self, Change};
use berth_oci::json;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::Body;
use super::error::Error;
use super::stream::Stream as Connection;

/// The raw stream of one source (a terminal).
pub(crate) const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
/// The raw stream of several sources in frames.
pub(crate) const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";

/// What a handler answers.
pub(crate) enum Answer {
    /// An ordinary answer.
    Response(Response<Body>),
    /// The connection becomes a stream of bytes both ways.
    Hijack(Hijack),
}

/// The life of a stream.
type Run = Box<dyn FnOnce(Connection) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What happens on a connection that is no longer HTTP.
pub(crate) struct Hijack {
    pub(crate) content_type: &'static str,
    /// What the head of a websocket's answer has; nothing for a plain stream.
    pub(crate) websocket: Option<HeaderMap>,
    pub(crate) run: Run,
}

impl Answer {
    /// A status without a body.
    pub(crate) fn status(status: StatusCode) -> Self {
        Self::whole(status, None, Bytes::new())
    }

    /// 204.
    pub(crate) fn no_content() -> Self {
        Self::status(StatusCode::NO_CONTENT)
    }

    /// 200 and JSON.
    pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        Self::json_with(StatusCode::OK, value)
    }

    /// A status and JSON, with the line break that Go's encoder writes behind it.
    pub(crate) fn json_with<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Result<Self, Error> {
        let mut text = json::to_vec(value)?;
        text.push(b'\n');
        Ok(Self::whole(status, Some("application/json"), text.into()))
    }

    /// 200 and JSON in the shape of an API version.
    pub(crate) fn json_for<T: Serialize + ?Sized>(
        value: &T,
        version: Version,
        changes: &[Change],
    ) -> Result<Self, Error> {
        let mut text = version::to_vec(value, version, changes)?;
        text.push(b'\n');
        Ok(Self::whole(StatusCode::OK, Some("application/json"), text.into()))
    }

    /// An error as Docker tells it.
    pub(crate) fn error(error: &Error) -> Self {
        if error.status == StatusCode::NOT_MODIFIED {
            return Self::status(error.status);
        }
        let body = berth_api::ErrorResponse { message: error.message.clone() };
        Self::json_with(error.status, &body)
            .unwrap_or_else(|_| Self::status(StatusCode::INTERNAL_SERVER_ERROR))
    }

    /// 200 and bytes that are produced as they are sent.
    pub(crate) fn stream(
        content_type: &'static str,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        let mut response = Response::new(Body::stream(stream));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self::Response(response)
    }

    /// 200 and JSON values, one a line that ends as Docker ends those that tell progress.
    pub(crate) fn json_lines<T: Serialize>(stream: impl Stream<Item = T> + Send + 'static) -> Self {
        let line = |value: &T| {
            let mut line = json::to_vec_html(value).map_err(io::Error::other)?;
            line.extend_from_slice(b"\r\n");
            Ok(line.into())
        };
        Self::stream("application/json", stream.map(move |value| line(&value)))
    }

    /// Any status, content type and body.
    pub(crate) fn whole(status: StatusCode, content_type: Option<&'static str>, body: Bytes) -> Self {
        let mut response = Response::new(Body::Whole(body));
        *response.status_mut() = status;
        if let Some(content_type) = content_type {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Self::Response(response)
    }

    /// A connection that becomes a stream.
    pub(crate) fn hijack<F>(
        content_type: &'static str,
        run: impl FnOnce(Connection) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let run: Run = Box::new(|connection| Box::pin(run(connection)));
        Self::Hijack(Hijack { content_type, websocket: None, run })
    }

    /// A connection that becomes a websocket.
    pub(crate) fn websocket<F>(headers: HeaderMap, run: impl FnOnce(Connection) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let run: Run = Box::new(|connection| Box::pin(run(connection)));
        Self::Hijack(Hijack { content_type: "", websocket: Some(headers), run })
    }
}

/// One line of a stream of JSON values.
pub(crate) fn json_line<T: Serialize + ?Sized>(value: &T) -> io::Result<Bytes> {
    let mut line = json::to_vec_html(value).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line.into())
}
