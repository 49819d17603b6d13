//! `POST /images/create`: import of an archive, and pull

use std::sync::Arc;

use berth_api::progress::Message;
use berth_engine::{Class, ImageImport};
use hyper::StatusCode;
use tokio::io::AsyncRead;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

pub(crate) async fn create(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    let image = call.query.text("fromImage").to_owned();
    if !image.is_empty() {
        return pull(&server, &image, call.query.text("tag")).await;
    }
    let source = call.query.text("fromSrc");
    if source != "-" {
        return Err(Error::new(
            StatusCode::NOT_IMPLEMENTED,
            "importing an image from a URL is not built yet",
        ));
    }
    let import = ImageImport {
        repository: call.query.some("repo").map(str::to_owned),
        tag: call.query.some("tag").map(str::to_owned),
        message: call.query.text("message").to_owned(),
        changes: call.query.all("changes").map(str::to_owned).collect(),
        platform: call.query.some("platform").map(str::to_owned),
    };
    let archive = call.take_body().into_reader();
    Ok(import_archive(&server, archive, import).await)
}

/// Imports, and tells the new image's id as the only line of progress.
async fn import_archive(
    server: &Server,
    archive: impl AsyncRead + Send + Unpin + 'static,
    import: ImageImport,
) -> Answer {
    match server.engine.image_import(archive, import).await {
        Ok(id) => {
            let line = Message { status: id, ..Message::default() };
            Answer::json_lines(futures_util::stream::iter([line]))
        }
        Err(error) => Answer::error(&error.into()),
    }
}

/// There is no registry client yet: only the image that is part of the program can be had.
async fn pull(server: &Server, image: &str, tag: &str) -> Result<Answer, Error> {
    let name = match tag {
        "" => image.to_owned(),
        digest if digest.contains(':') => format!("{image}@{digest}"),
        tag => format!("{image}:{tag}"),
    };
    let engine = server.engine.clone();
    let wanted = name.clone();
    let added = tokio::task::spawn_blocking(move || engine.image_add_embedded(&wanted)).await;
    match added.map_err(|error| Error::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))? {
        Ok(added) => {
            let status = if added { "Downloaded newer image for" } else { "Image is up to date for" };
            let status = format!("Status: {status} {name}");
            Ok(Answer::json_lines(futures_util::stream::iter([Message { status, ..Message::default() }])))
        }
        Err(error) if error.class() == Class::NotFound => Err(Error::new(
            StatusCode::NOT_IMPLEMENTED,
            format!(
                "pulling {name} is not built yet: load the image from an archive (docker load, docker import)"
            ),
        )),
        Err(error) => Err(error.into()),
    }
}
