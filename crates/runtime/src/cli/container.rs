//! A container on disk: `state.json`, and what its process is doing.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_oci::Spec;
use berth_oci::runtime::{State, Status, VERSION};
use berth_sys::process::process_stat;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{About, Failure, Global};
use crate::cgroup::{Cgroup, Hierarchies};

/// Longest id.
const ID_MAX: usize = 1024;

/// The directory of one container.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

/// `state.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) pid: i32,
    /// With the pid, it names the process for ever.
    pub(super) start_time: u64,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) created: String,
    /// The user who made it.
    pub(super) owner: String,
    pub(super) cgroup: String,
    pub(super) no_new_keyring: bool,
    /// `config.json` as it was.
    pub(super) config: Box<RawValue>,
}

/// A container that was found.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) directory: Directory,
    pub(super) record: Record,
}

/// What `state` and `list` tell.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    oci_version: &'static str,
    pub(super) id: String,
    pub(super) pid: i32,
    pub(super) status: Status,
    pub(super) bundle: PathBuf,
    rootfs: PathBuf,
    pub(super) created: String,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: std::collections::BTreeMap<String, String>,
    pub(super) owner: String,
}

impl Directory {
    /// The directory of an id, which need not exist.
    pub(super) fn of(global: &Global, id: &str) -> Result<Self, Failure> {
        check_id(id)?;
        Ok(Self { path: global.root.join(id) })
    }

    /// Makes it: whoever succeeds has the id.
    pub(super) fn make(&self) -> Result<(), Failure> {
        let make = || rustix::fs::mkdir(&self.path, Mode::from_raw_mode(0o711));
        let result = match make() {
            Err(Errno::NOENT) => {
                let root = self.path.parent().unwrap_or(Path::new("/"));
                std::fs::create_dir_all(root).about(format_args!("mkdir {}", root.display()))?;
                make()
            }
            result => result,
        };
        match result {
            Err(Errno::EXIST) => Err(Failure::new("container with given ID already exists")),
            result => result.about(format_args!("mkdir {}", self.path.display())),
        }
    }

    /// Replaces `state.json` in one step.
    pub(super) fn write(&self, record: &Record) -> Result<(), Failure> {
        let content =
            serde_json::to_vec(record).map_err(|error| Failure::new(format!("state.json: {error}")))?;
        let (target, new) = (self.path.join("state.json"), self.path.join("state.json.new"));
        let written = File::create(&new)
            .and_then(|mut file| file.write_all(&content))
            .and_then(|()| std::fs::rename(&new, &target));
        written.about(format_args!("write {}", target.display()))
    }

    /// Makes the FIFO that the process waits at, and opens it as a mere path.
    pub(super) fn make_fifo(&self) -> Result<OwnedFd, Failure> {
        let path = self.fifo();
        // A process in a user namespace is nobody here: it must be able to write.
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o622), 0)
            .and_then(|()| rustix::fs::chmod(&path, Mode::from_raw_mode(0o622)))
            .and_then(|()| rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))
            .about(format_args!("mkfifo {}", path.display()))
    }

    pub(super) fn fifo(&self) -> PathBuf {
        self.path.join("exec.fifo")
    }

    /// Removes it with what is in it.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        // Two files at most, and the directory: no tree to walk.
        for name in ["exec.fifo", "state.json.new", "state.json"] {
            let _ = rustix::fs::unlink(self.path.join(name));
        }
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(_) => {
                std::fs::remove_dir_all(&self.path).about(format_args!("remove {}", self.path.display()))
            }
        }
    }

    fn read(&self) -> Result<Record, Failure> {
        let path = self.path.join("state.json");
        let content = std::fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new("container does not exist"),
            _ => Failure::new(format!("read {}: {}", path.display(), crate::error::io_text(&error))),
        })?;
        serde_json::from_slice(&content).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
    }
}

impl Container {
    /// Finds a container.
    pub(super) fn load(global: &Global, id: &str) -> Result<Self, Failure> {
        let directory = Directory::of(global, id)?;
        let record = directory.read()?;
        Ok(Self { directory, record })
    }

