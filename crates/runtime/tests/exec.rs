//! Processes that are executed in a running container, and terminals.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod common;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use common::{Bundle, until};
use serde_json::{Value, json};

#[test]
fn exec_is_in_all_namespaces_and_the_cgroup() {
    let mut bundle = Bundle::new("exec sleep 100");
    bundle.namespace("cgroup", Some(""));
    bundle.start();
    let pid = bundle.state("pid");
    let script = "for kind in cgroup ipc mnt net pid uts user; do readlink /proc/self/ns/$kind; done";
    let out = bundle.oci(&["exec", &bundle.id, "sh", "-c", script]).ok();
    let links: Vec<String> = ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user"]
        .iter()
        .map(|kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string())
        .collect();
    assert_eq!(out.lines().collect::<Vec<_>>(), links);
    let first = bundle.oci(&["exec", &bundle.id, "cat", "/proc/1/cgroup"]).ok();
    assert_eq!(bundle.oci(&["exec", &bundle.id, "cat", "/proc/self/cgroup"]).ok(), first);
    assert_eq!(bundle.oci(&["exec", &bundle.id, "sh", "-c", "exit 42"]).code, 42);
    assert_eq!(bundle.oci(&["exec", &bundle.id, "sh", "-c", "kill -9 $$"]).code, 137);
}

#[test]
fn exec_follows_the_containers_process_and_its_own_flags() {
    let mut bundle = Bundle::new("exec sleep 100");
    bundle.spec["process"]["env"] = json!(["PATH=/bin", "FROM=container"]);
    bundle.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]);
    bundle.start();
    let out = bundle.oci(&["exec", &bundle.id, "sh", "-c", "echo $FROM; ulimit -n; pwd; id -u"]).ok();
    assert_eq!(out, "container\n77\n/\n0");
    let script = "echo $FROM $MORE; pwd; id -u; id -g; id -G; sed -n 's/CapEff:.//p' /proc/self/status";
    let flags = [
        "exec",
        "-e",
        "FROM=exec",
        "--env",
        "MORE=1",
        "--cwd",
        "/tmp",
        "-u",
        "7:8",
        "-g",
        "9",
        "--cap",
        "CAP_NET_RAW",
        &bundle.id,
        "sh",
        "-c",
        script,
    ];
    let out = bundle.oci(&flags).ok();
    // A user who is not root keeps no capabilities without ambient ones.
    assert_eq!(out, "exec 1\n/tmp\n7\n8\n8 9\n0000000000000000");
    let said = bundle.oci(&["exec", &bundle.id, "no-such"]);
    assert_eq!(said.code, 255);
    assert_eq!(
        said.err,
        r#"exec failed: unable to start container process: exec: "no-such": executable file not found in $PATH"#
    );
    assert!(bundle.oci(&["exec", "nobody", "true"]).failed().contains("container does not exist"));
}

#[test]
fn exec_takes_a_process_file_and_detaches() {
    let bundle = Bundle::new("exec sleep 100");
    bundle.start();
    let process = json!({"args": ["sh", "-c", "echo $A > /written; exec sleep 100"], "cwd": "/", "env": ["A=file", "PATH=/bin"],
        "user": {"uid": 0, "gid": 0}});
    std::fs::write(bundle.path.join("process.json"), process.to_string()).unwrap();
    let mut command =
        bundle.command(&["exec", "--process", "process.json", "--detach", "--pid-file", "pid", &bundle.id]);
    let null = || Stdio::null();
    assert!(command.stdin(null()).stdout(null()).stderr(null()).status().unwrap().success());
    let written = bundle.rootfs().join("written");
    until(|| std::fs::read_to_string(&written).is_ok_and(|text| text == "file\n"));
    let pid: i64 = std::fs::read_to_string(bundle.path.join("pid")).unwrap().parse().unwrap();
    let pids: Vec<i64> = serde_json::from_str(&bundle.oci(&["ps", "-f", "json", &bundle.id]).ok()).unwrap();
    assert!(pids.contains(&pid) && pids.len() == 2);
}

#[test]
fn a_filter_is_in_force_for_every_process() {
    let mut bundle = Bundle::new("mkdir /x 2>&1; exec sleep 100");
    bundle.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}],
    });
    for no_new_privileges in [true, false] {
        bundle.spec["process"]["noNewPrivileges"] = no_new_privileges.into();
        bundle.start();
        until(|| bundle.written().contains("Cannot assign requested address"));
        let said = bundle.oci(&["exec", &bundle.id, "mkdir", "/y"]).failed();
        assert!(said.contains("Cannot assign requested address"), "{said}");
        bundle.oci(&["delete", "-f", &bundle.id]).ok();
    }
    bundle.spec["linux"]["seccomp"]["syscalls"][0]["action"] = json!("SCMP_ACT_NOTIFY");
    assert!(bundle.run().failed().contains("SCMP_ACT_NOTIFY needs a listenerPath"));
}

