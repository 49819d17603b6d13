//! The client: what it shares between requests, and the questions that need no store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_oci::image::{DOCUMENT_BYTES_MAX, media_type};
use berth_oci::{Digest, Reference};
use berth_store::digest_of;
use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{HeaderMap, Method};
use tokio::sync::Semaphore;

use crate::endpoint::{Endpoint, HUB};
use crate::session::{Ask, DENIED, Session};
use crate::transport::Transport;
use crate::{Credentials, Error, Options};

/// A client of registries; clones share connections, limits and what is under way.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) options: Arc<Options>,
    pub(crate) transport: Transport,
    pub(crate) downloads: Arc<Semaphore>,
    pub(crate) uploads: Arc<Semaphore>,
    under_way: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

/// What a name stands for, at a registry.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The digest of the document.
    pub digest: Digest,
    /// Its media type, as the registry says.
    pub media_type: String,
    /// The document: a manifest or an index.
    pub document: Bytes,
}

/// A successful log-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// What Docker says.
    pub status: String,
    /// What to keep instead of the password; empty if the registry gives nothing of the kind.
    pub identity_token: String,
}

/// The media types of what can be pulled.
pub(crate) const MANIFESTS: [&str; 4] =
    [media_type::INDEX, media_type::MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST];

/// The longest wait that a registry may ask for before a request is tried again.
const WAIT_MAX: Duration = Duration::from_secs(60);

