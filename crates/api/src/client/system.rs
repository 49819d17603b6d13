//! `/version`, `/info`, `/events`, `/system/df`

use std::collections::BTreeMap;

use hyper::Method;

use super::containers::filter_text;
use super::images::secret_header;
use super::{Client, Error, JsonStream, NOTHING, Query};
use crate::event::Message;
use crate::filters::Filters;
use crate::network;
use crate::registry::AuthConfig;
use crate::system::{CachePruneResponse, DiskUsage, Info, VersionResponse};

impl Client {
    /// Has every image checked byte for byte and, with `repair`, mended: by who is known to registries, by their
    /// domains. Berth's own call.
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub async fn fsck(
        &self,
        repair: Option<&BTreeMap<String, AuthConfig>>,
    ) -> Result<JsonStream<crate::check::Line>, Error> {
        let query = Query::new().with_text("repair", if repair.is_some() { "1" } else { "" });
        let headers = match repair {
            Some(logins) => secret_header("x-registry-config", logins)?,
            None => Vec::new(),
        };
        Ok(JsonStream::new(self.stream_with(Method::POST, "/berth/fsck", &query, None, &headers).await?))
    }

    /// The engine's version.
    ///
    /// # Errors
    /// See [`Error`]; so do all methods below.
    pub async fn server_version(&self) -> Result<VersionResponse, Error> {
        self.get("/version", &Query::new()).await
    }

    /// The engine and its machine.
    pub async fn info(&self) -> Result<Info, Error> {
        self.get("/info", &Query::new()).await
    }

    /// The same as the engine wrote it.
    pub async fn info_raw(&self) -> Result<Vec<u8>, Error> {
        let (_, bytes) = self.bytes(Method::GET, "/info", &Query::new(), NOTHING).await?;
        Ok(bytes.to_vec())
    }

    /// What happens, as it happens.
    pub async fn events(
        &self,
        since: &str,
        until: &str,
        filters: &Filters,
    ) -> Result<JsonStream<Message>, Error> {
        let query = Query::new()
            .with_text("filters", &filter_text(filters))
            .with_text("since", since)
            .with_text("until", until);
        Ok(JsonStream::new(self.stream(Method::GET, "/events", &query, NOTHING).await?))
    }

    /// Removes networks that nobody uses.
    pub async fn networks_prune(&self, filters: &Filters) -> Result<network::PruneResponse, Error> {
        let query = Query::new().with_text("filters", &filter_text(filters));
        self.post("/networks/prune", &query, NOTHING).await
    }

    /// Removes what builds have kept.
    pub async fn build_prune(&self, all: bool, filters: &Filters) -> Result<CachePruneResponse, Error> {
        let query = Query::new().with_flag("all", all).with_text("filters", &filter_text(filters));
        self.post("/build/prune", &query, NOTHING).await
    }

    /// What takes up space.
    pub async fn disk_usage(&self) -> Result<DiskUsage, Error> {
        self.get("/system/df", &Query::new()).await
    }
}
