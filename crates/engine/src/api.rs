//! What can be asked of the engine: each request in one place, the work in the modules of its noun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_oci::container::EndpointSettings;
use berth_oci::{Digest, Index};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::container::task::Command;
use crate::{
    Archive, AttachOptions, Attached, Change, CheckProgress, Commit, Container, ContainerCreated,
    ContainerSize, CopyIn, CopyOut, CreateContainer, CreateVolume, DiskUsage, DistributionInspect,
    DocumentPut, DocumentRequest, Engine, EngineConfig, Error, EventStream, EventsRequest, Exec, ExecConfig,
    ExecStart, ExecStarted, Filters, HistoryItem, Image, ImageDeleted, ImageImport, ImageListOptions,
    ImagePull, ImagePush, ImageSummary, ListOptions, LiveConfig, LoadProgress, Logs, LogsOptions, PathStat,
    Produced, Pruned, RegistryCredentials, RegistryDocument, RegistryFound, RegistryLogin, RegistryLogins,
    RemoveOptions, Result, StatsStream, StopOptions, SystemInfo, Top, TransferProgress, UpdateContainer,
    Upload, VolumeView, WaitCondition, WaitResult, container, image, restore,
};

/// The engine itself.
impl Engine {
    /// Opens the engine: locks its data root, takes up the containers that run, repairs what a crash left.
    ///
    /// Errors: `Conflict` if another engine has the data root.
    pub async fn open(config: EngineConfig) -> Result<Engine> {
        Ok(Engine { inner: restore::open(config).await? })
    }

    /// Writes what is not on disk yet and stops watching. Containers run on.
    pub async fn close(&self) {
        let slots = self.inner.registry.all();
        let closed = slots.iter().map(|slot| {
            let (reply, closed) = oneshot::channel();
            slot.tell(Command::Close(reply));
            closed
        });
        join_all(closed).await;
        let engine = self.inner.clone();
        let flushed = tokio::task::spawn_blocking(move || engine.database().flush()).await;
        if let Ok(Err(error)) = flushed {
            tracing::error!("closing the database: {error}");
        }
        let engine = self.inner.clone();
        let retired = tokio::task::spawn_blocking(move || engine.network.retire()).await;
        if let Ok(Err(error)) = retired {
            tracing::warn!("leaving the network: {}", crate::error::chain(&error));
        }
    }

    /// How it was set up.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    /// Changes what can be changed while it runs, and tells those who listen; `attributes` are the event's.
    pub fn reload(&self, live: LiveConfig, mut attributes: BTreeMap<String, String>) -> Result<()> {
        self.inner.config.live.set(live);
        self.inner.renew_registry_client();
        let info = self.inner.info()?;
        attributes.insert("name".to_owned(), info.host_name);
        self.inner.publish("daemon", "reload", &info.id, attributes);
        Ok(())
    }

    /// What `docker info` shows.
    pub async fn info(&self) -> Result<SystemInfo> {
        self.inner.info()
    }

