//! Requests to one endpoint about one repository: authorised, retried once with fresh credentials, redirected safely.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT,
    WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use serde::Deserialize;

use crate::auth::{Challenge, challenges, trusts};
use crate::client::Shared;
use crate::endpoint::Endpoint;
use crate::transport::Body;
use crate::{Credentials, Error};

/// The time in which a registry must begin to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: u32 = 8;
/// What Docker says of a token that does not open what was asked for.
pub(crate) const DENIED: &str = "requested access to the resource is denied";
/// The largest error body or token that is read.
const SMALL_BYTES_MAX: usize = 1 << 20;

/// What makes the body of a request, anew for each try.
pub(crate) type MakeBody = Arc<dyn Fn() -> Body + Send + Sync>;

/// One request.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Option<MakeBody>,
    /// Another repository that this reads from.
    reads: Option<String>,
    /// The method in Go's spelling, as errors tell it.
    told: &'static str,
}

impl Ask {
    pub(crate) fn new(method: Method, url: String) -> Self {
        let told = match method {
            Method::GET => "Get",
            Method::HEAD => "Head",
            Method::POST => "Post",
            Method::PUT => "Put",
            Method::PATCH => "Patch",
            _ => "Delete",
        };
        Self { method, url, headers: Vec::new(), body: None, reads: None, told }
    }

    /// The same, which reads from another repository, too.
    pub(crate) fn reading(self, repository: &str) -> Self {
        Self { reads: Some(repository.to_owned()), ..self }
    }

    /// The same, which errors tell of as a question for the head alone: Docker asks that first.
    pub(crate) fn told_as_head(self) -> Self {
        Self { told: "Head", ..self }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn bytes(mut self, content_type: &str, bytes: Bytes) -> Self {
        self.body =
            Some(Arc::new(move || Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync()));
        self.header(CONTENT_TYPE, content_type)
    }

    /// An answer that is not followed, in Go's form.
    pub(crate) fn refuse(&self, why: impl std::fmt::Display) -> Error {
        Error::Lie(format!("{} \"{}\": {why}", self.told, self.url))
    }

    /// An error of the way there, in Go's form.
    pub(crate) fn failed(&self, why: impl std::fmt::Display) -> Error {
        Error::Transport { method: self.told.to_owned(), url: self.url.clone(), why: why.to_string() }
    }

    /// There is nothing to convince the registry with.
    fn unconvinced(&self, why: impl std::fmt::Display) -> Error {
        Error::Unconvinced { method: self.told.to_owned(), url: self.url.clone(), why: why.to_string() }
    }
}

/// Requests about one repository (or none) at one endpoint.
pub(crate) struct Session {
    shared: Arc<Shared>,
    pub(crate) endpoint: Endpoint,
    /// The token scopes to ask for.
    scopes: Vec<String>,
    credentials: Option<Credentials>,
    /// The header that says who asks, once that was asked for.
    identity: Mutex<Option<HeaderValue>>,
    /// Who asks for the next identity; the others wait for that one.
    turn: tokio::sync::Mutex<()>,
    /// Whether a token service is asked for a refresh token, and the one that it gave.
    offline: Option<Mutex<String>>,
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        endpoint: Endpoint,
        scopes: Vec<String>,
        credentials: Option<Credentials>,
    ) -> Self {
        // What is meant for a registry is nobody else's, a mirror of it included.
        let credentials = credentials.filter(|it| !it.is_empty() && !endpoint.is_mirror);
        let identity = match credentials.as_ref().map(|it| it.registry_token.as_str()) {
            Some(token) if !token.is_empty() => bearer(token),
            _ => None,
        };
        let (identity, turn) = (Mutex::new(identity), tokio::sync::Mutex::default());
        Self { shared, endpoint, scopes, credentials, identity, turn, offline: None }
    }

    /// The same, which asks for a token that can be kept instead of the password.
    pub(crate) fn offline(self) -> Self {
        Self { offline: Some(Mutex::default()), ..self }
    }

