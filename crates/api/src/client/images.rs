//! `/images/…`

use base64::Engine as _;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use serde::Serialize;

use super::containers::filter_text;
use super::query::segment;
use super::{Body, Client, Error, Header, JsonStream, NOTHING, Query, Upload};
use crate::filters::Filters;
use crate::image::{DeleteItem, HistoryItem, Inspect, PruneResponse, Summary};
use crate::progress::Message;
use crate::registry::{AuthConfig, SearchResult};

fn path(name: &str, rest: &str) -> String {
    format!("/images/{}{rest}", segment(name))
}

const TAR: &str = "application/x-tar";

impl Client {
    /// Lists images.
    ///
    /// # Errors
    /// See [`Error`]; so do all methods below.
    pub async fn images(&self, all: bool, filters: &Filters) -> Result<Vec<Summary>, Error> {
        let query = Query::new().with_flag("all", all).with_text("filters", &filter_text(filters));
        self.get("/images/json", &query).await
    }

    /// The same with their manifests, from an engine that has them.
    pub async fn images_with_manifests(&self, all: bool, filters: &Filters) -> Result<Vec<Summary>, Error> {
        let query = Query::new().with_flag("all", all).with_text("filters", &filter_text(filters));
        self.get("/images/json", &query.with_flag("manifests", true)).await
    }

    /// Everything about an image.
    pub async fn image_inspect(&self, name: &str) -> Result<Inspect, Error> {
        self.get(&path(name, "/json"), &Query::new()).await
    }

    /// The same as the engine wrote it.
    pub async fn image_inspect_raw(&self, name: &str, platform: &str) -> Result<Vec<u8>, Error> {
        let query = Query::new().with_text("platform", platform);
        let (_, bytes) = self.bytes(Method::GET, &path(name, "/json"), &query, NOTHING).await?;
        Ok(bytes.to_vec())
    }

    /// How an image was made.
    pub async fn image_history(&self, name: &str, platform: &str) -> Result<Vec<HistoryItem>, Error> {
        self.get(&path(name, "/history"), &Query::new().with_text("platform", platform)).await
    }

    /// Gives an image another name.
    pub async fn image_tag(&self, name: &str, repository: &str, tag: &str) -> Result<(), Error> {
        self.act(&path(name, "/tag"), &Query::new().with("repo", repository).with_text("tag", tag)).await
    }

    /// Removes a name of an image, and the image with its last name.
    pub async fn image_remove(
        &self,
        name: &str,
        force: bool,
        keep_parents: bool,
        platforms: &[String],
    ) -> Result<Vec<DeleteItem>, Error> {
        let mut query = Query::new().with_flag("force", force).with_flag("noprune", keep_parents);
        for platform in platforms {
            query = query.with("platforms", platform);
        }
        let (_, bytes) = self.bytes(Method::DELETE, &path(name, ""), &query, NOTHING).await?;
        super::decode(&bytes)
    }

    /// Removes images that nobody uses.
    pub async fn images_prune(&self, filters: &Filters) -> Result<PruneResponse, Error> {
        let query = Query::new().with_text("filters", &filter_text(filters));
        self.post("/images/prune", &query, NOTHING).await
    }

    /// Fetches an image from its registry, as who `auth` says; the answer is the progress.
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub async fn image_pull(
        &self,
        repository: &str,
        tag: &str,
        platform: &str,
        auth: Option<&AuthConfig>,
    ) -> Result<JsonStream<Message>, Error> {
        let query =
            Query::new().with("fromImage", repository).with_text("platform", platform).with_text("tag", tag);
        let headers = auth_header(auth)?;
        Ok(JsonStream::new(self.stream_with(Method::POST, "/images/create", &query, None, &headers).await?))
    }

