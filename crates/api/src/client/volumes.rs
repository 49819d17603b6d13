//! `/volumes/…`

use hyper::Method;

use super::containers::filter_text;
use super::query::segment;
use super::{Client, Error, NOTHING, Query};
use crate::filters::Filters;
use crate::volume::{ListResponse, PruneResponse};

impl Client {
    /// Lists volumes.
    ///
    /// # Errors
    /// See [`Error`]; so do all methods below.
    pub async fn volumes(&self, filters: &Filters) -> Result<ListResponse, Error> {
        self.get("/volumes", &Query::new().with_text("filters", &filter_text(filters))).await
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