    /// The token to keep instead of the password, if the registry's token service gave one.
    pub(crate) fn refresh_token(&self) -> String {
        let kept =
            self.offline.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).clone());
        kept.unwrap_or_default()
    }

    /// Sends a request and waits for the head of the answer. A challenge is answered once; redirects of reads are
    /// followed, without credentials where they lead to another host. Answers of 400 and more are errors.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Response<Incoming>, Error> {
        let known = self.identity();
        let mut answer = self.try_once(ask).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return checked(ask, answer).await;
        }
        let mut turn = self.turn.lock().await;
        if self.identity() != known {
            // Somebody else has asked meanwhile.
            drop(turn);
            answer = self.try_once(ask).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return checked(ask, answer).await;
            }
            turn = self.turn.lock().await;
        }
        match self.answer(ask, &all_challenges(answer.headers())).await? {
            Some(header) => *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(header),
            None => return checked(ask, answer).await,
        }
        drop(turn);
        checked(ask, self.try_once(ask).await?).await
    }

    fn identity(&self) -> Option<HeaderValue> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The whole of a small answer.
    pub(crate) async fn read(&self, ask: &Ask, limit: usize) -> Result<(HeaderMap, Bytes), Error> {
        let answer = self.send(ask).await?;
        let (head, body) = answer.into_parts();
        let body = tokio::time::timeout(ANSWER_TIMEOUT, Limited::new(body, limit).collect()).await;
        match body {
            Ok(Ok(body)) => Ok((head.headers, body.to_bytes())),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(Error::Lie(format!("{}: the answer is longer than {limit} bytes", ask.url)))
            }
            Ok(Err(error)) => Err(ask.failed(error)),
            Err(_) => Err(ask.failed("the answer does not end")),
        }
    }

    /// Sends a request, following redirects as [`Session::send`] does. Challenges and refusals are answers.
    pub(crate) async fn try_once(&self, ask: &Ask) -> Result<Response<Incoming>, Error> {
        let own = origin(&ask.url);
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let is_own = origin(&url) == own;
            let answer = self.round(ask, &url, is_own).await?;
            let follows =
                matches!(ask.method, Method::GET | Method::HEAD) && answer.status().is_redirection();
            if !follows || answer.status() == StatusCode::NOT_MODIFIED {
                return Ok(answer);
            }
            let target = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = target.ok_or_else(|| ask.refuse("redirected to nowhere"))?;
            let next =
                resolve(&url, target).ok_or_else(|| ask.refuse(format!("redirected to {target:?}")))?;
            if url.starts_with("https://") && !next.starts_with("https://") {
                return Err(ask.refuse(format!("redirected from TLS to {next}: refused")));
            }
            url = next;
        }
        Err(ask.refuse(format!("stopped after {REDIRECTS_MAX} redirects")))
    }

    async fn round(&self, ask: &Ask, url: &str, is_own: bool) -> Result<Response<Incoming>, Error> {
        let uri: Uri = url.parse().map_err(|_| ask.failed("malformed URL"))?;
        let host = uri.authority().map_or("", |authority| authority.as_str()).to_owned();
        let mut request = Request::builder().method(ask.method.clone()).uri(uri);
        if let Some(headers) = request.headers_mut() {
            headers.extend(ask.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
            if let Ok(agent) = HeaderValue::from_str(&self.shared.options.user_agent) {
                headers.insert(USER_AGENT, agent);
            }
            if let (Some(header), true) = (self.identity(), is_own) {
                headers.insert(AUTHORIZATION, header);
            }
        }
        let body = ask.body.as_ref().map_or_else(empty, |make| make());
        let request = request.body(body).map_err(|error| ask.failed(error))?;
        let pool = self.shared.transport.pool(&host).map_err(|why| ask.failed(why))?;
        // A body takes the time it takes; who sends it watches over it.
        let answer = if ask.body.is_some() {
            pool.request(request).await
        } else {
            match tokio::time::timeout(ANSWER_TIMEOUT, pool.request(request)).await {
                Ok(answer) => answer,
                Err(_) => return Err(ask.failed("net/http: timeout awaiting response headers")),
            }
        };
        answer.map_err(|error| ask.failed(root_cause(&error)))
    }

    /// The header that answers a challenge; `None` if we have nothing to answer it with.
    async fn answer(&self, ask: &Ask, offered: &[Challenge]) -> Result<Option<HeaderValue>, Error> {
        if let Some(challenge) = offered.iter().find(|challenge| challenge.scheme == "bearer") {
            return self.token(ask, challenge).await.map(|token| bearer(&token));
        }
        if !offered.iter().any(|challenge| challenge.scheme == "basic") {
            return Ok(None);
        }
        match self.named() {
            Some(it) => Ok(basic(&it.username, &it.password)),
            None => Err(ask.unconvinced("no basic auth credentials")),
        }
    }

    /// A name and its password.
    fn named(&self) -> Option<&Credentials> {
        self.credentials.as_ref().filter(|it| !it.username.is_empty() && !it.password.is_empty())
    }

    /// A token from the service that the challenge names.
    async fn token(&self, ask: &Ask, challenge: &Challenge) -> Result<String, Error> {
        let realm = challenge.get("realm").unwrap_or_default();
        let service = challenge.get("service").unwrap_or_default();
        let (Some(from), Some(to)) = (origin(&ask.url), origin(realm)) else {
            return Err(
                ask.refuse(format!("the registry names {realm:?} as its token service, which is no URL"))
            );
        };
        let credentials = self.credentials.as_ref();
        if credentials.is_some() && !trusts(from, to) {
            return Err(ask.refuse(format!(
                "the registry wants the credentials shown to {}://{}, which is not of its site: refused",
                to.0, to.1
            )));
        }
        let stated = challenge.get("scope").unwrap_or_default();
        let mut scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        if scopes.is_empty() {
            scopes.extend(stated.split(' ').filter(|scope| !scope.is_empty()));
        }
        let read = ask.reads.as_ref().map(|repository| format!("repository:{repository}:pull"));
        scopes.extend(read.as_deref());
        let refresh = credentials.map(|it| it.identity_token.as_str()).filter(|token| !token.is_empty());
        let request = match refresh {
            Some(refresh) => {
                let form = form(&[
                    ("grant_type", "refresh_token"),
                    ("service", service),
                    ("client_id", "berth"),
                    ("scope", &scopes.join(" ")),
                    ("refresh_token", refresh),
                ]);
                Ask::new(Method::POST, realm.to_owned())
                    .bytes("application/x-www-form-urlencoded", Bytes::from(form))
            }
            None => {
                let mut pairs = vec![("service", service)];
                pairs.extend(scopes.iter().map(|scope| ("scope", *scope)));
                let user = self.named();
                if let Some(user) = user {
                    pairs.push(("account", &user.username));
                    if self.offline.is_some() {
                        pairs.extend([("client_id", "berth"), ("offline_token", "true")]);
                    }
                }
                let mark = if realm.contains('?') { '&' } else { '?' };
                let mut request = Ask::new(Method::GET, format!("{realm}{mark}{}", form(&pairs)));
                if let Some(header) = user.and_then(|it| basic(&it.username, &it.password)) {
                    request.headers.push((AUTHORIZATION, header));
                }
                request
            }
        };
        self.ask_token(&request).await.map_err(|error| match error {
            Error::Refused { message, .. } => ask.unconvinced(message),
            other => other,
        })
    }

    async fn ask_token(&self, request: &Ask) -> Result<String, Error> {
        let answer = self.round(request, &request.url, false).await?;
        let answer = checked(request, answer).await?;
        let limited = Limited::new(answer.into_body(), SMALL_BYTES_MAX).collect();
        let body = match tokio::time::timeout(ANSWER_TIMEOUT, limited).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return Err(request.failed(error)),
            Err(_) => return Err(request.failed("the answer does not end")),
        };
        let (token, refresh) = token_of(&body).map_err(|why| request.failed(why))?;
        if let (Some(kept), Some(refresh)) = (&self.offline, refresh) {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = refresh;
        }
        Ok(token)
    }
}

