//! `/volumes`

use std::sync::Arc;

use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use super::server::Server;

/// `GET /volumes`
pub(crate) async fn list(_: Arc<Server>, _: Call) -> Result<Answer, Error> {
    Err(Error::not_built("listing volumes"))
}

/// `GET /volumes/{name}`
pub(crate) async fn inspect(_: Arc<Server>, call: Call) -> Result<Answer, Error> {
    Err(Error::not_found(format!("get {}: no such volume", call.name)))
}
