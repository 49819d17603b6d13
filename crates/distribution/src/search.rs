//! Search: the index of Docker Hub, and of registries that answer the same question.

use hyper::Method;
use serde::{Deserialize, Serialize};

use crate::endpoint::{Endpoint, HUB};
use crate::pull::next_page;
use crate::session::{Ask, Session, encode, resolve};
use crate::{Client, Credentials, Error};

const ANSWER_BYTES_MAX: usize = 4 << 20;
/// The pages of a catalog that are looked at.
const CATALOG_PAGES_MAX: u32 = 100;

/// One line of `docker search`, as registries send it and the Engine API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its stars.
    #[serde(default)]
    pub star_count: i64,
    /// Whether it is an official image.
    #[serde(default)]
    pub is_official: bool,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Whether it is built automatically.
    #[serde(default)]
    pub is_automated: bool,
    /// What it is, in a line.
    #[serde(default)]
    pub description: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Found>,
}

#[derive(Deserialize)]
struct Catalog {
    #[serde(default)]
    repositories: Vec<String>,
}

impl Client {
    /// Searches a registry for a term; `host/term` asks that host, a plain term Docker Hub. A registry without a
    /// search of its own is searched by the names in its catalog.
    ///
    /// Errors: the registry cannot be asked, or has neither.
    pub async fn search(
        &self,
        term: &str,
        limit: usize,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<Found>, Error> {
        if term.contains("://") {
            return Err(Error::Invalid(format!(
                "invalid repository name ({term}): repository name must not have a scheme"
            )));
        }
        let (domain, term) = match term.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
            _ => (HUB, term),
        };
        let mut last = None;
        for mut endpoint in Endpoint::own(&self.shared.options, domain) {
            if domain == HUB {
                "index.docker.io".clone_into(&mut endpoint.host);
            }
            let session =
                Session::new(self.shared.clone(), endpoint.clone(), Vec::new(), credentials.cloned());
            match self.search_at(&session, term, limit).await {
                Ok(found) => return Ok(found),
                Err(error) if endpoint.passes_on(&error) => last = Some(Error::or_last(last, error)),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::NotFound(format!("no endpoint for {domain}"))))
    }

    async fn search_at(&self, session: &Session, term: &str, limit: usize) -> Result<Vec<Found>, Error> {
        let Endpoint { scheme, host, .. } = &session.endpoint;
        let url = format!("{scheme}://{host}/v1/search?q={}&n={limit}", encode(term));
        let answer = session.read(&Ask::new(Method::GET, url.clone()), ANSWER_BYTES_MAX).await;
        let malformed =
            |error: serde_json::Error| Error::Lie(format!("{url}: the answer is malformed: {error}"));
        match answer {
            Ok((_, body)) => {
                let mut found: Answer = serde_json::from_slice(&body).map_err(malformed)?;
                found.results.truncate(limit);
                Ok(found.results)
            }
            Err(error) if error.status() == 404 => self.search_catalog(session, term, limit).await,
            Err(error) => Err(error),
        }
    }

    /// The names of a catalog that hold the term, page after page.
    async fn search_catalog(&self, session: &Session, term: &str, limit: usize) -> Result<Vec<Found>, Error> {
        let wanted = term.to_lowercase();
        let mut found = Vec::new();
        let mut url = session.endpoint.url("_catalog?n=1000");
        for _ in 0..CATALOG_PAGES_MAX {
            let (headers, body) = session.read(&Ask::new(Method::GET, url.clone()), ANSWER_BYTES_MAX).await?;
            let catalog: Catalog = serde_json::from_slice(&body)
                .map_err(|error| Error::Lie(format!("{url}: the answer is malformed: {error}")))?;
            let names = catalog.repositories.into_iter().filter(|name| name.contains(&wanted));
            found.extend(names.map(|name| Found { name, ..Found::default() }));
            let next = headers.get("link").and_then(|link| link.to_str().ok()).and_then(next_page);
            match next.and_then(|target| resolve(&url, target)) {
                Some(next) if found.len() < limit => url = next,
                _ => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}