/// The token in the answer of a token service, and one to ask for the next with; or what is wrong with it.
pub(crate) fn token_of(body: &[u8]) -> Result<(String, Option<String>), String> {
    let token: Token =
        serde_json::from_slice(body).map_err(|error| format!("unable to decode token response: {error}"))?;
    let refresh = token.refresh_token.filter(|token| !token.is_empty());
    let token = token.token.or(token.access_token).filter(|token| !token.is_empty());
    let token =
        token.ok_or_else(|| "authorization server did not include a token in the response".to_owned())?;
    Ok((token, refresh))
}

/// The answer of a token service.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
}

/// How many seconds a registry asks to wait: it says a number of them, or until when (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: jiff::Timestamp) -> Option<u64> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    value.parse().ok().or_else(|| {
        let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        Some(u64::try_from(until.as_second() - now.as_second()).unwrap_or(0))
    })
}

fn all_challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(challenges).collect()
}

/// What a challenge says is wrong with the token that was shown (RFC 6750, section 3.1): the code and the words that
/// Docker has for it.
fn token_refusal(headers: &HeaderMap) -> Option<(&'static str, String)> {
    all_challenges(headers).into_iter().filter(|challenge| challenge.scheme == "bearer").find_map(
        |challenge| {
            let (code, words) = match challenge.get("error")? {
                "invalid_token" => ("UNAUTHORIZED", "authentication required"),
                "insufficient_scope" => ("DENIED", DENIED),
                _ => return None,
            };
            let words = challenge.get("error_description").map_or_else(|| words.to_owned(), clean);
            Some((code, format!("{}: {words}", code.to_ascii_lowercase())))
        },
    )
}

