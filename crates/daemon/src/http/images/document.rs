//! `/berth/manifests`, `/berth/referrers`, `/berth/blobs`: what registries hold beside images. Berth's own; Docker's
//! command line speaks to registries by itself.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_api::registry::{DocumentInspect, DocumentPutResult, DocumentReferrers};
use berth_engine::{DocumentPut, DocumentRequest};
use hyper::StatusCode;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;
use super::registry::{credentials, second_credentials};
use super::transfer::cut_on_error;

fn request(call: &Call) -> Result<DocumentRequest, Error> {
    Ok(DocumentRequest {
        name: call.name.clone(),
        insecure: call.query.flag_or("insecure", false),
        credentials: credentials(&call.headers),
    })
}

/// `GET /berth/manifests/{name}`
pub(crate) async fn get(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let with_platform = call.query.flag_or("platform", false);
    let found = server.engine.document(&request(&call)?, with_platform).await?;
    Answer::json(&DocumentInspect {
        media_type: found.media_type,
        digest: found.digest.to_string(),
        raw: STANDARD.encode(&found.document),
        platform: found.platform,
    })
}

/// `PUT /berth/manifests/{name}`
pub(crate) async fn put(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    let request = request(&call)?;
    let from = call.query.text("from").to_owned();
    let put = DocumentPut {
        media_type: call.query.text("mediaType").to_owned(),
        from_credentials: second_credentials(&call.headers),
        from,
        document: call.take_body().read().await?,
    };
    let digest = server.engine.document_put(&request, put).await?;
    Answer::json(&DocumentPutResult { digest: digest.to_string() })
}

/// `GET /berth/referrers/{name}`
pub(crate) async fn referrers(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let index = server.engine.referrers(&request(&call)?, call.query.text("artifactType")).await?;
    Answer::json(&DocumentReferrers { manifests: index.manifests })
}

/// `GET /berth/blobs/{name}`
pub(crate) async fn blob(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let size = call.query.text("size");
    let size = size.parse().map_err(|_| Error::invalid(format!("size {size:?} is no length of a blob")))?;
    let blob = server.engine.blob_get(&request(&call)?, size).await?;
    Ok(Answer::stream("application/octet-stream", cut_on_error(blob)))
}

/// `PUT /berth/blobs/{name}`
pub(crate) async fn put_blob(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    let request = request(&call)?;
    server.engine.blob_put(&request, call.take_body().into_pieces()).await?;
    Ok(Answer::status(StatusCode::CREATED))
}
