//! `/containers/…`

use hyper::Method;

use super::query::segment;
use super::{Body, Client, Error, Hijacked, JsonStream, NOTHING, Query};
use crate::container::{
    CreateRequest, CreateResponse, FilesystemChange, Inspect, PruneResponse, Summary, TopResponse,
    UpdateRequest, UpdateResponse, WaitResponse,
};
use crate::filters::{self, Filters};
use crate::stats::Stats;

/// What `list` shows.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// With sizes.
    pub size: bool,
    /// Only the last so many.
    pub limit: Option<i64>,
    /// Only those that match.
    pub filters: Filters,
}

/// What `attach` connects.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// From now on, as it comes.
    pub stream: bool,
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Errors.
    pub stderr: bool,
    /// What was written before, first.
    pub logs: bool,
    /// The keys that detach; the engine's default when empty.
    pub detach_keys: String,
}

/// What `logs` shows.
#[derive(Debug, Clone, Default)]
pub struct LogsOptions {
    /// Output.
    pub stdout: bool,
    /// Errors.
    pub stderr: bool,
    /// Go on as more is written.
    pub follow: bool,
    /// A time before each line.
    pub timestamps: bool,
    /// The labels and variables of the log driver before each line.
    pub details: bool,
    /// From then on.
    pub since: String,
    /// Until then.
    pub until: String,
    /// Only the last so many lines, or `all`.
    pub tail: String,
}

/// How `remove` removes.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Also its anonymous volumes.
    pub volumes: bool,
    /// The link, not the container.
    pub link: bool,
    /// Also if it runs.
    pub force: bool,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// It does not run, now or soon.
    NotRunning,
    /// It ends once more.
    NextExit,
    /// It is gone.
    Removed,
}

impl WaitCondition {
    fn as_str(self) -> &'static str {
        match self {
            Self::NotRunning => "",
            Self::NextExit => "next-exit",
            Self::Removed => "removed",
        }
    }
}

/// The path of a container. Without its name it would be that of all containers.
pub(super) fn path(name: &str, rest: &str) -> Result<String, Error> {
    match name.trim() {
        "" => Err(Error::EmptyName),
        name => Ok(format!("/containers/{}{rest}", segment(name))),
    }
}

impl Client {
    /// Lists containers.
    ///
    /// # Errors
    /// See [`Error`]; so do all methods below.
    pub async fn containers(&self, options: &ListOptions) -> Result<Vec<Summary>, Error> {
        let query = Query::new()
            .with_flag("all", options.all)
            .with_some("limit", options.limit)
            .with_flag("size", options.size)
            .with_text("filters", &filter_text(&options.filters));
        self.get("/containers/json", &query).await
    }

    /// Makes a container.
    pub async fn container_create(
        &self,
        name: &str,
        platform: &str,
        request: &CreateRequest,
    ) -> Result<CreateResponse, Error> {
        let query = Query::new().with_text("name", name).with_text("platform", platform);
        self.post("/containers/create", &query, Some(request)).await
    }

    /// Everything about a container.
    pub async fn container_inspect(&self, name: &str) -> Result<Inspect, Error> {
        self.get(&path(name, "/json")?, &Query::new()).await
    }

    /// The same as the engine wrote it.
    pub async fn container_inspect_raw(&self, name: &str, size: bool) -> Result<Vec<u8>, Error> {
        let query = Query::new().with_flag("size", size);
        let (_, bytes) = self.bytes(Method::GET, &path(name, "/json")?, &query, NOTHING).await?;
        Ok(bytes.to_vec())
    }

    /// Starts a container.
    pub async fn container_start(&self, name: &str) -> Result<(), Error> {
        self.act(&path(name, "/start")?, &Query::new()).await
    }

    /// Stops a container: the signal, then after `timeout` seconds the end.
    pub async fn container_stop(&self, name: &str, signal: &str, timeout: Option<i64>) -> Result<(), Error> {
        let query = Query::new().with_text("signal", signal).with_some("t", timeout);
        self.act(&path(name, "/stop")?, &query).await
    }

    /// Stops and starts a container.
    pub async fn container_restart(
        &self,
        name: &str,
        signal: &str,
        timeout: Option<i64>,
    ) -> Result<(), Error> {
        let query = Query::new().with_text("signal", signal).with_some("t", timeout);
        self.act(&path(name, "/restart")?, &query).await
    }

    /// Sends a signal to a container's first process.
    pub async fn container_kill(&self, name: &str, signal: &str) -> Result<(), Error> {
        self.act(&path(name, "/kill")?, &Query::new().with_text("signal", signal)).await
    }

    /// Stops a container's processes where they are.
    pub async fn container_pause(&self, name: &str) -> Result<(), Error> {
        self.act(&path(name, "/pause")?, &Query::new()).await
    }

