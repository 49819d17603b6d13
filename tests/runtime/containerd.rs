//! The command line as containerd's shim and other callers of runc use it, word for word beside the real runc.

use std::fs;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use berth_tests::{Outcome, berth_bin, images, run, until};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::{Value, json};

/// A bundle that is run by one of several runtimes, each with its own state.
struct Bundle {
    directory: tempfile::TempDir,
    number: u32,
    spec: Value,
}

/// The peer, and what is compared with it.
const RUNTIMES: [&str; 2] = ["runc", "berth-runc"];

impl Bundle {
    fn new(args: &[&str]) -> Bundle {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::tempdir().unwrap();
        let rootfs = directory.path().join("rootfs");
        fs::create_dir(&rootfs).unwrap();
        run(Command::new("tar").arg("-xf").arg(images().join("busybox.tar")).arg("-C").arg(&rootfs)).ok();
        for path in [directory.path(), &rootfs] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink(berth_bin(), directory.path().join("berth-runc")).unwrap();
        let runc = ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|path| Path::new(path).exists());
        symlink(runc.expect("runc is installed"), directory.path().join("runc")).unwrap();
        run(Command::new("runc").arg("spec").current_dir(&directory)).ok();
        let text = fs::read_to_string(directory.path().join("config.json")).unwrap();
        let mut spec: Value = serde_json::from_str(&text).unwrap();
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = args.into();
        // This may not be allowed to set them, and runc would fail.
        spec["process"]["rlimits"] = json!([]);
        let bundle = Bundle { directory, number, spec };
        bundle.write();
        bundle
    }

    fn write(&self) {
        fs::write(self.path("config.json"), self.spec.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn id(&self, runtime: &str) -> String {
        format!("{runtime}-{}-{}", std::process::id(), self.number)
    }

    fn command(&self, runtime: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path(runtime));
        command.arg("--root").arg(self.path(&format!("{runtime}-state")));
        command.arg("--log").arg(self.path(&format!("{runtime}.log"))).args(["--log-format", "json"]);
        command.args(arguments).current_dir(&self.directory).stdin(Stdio::null());
        command
    }

    fn oci(&self, runtime: &str, arguments: &[&str]) -> Outcome {
        run(&mut self.command(runtime, arguments))
    }

    /// `create` with the container's streams in files: pipes would stay open.
    fn create(&self, runtime: &str, flags: &[&str]) -> i32 {
        let file = |name: &str| fs::File::create(self.path(name)).unwrap();
        let (id, mut arguments) = (self.id(runtime), vec!["create"]);
        arguments.extend(flags);
        arguments.push(&id);
        let mut command = self.command(runtime, &arguments);
        let status = command.stdout(file("out")).stderr(file("err")).status().unwrap();
        status.code().unwrap()
    }

    /// The last line of the log, without what differs from one time to another.
    fn logged(&self, runtime: &str) -> String {
        let log = fs::read_to_string(self.path(&format!("{runtime}.log"))).unwrap_or_default();
        let last: Value = log.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
        assert!(last.is_null() || last["time"].is_string(), "{last}");
        format!("{}: {}", last["level"].as_str().unwrap_or(""), last["msg"].as_str().unwrap_or(""))
    }

    /// What a command says with either runtime, the container's name made the same.
    fn both(&self, arguments: &[&str]) -> [(i32, String, String); 2] {
        RUNTIMES.map(|runtime| {
            let id = self.id(runtime);
            let arguments: Vec<&str> =
                arguments.iter().map(|&word| if word == "ID" { id.as_str() } else { word }).collect();
            let said = self.oci(runtime, &arguments);
            (said.code, said.stdout.replace(&id, "ID"), self.logged(runtime).replace(&id, "ID"))
        })
    }

    #[track_caller]
    fn same(&self, arguments: &[&str]) {
        let [runc, ours] = self.both(arguments);
        assert_eq!(runc, ours, "{arguments:?}");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        for runtime in RUNTIMES {
            self.oci(runtime, &["delete", "--force", &self.id(runtime)]);
        }
    }
}

#[test]
fn a_life_is_told_in_runcs_words() {
    let bundle = Bundle::new(&["sleep", "100"]);
    for verb in ["state", "start", "kill", "delete", "update", "pause", "resume", "ps", "events"] {
        bundle.same(&[verb, "ID"]);
    }
    bundle.same(&["delete", "--force", "ID"]);
    bundle.same(&["exec", "ID", "true"]);
    for runtime in RUNTIMES {
        let file = bundle.path("pid").display().to_string();
        assert_eq!(bundle.create(runtime, &["--pid-file", &file]), 0, "{runtime}");
        let state: Value =
            serde_json::from_str(bundle.oci(runtime, &["state", &bundle.id(runtime)]).ok()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), state["pid"].to_string(), "{runtime}");
        let keys: Vec<&String> = state.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["bundle", "created", "id", "ociVersion", "owner", "pid", "rootfs", "status"]);
    }
    let status = |expected: &str| {
        for runtime in RUNTIMES {
            let state = bundle.oci(runtime, &["state", &bundle.id(runtime)]);
            let state: Value = serde_json::from_str(state.ok()).unwrap();
            assert_eq!(state["status"], expected, "{runtime}");
        }
    };
    status("created");
    for arguments in [
        &["create", "ID"][..],
        &["exec", "ID", "echo", "hi"],
        &["pause", "ID"],
        &["start", "ID"],
        &["exec", "ID", "true"],
        &["pause", "ID"],
        &["resume", "ID"],
        &["resume", "ID"],
        &["start", "ID"],
        &["start", "ID"],
        &["delete", "ID"],
        &["exec", "ID", "/no/such"],
        &["exec", "ID", "sh", "-c", "kill -9 $$"],
        &["exec", "ID", "sh", "-c", "exit 7"],
        &["exec", "--user", "7:8", "ID", "id"],
        &["exec", "--cwd", "/var", "--env", "A=b", "ID", "sh", "-c", "pwd; echo $A"],
        &["exec", "--cwd", "/nope", "ID", "true"],
        &["list", "-q"],
        &["update", "--memory", "33554432", "--pids-limit", "20", "ID"],
        &["kill", "ID", "FOO"],
        &["kill", "ID", "0"],
        &["kill", "--all", "ID", "KILL"],
    ] {
        bundle.same(arguments);
    }
    until("they end", 5, || {
        RUNTIMES.iter().all(|runtime| {
            bundle.oci(runtime, &["state", &bundle.id(runtime)]).stdout.contains("\"stopped\"")
        })
    });
    for arguments in [
        &["kill", "ID", "KILL"][..],
        &["start", "ID"],
        &["exec", "ID", "true"],
        &["delete", "ID"],
        &["delete", "ID"],
    ] {
        bundle.same(arguments);
    }
}