    /// Sends an image to its registry, as who `auth` says; without a tag, all tags; with a platform (as JSON), only if
    /// the image is for that. The answer is the progress.
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub async fn image_push(
        &self,
        repository: &str,
        tag: &str,
        platform: &str,
        auth: Option<&AuthConfig>,
    ) -> Result<JsonStream<Message>, Error> {
        let query = Query::new().with_text("platform", platform).with_text("tag", tag);
        // As Docker's client: the header is there, though nothing is in it.
        let nobody = AuthConfig::default();
        let headers = auth_header(auth.or(Some(&nobody)))?;
        let path = format!("/images/{repository}/push");
        Ok(JsonStream::new(self.stream_with(Method::POST, &path, &query, None, &headers).await?))
    }

    /// Searches a registry, as who `auth` says.
    ///
    /// # Errors
    /// As [`Client::bytes`], and [`Error::Json`].
    pub async fn image_search(
        &self,
        term: &str,
        limit: i64,
        filters: &Filters,
        auth: Option<&AuthConfig>,
    ) -> Result<Vec<SearchResult>, Error> {
        let limit = if limit > 0 { limit.to_string() } else { String::new() };
        let query = Query::new()
            .with_text("filters", &filter_text(filters))
            .with_text("limit", &limit)
            .with("term", term);
        let headers = auth_header(auth)?;
        let mut body = self.stream_with(Method::GET, "/images/search", &query, None, &headers).await?;
        super::decode(&body.whole().await?)
    }

    /// Makes an image from a root file system: from `source`, or from what the engine finds at the URL `from`.
    pub async fn image_import(
        &self,
        import: &ImportOptions,
        source: Option<impl Upload>,
    ) -> Result<JsonStream<Message>, Error> {
        let mut query = Query::new()
            .with("fromSrc", &import.from)
            .with_text("message", &import.message)
            .with_text("platform", &import.platform)
            .with_text("repo", &import.repository)
            .with_text("tag", &import.tag);
        for change in &import.changes {
            query = query.with("changes", change);
        }
        let body = match source {
            Some(source) => self.upload("/images/create", &query, TAR, source).await?,
            None => self.stream(Method::POST, "/images/create", &query, NOTHING).await?,
        };
        Ok(JsonStream::new(body))
    }

    /// Takes in images from an archive. The answer is progress if its type is JSON, else text.
    pub async fn image_load(
        &self,
        quiet: bool,
        platforms: &[String],
        archive: impl Upload,
    ) -> Result<Body, Error> {
        let mut query = Query::new().with("quiet", if quiet { "1" } else { "0" });
        for platform in platforms {
            query = query.with("platform", platform);
        }
        self.upload("/images/load", &query, TAR, archive).await
    }

    /// An archive of images.
    pub async fn image_save(&self, names: &[String], platforms: &[String]) -> Result<Body, Error> {
        let mut query = Query::new();
        for name in names {
            query = query.with("names", name);
        }
        for platform in platforms {
            query = query.with("platform", platform);
        }
        self.stream(Method::GET, "/images/get", &query, NOTHING).await
    }
}

/// What [`Client::image_import`] makes.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// `-` for an uploaded archive, else a URL.
    pub from: String,
    /// The image's name.
    pub repository: String,
    /// And tag.
    pub tag: String,
    /// What is said of it.
    pub message: String,
    /// For which platform it is.
    pub platform: String,
    /// Lines of a Dockerfile that change its configuration.
    pub changes: Vec<String>,
}

/// The header that says who asks.
pub(super) fn auth_header(auth: Option<&AuthConfig>) -> Result<Vec<Header>, Error> {
    match auth {
        Some(auth) => secret_header("x-registry-auth", auth),
        None => Ok(Vec::new()),
    }
}

/// A header that nobody is to see: JSON in base64.
pub(super) fn secret_header(name: &'static str, value: &impl Serialize) -> Result<Vec<Header>, Error> {
    let encoded = base64::engine::general_purpose::URL_SAFE.encode(serde_json::to_vec(value)?);
    let mut value = HeaderValue::try_from(encoded).map_err(|error| Error::Request(error.to_string()))?;
    value.set_sensitive(true);
    Ok(vec![(HeaderName::from_static(name), value)])
}
