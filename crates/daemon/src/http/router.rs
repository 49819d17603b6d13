//! From a request line to its handler.
//!
//! A route is a method and a path with at most one `{}`, which stands for any text, slashes included (names of images
//! have them). Routes are tried in their order. Every path may have a version in front (`/v1.24/info`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use berth_api::Version;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::Answer;
use super::body::RequestBody;
use super::call::Call;
use super::error::Error;
use super::query::{self, Query};
use super::routes::ROUTES;
use super::server::Server;

/// The future of a handler.
pub(crate) type Handling = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;

/// Which requests a handler gets.
pub(crate) struct Route {
    pub(crate) method: Method,
    /// What comes before the `{}`, or all of it.
    pub(crate) before: &'static str,
    /// What comes after the `{}`, if there is one.
    pub(crate) after: Option<&'static str>,
    /// The work is finished although the client is gone.
    pub(crate) to_the_end: bool,
    pub(crate) handler: fn(Arc<Server>, Call) -> Handling,
}

impl Route {
    /// The text that the `{}` stands for if the path is this route's.
    fn name<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(self.before)?;
        match self.after {
            None => rest.is_empty().then_some(""),
            Some(after) => rest.strip_suffix(after).filter(|name| !name.is_empty()),
        }
    }
}

/// Answers a request. The headers go with every answer, whatever it is.
pub(crate) async fn answer(
    server: &Arc<Server>,
    method: &Method,
    target: &str,
    headers: HeaderMap,
    body: RequestBody,
) -> (Answer, HeaderMap) {
    server.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut common = HeaderMap::new();
    let answer = match route(server, method, target, headers, body, &mut common) {
        Ok(handling) => handling.await,
        Err(error) => Err(error),
    };
    let answer = answer.unwrap_or_else(|error| {
        if error.fault {
            tracing::error!(%method, target, status = error.status.as_u16(), "{error}");
        } else {
            tracing::debug!(%method, target, status = error.status.as_u16(), "{error}");
        }
        Answer::error(&error)
    });
    (answer, common)
}

/// Finds the handler and starts it.
fn route(
    server: &Arc<Server>,
    method: &Method,
    target: &str,
    headers: HeaderMap,
    body: RequestBody,
    common: &mut HeaderMap,
) -> Result<Handling, Error> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Ok(path) = query::decode_path(path) else {
        let text = bytes::Bytes::from_static(b"400 Bad Request");
        let answer = Answer::whole(StatusCode::BAD_REQUEST, Some("text/plain; charset=utf-8"), text);
        return Ok(Box::pin(std::future::ready(Ok(answer))));
    };
    if let Some(clean) = clean(&path) {
        return Ok(Box::pin(std::future::ready(Ok(moved(&clean, query)))));
    }
    let (version, path) = split_version(&path);
    let (route, name) = find(method, path).ok_or_else(|| Error::not_found("page not found"))?;
    let name = name.to_owned();
    common.insert(HeaderName::from_static("api-version"), HeaderValue::from_static(API_VERSION));
    common.insert(HeaderName::from_static("ostype"), HeaderValue::from_static("linux"));
    common.insert(hyper::header::SERVER, server.header.clone());
    let version = negotiate(version)?;
    let experimental = if server.settings().experimental { "true" } else { "false" };
    common.insert(HeaderName::from_static("docker-experimental"), HeaderValue::from_static(experimental));
    let call = Call { version, name, query: Query::parse(query)?, headers, body };
    tracing::trace!(%method, target, "request");
    let handling = (route.handler)(server.clone(), call);
    Ok(if route.to_the_end { finish(handling) } else { handling })
}

/// A path without empty, `.` and `..` parts; nothing if it has none.
///
/// What decides who may do what sees one spelling of a path only.
fn clean(path: &str) -> Option<String> {
    let parts = || path.split('/').skip(1);
    let last = parts().count().saturating_sub(1);
    if path == "*" {
        return Some("/*".to_owned());
    }
    if !path.starts_with('/')
        || parts()
            .enumerate()
            .all(|(at, part)| !matches!(part, "." | "..") && (at == last || !part.is_empty()))
    {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for part in parts() {
        match part {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    let slash = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{slash}", kept.join("/")))
}

/// Sends a client to the clean spelling of its path.
fn moved(path: &str, query: &str) -> Answer {
    let mut location = utf8_percent_encode(path, PATH).to_string();
    if !query.is_empty() {
        location = format!("{location}?{query}");
    }
    let answer = Answer::status(StatusCode::MOVED_PERMANENTLY);
    let Answer::Response(mut response) = answer else { return answer };
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(hyper::header::LOCATION, location);
    }
    Answer::Response(response)
}

/// What Go escapes in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// Our newest version, as the header says it.
const API_VERSION: &str = "1.52";

/// The route of a request and what its `{}` stands for.
pub(super) fn find<'p>(method: &Method, path: &'p str) -> Option<(&'static Route, &'p str)> {
    ROUTES.iter().filter(|route| route.method == method).find_map(|route| Some((route, route.name(path)?)))
}

/// Runs the work in a task of its own, so that it comes to its end when the client is gone.
fn finish(handling: Handling) -> Handling {
    let task = tokio::spawn(handling);
    Box::pin(async move {
        task.await.unwrap_or_else(|error| {
            Err(Error::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the request's handler failed: {error}"),
            ))
        })
    })
}

