//! `/containers/{id}/exec` and `/exec/…`

use super::containers::path;
use super::query::segment;
use super::{Client, Error, Hijacked, Query};
use crate::exec::{CreateRequest, CreateResponse, Inspect, StartRequest};

impl Client {
    /// Prepares a further process in a container.
    ///
    /// # Errors
    /// See [`Error`]; so do all methods below.
    pub async fn exec_create(
        &self,
        container: &str,
        request: &CreateRequest,
    ) -> Result<CreateResponse, Error> {
        self.post(&path(container, "/exec")?, &Query::new(), Some(request)).await
    }

    /// Starts it without connecting to it.
    pub async fn exec_start(&self, id: &str, request: &StartRequest) -> Result<(), Error> {
        let path = format!("/exec/{}/start", segment(id));
        self.bytes(hyper::Method::POST, &path, &Query::new(), Some(request)).await.map(|_| ())
    }

    /// Starts it and connects to its input and output.
    pub async fn exec_attach(&self, id: &str, request: &StartRequest) -> Result<Hijacked, Error> {
        self.hijack(&format!("/exec/{}/start", segment(id)), &Query::new(), Some(request)).await
    }

    /// How it fares.
    pub async fn exec_inspect(&self, id: &str) -> Result<Inspect, Error> {
        self.get(&format!("/exec/{}/json", segment(id)), &Query::new()).await
    }

    /// Sets the size of its terminal.
    pub async fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<(), Error> {
        self.act(&format!("/exec/{}/resize", segment(id)), &Query::new().with("h", height).with("w", width))
            .await
    }
}
