//! A place for containers of busybox, and what tests ask of them. As root, with busybox-static from Debian.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its part; a helper may fail like a test

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use berth_oci::Mount;
use berth_oci::runtime::{
    Linux, LinuxCapabilities, LinuxDeviceCgroup, LinuxNamespace, LinuxNamespaceType, LinuxResources, Process,
    Root, Spec,
};
use berth_shim::client::{
    Attach, Event, ExecStart, Exit, ExitStatus, Launcher, LogFile, Runtime, Shim, Start, StartError, Started,
    StdinMode, Streams,
};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// Longer than anything takes: a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test: beside the tests' directory, or beside that of an example.
pub(crate) fn shim() -> PathBuf {
    let built = option_env!("CARGO_BIN_EXE_berth-shim").map(PathBuf::from);
    built.unwrap_or_else(|| std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("berth-shim"))
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A root file system, a directory for shims, and a launcher. Leaves nothing behind.
pub(crate) struct Host {
    pub(crate) dir: Place,
    pub(crate) launcher: Launcher,
    cgroup: String,
}

/// A directory that is removed in the end.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// What both standard streams said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Host {
    pub(crate) fn new() -> Host {
        let dir = Place(tempfile::Builder::new().prefix("shim-").tempdir_in("/tmp").unwrap().keep());
        let root = dir.path().join("root");
        for sub in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
            fs::create_dir_all(root.join(sub)).unwrap();
        }
        // Not a copy of ours: what another test starts just now would hold it open for writing, and such a file is not run.
        let copied =
            std::process::Command::new("cp").arg("/bin/busybox").arg(root.join("bin/busybox")).status();
        assert!(copied.unwrap().success(), "busybox-static is installed");
        let list = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap();
        for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::create_dir(dir.path().join("shim")).unwrap();
        fs::create_dir(dir.path().join("containers")).unwrap();
        let launcher = Launcher::of(&shim()).unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Host { dir, launcher, cgroup: format!("/shim-test-{}-{number}", std::process::id()) }
    }

    /// Takes over what another process has made.
    pub(crate) fn at(dir: &str, cgroup: &str) -> Host {
        let launcher = Launcher::of(&shim()).unwrap();
        Host { dir: Place(dir.into()), launcher, cgroup: cgroup.to_owned() }
    }

    /// An id that no other host has.
    pub(crate) fn id(&self, name: &str) -> String {
        format!("{name}{}", self.cgroup.replace('/', "-"))
    }

    pub(crate) fn shim_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join("shim").join(self.id(name))
    }

    pub(crate) fn exit_file(&self, id: &str) -> PathBuf {
        self.dir.path().join("containers").join(format!("{id}.exit"))
    }

    pub(crate) fn log_file(&self, id: &str) -> PathBuf {
        self.dir.path().join("containers").join(format!("{id}-json.log"))
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn cgroup_of(&self, id: &str) -> String {
        format!("{}/{id}", self.cgroup)
    }

    /// A container that runs `args`.
    pub(crate) fn container(&self, id: &str, args: &[&str]) -> Start {
        Start {
            id: self.id(id),
            dir: self.shim_dir(id),
            bundle: self.shim_dir(id),
            spec: self.spec(id, args),
            rootfs: Vec::new(),
            stdin: StdinMode::Null,
            log: Some(LogFile {
                path: self.log_file(id),
                max_size_bytes: 0,
                max_files: 1,
                compress: false,
                attrs: String::new(),
            }),
            exit_file: self.exit_file(id),
            netns: None,
            attach: Vec::new(),
            hold: Vec::new(),
            relays: Vec::new(),
            memo: String::new(),
            runtime: self.runtime(),
        }
    }

    pub(crate) fn runtime(&self) -> Runtime {
        match std::env::var_os("BERTH_SHIM_TEST_RUNTIME") {
            Some(path) => Runtime::Command {
                path: path.into(),
                args: Vec::new(),
                root: self.dir.path().join("runtime"),
            },
            None => Runtime::Linked,
        }
    }

    fn spec(&self, id: &str, args: &[&str]) -> Spec {
        use LinuxNamespaceType::{Ipc, Mount as Mounts, Network, Pid, Uts};
        let namespaces = [Pid, Mounts, Ipc, Uts, Network];
        let allow =
            LinuxDeviceCgroup { allow: true, access: "rwm".to_owned(), ..LinuxDeviceCgroup::default() };
        Spec {
            oci_version: "1.0.2".to_owned(),
            process: Some(process(args)),
            root: Some(Root { path: self.root().to_str().unwrap().to_owned(), readonly: false }),
            hostname: "box".to_owned(),
            mounts: vec![
                Mount::new("proc", "proc", "/proc", &[]),
                Mount::new("tmpfs", "tmpfs", "/dev", &["mode=755"]),
                Mount::new("devpts", "devpts", "/dev/pts", &["newinstance", "ptmxmode=0666", "mode=0620"]),
                Mount::new("tmpfs", "tmpfs", "/tmp", &[]),
            ],
            linux: Some(Linux {
                namespaces: namespaces.map(|kind| LinuxNamespace { kind, path: String::new() }).into(),
                cgroups_path: self.cgroup_of(id),
                resources: Some(LinuxResources { devices: vec![allow], ..LinuxResources::default() }),
                ..Linux::default()
            }),
            ..Spec::default()
        }
    }

    /// Starts a container that has to start.
    pub(crate) async fn start(&self, start: Start) -> (Shim, Started) {
        let started =
            tokio::time::timeout(PATIENCE, self.launcher.start(start)).await.expect("starts in time");
        started.unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// Starts a container that cannot.
    pub(crate) async fn fail(&self, start: Start) -> StartError {
        let failed = tokio::time::timeout(PATIENCE, self.launcher.start(start)).await.expect("fails in time");
        failed.expect_err("it does not start")
    }

    /// Runs a container to its end; gives that and its log.
    pub(crate) async fn run(&self, start: Start) -> (ExitStatus, Said) {
        let id = start.id.split('-').next().unwrap().to_owned();
        let (shim, mut started) = self.start(start).await;
        let status = exited(&mut started).await;
        shim.shutdown().await.unwrap();
        (status, self.log(&id))
    }

    /// What is in the log.
    pub(crate) fn log(&self, id: &str) -> Said {
        let mut said = Said::default();
        // A log without a line is no file.
        for line in fs::read_to_string(self.log_file(id)).unwrap_or_default().lines() {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = entry["log"].as_str().unwrap().as_bytes();
            match entry["stream"].as_str() {
                Some("stdout") => said.stdout.extend_from_slice(text),
                _ => said.stderr.extend_from_slice(text),
            }
        }
        said
    }

    /// Whether nothing of a container is left but its record and its log.
    pub(crate) fn is_gone(&self, id: &str) -> bool {
        let cgroups = ["memory", "pids", "freezer", "unified", ""];
        let is_left =
            |root: &str| Path::new("/sys/fs/cgroup").join(root).join(&self.cgroup_of(id)[1..]).exists();
        !self.shim_dir(id).exists() && !cgroups.into_iter().any(is_left)
    }

    /// Waits until that is so, and no shim is left that might still make something.
    pub(crate) async fn gone(&self, id: &str) {
        eventually(&format!("{id} is gone"), || self.find_shim(id).is_none() && self.is_gone(id)).await;
    }

    /// The process that is the shim of a container.
    pub(crate) fn find_shim(&self, id: &str) -> Option<u32> {
        let command = format!("berth\0shim\0{}\0", self.id(id));
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut pids =
            processes.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
        pids.find(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == command.as_bytes()))
    }
}