/// Receives a descriptor with what comes along.
fn receive(listener: &UnixListener) -> (Vec<u8>, OwnedFd) {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let (socket, _) = listener.accept().unwrap();
    let mut bytes = vec![0; 65536];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [std::io::IoSliceMut::new(&mut bytes)];
    let count = recvmsg(&socket, &mut buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
    bytes.truncate(count);
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (bytes, fd.expect("a descriptor"))
}

#[test]
fn the_listener_of_a_filter_gets_its_descriptor() {
    let mut bundle = Bundle::new("mkdir /x; echo $?; exec sleep 100");
    let path = bundle.path.join("listener");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "listenerPath": path, "listenerMetadata": "my data",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    });
    bundle.start();
    let (bytes, fd) = receive(&listener);
    let state: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["metadata"], "my data");
    assert_eq!(state["state"]["id"], bundle.id);
    assert_eq!(state["pid"], bundle.state("pid"));
    // Nobody answers: the call fails when the listener goes.
    drop(fd);
    until(|| bundle.written().ends_with('1'));
}

#[test]
fn a_terminal_comes_over_the_console_socket() {
    let mut bundle =
        Bundle::new("tty; stty size; stat -c %t:%T /dev/console; echo got $(head -n 1); exec sleep 100");
    bundle.spec["process"]["terminal"] = true.into();
    bundle.spec["process"]["consoleSize"] = json!({"height": 33, "width": 111});
    assert!(bundle.create(&[]).failed().contains("cannot allocate tty"));
    let path = bundle.path.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.create(&["--console-socket", path.to_str().unwrap()]).ok();
    let (_, master) = receive(&listener);
    bundle.oci(&["start", &bundle.id]).ok();
    let mut master = std::fs::File::from(master);
    master.write_all(b"typed\n").unwrap();
    let text = read_until(&mut master, "got typed");
    let lines: Vec<&str> = text.lines().filter(|line| *line != "typed").collect();
    assert_eq!(lines[..3], ["/dev/pts/0", "33 111", "88:0"], "{text:?}");
    // A terminal for an exec, too, and its size.
    let mut command = bundle.command(&["exec", "-t", "-d", "--console-socket"]);
    command.arg(&path).args([&bundle.id, "sh", "-c", "tty; ls -l /proc/self/fd/0; sleep 100"]);
    assert!(command.stdin(Stdio::null()).status().unwrap().success());
    let (_, master) = receive(&listener);
    let text = read_until(&mut std::fs::File::from(master), "fd/0 ->");
    assert!(text.contains("/dev/pts/1"), "{text:?}");
}

fn read_until(master: &mut std::fs::File, expected: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.contains(expected) {
        let count = master.read(&mut buffer).unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..count]).replace('\r', ""));
    }
    text
}

#[test]
fn a_terminal_is_relayed_in_the_foreground() {
    // `script` gives the command a terminal of its own.
    let mut bundle = Bundle::new("stty size; read line; echo got $line; exit 3");
    bundle.spec["process"]["terminal"] = true.into();
    bundle.write();
    let command =
        format!("stty rows 44 cols 55; {} --root state run {}", common::program("oci").display(), bundle.id);
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).current_dir(&bundle.path);
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(text.contains("44 55") && text.contains("got hello"), "{text:?}");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn an_image_cannot_pass_its_own_file_off_as_a_terminal() {
    let mut bundle = Bundle::new("true");
    bundle.spec["process"]["terminal"] = true.into();
    bundle.spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev/pts");
    bundle.mount("tmpfs", "tmpfs", "/dev/pts", &[]);
    bundle.mount("bind", "file", "/dev/pts/ptmx", &["bind"]);
    std::fs::write(bundle.path.join("file"), "").unwrap();
    let said = bundle.run().failed();
    assert!(said.contains("open a terminal: no such device"), "{said}");
}

#[test]
fn a_pidfd_is_sent() {
    let bundle = Bundle::new("exec sleep 100");
    let path = bundle.path.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.create(&["--pidfd-socket", path.to_str().unwrap()]).ok();
    let (_, pidfd) = receive(&listener);
    rustix::process::pidfd_send_signal(pidfd.as_fd(), rustix::process::Signal::KILL).unwrap();
    bundle.wait_for_status("stopped");
}
