//! Documents as they are: a manifest or index put to a registry with the blobs that it names, blobs by themselves, and
//! who refers to what.
//!
//! Who refers to a manifest is asked of the registry; one that does not know keeps the answer as an index under the tag
//! `<algorithm>-<hash>`, which its clients write.
//!
//! Source: OCI distribution-spec 1.1, "Listing Referrers", "Pushing Manifests with Subject", "Referrers Tag Schema".

use std::fs::File;
use std::sync::Arc;

use berth_oci::image::{DOCUMENT_BYTES_MAX, media_type};
use berth_oci::{Descriptor, Digest, Index, Reference};
use berth_store::digest_of;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, HeaderMap};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::client::{pull_words, registry_of};
use crate::endpoint::Endpoint;
use crate::pull::next_page;
use crate::push::{descriptor, push_words};
use crate::session::{Ask, Session, encode, resolve};
use crate::upload::{Elsewhere, Source, Upload};
use crate::{Client, Credentials, Error, Options};

/// The most referrers of one manifest that are read.
const REFERRERS_MAX: usize = 10_000;

/// A manifest or index on its way to a registry.
#[derive(Clone, Debug)]
pub struct Put {
    /// Where to: a tag or a digest of a repository.
    pub to: Reference,
    /// What it is.
    pub media_type: String,
    /// The document, byte for byte.
    pub document: Bytes,
    /// Another repository that has the blobs which the document names, and who asks there.
    pub from: Option<(Reference, Option<Credentials>)>,
    /// Who asks.
    pub credentials: Option<Credentials>,
}

/// What a document names.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Names {
    artifact_type: String,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    subject: Option<Descriptor>,
    annotations: std::collections::BTreeMap<String, String>,
}

impl Names {
    fn read(document: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(document)
            .map_err(|error| Error::Invalid(format!("the manifest is malformed: {error}")))
    }

    /// The artifact type as a list of referrers shows it.
    fn artifact_type(&self) -> String {
        match (&self.artifact_type, &self.config) {
            (kind, Some(config)) if kind.is_empty() => config.media_type.clone(),
            (kind, _) => kind.clone(),
        }
    }
}

impl Client {
    /// A client for which one more registry need have no certificate that is right.
    #[must_use]
    pub fn trusting(&self, domain: &str) -> Self {
        let mut options = Options::clone(&self.shared.options);
        options.insecure.push(registry_of(domain));
        Self::new(options)
    }

    /// Puts a document to a registry, after the blobs that it names and that are elsewhere; its digest.
    ///
    /// Errors: the document does not have the digest that it is to have; the registry refuses.
    pub async fn put(&self, put: &Put) -> Result<Digest, Error> {
        let digest = digest_of(&put.document);
        if let Some(wanted) = put.to.digest().filter(|wanted| **wanted != digest) {
            return Err(Error::Invalid(format!("the manifest has digest {digest}, and not {wanted}")));
        }
        let names = Names::read(&put.document)?;
        let session = self.session_for_push(&put.to, put.credentials.as_ref()).await?;
        if let Some((from, credentials)) = &put.from {
            for blob in names.config.iter().chain(&names.layers) {
                let source = Source::Elsewhere(Arc::new(Elsewhere {
                    client: self.clone(),
                    repository: from.clone(),
                    blob: blob.clone(),
                    credentials: credentials.clone(),
                }));
                let is_near = from.domain() == put.to.domain() && from.path() != put.to.path();
                let mount = is_near.then(|| from.path().to_owned()).into_iter().collect();
                self.upload(&session, &put.to, blob.clone(), source, mount).await?;
            }
        }
        let headers = self.put_at(&session, &put.to, &put.media_type, &put.document).await?;
        if let Some(subject) = &names.subject
            && !headers.contains_key("oci-subject")
        {
            let new = referrer(put, &names, &digest);
            self.add_referrer(&session, &put.to, &subject.digest, new).await?;
        }
        Ok(digest)
    }

    async fn put_at(
        &self,
        session: &Session,
        to: &Reference,
        media_type: &str,
        document: &Bytes,
    ) -> Result<HeaderMap, Error> {
        let digest = to.digest().map(Digest::to_string);
        let name = digest.as_deref().or(to.tag()).unwrap_or("latest");
        let url = session.endpoint.url(&format!("{}/manifests/{name}", to.path()));
        let ask = Ask::new(Method::PUT, url).bytes(media_type, document.clone());
        let answer = self.patiently(true, || session.send(&ask)).await.map_err(push_words)?;
        Ok(answer.headers().clone())
    }

    async fn upload(
        &self,
        session: &Arc<Session>,
        to: &Reference,
        descriptor: Descriptor,
        source: Source,
        from: Vec<String>,
    ) -> Result<(), Error> {
        let upload = Upload {
            client: self.clone(),
            session: Arc::clone(session),
            repository: to.path().to_owned(),
            descriptor,
            id: String::new(),
            source,
            from,
            on_update: Arc::new(|_| {}),
            sent: Arc::default(),
        };
        upload.run().await.map_err(push_words)
    }

