//! Bundles with a busybox in them, and the runtime's command line to run them with.

#![allow(dead_code, reason = "each test uses what it needs")]
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A directory with `config.json` and `rootfs`, a state of its own, and all of it gone at the end.
pub(crate) struct Bundle {
    /// Its name is no other's, so that nobody takes it for something of his own.
    directory: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) id: String,
    pub(crate) spec: Value,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: Output) -> Said {
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| -signal));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        Said { code: code.unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Standard error of a command that must have failed.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert_ne!(self.code, 0, "{self:?}");
        self.err
    }
}

/// One of the programs of `tests/programs`, which Cargo builds with the tests.
pub(crate) fn program(name: &str) -> &'static Path {
    Path::new(match name {
        "oci" => env!("CARGO_BIN_EXE_runtime-test-oci"),
        "library" => env!("CARGO_BIN_EXE_runtime-test-library"),
        "without" => env!("CARGO_BIN_EXE_runtime-test-without"),
        other => panic!("there is no program {other}"),
    })
}

impl Bundle {
    /// A bundle that runs a shell script.
    pub(crate) fn new(script: &str) -> Bundle {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("rt-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // Other users run in it, too.
        let mode: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let directory =
            tempfile::Builder::new().prefix("bundle-").permissions(mode.clone()).tempdir().unwrap();
        let path = directory.path().to_owned();
        std::fs::create_dir(path.join("rootfs")).unwrap();
        unpack(&path.join("rootfs"));
        std::fs::set_permissions(path.join("rootfs"), mode).unwrap();
        let said = Command::new(program("oci")).arg("spec").current_dir(&path).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        let mut spec: Value =
            serde_json::from_slice(&std::fs::read(path.join("config.json")).unwrap()).unwrap();
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = json!(["sh", "-c", script]);
        spec["root"]["readonly"] = false.into();
        Bundle { directory, path, id, spec }
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path.join("state").join(&self.id)
    }

    /// Adds a mount.
    pub(crate) fn mount(
        &mut self,
        kind: &str,
        source: &str,
        destination: &str,
        options: &[&str],
    ) -> &mut Bundle {
        let mount = json!({"type": kind, "source": source, "destination": destination, "options": options});
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
        self
    }

    /// Adds a namespace, or replaces the one of that kind; `None` removes it.
    pub(crate) fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Bundle {
        let namespaces = self.spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != kind);
        if let Some(path) = path {
            namespaces.push(json!({"type": kind, "path": path}));
        }
        self
    }

    /// Gives the container all capabilities that the caller has.
    pub(crate) fn privileged(&mut self) -> &mut Bundle {
        let features = Command::new(program("oci")).arg("features").output().unwrap();
        let features: Value = serde_json::from_slice(&features.stdout).unwrap();
        for set in ["bounding", "effective", "permitted"] {
            self.spec["process"]["capabilities"][set] = features["linux"]["capabilities"].clone();
        }
        self.spec["process"]["noNewPrivileges"] = false.into();
        self
    }

    pub(crate) fn write(&self) {
        std::fs::write(self.path.join("config.json"), self.spec.to_string()).unwrap();
    }

    /// The runtime with this bundle's state directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("oci"));
        command.arg("--root").arg(self.path.join("state")).args(arguments).current_dir(&self.path);
        command
    }

    /// One command, without input.
    pub(crate) fn oci(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }

    /// `run` in the foreground.
    pub(crate) fn run(&self) -> Said {
        self.write();
        self.oci(&["run", &self.id])
    }

    /// `create` with the container's streams in files, which outlive the command.
    pub(crate) fn create(&self, flags: &[&str]) -> Said {
        self.write();
        let file = |name| std::fs::File::create(self.path.join(name)).unwrap();
        let mut arguments = vec!["create"];
        arguments.extend(flags);
        arguments.push(&self.id);
        let mut command = self.command(&arguments);
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        let status = command.status().unwrap();
        let read = |name| std::fs::read_to_string(self.path.join(name)).unwrap().trim_end().to_owned();
        Said { code: status.code().unwrap(), out: read("out"), err: read("err") }
    }

    /// A container that runs in the background.
    pub(crate) fn start(&self) {
        self.create(&[]).ok();
        self.oci(&["start", &self.id]).ok();
    }

    /// What a created container has written so far.
    pub(crate) fn written(&self) -> String {
        std::fs::read_to_string(self.path.join("out")).unwrap().trim_end().to_owned()
    }

    /// One of the fields of `state`.
    pub(crate) fn state(&self, field: &str) -> Value {
        let text = self.oci(&["state", &self.id]).ok();
        serde_json::from_str::<Value>(&text).unwrap()[field].clone()
    }

    #[track_caller]
    pub(crate) fn wait_for_status(&self, status: &str) {
        until(|| self.state("status") == status);
    }

    /// The program that uses the library.
    pub(crate) fn library(&self, environment: &[(&str, &str)]) -> Said {
        self.write();
        let mut command = Command::new(program("library"));
        command.env("ID", &self.id).envs(environment.iter().copied()).current_dir(&self.path);
        Said::of(command.stdin(Stdio::null()).output().unwrap())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if self.state_dir().exists() {
            self.oci(&["delete", "--force", &self.id]);
        }
        let leaked = cgroups_of(&self.id);
        let _ = std::fs::remove_dir_all(self.directory.path());
        if !std::thread::panicking() {
            assert!(leaked.is_empty(), "left behind: {leaked:?}");
        }
    }
}

/// Directories of this container below `/sys/fs/cgroup`.
pub(crate) fn cgroups_of(id: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).unwrap().flatten().map(|entry| entry.path());
    let places = hierarchies.chain([root.to_owned()]).map(|path| path.join(id));
    places.filter(|path| path.is_dir()).collect()
}

/// Waits until something is so, for ten seconds at most.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not come to be in ten seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A root file system: the image that `cargo xtask test` made, or Debian's own static busybox.
fn unpack(to: &Path) {
    if let Some(images) = std::env::var_os("BERTH_IMAGES") {
        let image = Path::new(&images).join("busybox.tar");
        let status = Command::new("tar").arg("-xf").arg(image).arg("-C").arg(to).status().unwrap();
        assert!(status.success());
        return;
    }
    let busybox = install_busybox();
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var"] {
        std::fs::create_dir(to.join(dir)).unwrap();
    }
    copy(busybox, &to.join("bin/busybox"));
    let applets = Command::new(busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", to.join("bin").join(applet)).unwrap();
    }
    std::fs::write(to.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    std::fs::write(to.join("etc/group"), "root:x:0:\n").unwrap();
}

/// Copies a program; by a process of its own, as [`script`] has it.
pub(crate) fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

fn install_busybox() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = PathBuf::from("/bin/busybox");
        if !path.exists() {
            for arguments in [&["update", "-qq"][..], &["install", "-y", "-qq", "busybox-static"]] {
                assert!(Command::new("apt-get").args(arguments).status().unwrap().success());
            }
        }
        path
    })
}

/// Writes a script of the host that hooks run. A process of its own does: what another test starts just now would hold a
/// file of ours open for writing, for a moment, and such a file is not run.
pub(crate) fn script(path: &Path, text: &str) {
    let words = ["-c", "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"];
    let status = Command::new("sh").args(words).arg(path).arg(text).status().unwrap();
    assert!(status.success());
}