/// Takes `/v1.24` off a path.
pub(super) fn split_version(path: &str) -> (Option<&str>, &str) {
    let Some(rest) = path.strip_prefix("/v") else { return (None, path) };
    let end = rest.find('/').unwrap_or(rest.len());
    let (version, rest) = rest.split_at(end);
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return (None, path);
    }
    (Some(version), rest)
}

/// The version that is spoken with a client.
///
/// Errors: Docker's texts for versions that we do not speak.
pub(super) fn negotiate(text: Option<&str>) -> Result<Version, Error> {
    let Some(text) = text else { return Ok(Version::NEWEST) };
    let version = Version::parse(text).unwrap_or(Version { major: 0, minor: 0 });
    if version < Version::OLDEST {
        return Err(Error::invalid(format!(
            "client version {text} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
            Version::OLDEST
        )));
    }
    if version > Version::NEWEST {
        return Err(Error::invalid(format!(
            "client version {text} is too new. Maximum supported API version is {}",
            Version::NEWEST
        )));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'p>(method: &Method, path: &'p str) -> Option<(String, &'p str)> {
        find(method, path).map(|(route, name)| {
            (
                format!(
                    "{}{}",
                    route.before,
                    route.after.map_or(String::new(), |after| format!("{{}}{after}"))
                ),
                name,
            )
        })
    }

    fn check(method: &Method, path: &'static str, route: &str, name: &str) {
        assert_eq!(found(method, path), Some((route.to_owned(), name)), "{path}");
    }

    #[test]
    fn paths_find_their_routes() {
        check(&Method::GET, "/containers/json", "/containers/json", "");
        check(&Method::GET, "/containers/abc/json", "/containers/{}/json", "abc");
        check(&Method::POST, "/containers/create", "/containers/create", "");
        check(&Method::POST, "/containers/prune", "/containers/prune", "");
        check(&Method::POST, "/containers/abc/start", "/containers/{}/start", "abc");
        check(&Method::DELETE, "/containers/abc", "/containers/{}", "abc");
        check(&Method::GET, "/images/reg.io:5000/a/b:c/json", "/images/{}/json", "reg.io:5000/a/b:c");
        check(&Method::GET, "/images/json", "/images/json", "");
        check(&Method::GET, "/images/get", "/images/get", "");
        check(&Method::GET, "/images/a/b/get", "/images/{}/get", "a/b");
        check(&Method::DELETE, "/images/a/b:c", "/images/{}", "a/b:c");
        check(&Method::HEAD, "/_ping", "/_ping", "");
        for (method, path) in [
            (Method::GET, "/"),
            (Method::GET, ""),
            (Method::POST, "/version"),
            (Method::GET, "/containers"),
            (Method::GET, "/containers//json"),
            (Method::PUT, "/containers/create"),
            (Method::DELETE, "/containers/"),
        ] {
            assert_eq!(found(&method, path), None, "{path}");
        }
    }

    #[test]
    fn paths_have_one_spelling() {
        for (path, expect) in [
            ("//version", "/version"),
            ("/containers//json", "/containers/json"),
            ("/containers/../version", "/version"),
            ("/a/./b/", "/a/b/"),
            ("/../..", "/"),
            ("/a//", "/a/"),
            ("*", "/*"),
        ] {
            assert_eq!(clean(path).as_deref(), Some(expect), "{path}");
        }
        for path in ["/", "/version", "/version/", "/images/a.b/..c/json"] {
            assert_eq!(clean(path), None, "{path}");
        }
    }

    #[test]
    fn versions_are_taken_off() {
        assert_eq!(split_version("/v1.24/info"), (Some("1.24"), "/info"));
        assert_eq!(split_version("/v1/info"), (Some("1"), "/info"));
        assert_eq!(split_version("/volumes"), (None, "/volumes"));
        assert_eq!(split_version("/vabc/info"), (None, "/vabc/info"));
        assert_eq!(split_version("/v/info"), (None, "/v/info"));
        assert_eq!(split_version("/v1.24"), (Some("1.24"), ""));
    }

    #[test]
    fn versions_are_negotiated() {
        assert_eq!(negotiate(None).unwrap(), Version::NEWEST);
        assert_eq!(negotiate(Some("1.24")).unwrap(), Version::new(24));
        assert_eq!(
            negotiate(Some("1.99")).unwrap_err().to_string(),
            "client version 1.99 is too new. Maximum supported API version is 1.52"
        );
        for old in ["1.23", "1", "0.5", "1.2.3", "..."] {
            assert!(negotiate(Some(old)).unwrap_err().to_string().contains("is too old. Minimum"), "{old}");
        }
    }

    #[test]
    fn the_header_says_the_newest_version() {
        assert_eq!(API_VERSION, Version::NEWEST.to_string());
    }
}