/// Turns an answer of 400 and more into an error.
async fn checked(ask: &Ask, answer: Response<Incoming>) -> Result<Response<Incoming>, Error> {
    let status = answer.status();
    if status.as_u16() < 300 {
        return Ok(answer);
    }
    let retry_after = retry_after(answer.headers(), jiff::Timestamp::now());
    if let Some((code, message)) = token_refusal(answer.headers()) {
        let (status, code) = (status.as_u16(), code.to_owned());
        return Err(Error::Refused { status, code, message, retry_after });
    }
    let body = if ask.method == Method::HEAD {
        Bytes::new()
    } else {
        let limited = Limited::new(answer.into_body(), SMALL_BYTES_MAX).collect();
        match tokio::time::timeout(ANSWER_TIMEOUT, limited).await {
            Ok(Ok(body)) => body.to_bytes(),
            _ => Bytes::new(),
        }
    };
    let (code, message) = refusal(status, &body);
    let message = message.unwrap_or_else(|| {
        let reason = status.canonical_reason().unwrap_or_default();
        format!("received unexpected HTTP status: {} {reason}", status.as_u16())
    });
    let message = match (status, retry_after) {
        (StatusCode::TOO_MANY_REQUESTS, Some(seconds)) => {
            format!("{message} (the registry asks to wait {seconds} seconds)")
        }
        _ => message,
    };
    Err(Error::Refused { status: status.as_u16(), code, message, retry_after })
}

#[derive(Deserialize)]
struct Refusals {
    #[serde(default)]
    errors: Vec<RefusalItem>,
    #[serde(default)]
    details: String,
}