impl Client {
    /// A client with these options. Opens nothing yet.
    pub fn new(options: Options) -> Self {
        let shared = Shared {
            transport: Transport::new(Arc::new(options.clone())),
            downloads: Arc::new(Semaphore::new(options.downloads.max(1))),
            uploads: Arc::new(Semaphore::new(options.uploads.max(1))),
            options: Arc::new(options),
            under_way: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether a registry takes these credentials.
    ///
    /// Errors: [`Error::Refused`] or [`Error::Unconvinced`] if it does not; [`Error::Transport`] if it cannot be
    /// asked.
    pub async fn login(&self, server: &str, credentials: &Credentials) -> Result<Login, Error> {
        let domain = registry_of(server);
        let mut last = None;
        for endpoint in Endpoint::own(&self.shared.options, &domain) {
            let url = endpoint.url("");
            let session = Session::new(
                Arc::clone(&self.shared),
                endpoint.clone(),
                Vec::new(),
                Some(credentials.clone()),
            )
            .offline();
            match session.send(&Ask::new(Method::GET, url.clone())).await {
                Ok(_) => {
                    let identity_token = session.refresh_token();
                    return Ok(Login { status: "Login Succeeded".to_owned(), identity_token });
                }
                Err(error) if endpoint.passes_on(&error) => last = Some(Error::or_last(last, error)),
                Err(Error::Refused { status: status @ 401, code, retry_after, .. }) => {
                    let message = format!("login attempt to {url} failed with status: 401 Unauthorized");
                    return Err(Error::Refused { status, code, message, retry_after });
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Invalid(format!("invalid registry {server:?}"))))
    }

    /// The document that a name stands for, at the first endpoint that has it.
    ///
    /// Errors: [`Error::NotFound`], [`Error::Unauthorized`] in Docker's words; what came does not have the digest
    /// that was asked for.
    pub async fn resolve(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Resolved, Error> {
        let found = self.resolve_from(self.sessions(reference, credentials)?, reference).await;
        found.map(|(resolved, _)| resolved).map_err(look_words)
    }

    /// The sessions to pull from, in the order to ask them.
    ///
    /// Errors: a mirror is no URL.
    pub(crate) fn sessions(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<Arc<Session>>, Error> {
        let endpoints = Endpoint::all(&self.shared.options, reference)?.into_iter();
        let session = |endpoint| Arc::new(self.session(endpoint, reference, "pull", credentials));
        Ok(endpoints.map(session).collect())
    }

    /// The document that a name stands for, and the sessions to get the rest from: the one that answered, then what
    /// is left.
    pub(crate) async fn resolve_from(
        &self,
        mut sessions: Vec<Arc<Session>>,
        reference: &Reference,
    ) -> Result<(Resolved, Vec<Arc<Session>>), Error> {
        let mut first_error = None;
        while !sessions.is_empty() {
            let session = &sessions[0];
            let is_last = sessions.len() == 1;
            match self.manifest(session, reference, is_last).await {
                Ok(resolved) => return Ok((resolved, sessions)),
                Err(error) if session.endpoint.passes_on(&error) && !is_last => {
                    tracing::info!(%error, endpoint = %session.endpoint.url(""), "trying the next endpoint");
                    // What a mirror says matters least.
                    if !session.endpoint.is_mirror {
                        first_error = Some(Error::or_last(first_error, error));
                    }
                    sessions.remove(0);
                }
                Err(error) => {
                    // A registry that speaks no TLS and is not there in clear either is not there.
                    let error = match (first_error, error) {
                        (first, error @ Error::Transport { .. }) => Error::or_last(first, error),
                        (_, error) => error,
                    };
                    return Err(error);
                }
            }
        }
        Err(Error::NotFound(format!("no endpoint for {}", reference.familiar())))
    }

    pub(crate) fn session(
        &self,
        endpoint: Endpoint,
        reference: &Reference,
        actions: &str,
        credentials: Option<&Credentials>,
    ) -> Session {
        let scope = format!("repository:{}:{actions}", reference.path());
        Session::new(Arc::clone(&self.shared), endpoint, vec![scope], credentials.cloned())
    }

    /// A manifest or index by tag or digest.
    pub(crate) async fn manifest(
        &self,
        session: &Session,
        reference: &Reference,
        patient: bool,
    ) -> Result<Resolved, Error> {
        let wanted = reference.digest().map(Digest::to_string);
        let wanted = wanted.as_deref().or(reference.tag()).unwrap_or("latest");
        let url = session.endpoint.url(&format!("{}/manifests/{wanted}", reference.path()));
        let mut ask = Ask::new(Method::GET, url);
        for kind in MANIFESTS {
            ask = ask.header(ACCEPT, kind);
        }
        if reference.digest().is_none() {
            ask = ask.told_as_head();
        }
        let read = self.patiently(patient, || session.read(&ask, DOCUMENT_BYTES_MAX)).await;
        let (headers, document) = read.map_err(|error| match error {
            // Docker knocks first.
            Error::Transport { why, .. } if why.starts_with("dial ") => {
                Ask::new(Method::GET, session.endpoint.url("")).failed(why)
            }
            other => other,
        })?;
        let digest = digest_of(&document);
        if let Some(expected) = reference.digest().filter(|expected| **expected != digest) {
            return Err(Error::Lie(format!(
                "manifest verification failed for digest {expected}: what came has digest {digest}"
            )));
        }
        Ok(Resolved { digest, media_type: content_type(&headers), document })
    }

    /// Tries again what may pass, waiting as long as the registry asks for.
    pub(crate) async fn patiently<T, F>(
        &self,
        patient: bool,
        mut action: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match action().await {
                Err(error) if error.status() >= 408 && error.is_passing() => error,
                result => return result,
            };
            if !patient || attempt >= self.shared.options.attempts {
                return Err(error);
            }
            let Some(wait) = pause(&error, attempt) else { return Err(error) };
            tokio::time::sleep(wait).await;
        }
    }

    /// The lock of a blob: whoever has it fetches that blob, others wait for it to be there.
    pub(crate) fn under_way(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.shared.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(all.entry(digest.clone()).or_default())
    }
}

/// How long to wait before the next attempt; nothing if the registry asks for more than is sensible.
pub(crate) fn pause(error: &Error, attempt: u32) -> Option<Duration> {
    let asked = match error {
        Error::Refused { retry_after: Some(seconds), .. } => Duration::from_secs(*seconds),
        _ => Duration::from_millis(250) * 2_u32.saturating_pow(attempt.min(6)),
    };
    (asked <= WAIT_MAX).then_some(asked)
}

fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_owned()
}

/// The registry that the address of a log-in means: `https://index.docker.io/v1/` is Docker Hub.
pub(crate) fn registry_of(server: &str) -> String {
    let host = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" | "docker.io" => HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// A failed pull in Docker's words.
pub(crate) fn pull_words(error: Error, reference: &Reference) -> Error {
    let message = error.to_string();
    let name = reference.familiar_repository();
    match error.code() {
        "DENIED" => Error::NotFound(format!(
            "pull access denied for {name}, repository does not exist or may require 'docker login': {message}"
        )),
        "MANIFEST_UNKNOWN" => {
            Error::NotFound(format!("manifest for {} not found: {message}", reference.familiar()))
        }
        "NAME_UNKNOWN" => Error::NotFound(format!("repository {name} not found: {message}")),
        _ if error.status() == 404 => {
            Error::NotFound(format!("manifest for {} not found: {message}", reference.familiar()))
        }
        _ => error,
    }
}

/// What a registry says of a name that was only looked at, in Docker's words.
fn look_words(error: Error) -> Error {
    match error {
        Error::Refused { status: 404, message, .. } => Error::NotFound(message),
        Error::Refused { status: 401, code, .. } if code == "DENIED" => {
            Error::Forbidden(format!("errors:\ndenied: {DENIED}\nunauthorized: authentication required\n"))
        }
        Error::Refused { status: 401, message, .. } => Error::Unauthorized(message),
        Error::Refused { status: 403, message, .. } => Error::Forbidden(message),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_log_ins() {
        for (server, expect) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("http://r.example:5000/v2/", "r.example:5000"),
        ] {
            assert_eq!(registry_of(server), expect, "{server}");
        }
    }
}
