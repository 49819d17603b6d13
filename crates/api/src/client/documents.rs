//! `/berth/manifests`, `/berth/referrers`, `/berth/blobs`: Berth's own calls about what registries hold beside images.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};

use super::images::auth_header;
use super::{Body, Client, Error, Query, Upload, decode};
use crate::registry::{AuthConfig, DocumentInspect, DocumentPutResult, DocumentReferrers};

/// A name at a registry, and how the registry is asked.
#[derive(Debug, Clone, Default)]
pub struct DocumentOptions {
    /// The registry need have no certificate that is right.
    pub insecure: bool,
    /// Who asks.
    pub auth: Option<AuthConfig>,
}

impl DocumentOptions {
    fn query(&self) -> Query {
        Query::new().with_flag("insecure", self.insecure)
    }
}

impl Client {
    /// The manifest or index that a name stands for; with `platform`, the platform of an image as well.
    ///
    /// # Errors
    /// See [`Error`]; so do all methods below.
    pub async fn document(
        &self,
        name: &str,
        platform: bool,
        options: &DocumentOptions,
    ) -> Result<DocumentInspect, Error> {
        let query = options.query().with_flag("platform", platform);
        self.ask_registry(Method::GET, &format!("/berth/manifests/{name}"), &query, None, options, &[]).await
    }

    /// Puts a manifest or index to a registry; `from` is the repository that has the blobs which it names, if that is
    /// another one, and who asks there.
    pub async fn document_put(
        &self,
        name: &str,
        media_type: &str,
        document: Bytes,
        from: Option<(&str, Option<&AuthConfig>)>,
        options: &DocumentOptions,
    ) -> Result<DocumentPutResult, Error> {
        let mut query = options.query().with("mediaType", media_type);
        let mut more = Vec::new();
        if let Some((from, auth)) = from {
            query = query.with("from", from);
            let config = HeaderName::from_static("x-registry-config");
            more = auth_header(auth)?.into_iter().map(|(_, value)| (config.clone(), value)).collect();
        }
        let path = format!("/berth/manifests/{name}");
        self.ask_registry(Method::PUT, &path, &query, Some(document), options, &more).await
    }

    /// The manifests that name this one as their subject.
    pub async fn referrers(
        &self,
        name: &str,
        artifact_type: &str,
        options: &DocumentOptions,
    ) -> Result<DocumentReferrers, Error> {
        let query = options.query().with_text("artifactType", artifact_type);
        self.ask_registry(Method::GET, &format!("/berth/referrers/{name}"), &query, None, options, &[]).await
    }

    /// A blob, by `repository@digest`, of this length.
    pub async fn blob(&self, name: &str, size: u64, options: &DocumentOptions) -> Result<Body, Error> {
        let query = options.query().with("size", size);
        let headers = auth_header(options.auth.as_ref())?;
        self.stream_with(Method::GET, &format!("/berth/blobs/{name}"), &query, None, &headers).await
    }

    /// Puts a blob, which must have the digest in `repository@digest`.
    pub async fn blob_put(
        &self,
        name: &str,
        source: impl Upload,
        options: &DocumentOptions,
    ) -> Result<(), Error> {
        let headers = auth_header(options.auth.as_ref())?;
        let path = format!("/berth/blobs/{name}");
        let kind = "application/octet-stream";
        self.send_archive_with(&Method::PUT, &path, &options.query(), kind, source, &headers).await?;
        Ok(())
    }

    async fn ask_registry<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        body: Option<Bytes>,
        options: &DocumentOptions,
        more: &[(HeaderName, HeaderValue)],
    ) -> Result<T, Error> {
        let mut headers = auth_header(options.auth.as_ref())?;
        headers.extend_from_slice(more);
        let mut answer = self.stream_with(method, path, query, body, &headers).await?;
        decode(&answer.whole().await?)
    }
}