#[derive(Deserialize)]
struct RefusalItem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// The code and the words of an error body, as Docker shows them.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> (String, Option<String>) {
    let parsed: Refusals =
        serde_json::from_slice(body).unwrap_or(Refusals { errors: vec![], details: String::new() });
    if let Some(first) = parsed.errors.first() {
        let words = |item: &RefusalItem| {
            let code = clean(&item.code).to_ascii_lowercase().replace('_', " ");
            let message = if item.message.is_empty() { code.clone() } else { clean(&item.message) };
            format!("{code}: {message}")
        };
        let all = parsed.errors.iter().map(words).collect::<Vec<_>>();
        return (first.code.clone(), Some(all.join("\n")));
    }
    let code = match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "DENIED",
        StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
        _ => "",
    };
    let message = match status {
        StatusCode::UNAUTHORIZED if parsed.details.is_empty() => {
            Some("unauthorized: authentication required".to_owned())
        }
        StatusCode::UNAUTHORIZED => Some(format!("unauthorized: {}", clean(&parsed.details))),
        StatusCode::FORBIDDEN => Some(format!("denied: {DENIED}")),
        StatusCode::TOO_MANY_REQUESTS => Some("toomanyrequests: too many requests".to_owned()),
        _ => None,
    };
    (code.to_owned(), message)
}

/// Text of a registry without what a terminal would obey, and not without end.
fn clean(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(1000).collect()
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| -> io::Error { match never {} }).boxed_unsync()
}

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    sensitive(&format!("Basic {encoded}"))
}

fn bearer(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Characters that stand for themselves in a query.
const PLAIN: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A text for a query.
pub(crate) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, PLAIN).to_string()
}

fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    pairs.join("&")
}

/// Scheme and `host[:port]` of a URL.
pub(crate) fn origin(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    (matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('@')).then_some((scheme, host))
}

/// Where a `Location` leads.
pub(crate) fn resolve(base: &str, target: &str) -> Option<String> {
    let whole = if let Some(rest) = target.strip_prefix("//") {
        format!("{}://{rest}", origin(base)?.0)
    } else if target.starts_with('/') {
        let (scheme, host) = origin(base)?;
        format!("{scheme}://{host}{target}")
    } else if target.contains("://") {
        target.to_owned()
    } else {
        let path = base.split(['?', '#']).next()?;
        format!("{}/{target}", &path[..path.rfind('/')?])
    };
    origin(&whole)?;
    Some(whole)
}

/// The innermost reason of an error.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match deepest.downcast_ref::<io::Error>() {
        Some(error) => crate::transport::go_words(error),
        None => deepest.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_against_where_they_came_from() {
        let base = "https://r.example:5000/v2/a/blobs/uploads/?x=1";
        for (target, expect) in [
            ("https://cdn.example/x?y", Some("https://cdn.example/x?y")),
            ("/v2/a/b", Some("https://r.example:5000/v2/a/b")),
            ("//cdn.example/b", Some("https://cdn.example/b")),
            ("b?c", Some("https://r.example:5000/v2/a/blobs/uploads/b?c")),
            ("ftp://x/y", None),
            ("https://user@host/", None),
        ] {
            assert_eq!(resolve(base, target).as_deref(), expect, "{target}");
        }
    }

    #[test]
    fn patience_is_asked_for_in_seconds_or_until_a_time() {
        let now = "1994-11-06T08:49:07Z".parse().unwrap();
        for (value, expect) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), expect, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn refusals_have_dockers_words() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        let (code, message) = refusal(StatusCode::NOT_FOUND, body);
        assert_eq!(
            (code.as_str(), message.as_deref()),
            ("MANIFEST_UNKNOWN", Some("manifest unknown: manifest unknown"))
        );
        let (_, message) = refusal(StatusCode::UNAUTHORIZED, b"<html>");
        assert_eq!(message.as_deref(), Some("unauthorized: authentication required"));
        let (_, message) =
            refusal(StatusCode::BAD_REQUEST, b"{\"errors\":[{\"code\":\"X\",\"message\":\"a\\u001b[2Jb\"}]}");
        assert_eq!(message.as_deref(), Some("x: a[2Jb"));
    }
}
