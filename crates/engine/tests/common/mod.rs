//! An engine below a directory of its own, with the image `test`: busybox from Debian's `busybox-static`. As root.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses its part

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use berth_engine::{
    BridgeConfig, CreateContainer, Engine, EngineConfig, Filters, ImageImport, ListOptions, Logs,
    LogsOptions, RemoveOptions, WaitCondition,
};
use futures_util::StreamExt as _;

/// Longer than anything takes: a test that waits for it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The test's own supervisor.
pub const HOST: &str = env!("CARGO_BIN_EXE_engine-host");

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An engine and what it lives in; removes everything in the end, and fails if something cannot be removed.
pub struct Place {
    pub directory: PathBuf,
    pub cgroup_parent: String,
    pub engine: Engine,
}

impl Place {
    pub async fn new() -> Place {
        Place::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut EngineConfig)) -> Place {
        let directory = tempfile::Builder::new().prefix("engine-").tempdir_in("/tmp").unwrap().keep();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let cgroup_parent = format!("/engine-test-{}-{number}", std::process::id());
        let mut config = config(&directory, &cgroup_parent);
        change(&mut config);
        let engine = Engine::open(config).await.unwrap();
        let place = Place { directory, cgroup_parent, engine };
        place.import().await;
        place
    }

    async fn import(&self) {
        let root = self.directory.join("image");
        for sub in ["bin", "etc", "tmp", "data", "proc", "sys", "dev"] {
            std::fs::create_dir_all(root.join(sub)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        for applet in [
            "sh", "sleep", "true", "false", "echo", "cat", "id", "ls", "env", "pwd", "kill", "stat", "seq",
            "head",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/var/www:/bin/sh\n")
            .unwrap();
        std::fs::write(root.join("etc/group"), "root:x:0:\nwheel:x:10:root\nwww:x:34:\naudio:x:29:web\n")
            .unwrap();
        std::fs::write(root.join("data/file"), "from the image").unwrap();
        std::fs::write(root.join("plain"), "no program").unwrap();
        let tar = tokio::process::Command::new("tar")
            .arg("-C")
            .arg(&root)
            .args(["-c", "."])
            .output()
            .await
            .unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        let import = ImageImport { repository: Some("test".to_owned()), ..ImageImport::default() };
        let archive = futures_util::stream::iter([Ok(tar.stdout.into())]);
        self.engine.image_import(archive, import).await.unwrap();
    }

    /// Creates a container of the image `test`.
    pub async fn create(&self, command: &[&str], change: impl FnOnce(&mut CreateContainer)) -> String {
        self.engine.container_create(request(command, change)).await.unwrap().id
    }

    /// Creates and starts one.
    pub async fn run(&self, command: &[&str], change: impl FnOnce(&mut CreateContainer)) -> String {
        let id = self.create(command, change).await;
        self.engine.container_start(&id).await.unwrap();
        id
    }

    /// Runs one to its end: what it wrote and its exit code. It is removed.
    pub async fn output(&self, command: &[&str], change: impl FnOnce(&mut CreateContainer)) -> (String, i64) {
        let id = self.create(command, change).await;
        let wait = self.engine.container_wait(&id, WaitCondition::NextExit).unwrap();
        self.engine.container_start(&id).await.unwrap();
        let code = patient(wait.result()).await.status_code;
        let text = self.log(&id).await;
        self.engine
            .container_remove(&id, RemoveOptions { volumes: true, ..RemoveOptions::default() })
            .await
            .unwrap();
        (text, code)
    }

    /// Everything a container wrote, both streams.
    pub async fn log(&self, id: &str) -> String {
        let options = LogsOptions { stdout: true, stderr: true, ..LogsOptions::default() };
        text(self.engine.container_logs(id, options).await.unwrap()).await
    }

    pub fn ids(&self) -> Vec<String> {
        let list = self.engine.container_list(&ListOptions { all: true, ..ListOptions::default() }).unwrap();
        list.iter().map(|container| container.record.id.clone()).collect()
    }

    /// Removes all containers and the place; fails if something of them is left.
    pub async fn end(self) {
        for id in self.ids() {
            let options = RemoveOptions { force: true, volumes: true, link: false };
            self.engine.container_remove(&id, options).await.unwrap();
        }
        self.assert_clean().await;
        self.engine.close().await;
        remove_cgroups(&self.cgroup_parent);
        std::fs::remove_dir_all(&self.directory).unwrap();
    }

    /// Nothing of any container is left: directories, snapshots, supervisors, cgroups, mounts.
    pub async fn assert_clean(&self) {
        let places =
            ["data/containers", "data/store/snapshots", "exec/shim", "data/trash", "data/store/trash"];
        for place in places {
            let path = self.directory.join(place);
            eventually(&format!("{place} is empty"), || entries(&path).is_empty()).await;
        }
        let parent = &self.cgroup_parent;
        eventually("no cgroup is left", || cgroups(parent).is_empty()).await;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.directory.to_str().unwrap()), "something is mounted");
        let prune = self.engine.container_prune(&Filters::new()).await.unwrap();
        assert!(prune.deleted.is_empty());
    }
}

pub fn config(directory: &Path, cgroup_parent: &str) -> EngineConfig {
    EngineConfig {
        data_root: directory.join("data"),
        exec_root: directory.join("exec"),
        cgroup_parent: cgroup_parent.to_owned(),
        bridge: BridgeConfig { name: None, ..BridgeConfig::default() },
        program: Some(HOST.into()),
        ..EngineConfig::default()
    }
}

pub async fn open_when_free(config: EngineConfig) -> Engine {
    for _ in 0..600 {
        match Engine::open(config.clone()).await {
            Ok(engine) => return engine,
            Err(error) if error.to_string().contains("another engine") => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the data root is never free");
}

pub fn request(command: &[&str], change: impl FnOnce(&mut CreateContainer)) -> CreateContainer {
    let mut request = CreateContainer::default();
    request.config.image = "test".to_owned();
    request.config.cmd = Some(command.iter().map(|word| (*word).to_owned()).collect());
    request.host_config.network_mode = "none".to_owned();
    change(&mut request);
    request
}

/// The text of a log, frames taken apart.
pub async fn text(mut logs: Logs) -> String {
    let mut bytes = Vec::new();
    while let Some(chunk) = patient(logs.next()).await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    if logs.tty {
        return String::from_utf8(bytes).unwrap();
    }
    frames(&bytes).into_iter().map(|(_, text)| text).collect()
}

/// The frames of a stream: which stream, and what it says.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, String)> {
    let mut frames = Vec::new();
    while let [stream, _, _, _, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        frames.push((*stream, String::from_utf8(rest[..length].to_vec()).unwrap()));
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "half a frame");
    frames
}

pub async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it never comes")
}

pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn entries(path: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(path) else { return BTreeSet::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Cgroups of containers below a parent, in any hierarchy.
pub fn cgroups(parent: &str) -> Vec<PathBuf> {
    cgroup_roots()
        .into_iter()
        .flat_map(|root| {
            std::fs::read_dir(format!("{}{parent}", root.display())).into_iter().flatten().flatten()
        })
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn cgroup_roots() -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()));
    roots
}

fn remove_cgroups(parent: &str) {
    for root in cgroup_roots() {
        let _ = std::fs::remove_dir(format!("{}{parent}", root.display()));
    }
}