    /// What everything takes on disk.
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        self.inner.disk_usage().await
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
        container::create(&self.inner, request).await
    }

    /// Starts it. `NotModified` if it runs; `StartFailed` with Docker's text if the program cannot be run.
    pub async fn container_start(&self, container: &str) -> Result<()> {
        self.inner.start(container).await
    }

    /// Stops it: a signal, patience, then `SIGKILL`. `NotModified` if it does not run.
    ///
    /// Cancel: what was signalled stays signalled; the patience ends with the call.
    pub async fn container_stop(&self, container: &str, options: StopOptions) -> Result<()> {
        self.inner.stop(container, options).await
    }

    /// Stops it if it runs, then starts it.
    pub async fn container_restart(&self, container: &str, options: StopOptions) -> Result<()> {
        self.inner.restart(container, options).await
    }

    /// Sends a signal (name or number; `None`: `SIGKILL`, which is waited for).
    pub async fn container_kill(&self, container: &str, signal: Option<&str>) -> Result<()> {
        self.inner.kill(container, signal).await
    }

    /// Freezes its processes.
    pub async fn container_pause(&self, container: &str) -> Result<()> {
        self.inner.pause(container).await
    }

    /// Thaws its processes.
    pub async fn container_unpause(&self, container: &str) -> Result<()> {
        self.inner.unpause(container).await
    }

    /// Gives it another name.
    pub async fn container_rename(&self, container: &str, name: &str) -> Result<()> {
        self.inner.rename(container, name).await
    }

    /// Changes its limits or restart policy. Answers with warnings.
    pub async fn container_update(&self, container: &str, update: UpdateContainer) -> Result<Vec<String>> {
        self.inner.update(container, update).await
    }

    /// Removes it. `Conflict` if it runs and `force` was not asked for.
    pub async fn container_remove(&self, container: &str, options: RemoveOptions) -> Result<()> {
        self.inner.remove(container, options).await
    }

    /// Begins to wait: what happens after this call returned is not missed. Then [`Wait::result`] waits. A container
    /// that removed itself at its end can be waited for, by its whole id, for some seconds more.
    pub fn container_wait(&self, container: &str, condition: WaitCondition) -> Result<Wait> {
        let registry = &self.inner.registry;
        let missing = match registry.find(container) {
            Ok(slot) => return Ok(Wait { receiver: slot.subscribe(condition) }),
            Err(error) => error,
        };
        match registry.departed(container) {
            Some(result) if condition != WaitCondition::NextExit => {
                let (sender, receiver) = oneshot::channel();
                let _ = sender.send(result); // the receiver is here
                Ok(Wait { receiver })
            }
            _ => Err(missing),
        }
    }

    /// What is known of a container now. Never waits.
    pub fn container(&self, container: &str) -> Result<Arc<Container>> {
        let known = self.inner.registry.find(container)?.get();
        let exec_ids = self.inner.execs.of_container(&known.record.id);
        if exec_ids.is_empty() {
            return Ok(known);
        }
        Ok(Arc::new(Container { exec_ids, ..(*known).clone() }))
    }

    /// The containers that fit, newest first. Never waits.
    pub fn container_list(&self, options: &ListOptions) -> Result<Vec<Arc<Container>>> {
        self.inner.list(options)
    }

    /// What it takes on disk.
    pub async fn container_size(&self, container: &str) -> Result<ContainerSize> {
        let container = self.inner.registry.find(container)?.get();
        self.inner.size_of(&container).await
    }

    /// Its links as `inspect` shows them, `/other:/container/alias`. Never waits.
    pub fn container_links(&self, container: &Container) -> Vec<String> {
        self.inner.link_texts(&container.record)
    }

    /// What others that link to it call it, `parent/alias`. Never waits.
    pub fn container_link_names(&self, container: &Container) -> Vec<String> {
        self.inner.link_names(&container.record.id)
    }

    /// Where its layers are, for `inspect`.
    pub fn container_graph_driver(&self, container: &str) -> Result<image::GraphDriver> {
        let slot = self.inner.registry.find(container)?;
        let mounts = self.inner.store.snapshots().mounts(slot.id()).map_err(image::error)?;
        Ok(image::graph_driver(&mounts))
    }

    /// Reads its log.
    pub async fn container_logs(&self, container: &str, options: LogsOptions) -> Result<Logs> {
        self.inner.logs(container, options)
    }

    /// Attaches to its standard streams; before it starts, too: then nothing it writes is missed.
    pub async fn container_attach(&self, container: &str, options: AttachOptions) -> Result<Attached> {
        self.inner.attach(container, options).await
    }

    /// Tells that a client left by its detach keys, for a daemon that watches for them itself.
    pub fn container_detached(&self, container: &str) {
        if let Ok(slot) = self.inner.registry.find(container) {
            self.inner.container_event(&slot.get(), "detach", []);
        }
    }

    /// Gives its terminal a size.
    pub async fn container_resize(&self, container: &str, height: u32, width: u32) -> Result<()> {
        self.inner.resize(container, height, width).await
    }

    /// Its processes, as `ps` with these arguments (empty: `-ef`) lists them.
    pub async fn container_top(&self, container: &str, arguments: &str) -> Result<Top> {
        self.inner.top(container, arguments).await
    }

    /// Samples of what it uses: one a second if `stream`, else one. `one_shot`: without a previous sample.
    pub async fn container_stats(
        &self,
        container: &str,
        stream: bool,
        one_shot: bool,
    ) -> Result<StatsStream> {
        self.inner.stats(container, stream, one_shot)
    }

    /// What is at a path of it.
    pub async fn container_path_stat(&self, container: &str, path: &str) -> Result<PathStat> {
        self.inner.path_stat(container, path).await
    }

    /// An archive of what is at a path of it.
    pub async fn container_copy_out(&self, container: &str, path: &str) -> Result<CopyOut> {
        self.inner.copy_out(container, path).await
    }

    /// Unpacks an archive, compressed or not, in a directory of it.
    pub async fn container_copy_in(&self, container: &str, how: CopyIn, archive: impl Upload) -> Result<()> {
        self.inner.copy_in(container, how, archive).await
    }

    /// What it changed of its image's files.
    pub async fn container_changes(&self, container: &str) -> Result<Vec<Change>> {
        self.inner.changes(container).await
    }

    /// Its root file system as an archive, without volumes.
    pub async fn container_export(&self, container: &str) -> Result<Archive> {
        self.inner.export(container)
    }

    /// Makes an image of it. Answers with the image's id.
    pub async fn container_commit(&self, container: &str, commit: Commit) -> Result<String> {
        self.inner.commit(container, commit).await
    }

    /// Removes those that do not run and fit `until label label!`.
    pub async fn container_prune(&self, filters: &Filters) -> Result<Pruned> {
        self.inner.prune(filters).await
    }
}

