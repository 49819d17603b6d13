//! `/containers/{id}/archive`, `/export`, and `/commit`: files in and out of a container, and images made of it.

use hyper::Method;

use super::containers::path;
use super::{Body, Client, Error, NOTHING, Query, Upload};
use crate::archive::PathStat;
use crate::container::IdResponse;

const TAR: &str = "application/x-tar";

/// How [`Client::container_extract`] unpacks.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtractOptions {
    /// A directory may be replaced by a file and the other way round.
    pub overwrite: bool,
    /// Files belong to whom the archive says.
    pub keep_owner: bool,
}

/// What [`Client::container_commit`] makes.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// The image's name.
    pub repository: String,
    /// And tag.
    pub tag: String,
    /// What is said of it.
    pub comment: String,
    /// Who made it.
    pub author: String,
    /// Lines of a Dockerfile that change its configuration.
    pub changes: Vec<String>,
    /// The container stands still meanwhile.
    pub pause: bool,
}

impl Client {
    /// What a path in a container is.
    ///
    /// # Errors
    /// See [`Error`]; so do all methods below.
    pub async fn container_stat(&self, name: &str, file: &str) -> Result<PathStat, Error> {
        let query = Query::new().with("path", file);
        let headers = self.head(&path(name, "/archive")?, &query).await?;
        stat_of(&headers)
    }

    /// A path in a container as a tar archive, and what the path is.
    pub async fn container_archive(&self, name: &str, file: &str) -> Result<(PathStat, Body), Error> {
        let query = Query::new().with("path", file);
        let (headers, body) = self.download(&path(name, "/archive")?, &query).await?;
        Ok((stat_of(&headers)?, body))
    }

    /// Unpacks a tar archive into a directory of a container.
    pub async fn container_extract(
        &self,
        name: &str,
        directory: &str,
        options: ExtractOptions,
        archive: impl Upload,
    ) -> Result<(), Error> {
        let mut query = Query::new();
        if options.keep_owner {
            query = query.with("copyUIDGID", "true");
        }
        if !options.overwrite {
            query = query.with("noOverwriteDirNonDir", "true");
        }
        let query = query.with("path", directory);
        let mut body =
            self.send_archive(&Method::PUT, &path(name, "/archive")?, &query, TAR, archive).await?;
        while body.chunk().await?.is_some() {}
        Ok(())
    }

    /// The whole file system of a container as a tar archive.
    pub async fn container_export(&self, name: &str) -> Result<Body, Error> {
        self.stream(Method::GET, &path(name, "/export")?, &Query::new(), NOTHING).await
    }

    /// Makes an image of a container; its id.
    pub async fn container_commit(&self, name: &str, options: &CommitOptions) -> Result<String, Error> {
        let mut query = Query::new()
            .with_text("author", &options.author)
            .with_text("comment", &options.comment)
            .with("container", name)
            .with_text("repo", &options.repository)
            .with_text("tag", &options.tag);
        for change in &options.changes {
            query = query.with("changes", change);
        }
        if !options.pause {
            query = query.with("pause", "0");
        }
        let made: IdResponse = self.post("/commit", &query, NOTHING).await?;
        Ok(made.id)
    }
}

fn stat_of(headers: &hyper::HeaderMap) -> Result<PathStat, Error> {
    let header = headers.get(PathStat::HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    PathStat::from_header(header)
        .map_err(|reason| Error::Json(format!("unable to decode container path stat header: {reason}")))
}