    /// Puts a file's bytes, whose digest and length the caller knows, to a repository.
    ///
    /// Errors: the registry refuses.
    pub async fn put_blob(
        &self,
        to: &Reference,
        digest: Digest,
        size: u64,
        file: Arc<File>,
        credentials: Option<&Credentials>,
    ) -> Result<(), Error> {
        let session = self.session_for_push(to, credentials).await?;
        self.upload(&session, to, descriptor(digest, size), Source::File(file), Vec::new()).await
    }

    /// The manifests that name this one as their subject; with `artifact_type`, those of that type.
    ///
    /// Errors: as [`Client::resolve`]. A manifest that is not there has no referrers.
    pub async fn referrers(
        &self,
        subject: &Reference,
        artifact_type: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Index, Error> {
        let digest = subject
            .digest()
            .ok_or_else(|| Error::Invalid(format!("{} has no digest", subject.familiar())))?;
        let mut last = None;
        for endpoint in Endpoint::all(&self.shared.options, subject)? {
            let session = self.session(endpoint, subject, "pull", credentials);
            match self.referrers_at(&session, subject, digest, artifact_type).await {
                Ok(mut index) => {
                    // A registry need not filter, and one that does need not be right.
                    if !artifact_type.is_empty() {
                        index.manifests.retain(|manifest| {
                            manifest.other.get("artifactType").and_then(Value::as_str) == Some(artifact_type)
                        });
                    }
                    return Ok(index);
                }
                Err(error) if session.endpoint.passes_on(&error) => last = last.or(Some(error)),
                Err(error) => return Err(pull_words(error, subject)),
            }
        }
        Err(last.unwrap_or_else(|| Error::NotFound(format!("no endpoint for {}", subject.familiar()))))
    }

    async fn referrers_at(
        &self,
        session: &Session,
        subject: &Reference,
        digest: &Digest,
        artifact_type: &str,
    ) -> Result<Index, Error> {
        let query = if artifact_type.is_empty() {
            String::new()
        } else {
            format!("?artifactType={}", encode(artifact_type))
        };
        let mut url = session.endpoint.url(&format!("{}/referrers/{digest}{query}", subject.path()));
        let mut all = empty_index();
        loop {
            let ask = Ask::new(Method::GET, url.clone()).header(ACCEPT, media_type::INDEX);
            let (headers, body) = match self.patiently(true, || session.read(&ask, DOCUMENT_BYTES_MAX)).await
            {
                Ok(read) => read,
                // This registry does not know the question.
                Err(error) if matches!(error.status(), 404 | 405) => {
                    return Ok(self.referrers_by_tag(session, subject, digest).await?.unwrap_or(all));
                }
                Err(error) => return Err(error),
            };
            let before = all.manifests.len();
            all.manifests.extend(index(&body)?.manifests);
            let next = headers.get("link").and_then(|link| link.to_str().ok()).and_then(next_page);
            match next.and_then(|target| resolve(&url, target)) {
                Some(next) if (before + 1..REFERRERS_MAX).contains(&all.manifests.len()) => url = next,
                _ => return Ok(all),
            }
        }
    }

    async fn referrers_by_tag(
        &self,
        session: &Session,
        subject: &Reference,
        digest: &Digest,
    ) -> Result<Option<Index>, Error> {
        match self.manifest(session, &by_tag(subject, digest)?, true).await {
            Ok(resolved) => index(&resolved.document).map(Some),
            Err(error) if error.status() == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a referrer where a registry that knows no referrers keeps them.
    async fn add_referrer(
        &self,
        session: &Session,
        to: &Reference,
        subject: &Digest,
        new: Descriptor,
    ) -> Result<(), Error> {
        let mut index = self.referrers_by_tag(session, to, subject).await?.unwrap_or_else(empty_index);
        if index.manifests.iter().any(|manifest| manifest.digest == new.digest) {
            return Ok(());
        }
        index.manifests.push(new);
        let document = serde_json::to_vec(&index).map_err(|error| Error::Invalid(error.to_string()))?;
        self.put_at(session, &by_tag(to, subject)?, media_type::INDEX, &document.into()).await.map(|_| ())
    }
}

/// How a document that has a subject is listed among its referrers.
fn referrer(put: &Put, names: &Names, digest: &Digest) -> Descriptor {
    let mut new = descriptor(digest.clone(), put.document.len() as u64);
    new.media_type.clone_from(&put.media_type);
    new.annotations.clone_from(&names.annotations);
    let kind = names.artifact_type();
    if !kind.is_empty() {
        new.other.insert("artifactType".to_owned(), Value::String(kind));
    }
    new
}

/// The tag that a subject's referrers are under.
fn by_tag(repository: &Reference, subject: &Digest) -> Result<Reference, Error> {
    let tag = subject.as_str().replace(':', "-");
    repository.with_tag(&tag).map_err(|error| Error::Invalid(format!("tag {tag:?}: {error}")))
}

fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: media_type::INDEX.to_owned(),
        manifests: Vec::new(),
        annotations: std::collections::BTreeMap::new(),
        other: Map::new(),
    }
}

fn index(body: &[u8]) -> Result<Index, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Error::Lie(format!("the list of referrers is malformed: {error}")))
}