/// Further processes.
impl Engine {
    /// Prepares a process in a running container. Answers with its id.
    pub async fn exec_create(&self, container: &str, config: ExecConfig) -> Result<String> {
        self.inner.exec_create(container, config)
    }

    /// Starts it.
    pub async fn exec_start(&self, exec: &str, start: ExecStart) -> Result<ExecStarted> {
        self.inner.exec_start(exec, start).await
    }

    /// Waits until its end is known, and no longer than `limit`: a process may close its output and go on.
    pub async fn exec_settled(&self, exec: &str, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.inner.execs.ended(exec)).await;
    }

    /// What is known of it.
    pub fn exec(&self, exec: &str) -> Result<Exec> {
        self.inner.execs.get(exec)
    }

    /// Gives its terminal a size.
    pub async fn exec_resize(&self, exec: &str, height: u32, width: u32) -> Result<()> {
        self.inner.exec_resize(exec, height, width).await
    }
}

/// Images.
impl Engine {
    /// The images that fit, newest first.
    pub async fn image_list(&self, options: &ImageListOptions) -> Result<Vec<ImageSummary>> {
        self.inner.image_list(options.clone()).await
    }

    /// An image by name, id or prefix of an id.
    pub async fn image(&self, image: &str) -> Result<Image> {
        self.inner.image(image)
    }

    /// How it was made, newest step first.
    pub async fn image_history(&self, image: &str) -> Result<Vec<HistoryItem>> {
        self.inner.image_history(image)
    }

    /// Gives it a further name.
    pub async fn image_tag(&self, image: &str, repository: &str, tag: &str) -> Result<()> {
        self.inner.image_tag(image, repository, tag)
    }

    /// Takes a name away, and the image with its last one, by Docker's rules.
    pub async fn image_remove(&self, image: &str, force: bool, no_prune: bool) -> Result<Vec<ImageDeleted>> {
        self.inner.image_remove(image.to_owned(), force, no_prune).await
    }

    /// Removes those nobody needs and that fit `dangling until label label!`.
    pub async fn image_prune(&self, filters: &Filters) -> Result<(Vec<ImageDeleted>, u64)> {
        self.inner.image_prune(filters.clone()).await
    }

    /// Loads the images of an archive (docker-archive or OCI layout, compressed or not).
    pub async fn image_load(&self, archive: impl Upload, quiet: bool) -> Result<Produced<LoadProgress>> {
        Ok(self.inner.image_load(archive, quiet))
    }

    /// Saves images as one archive.
    pub async fn image_save(&self, images: &[String]) -> Result<Archive> {
        self.inner.image_save(images.to_vec())
    }

    /// Pulls an image, or all tags of a repository. The transfer ends when nobody reads its progress any more.
    ///
    /// Errors: the name or platform is malformed. What goes wrong later is the last word of the progress.
    pub async fn image_pull(&self, pull: ImagePull) -> Result<Produced<TransferProgress>> {
        self.inner.image_pull(pull)
    }

    /// Pushes an image, or all tags of a repository. The transfer ends when nobody reads its progress any more.
    ///
    /// Errors: the name is malformed. What goes wrong later is the last word of the progress.
    pub async fn image_push(&self, push: ImagePush) -> Result<Produced<TransferProgress>> {
        self.inner.image_push(push)
    }

    /// Reads all that the store holds and compares it with its digests; with `repair`, fetches anew what is damaged
    /// and discards what nothing needs.
    pub fn store_check(&self, repair: Option<RegistryLogins>) -> Produced<CheckProgress> {
        self.inner.store_check(repair)
    }

