//! `/networks`: the networks that every engine has.

use std::sync::Arc;

use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use super::server::Server;

/// `GET /networks`
pub(crate) async fn list(_: Arc<Server>, _: Call) -> Result<Answer, Error> {
    Err(Error::not_built("listing networks"))
}

/// `GET /networks/{id}`
pub(crate) async fn inspect(_: Arc<Server>, call: Call) -> Result<Answer, Error> {
    Err(Error::not_found(format!("network {} not found", call.name)))
}

/// `DELETE /networks/{id}`
pub(crate) async fn remove(_: Arc<Server>, call: Call) -> Result<Answer, Error> {
    Err(Error::not_found(format!("network {} not found", call.name)))
}