    /// Its configuration.
    pub(super) fn spec(&self) -> Result<Spec, Failure> {
        serde_json::from_str(self.record.config.get())
            .map_err(|error| Failure::new(format!("configuration of {}: {error}", self.record.id)))
    }

    /// The process, if it lives.
    pub(super) fn process(&self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.record.pid)?, PidfdFlags::empty()).ok()?;
        // In this order: what the number stands for now, it stands for as long as the descriptor is open.
        self.is_alive().then_some(pidfd)
    }

    fn is_alive(&self) -> bool {
        process_stat(self.record.pid)
            .is_ok_and(|stat| stat.start_time == self.record.start_time && !matches!(stat.state, b'Z' | b'X'))
    }

    /// Where it is in its life.
    pub(super) fn status(&self) -> Status {
        if !self.is_alive() {
            return Status::Stopped;
        }
        if self.cgroup().and_then(|cgroup| cgroup.frozen().ok()) == Some(true) {
            return Status::Paused;
        }
        if rustix::fs::access(self.directory.fifo(), rustix::fs::Access::EXISTS).is_ok() {
            return Status::Created;
        }
        Status::Running
    }

    /// Its cgroup, if it is still there.
    pub(super) fn cgroup(&self) -> Option<Cgroup> {
        let hierarchies = Arc::new(Hierarchies::detect().ok()?);
        Cgroup::reopen(&hierarchies, &self.record.cgroup).ok()
    }

    /// What hooks are told.
    pub(super) fn state(&self, status: Status, spec: &Spec) -> State {
        State {
            oci_version: VERSION.to_owned(),
            id: self.record.id.clone(),
            status,
            pid: if status == Status::Stopped { 0 } else { self.record.pid },
            bundle: self.record.bundle.to_string_lossy().into_owned(),
            annotations: spec.annotations.clone(),
        }
    }

    /// What `state` and `list` tell.
    pub(super) fn show(self) -> Shown {
        let status = self.status();
        let annotations = self.spec().map(|spec| spec.annotations).unwrap_or_default();
        let Record { id, pid, bundle, rootfs, created, owner, .. } = self.record;
        let pid = if status == Status::Stopped { 0 } else { pid };
        Shown { oci_version: VERSION, id, pid, status, bundle, rootfs, created, annotations, owner }
    }
}

/// As runc: letters, digits, `_`, `+`, `-` and `.`, and no name that leads elsewhere.
fn check_id(id: &str) -> Result<(), Failure> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_+-.".contains(letter);
    if id.is_empty() {
        return Err(Failure::new("container id cannot be empty"));
    }
    if id.len() > ID_MAX || id == "." || id == ".." || !id.chars().all(fits) {
        return Err(Failure::new("invalid container ID format"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_of_directories() {
        for good in ["a", "a-b_c.d+e", "0123", "...x"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\0"] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_record_is_replaced_whole_and_an_id_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let log = super::super::Log::default();
        let global = Global { root: dir.path().join("deep/root"), log, systemd_cgroup: false };
        let directory = Directory::of(&global, "x").unwrap();
        directory.make().unwrap();
        assert_eq!(directory.make().unwrap_err().message, "container with given ID already exists");
        let record = Record {
            id: "x".to_owned(),
            pid: 1,
            start_time: 2,
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "now".to_owned(),
            owner: "root".to_owned(),
            cgroup: "/x".to_owned(),
            no_new_keyring: false,
            config: RawValue::from_string(r#"{"ociVersion":"1.0.2"}"#.to_owned()).unwrap(),
        };
        directory.write(&record).unwrap();
        let container = Container::load(&global, "x").unwrap();
        assert_eq!(container.spec().unwrap().oci_version, "1.0.2");
        assert_eq!(container.status(), Status::Stopped, "pid 1 did not begin then");
        container.directory.remove().unwrap();
        assert_eq!(Container::load(&global, "x").unwrap_err().message, "container does not exist");
    }
}