    /// Asks a registry whether it takes these credentials; what to tell the user, and what to keep.
    ///
    /// Errors: [`Error::Unauthorized`]; the registry cannot be asked.
    pub async fn registry_login(&self, server: &str, who: &RegistryCredentials) -> Result<RegistryLogin> {
        self.inner.registry_login(server, who).await
    }

    /// Searches a registry.
    ///
    /// Errors: the registry cannot be asked.
    pub async fn image_search(
        &self,
        term: &str,
        limit: usize,
        who: Option<&RegistryCredentials>,
    ) -> Result<Vec<RegistryFound>> {
        self.inner.image_search(term, limit, who).await
    }

    /// Asks a registry what a name stands for.
    ///
    /// Errors: there is no such name; the registry cannot be asked.
    pub async fn distribution_inspect(
        &self,
        image: &str,
        who: Option<&RegistryCredentials>,
    ) -> Result<DistributionInspect> {
        self.inner.distribution_inspect(image, who).await
    }

    /// What a name stands for, as its registry has it; with `with_platform`, the platform of an image as well.
    ///
    /// Errors: there is no such name; the registry cannot be asked.
    pub async fn document(&self, request: &DocumentRequest, with_platform: bool) -> Result<RegistryDocument> {
        self.inner.document(request, with_platform).await
    }

    /// Puts a manifest or index to a registry, after the blobs that it names; its digest.
    ///
    /// Errors: the registry refuses, or cannot be asked.
    pub async fn document_put(&self, request: &DocumentRequest, put: DocumentPut) -> Result<Digest> {
        self.inner.document_put(request, put).await
    }

    /// The manifests that name this one as their subject; with `artifact_type`, those of that type.
    ///
    /// Errors: there is no such name; the registry cannot be asked.
    pub async fn referrers(&self, request: &DocumentRequest, artifact_type: &str) -> Result<Index> {
        self.inner.referrers(request, artifact_type).await
    }

    /// A blob of a registry, by digest, of this length.
    ///
    /// Errors: the name has no digest. What goes wrong later is the last word of the stream.
    pub async fn blob_get(&self, request: &DocumentRequest, size: u64) -> Result<Archive> {
        self.inner.blob_get(request, size)
    }

    /// Puts a blob to a registry.
    ///
    /// Errors: it does not have the digest in its name; the registry refuses, or cannot be asked.
    pub async fn blob_put(&self, request: &DocumentRequest, source: impl Upload) -> Result<()> {
        self.inner.blob_put(request, source).await
    }

    /// Makes an image of one layer out of a tar archive. Answers with its id.
    pub async fn image_import(&self, archive: impl Upload, import: ImageImport) -> Result<String> {
        self.inner.image_import(archive, import).await
    }

    /// The same with an archive that a URL gives. The import ends when nobody reads its progress any more; its last
    /// word is the new image's id.
    pub fn image_import_from(&self, url: String, import: ImageImport) -> Produced<TransferProgress> {
        self.inner.image_import_from(url, import)
    }
}

/// Volumes.
impl Engine {
    /// Makes a volume; one of that name that is there already is the answer, as it is. Durable when this returns.
    ///
    /// Errors: `InvalidParameter` and `NotFound` with Docker's text.
    pub async fn volume_create(&self, wanted: CreateVolume) -> Result<VolumeView> {
        self.inner.volume_create(wanted).await
    }

    /// A volume by its name; how many use it is not counted.
    pub fn volume(&self, name: &str) -> Result<VolumeView> {
        self.inner.volume(name)
    }

    /// The volumes that fit `dangling driver label name`.
    pub fn volume_list(&self, filters: &Filters) -> Result<Vec<VolumeView>> {
        self.inner.volume_list(filters)
    }

    /// Removes a volume; with `force` one that is not there is no error. `Conflict` if a container uses it.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        self.inner.volume_remove(name, force).await
    }

    /// Removes those that nobody uses and that fit `label label! all`: those without a name, unless `all`.
    pub async fn volume_prune(&self, filters: &Filters) -> Result<Pruned> {
        self.inner.volume_prune(filters).await
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
    receiver: oneshot::Receiver<WaitResult>,
}

impl Wait {
    /// Waits for it.
    pub async fn result(self) -> WaitResult {
        let gone = || WaitResult {
            status_code: 0,
            error: Some(Error::Unavailable("the engine closes".into()).to_string()),
        };
        self.receiver.await.unwrap_or_else(|_| gone())
    }
}
