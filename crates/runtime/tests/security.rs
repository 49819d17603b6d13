//! What went wrong in other runtimes, each as a test named after its lesson.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod common;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Bundle, program, until};
use serde_json::json;

/// A copy of the runtime that an attacker could get at, and what it is made of.
fn own_runtime(bundle: &Bundle) -> (PathBuf, Vec<u8>) {
    let path = bundle.path.join("runtime");
    common::copy(program("oci"), &path);
    let content = std::fs::read(&path).unwrap();
    (path, content)
}

fn run_with(runtime: &Path, bundle: &Bundle, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(runtime);
    command.arg("--root").arg("state").args(arguments).current_dir(&bundle.path).stdin(Stdio::null());
    command.output().unwrap()
}

/// Looks for a process that runs no file of the image, opens what it runs, lets it go on, and writes to that file as
/// soon as nobody executes it any more.
const ATTACK: &str = "mkfifo /fifo; echo ready > /ready; while [ ! -e /stop ]; do for pid in /proc/[0-9]*; do \
     case $(readlink $pid/exe) in /bin/*|'') continue;; esac; \
     exec 7<$pid/exe || continue; cat /fifo >/dev/null & echo opened; i=0; \
     while [ $i -lt 200 ]; do (echo evil > /proc/self/fd/7) 2>/dev/null && echo written; \
     i=$((i+1)); sleep 0.01; done; echo done; exit; done; done";

/// CVE-2019-5736: the runtime's own file is reachable as /proc/self/exe.
#[test]
fn the_runtimes_file_cannot_be_written_through_proc_self_exe() {
    let mut attacker = Bundle::new(ATTACK);
    attacker.privileged();
    let (runtime, content) = own_runtime(&attacker);
    attacker.start();
    until(|| attacker.rootfs().join("ready").exists());
    // The runtime executes itself inside, where it waits for somebody to read its log.
    let own = ["/proc/self/exe", "--log", "/fifo", "state", "none"];
    let output = run_with(&runtime, &attacker, &[&["exec", &attacker.id][..], &own].concat());
    assert!(String::from_utf8_lossy(&output.stderr).contains("container does not exist"), "{output:?}");
    until(|| attacker.written().ends_with("done"));
    assert_eq!(attacker.written(), "opened\ndone", "it was tried, in vain");
    assert_eq!(std::fs::read(&runtime).unwrap(), content);
    // The same with the first process of a container, whose neighbour the attacker is.
    attacker.oci(&["delete", "-f", &attacker.id]).ok();
    let _ = std::fs::remove_file(attacker.rootfs().join("fifo"));
    attacker.start();
    let mut victim = Bundle::new("");
    victim.privileged();
    victim.spec["process"]["args"] = json!(own);
    victim.namespace("pid", Some(&format!("/proc/{}/ns/pid", attacker.state("pid"))));
    victim.mount("bind", attacker.rootfs().join("fifo").to_str().unwrap(), "/fifo", &["bind"]);
    until(|| attacker.rootfs().join("fifo").exists());
    victim.write();
    run_with(&runtime, &victim, &["run", &victim.id]);
    until(|| attacker.written().ends_with("done"));
    assert_eq!(attacker.written(), "opened\ndone", "it was tried, in vain");
    assert_eq!(std::fs::read(&runtime).unwrap(), content);
}

/// The runtime as the interpreter of an image's script.
#[test]
fn the_runtime_can_be_an_interpreter_and_stays_what_it_is() {
    let mut bundle = Bundle::new("");
    let (runtime, content) = own_runtime(&bundle);
    common::script(&bundle.rootfs().join("interpreted"), "");
    std::fs::write(bundle.rootfs().join("interpreted"), "#!/proc/self/exe --version\n").unwrap();
    bundle.spec["process"]["args"] = json!(["/interpreted"]);
    bundle.write();
    let output = run_with(&runtime, &bundle, &["run", &bundle.id]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("spec:"), "it did run: {output:?}");
    assert_eq!(std::fs::read(&runtime).unwrap(), content);
}