#[test]
fn bad_requests_are_refused_in_runcs_words() {
    let mut bundle = Bundle::new(&["/no/such"]);
    bundle.same(&["run", "ID"]);
    bundle.same(&["run", "bad/id"]);
    bundle.same(&["create", "--bundle", "/nope", "x"]);
    bundle.spec["process"]["args"] = json!(["true"]);
    bundle.spec["process"]["terminal"] = true.into();
    bundle.write();
    bundle.same(&["create", "ID"]);
    bundle.spec["process"]["terminal"] = false.into();
    bundle.spec["root"]["path"] = json!("nowhere");
    bundle.write();
    for (code, _, _) in bundle.both(&["run", "ID"]) {
        assert_eq!(code, 1);
    }
    bundle.spec["root"]["path"] = json!("rootfs");
    bundle.write();
    let systemd = bundle.both(&["--systemd-cgroup", "run", "ID"]);
    if !Path::new("/run/systemd/system").exists() {
        for (code, _, logged) in systemd {
            assert_eq!(code, 1);
            assert!(
                logged.ends_with("systemd not running on this host, cannot use systemd cgroups manager"),
                "{logged}"
            );
        }
    }
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let mut bundle = Bundle::new(&["sh", "-c", "tty; read line; echo got $line; exit 3"]);
    bundle.spec["process"]["terminal"] = true.into();
    bundle.write();
    let path = bundle.path("console");
    let listener = UnixListener::bind(&path).unwrap();
    let runtime = "berth-runc";
    assert_eq!(bundle.create(runtime, &["--console-socket", &path.display().to_string()]), 0);
    let mut terminal = fs::File::from(receive(&listener));
    bundle.oci(runtime, &["start", &bundle.id(runtime)]).ok();
    terminal.write_all(b"hello\n").unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 256]);
    // The end of a terminal whose last process is gone is an error.
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(text.contains("/dev/pts/0") && text.contains("got hello"), "{text:?}");
    bundle.oci(runtime, &["delete", "--force", &bundle.id(runtime)]).ok();
}

fn receive(listener: &UnixListener) -> OwnedFd {
    let (stream, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 256];
    let mut slices = [IoSliceMut::new(&mut bytes)];
    rustix::net::recvmsg(&stream, &mut slices, &mut control, RecvFlags::empty()).unwrap();
    let mut found = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    found.next().expect("a terminal is sent")
}

#[test]
fn events_and_features_have_runcs_shape() {
    let bundle = Bundle::new(&["sleep", "100"]);
    for runtime in RUNTIMES {
        assert_eq!(bundle.create(runtime, &[]), 0);
        bundle.oci(runtime, &["start", &bundle.id(runtime)]).ok();
    }
    let [runc, ours] = bundle.both(&["events", "--stats", "ID"]).map(|(code, out, _)| {
        assert_eq!(code, 0);
        serde_json::from_str::<Value>(&out).unwrap()
    });
    let mut missing = Vec::new();
    shape(&runc, &ours, "", &mut missing);
    assert_eq!(missing, [""; 0], "{ours}");
    let list = |runtime| -> Value {
        serde_json::from_str(bundle.oci(runtime, &["list", "--format", "json"]).ok()).unwrap()
    };
    let mut missing = Vec::new();
    shape(&list("runc")[0], &list("berth-runc")[0], "", &mut missing);
    assert_eq!(missing, [""; 0]);
    let features = bundle.oci("berth-runc", &["features"]);
    let features: Value = serde_json::from_str(features.ok()).unwrap();
    for pointer in
        ["/hooks", "/mountOptions", "/linux/namespaces", "/linux/capabilities", "/linux/seccomp/actions"]
    {
        assert!(
            features.pointer(pointer).is_some_and(|list| !list.as_array().unwrap().is_empty()),
            "{pointer}"
        );
    }
}

/// The keys of one value that another lacks.
fn shape(of: &Value, other: &Value, at: &str, missing: &mut Vec<String>) {
    for (key, value) in of.as_object().into_iter().flatten() {
        let path = format!("{at}/{key}");
        match other.get(key) {
            // A list of what there was to tell may be empty.
            None if value.as_array().is_none_or(|list| !list.is_empty()) => missing.push(path),
            None => {}
            Some(other) => shape(value, other, &path, missing),
        }
    }
}