impl Host {
    fn end_all(&self) {
        std::thread::sleep(Duration::from_millis(500));
        for shim in fs::read_dir(self.dir.path().join("shim")).into_iter().flatten().flatten() {
            // A runtime cannot be entered from within another.
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    let _ = runtime.block_on(berth_shim::client::clean_up(&shim.path(), ""));
                });
            });
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A test that has failed leaves containers, whose shims have noticed by now, or will.
        if std::thread::panicking() {
            self.end_all();
        }
        let roots = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        for root in roots.chain([PathBuf::from("/sys/fs/cgroup")]) {
            let _ = fs::remove_dir(root.join(&self.cgroup[1..]));
        }
        let _ = fs::remove_dir_all(self.dir.path());
    }
}

/// A process with Docker's defaults, as far as they matter here.
pub(crate) fn process(args: &[&str]) -> Process {
    let all =
        ["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_ADMIN"].map(str::to_owned).to_vec();
    Process {
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: vec!["PATH=/bin".to_owned(), "TERM=xterm".to_owned()],
        cwd: "/".to_owned(),
        capabilities: Some(LinuxCapabilities {
            bounding: all.clone(),
            effective: all.clone(),
            permitted: all,
            ..LinuxCapabilities::default()
        }),
        ..Process::default()
    }
}

pub(crate) fn exec(id: &str, args: &[&str], attach: Option<Attach>) -> ExecStart {
    ExecStart { id: id.to_owned(), process: process(args), attach }
}

pub(crate) fn shell(script: &str) -> [&str; 3] {
    ["sh", "-c", script]
}

pub(crate) fn output() -> Streams {
    Streams { stdout: true, stderr: true, ..Streams::default() }
}

pub(crate) fn all() -> Streams {
    Streams { stdin: true, ..output() }
}

/// The next event.
pub(crate) async fn event(started: &mut Started) -> Event {
    tokio::time::timeout(PATIENCE, started.events.recv())
        .await
        .expect("an event comes")
        .expect("the shim is there")
}

/// The exit; other events are passed over.
pub(crate) async fn exited(started: &mut Started) -> ExitStatus {
    loop {
        match event(started).await {
            Event::Exited(status) => return status,
            Event::Gone => panic!("the shim is gone"),
            _ => {}
        }
    }
}

pub(crate) async fn waited(shim: &Shim) -> Exit {
    tokio::time::timeout(PATIENCE, shim.wait()).await.expect("ends in time")
}

/// Reads frames to the end of the stream.
pub(crate) async fn frames(stream: &mut UnixStream) -> Said {
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("ends in time").unwrap();
    let mut said = Said::default();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (header, body) = rest.split_at(8);
        let (text, next) = body.split_at(u32::from_be_bytes(header[4..].try_into().unwrap()) as usize);
        match header[0] {
            1 => said.stdout.extend_from_slice(text),
            2 => said.stderr.extend_from_slice(text),
            other => panic!("a frame of stream {other}"),
        }
        rest = next;
    }
    said
}

/// Reads until `text` has come.
pub(crate) async fn read_until(stream: &mut UnixStream, text: &str) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(text) {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await;
        let read = read
            .unwrap_or_else(|_| panic!("{text:?} does not come after {:?}", String::from_utf8_lossy(&seen)));
        let read = read.unwrap();
        assert!(read > 0, "the stream ends before {text:?}, after {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
    }
    seen
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    // Gone already is as good.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {}", chain(source))).unwrap_or_default();
    format!("{error}{source}")
}