/// CVE-2024-21626: a leaked descriptor as working directory.
#[test]
fn no_descriptor_is_a_working_directory() {
    for fd in 3..=20 {
        let mut bundle = Bundle::new("pwd; ls");
        bundle.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
        let said = bundle.run();
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        bundle.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}/../../.."));
        assert_ne!(bundle.run().code, 0);
    }
    let bundle = Bundle::new("exec sleep 100");
    bundle.start();
    for fd in 3..=20 {
        let cwd = format!("/proc/self/fd/{fd}");
        assert_ne!(bundle.oci(&["exec", "--cwd", &cwd, &bundle.id, "pwd"]).code, 0);
    }
}

#[test]
fn only_standard_descriptors_are_seen_inside() {
    let mut bundle = Bundle::new("");
    // The shell's own glob opens the directory as 3.
    bundle.spec["process"]["args"] = json!(["ls", "/proc/self/fd"]);
    bundle.write();
    let shell = format!(
        "exec 5</ 6</etc/passwd 17</; exec {} --root state run {}",
        program("oci").display(),
        bundle.id
    );
    let output = Command::new("bash")
        .args(["-c", &shell])
        .current_dir(&bundle.path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n2\n3\n", "{output:?}");
    bundle.spec["process"]["args"] = json!(["sleep", "100"]);
    bundle.start();
    assert_eq!(bundle.oci(&["exec", &bundle.id, "ls", "/proc/self/fd"]).ok(), "0\n1\n2\n3");
}

/// CVE-2025-31133, -52565: the source of a mask, or /dev/console, swapped for a link.
#[test]
fn a_container_cannot_choose_what_hides_a_path() {
    // The image's own /dev is kept, with a link where /dev/null should be.
    let mut bundle = Bundle::new("cat /proc/keys | wc -c; ls -l /dev/null; cat /secret");
    std::fs::create_dir_all(bundle.rootfs().join("dev")).unwrap();
    let victim = bundle.path.join("victim");
    std::fs::write(&victim, "core").unwrap();
    std::fs::write(bundle.rootfs().join("secret"), "secret").unwrap();
    let dev = bundle.path.join("dev");
    std::fs::create_dir(&dev).unwrap();
    symlink("/secret", dev.join("null")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("console")).unwrap();
    bundle.mount("bind", dev.to_str().unwrap(), "/dev", &["rbind"]);
    bundle.spec["mounts"].as_array_mut().unwrap().retain(|mount| {
        let destination = mount["destination"].as_str().unwrap().to_owned();
        !destination.starts_with("/dev/") && !(destination == "/dev" && mount["type"] == "tmpfs")
    });
    bundle.spec["linux"]["maskedPaths"] = json!(["/proc/keys", "/secret"]);
    let out = bundle.run().ok();
    assert_eq!(out.lines().next(), Some("0"), "hidden by the host's own /dev/null: {out}");
    assert!(!out.lines().nth(2).unwrap_or_default().contains("secret"), "{out}");
}

/// CVE-2025-52881: what the runtime writes to procfs goes to procfs.
#[test]
fn writes_to_procfs_cannot_be_led_elsewhere() {
    let mut bundle = Bundle::new("cat /proc/sys/kernel/shmmni");
    // An image that brings its own /proc, and a configuration that mounts none.
    let fake = bundle.rootfs().join("proc/sys/kernel");
    std::fs::create_dir_all(&fake).unwrap();
    std::fs::write(fake.join("shmmni"), "fake\n").unwrap();
    std::fs::create_dir_all(bundle.rootfs().join("proc/self/attr")).unwrap();
    bundle.spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/proc");
    bundle.spec["linux"]["sysctl"] = json!({"kernel.shmmni": "99"});
    bundle.spec["linux"]["maskedPaths"] = json!([]);
    bundle.spec["linux"]["readonlyPaths"] = json!([]);
    bundle.spec["process"]["oomScoreAdj"] = json!(100);
    assert_eq!(bundle.run().ok(), "fake", "the image's file is as it was");
}

/// CVE-2021-30465: a mount target on a shared volume is swapped for a link while the container is made.
#[test]
fn a_swapped_mount_target_stays_inside() {
    let mut bundle = Bundle::new("true");
    let volume = bundle.path.join("volume");
    std::fs::create_dir(&volume).unwrap();
    let outside = bundle.path.join("outside");
    std::fs::create_dir(&outside).unwrap();
    bundle.mount("bind", volume.to_str().unwrap(), "/volume", &["rbind"]);
    bundle.mount("tmpfs", "tmpfs", "/volume/a/b", &[]);
    bundle.mount("bind", "/etc", "/volume/a/c", &["bind"]);
    bundle.write();
    let stop = AtomicBool::new(false);
    let (target, spare, link) = (volume.join("a"), volume.join("spare"), volume.join("link"));
    std::fs::create_dir(&target).unwrap();
    symlink("/../../../../../../../".to_owned() + outside.to_str().unwrap().trim_start_matches('/'), &link)
        .unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = std::fs::rename(&target, &spare);
                let _ = std::fs::rename(&link, &target);
                let _ = std::fs::rename(&target, &link);
                let _ = std::fs::rename(&spare, &target);
            }
        });
        // Whether one comes to be is a matter of luck; where it mounts is not.
        for round in 0..200 {
            bundle.oci(&["run", &format!("{}-{round}", bundle.id)]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "something was made outside the root");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(bundle.path.to_str().unwrap()), "something is mounted on the host");
    let left: Vec<_> = std::fs::read_dir(bundle.path.join("state")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// CVE-2022-0492: the release agent of a cgroup of version 1.
#[test]
fn a_cgroup_cannot_be_mounted_inside() {
    let script = "unshare -UrmC sh -c 'mount -t cgroup -o memory x /mnt' 2>&1; mount -t cgroup -o memory x /mnt 2>&1; \
                  echo evil > /sys/fs/cgroup/memory/release_agent 2>&1; ls /mnt | wc -l";
    let said = Bundle::new(script).run();
    assert!(said.out.ends_with('0'), "{said:?}");
}

/// Processes of another container of the same PID namespace see a process that cannot be looked into.
#[test]
fn the_process_cannot_be_looked_into_before_execve() {
    let first = Bundle::new(
        "while [ ! -e /stop ]; do for pid in /proc/[0-9]*; do n=${pid#/proc/}; [ $n = 1 ] || [ $n = $$ ] || \
         { ls $pid/root/ 2>/dev/null | grep -x host-marker; ls $pid/cwd/ 2>/dev/null | grep -x host-marker; }; done; done",
    );
    first.start();
    std::fs::write(first.path.join("host-marker"), "").unwrap();
    let pid = first.state("pid");
    let mut second = Bundle::new("true");
    second.namespace("pid", Some(&format!("/proc/{pid}/ns/pid")));
    second.write();
    for round in 0..20 {
        second.oci(&["run", &format!("{}-{round}", second.id)]).ok();
    }
    std::fs::write(first.rootfs().join("stop"), "").unwrap();
    first.wait_for_status("stopped");
    assert_eq!(first.written(), "");
}

/// Standard streams are given to the user; the host's own /dev/null never is, whatever the image has in its place.
#[test]
fn the_hosts_null_device_keeps_its_owner() {
    use std::os::unix::fs::MetadataExt;
    let owner = || Path::new("/dev/null").metadata().unwrap().uid();
    let before = owner();
    let mut bundle = Bundle::new("true");
    let dev = bundle.path.join("dev");
    std::fs::create_dir(&dev).unwrap();
    bundle.mount("bind", dev.to_str().unwrap(), "/dev", &["rbind"]);
    bundle.spec["mounts"].as_array_mut().unwrap().retain(|mount| {
        let destination = mount["destination"].as_str().unwrap().to_owned();
        !destination.starts_with("/dev/") && !(destination == "/dev" && mount["type"] == "tmpfs")
    });
    bundle.spec["process"]["user"] = json!({"uid": 4242, "gid": 4242});
    bundle.run().ok();
    assert_eq!(owner(), before);
}

#[test]
fn the_state_is_for_its_owner_alone() {
    let bundle = Bundle::new("exec sleep 100");
    bundle.start();
    use std::os::unix::fs::PermissionsExt;
    let mode = bundle.state_dir().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o066, 0, "{mode:o}");
    until(|| bundle.state("status") == "running");
}
