//! `POST /images/create`: import of an archive, from the client or from a URL, and pull

use std::sync::Arc;

use berth_api::progress::Message;
use berth_engine::ImageImport;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

pub(crate) async fn create(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    if !call.query.text("fromImage").is_empty() {
        return super::registry::pull(&server, &call).await;
    }
    let import = ImageImport {
        repository: call.query.some("repo").map(str::to_owned),
        tag: call.query.some("tag").map(str::to_owned),
        message: call.query.text("message").to_owned(),
        changes: call.query.all("changes").map(str::to_owned).collect(),
        platform: call.query.some("platform").map(str::to_owned),
    };
    let source = call.query.text("fromSrc");
    if source != "-" {
        return super::registry::transfer(server.engine.image_import_from(source.to_owned(), import)).await;
    }
    let archive = call.take_body().into_pieces();
    Ok(import_archive(&server, archive, import).await)
}

/// Imports, and tells the new image's id as the only line of progress.
async fn import_archive(server: &Server, archive: impl berth_engine::Upload, import: ImageImport) -> Answer {
    match server.engine.image_import(archive, import).await {
        Ok(id) => {
            let line = Message { status: id, ..Message::default() };
            Answer::json_lines(futures_util::stream::iter([line]))
        }
        Err(error) => Answer::error(&error.into()),
    }
}
