//! What can be asked of the engine: each request in one place, the work in the modules of its noun.

use std::sync::Arc;

use berth_oci::container::EndpointSettings;
use tokio::io::AsyncRead;

use crate::*;

type Nothing = Result<()>;

fn not_yet<T>(what: &str) -> Result<T> {
    Err(Error::NotImplemented(format!("{what} is not implemented yet")))
}

/// The engine itself.
impl Engine {
    /// Opens the engine: locks its data root, takes up the containers that run, repairs what a crash left.
    ///
    /// Errors: `Conflict` if another engine has the data root.
    pub async fn open(config: EngineConfig) -> Result<Engine> {
        let events = event::Events::new(config.events_kept);
        Ok(Engine { inner: Arc::new(Inner { config, events }) })
    }

    /// Writes what is not on disk yet and stops watching. Containers run on.
    pub async fn close(&self) {}

    /// How it was set up.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// What `docker info` shows.
    pub async fn info(&self) -> Result<SystemInfo> {
        not_yet("info")
    }

    /// What everything takes on disk.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        not_yet("system df")
    }

    /// Begins to listen to events: those after this call are not missed.
    pub fn events(&self, request: EventsRequest) -> Result<EventStream> {
        self.inner.events.listen(request)
    }
}

/// Containers. Each call takes a name, an id or a prefix of an id; `NoSuchContainer` if nothing fits.
impl Engine {
    /// Creates a container. The record is durable when this returns.
    pub async fn container_create(&self, request: CreateContainer) -> Result<ContainerCreated> {
        let _ = request;
        not_yet("create")
    }

    /// Starts it. `NotModified` if it runs; `StartFailed` with Docker's text if the program cannot be run.
    pub async fn container_start(&self, container: &str) -> Nothing {
        let _ = container;
        not_yet("start")
    }

    /// Stops it: a signal, patience, then `SIGKILL`. `NotModified` if it does not run.
    ///
    /// Cancel: what was signalled stays signalled; the patience ends with the call.
    pub async fn container_stop(&self, container: &str, options: StopOptions) -> Nothing {
        let _ = (container, options);
        not_yet("stop")
    }

    /// Stops it if it runs, then starts it.
    pub async fn container_restart(&self, container: &str, options: StopOptions) -> Nothing {
        let _ = (container, options);
        not_yet("restart")
    }

    /// Sends a signal (name or number; `None`: `SIGKILL`, which is waited for).
    pub async fn container_kill(&self, container: &str, signal: Option<&str>) -> Nothing {
        let _ = (container, signal);
        not_yet("kill")
    }

    /// Freezes its processes.
    pub async fn container_pause(&self, container: &str) -> Nothing {
        let _ = container;
        not_yet("pause")
    }

    /// Thaws its processes.
    pub async fn container_unpause(&self, container: &str) -> Nothing {
        let _ = container;
        not_yet("unpause")
    }

    /// Gives it another name.
    pub async fn container_rename(&self, container: &str, name: &str) -> Nothing {
        let _ = (container, name);
        not_yet("rename")
    }

    /// Changes its limits or restart policy. Answers with warnings.
    pub async fn container_update(&self, container: &str, update: UpdateContainer) -> Result<Vec<String>> {
        let _ = (container, update);
        not_yet("update")
    }

    /// Removes it. `Conflict` if it runs and `force` was not asked for.
    pub async fn container_remove(&self, container: &str, options: RemoveOptions) -> Nothing {
        let _ = (container, options);
        not_yet("remove")
    }

    /// Begins to wait: what happens after this call returned is not missed. Then [`Wait::result`] waits.
    pub fn container_wait(&self, container: &str, condition: WaitCondition) -> Result<Wait> {
        let _ = (container, condition);
        not_yet("wait")
    }

    /// What is known of a container now. Never waits.
    pub fn container(&self, container: &str) -> Result<Arc<Container>> {
        Err(Error::NoSuchContainer(container.to_owned()))
    }

    /// The containers that fit, newest first. Never waits.
    pub fn container_list(&self, options: &ListOptions) -> Result<Vec<Arc<Container>>> {
        let _ = options;
        Ok(Vec::new())
    }

    /// What it takes on disk.
    pub async fn container_size(&self, container: &str) -> Result<ContainerSize> {
        let _ = container;
        not_yet("container size")
    }

    /// Where its layers are, for `inspect`.
    pub fn container_graph_driver(&self, container: &str) -> Result<image::GraphDriver> {
        let _ = container;
        not_yet("graph driver")
    }

    /// Reads its log.
    pub async fn container_logs(&self, container: &str, options: LogsOptions) -> Result<Logs> {
        let _ = (container, options);
        not_yet("logs")
    }

