//! Podman with `--runtime`: its conmon calls the runtime as it calls runc.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use berth_tests::{Outcome, berth_bin, images, run};

/// A Podman with a store and a state of its own.
struct Podman {
    directory: tempfile::TempDir,
}

impl Podman {
    fn new() -> Podman {
        let podman = Podman { directory: tempfile::tempdir().unwrap() };
        let rootfs = podman.path("rootfs");
        fs::create_dir(&rootfs).unwrap();
        run(Command::new("tar").arg("-xf").arg(images().join("busybox.tar")).arg("-C").arg(&rootfs)).ok();
        for path in [podman.directory.path(), &rootfs] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        // Podman's own name for the runtime is the file's.
        symlink(berth_bin(), podman.path("berth-runc")).unwrap();
        podman
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn podman(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new("podman");
        for (flag, name) in
            [("--root", "store"), ("--runroot", "run"), ("--tmpdir", "tmp"), ("--runtime", "berth-runc")]
        {
            command.arg(flag).arg(self.path(name));
        }
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--storage-driver", "vfs"]);
        // Where its conmon leaves a word when memory runs out.
        command.current_dir(self.directory.path());
        run(command.args(arguments).stdin(Stdio::null()))
    }

    /// `podman run`, `flags` before the root file system and `command` after it.
    fn run(&self, flags: &[&str], command: &[&str]) -> Outcome {
        let rootfs = self.path("rootfs").display().to_string();
        let name = format!("berth-podman-{}", std::process::id());
        let parent = format!("/{name}");
        let mut arguments = vec!["run", "--network", "none", "--cgroup-parent", &parent];
        arguments.extend(flags);
        arguments.extend(["--rootfs", &rootfs]);
        arguments.extend(command);
        self.podman(&arguments)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.podman(&["rm", "--all", "--force", "--time", "0"]);
        let parent = format!("berth-podman-{}", std::process::id());
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join(&parent));
        }
    }
}

#[test]
fn podman_runs_its_containers_with_it() {
    let podman = Podman::new();
    let script = "trap 'echo bye; exit 3' TERM; echo started; while :; do sleep 0.1; done";
    let limits = ["-d", "--name", "long", "--memory", "64m", "--pids-limit", "20", "--cpus", "0.5"];
    podman.run(&limits, &["sh", "-c", script]).ok();
    let inspect = |format: &str| podman.podman(&["inspect", "long", "--format", format]).ok().to_owned();
    assert_eq!(inspect("{{.State.Status}}"), "running");
    assert!(inspect("{{.OCIRuntime}}").ends_with("/berth-runc"));
    let inside = |script: &str| podman.podman(&["exec", "long", "sh", "-c", script]);
    let files = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us 2>/dev/null || \
                 cat memory.max pids.max; exit 4";
    let said = inside(files);
    assert_eq!(said.code, 4);
    assert!(said.stdout.starts_with("67108864\n20\n"), "{said:?}");
    assert!(podman.podman(&["exec", "-t", "long", "tty"]).ok().starts_with("/dev/pts/"));
    podman.podman(&["pause", "long"]).ok();
    assert_eq!(inspect("{{.State.Status}}"), "paused");
    podman.podman(&["unpause", "long"]).ok();
    assert!(podman.podman(&["top", "long"]).ok().contains("trap"));
    podman.podman(&["stop", "long"]).ok();
    assert_eq!(podman.podman(&["wait", "long"]).ok(), "3");
    assert_eq!(podman.podman(&["logs", "long"]).ok(), "started\nbye");
    podman.podman(&["rm", "long"]).ok();
}

#[test]
fn podman_gets_the_exit_codes() {
    let podman = Podman::new();
    for (code, command) in [(9, &["sh", "-c", "exit 9"][..]), (127, &["/no/such"]), (126, &["/etc"])] {
        assert_eq!(podman.run(&["--rm"], command).code, code, "{command:?}");
    }
    podman.run(&["-d", "--name", "killed"], &["sleep", "100"]).ok();
    podman.podman(&["kill", "killed"]).ok();
    assert_eq!(podman.podman(&["wait", "killed"]).ok(), "137");
    let memory = ["--rm", "--memory", "16m", "--memory-swap", "16m"];
    assert_eq!(podman.run(&memory, &["tail", "/dev/zero"]).code, 137);
    assert!(podman.run(&["--rm", "-t"], &["tty"]).ok().starts_with("/dev/pts/"));
    let flags = ["--rm", "--read-only", "--cap-drop", "all", "--user", "5:6", "--hostname", "inside"];
    let script =
        "id -u; id -g; hostname; grep CapEff /proc/self/status; touch /x 2>/dev/null || echo read-only";
    let said = podman.run(&flags, &["sh", "-c", script]);
    assert_eq!(said.ok(), "5\n6\ninside\nCapEff:\t0000000000000000\nread-only");
}
