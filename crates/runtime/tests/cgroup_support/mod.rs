//! What the tests of control groups share: groups and processes that end with the test, and a look at their files.

#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub, unsafe_code)]

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use berth_oci::runtime::LinuxResources;
use berth_runtime::cgroup::{Cgroup, Hierarchies, Version};
use rustix::process::Pid;

/// The group that all groups of the tests are made in.
const PARENT: &str = "/berth-test";

pub fn hierarchies() -> Arc<Hierarchies> {
    Arc::new(Hierarchies::detect().expect("cgroups are mounted"))
}

/// A path that no other test has.
pub fn path() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{PARENT}/{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A group that is killed and removed at the end.
pub struct Group(pub Cgroup);

impl Group {
    pub fn new(resources: &LinuxResources) -> Self {
        Self(Cgroup::create(&hierarchies(), &path(), resources).unwrap())
    }

    pub fn is_v2(&self) -> bool {
        self.0.version() == Version::V2
    }

    /// A file of the group, `v1` as `controller/name`.
    pub fn file(&self, v1: &str, v2: &str) -> PathBuf {
        if self.is_v2() {
            return PathBuf::from(format!("/sys/fs/cgroup{}/{v2}", self.0.path()));
        }
        let (controller, name) = v1.split_once('/').unwrap();
        PathBuf::from(format!("/sys/fs/cgroup/{controller}{}/{name}", self.0.path()))
    }

    /// What is in that file.
    pub fn read(&self, v1: &str, v2: &str) -> String {
        let path = self.file(v1, v2);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().to_owned()
    }

    /// Runs a shell inside, as a container's process gets in.
    pub fn shell(&self, script: &str) -> Process {
        let group = Cgroup::reopen(&hierarchies(), &self.0.path()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null());
        // SAFETY: `attach_self` neither allocates nor locks.
        unsafe {
            command.pre_exec(move || group.attach_self().map_err(|error| error.errno.into()));
        }
        Process(command.spawn().unwrap())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.0.kill_all();
        wait_until(|| self.0.is_empty().unwrap_or(true));
        let removed = self.0.remove();
        hierarchies().prune(PARENT);
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

/// A process that is killed and reaped at the end.
pub struct Process(Child);

impl Process {
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// What the kernel says it is doing: `R`, `S`, `D`, `Z`, …
    pub fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process of no group in particular.
pub fn outside(script: &str) -> Process {
    let mut command = Command::new("sh");
    Process(command.args(["-c", script]).stdin(Stdio::null()).spawn().unwrap())
}

/// Waits for something that is bound to happen; the bound is only for a test that fails.
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        if Instant::now() > deadline {
            assert!(std::thread::panicking(), "waited in vain");
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
