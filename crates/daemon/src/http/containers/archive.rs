//! A container's files: `GET`, `HEAD` and `PUT /containers/{id}/archive`, `GET /containers/{id}/changes`, `export`

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use berth_api::container::FilesystemChange;
use berth_engine::{Archive, ChangeKind, CopyIn, CopyOut, PathStat};
use futures_util::StreamExt as _;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde::Serialize;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

const TAR: &str = "application/x-tar";
/// Tells what is at a path, as JSON in base64.
const PATH_STAT: &str = "x-docker-container-path-stat";

/// What is at a path, as the header tells it.
#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    size: i64,
    mode: u32,
    mtime: String,
    #[serde(rename = "linkTarget")]
    link_target: &'a str,
}

/// `HEAD /containers/{id}/archive`
pub(crate) async fn stat(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let stat = server.engine.container_path_stat(&call.name, path(&call)?).await?;
    with_stat(Answer::status(StatusCode::OK), &stat)
}

/// `GET /containers/{id}/archive`
pub(crate) async fn get(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let CopyOut { stat, archive } = server.engine.container_copy_out(&call.name, path(&call)?).await?;
    with_stat(tar(TAR, archive), &stat)
}

/// `PUT /containers/{id}/archive`
pub(crate) async fn put(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    let how = CopyIn {
        path: path(&call)?.to_owned(),
        keep_kinds: call.query.flag("noOverwriteDirNonDir"),
        own: call.query.flag("copyUIDGID"),
    };
    let archive = call.take_body().into_pieces();
    server.engine.container_copy_in(&call.name, how, archive).await?;
    Ok(Answer::status(StatusCode::OK))
}

/// `GET /containers/{id}/changes`
pub(crate) async fn changes(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let changes = server.engine.container_changes(&call.name).await?;
    let changes: Vec<FilesystemChange> = changes
        .into_iter()
        .map(|change| FilesystemChange {
            path: String::from_utf8_lossy(&change.path).into_owned(),
            kind: match change.kind {
                ChangeKind::Modified => 0,
                ChangeKind::Added => 1,
                ChangeKind::Deleted => 2,
            },
        })
        .collect();
    // Docker's list of nothing is none.
    Answer::json(&(!changes.is_empty()).then_some(changes))
}

/// `GET /containers/{id}/export`
pub(crate) async fn export(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    Ok(tar("application/octet-stream", server.engine.container_export(&call.name).await?))
}

fn path(call: &Call) -> Result<&str, Error> {
    call.query.some("path").ok_or_else(|| Error::invalid("bad parameter: pathcannot be empty"))
}

/// An archive as it is produced; what goes wrong on the way cuts the connection.
fn tar(content_type: &'static str, archive: Archive) -> Answer {
    Answer::stream(
        content_type,
        archive.map(|chunk| chunk.map_err(|error| io::Error::other(error.to_string()))),
    )
}

fn with_stat(answer: Answer, stat: &PathStat) -> Result<Answer, Error> {
    let told = Told {
        name: &stat.name,
        size: stat.size,
        mode: stat.mode,
        mtime: stat.modified.to_string(),
        link_target: &stat.link_target,
    };
    let text = base64::engine::general_purpose::STANDARD.encode(serde_json::to_vec(&told)?);
    let value = HeaderValue::try_from(text)
        .map_err(|error| Error::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(match answer {
        Answer::Response(mut response) => {
            response.headers_mut().insert(HeaderName::from_static(PATH_STAT), value);
            Answer::Response(response)
        }
        other => other,
    })
}
