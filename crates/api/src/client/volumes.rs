//! `/volumes/…`

use hyper::Method;

use super::containers::filter_text;
use super::query::segment;
use super::{Client, Error, NOTHING, Query};
use crate::filters::Filters;
use crate::volume::{CreateOptions, ListResponse, PruneResponse, Volume};

impl Client {
    /// Lists volumes.
    ///
    /// # Errors
    /// See [`Error`]; so do all methods below.
    pub async fn volumes(&self, filters: &Filters) -> Result<ListResponse, Error> {
        self.get("/volumes", &Query::new().with_text("filters", &filter_text(filters))).await
    }

    /// Makes a volume, or finds it.
    pub async fn volume_create(&self, options: &CreateOptions) -> Result<Volume, Error> {
        self.post("/volumes/create", &Query::new(), Some(options)).await
    }

    /// Changes a volume of a cluster.
    pub async fn volume_update(&self, id: &str, version: u64, body: &serde_json::Value) -> Result<(), Error> {
        let path = format!("/volumes/{}", segment(id));
        let query = Query::new().with_text("version", &version.to_string());
        self.bytes(Method::PUT, &path, &query, Some(body)).await.map(|_| ())
    }

    /// Removes a volume. With `force` a volume that is not there is no error.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<(), Error> {
        let path = format!("/volumes/{}", segment(name));
        self.bytes(Method::DELETE, &path, &Query::new().with_flag("force", force), NOTHING).await.map(|_| ())
    }

    /// Removes volumes that nobody uses.
    pub async fn volumes_prune(&self, filters: &Filters) -> Result<PruneResponse, Error> {
        let query = Query::new().with_text("filters", &filter_text(filters));
        self.post("/volumes/prune", &query, NOTHING).await
    }
}