    /// Lets them go on.
    pub async fn container_unpause(&self, name: &str) -> Result<(), Error> {
        self.act(&path(name, "/unpause")?, &Query::new()).await
    }

    /// Gives a container another name.
    pub async fn container_rename(&self, name: &str, new_name: &str) -> Result<(), Error> {
        self.act(&path(name, "/rename")?, &Query::new().with("name", new_name)).await
    }

    /// Sets the size of a container's terminal.
    pub async fn container_resize(&self, name: &str, height: u16, width: u16) -> Result<(), Error> {
        self.act(&path(name, "/resize")?, &Query::new().with("h", height).with("w", width)).await
    }

    /// Removes a container.
    pub async fn container_remove(&self, name: &str, options: RemoveOptions) -> Result<(), Error> {
        let query = Query::new()
            .with_flag("v", options.volumes)
            .with_flag("link", options.link)
            .with_flag("force", options.force);
        self.bytes(Method::DELETE, &path(name, "")?, &query, NOTHING).await.map(|_| ())
    }

    /// Removes containers that do not run.
    pub async fn containers_prune(&self, filters: &Filters) -> Result<PruneResponse, Error> {
        let query = Query::new().with_text("filters", &filter_text(filters));
        self.post("/containers/prune", &query, NOTHING).await
    }

    /// Registers for a container's end. The answer comes when it ends, from [`JsonStream::next`]; once this returns, no
    /// end can be missed.
    pub async fn container_wait(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<JsonStream<WaitResponse>, Error> {
        let query = Query::new().with_text("condition", condition.as_str());
        Ok(JsonStream::new(self.stream(Method::POST, &path(name, "/wait")?, &query, NOTHING).await?))
    }

    /// Connects to a container's input and output.
    pub async fn container_attach(&self, name: &str, options: &AttachOptions) -> Result<Hijacked, Error> {
        let query = Query::new()
            .with_text("detachKeys", &options.detach_keys)
            .with_flag("logs", options.logs)
            .with_flag("stderr", options.stderr)
            .with_flag("stdin", options.stdin)
            .with_flag("stdout", options.stdout)
            .with_flag("stream", options.stream);
        self.hijack(&path(name, "/attach")?, &query, NOTHING).await
    }

    /// What a container wrote.
    pub async fn container_logs(&self, name: &str, options: &LogsOptions) -> Result<Body, Error> {
        let query = Query::new()
            .with_flag("stdout", options.stdout)
            .with_flag("stderr", options.stderr)
            .with_text("since", &options.since)
            .with_text("until", &options.until)
            .with_flag("timestamps", options.timestamps)
            .with_flag("details", options.details)
            .with_flag("follow", options.follow)
            .with_text("tail", &options.tail);
        self.stream(Method::GET, &path(name, "/logs")?, &query, NOTHING).await
    }

    /// A container's processes.
    pub async fn container_top(&self, name: &str, ps_arguments: &str) -> Result<TopResponse, Error> {
        self.get(&path(name, "/top")?, &Query::new().with_text("ps_args", ps_arguments)).await
    }

    /// What a container uses, once: without `one_shot` after a second, so that there is a rate.
    pub async fn container_stats_once(&self, name: &str, one_shot: bool) -> Result<Stats, Error> {
        let query = Query::new().with("stream", "0").with_flag("one-shot", one_shot);
        self.get(&path(name, "/stats")?, &query).await
    }

    /// What a container uses, every second.
    pub async fn container_stats(&self, name: &str) -> Result<JsonStream<Stats>, Error> {
        let query = Query::new().with("stream", "1");
        Ok(JsonStream::new(self.stream(Method::GET, &path(name, "/stats")?, &query, NOTHING).await?))
    }

    /// Changes a container's limits.
    pub async fn container_update(
        &self,
        name: &str,
        request: &UpdateRequest,
    ) -> Result<UpdateResponse, Error> {
        self.post(&path(name, "/update")?, &Query::new(), Some(request)).await
    }

    /// What a container changed in its image's file system.
    pub async fn container_changes(&self, name: &str) -> Result<Vec<FilesystemChange>, Error> {
        self.get(&path(name, "/changes")?, &Query::new()).await
    }

    /// `POST` whose answer has nothing to say.
    pub(super) async fn act(&self, path: &str, query: &Query) -> Result<(), Error> {
        self.bytes(Method::POST, path, query, NOTHING).await.map(|_| ())
    }
}

/// Filters as a parameter; empty for none.
pub(super) fn filter_text(filters: &Filters) -> String {
    if filters.is_empty() { String::new() } else { filters::to_text(filters) }
}