    /// Attaches to its standard streams; before it starts, too: then nothing it writes is missed.
    pub async fn container_attach(&self, container: &str, options: AttachOptions) -> Result<Attached> {
        let _ = (container, options);
        not_yet("attach")
    }

    /// Tells that a client left by its detach keys (an event; nothing else changes).
    pub fn container_detached(&self, container: &str) {
        let _ = container;
    }

    /// Gives its terminal a size.
    pub async fn container_resize(&self, container: &str, height: u32, width: u32) -> Nothing {
        let _ = (container, height, width);
        not_yet("resize")
    }

    /// Its processes, as `ps` with these arguments (empty: `-ef`) lists them.
    pub async fn container_top(&self, container: &str, arguments: &str) -> Result<Top> {
        let _ = (container, arguments);
        not_yet("top")
    }

    /// Samples of what it uses: one a second if `stream`, else one. `one_shot`: without a previous sample.
    pub async fn container_stats(&self, container: &str, stream: bool, one_shot: bool) -> Result<StatsStream> {
        let _ = (container, stream, one_shot);
        not_yet("stats")
    }

    /// Removes those that do not run and fit `until label label!`.
    pub async fn container_prune(&self, filters: &Filters) -> Result<Pruned> {
        let _ = filters;
        not_yet("prune")
    }
}

/// Further processes.
impl Engine {
    /// Prepares a process in a running container. Answers with its id.
    pub async fn exec_create(&self, container: &str, config: ExecConfig) -> Result<String> {
        let _ = (container, config);
        not_yet("exec")
    }

    /// Starts it.
    pub async fn exec_start(&self, exec: &str, start: ExecStart) -> Result<ExecStarted> {
        let _ = (exec, start);
        not_yet("exec")
    }

    /// What is known of it.
    pub fn exec(&self, exec: &str) -> Result<Exec> {
        Err(Error::NoSuchExec(exec.to_owned()))
    }

    /// Gives its terminal a size.
    pub async fn exec_resize(&self, exec: &str, height: u32, width: u32) -> Nothing {
        let _ = (exec, height, width);
        not_yet("exec resize")
    }
}

/// Images.
impl Engine {
    /// The images that fit, newest first.
    pub async fn image_list(&self, options: &ImageListOptions) -> Result<Vec<ImageSummary>> {
        let _ = options;
        not_yet("images")
    }

    /// An image by name, id or prefix of an id.
    pub async fn image(&self, image: &str) -> Result<Image> {
        Err(Error::NoSuchImage(image.to_owned()))
    }

    /// How it was made, newest step first.
    pub async fn image_history(&self, image: &str) -> Result<Vec<HistoryItem>> {
        Err(Error::NoSuchImage(image.to_owned()))
    }

    /// Gives it a further name.
    pub async fn image_tag(&self, image: &str, repository: &str, tag: &str) -> Nothing {
        let _ = (repository, tag);
        Err(Error::NoSuchImage(image.to_owned()))
    }

    /// Takes a name away, and the image with its last one, by Docker's rules.
    pub async fn image_remove(&self, image: &str, force: bool, no_prune: bool) -> Result<Vec<ImageDeleted>> {
        let _ = (force, no_prune);
        Err(Error::NoSuchImage(image.to_owned()))
    }

    /// Removes those nobody needs and that fit `dangling until label label!`.
    pub async fn image_prune(&self, filters: &Filters) -> Result<(Vec<ImageDeleted>, u64)> {
        let _ = filters;
        not_yet("image prune")
    }

    /// Loads the images of an archive (docker-archive or OCI layout, compressed or not).
    pub async fn image_load(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        quiet: bool,
    ) -> Result<Produced<LoadProgress>> {
        let _ = (archive, quiet);
        not_yet("load")
    }

    /// Saves images as one archive.
    pub async fn image_save(&self, images: &[String]) -> Result<Archive> {
        let _ = images;
        not_yet("save")
    }

    /// Makes an image of one layer out of a tar archive. Answers with its id.
    pub async fn image_import(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        import: ImageImport,
    ) -> Result<String> {
        let _ = (archive, import);
        not_yet("import")
    }
}

/// Networks: what `inspect` and clients need of the three that are always there.
impl Engine {
    /// The endpoint settings of a container that does not run, as `inspect` shows them.
    pub fn network_defaults(&self) -> EndpointSettings {
        EndpointSettings::default()
    }
}

/// A wait that has begun.
pub struct Wait {
    pub(crate) result: std::pin::Pin<Box<dyn Future<Output = WaitResult> + Send>>,
}

impl Wait {
    /// Waits for it.
    pub async fn result(self) -> WaitResult {
        self.result.await
    }
}
