//! Older kernels: what the newer calls do is done by the classic ones, or refused with a reason.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod common;

use common::{Bundle, Said, program};
use serde_json::json;

/// `run` where some system calls are missing.
fn run_without(bundle: &Bundle, calls: &str) -> Said {
    bundle.write();
    let mut command = std::process::Command::new(program("without"));
    command.arg(calls).arg(program("oci")).arg("--root").arg("state").args(["run", &bundle.id]);
    let output = command.current_dir(&bundle.path).stdin(std::process::Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Said { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

const SCRIPT: &str = "for path in / /proc /dev /dev/shm /sys /mnt/bind /mnt/tmp /proc/sys /sys/firmware; do \
                      awk -v p=$path '$5==p{o=$6} END{print p, o}' /proc/self/mountinfo; done";

fn bundle() -> Bundle {
    let mut bundle = Bundle::new(SCRIPT);
    bundle.spec["root"]["readonly"] = true.into();
    bundle.mount("bind", "/usr", "/mnt/bind", &["rbind", "ro", "nosuid", "rprivate"]);
    bundle.mount("tmpfs", "tmpfs", "/mnt/tmp", &["ro", "noexec", "noatime", "size=64k"]);
    std::fs::create_dir_all(bundle.rootfs().join("mnt/bind")).unwrap();
    std::fs::create_dir_all(bundle.rootfs().join("mnt/tmp")).unwrap();
    bundle
}

#[test]
fn mounts_are_the_same_on_every_kernel() {
    let expected = bundle().run().ok();
    assert!(
        expected.contains("/mnt/tmp ro,noexec,noatime") && expected.contains("/proc/sys ro"),
        "{expected}"
    );
    // 5.11; a filter of a machine that is a container itself; before 5.9.
    for calls in ["mount_setattr", "fsopen,fspick", "close_range,mount_setattr"] {
        assert_eq!(run_without(&bundle(), calls).ok(), expected, "without {calls}");
    }
}

#[test]
fn what_only_newer_kernels_can_do_is_refused() {
    let mut recursive = bundle();
    recursive.mount("bind", "/usr", "/mnt", &["rbind", "rro"]);
    let said = run_without(&recursive, "mount_setattr").failed();
    assert!(said.contains(r#"error mounting "/usr" to rootfs at "/mnt""#), "{said}");
    assert!(said.contains("function not implemented"), "{said}");
    let mut mapped = bundle();
    let mappings = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    mapped.spec["mounts"].as_array_mut().unwrap().push(json!({
        "type": "bind", "source": "/usr", "destination": "/mnt", "options": ["bind"],
        "uidMappings": mappings, "gidMappings": mappings,
    }));
    let said = run_without(&mapped, "mount_setattr").failed();
    assert!(said.contains("id-mapped mounts need Linux 5.12"), "{said}");
}
