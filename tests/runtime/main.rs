//! Black-box tests of `berth oci` with the command lines of other engines.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod containerd;
mod podman;

use berth_tests::{berth_bin, images, run};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Bundle(PathBuf);

impl Bundle {
    fn new(name: &str, args: &[&str]) -> Bundle {
        let path = PathBuf::from(format!("/tmp/berth-oci-{}-{name}", std::process::id()));
        std::fs::create_dir_all(path.join("rootfs")).unwrap();
        run(Command::new("tar")
            .arg("-xf")
            .arg(images().join("busybox.tar"))
            .arg("-C")
            .arg(path.join("rootfs")))
        .ok();
        run(Command::new(berth_bin()).args(["oci", "spec"]).current_dir(&path)).ok();
        let text = std::fs::read_to_string(path.join("config.json")).unwrap();
        let mut spec: serde_json::Value = serde_json::from_str(&text).unwrap();
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = args.into();
        std::fs::write(path.join("config.json"), spec.to_string()).unwrap();
        Bundle(path)
    }

    fn oci(&self, args: &[&str]) -> berth_tests::Outcome {
        run(Command::new(berth_bin())
            .args(["oci", "--root"])
            .arg(self.0.join("state"))
            .args(args)
            .current_dir(&self.0))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_binary_is_static() {
    let bytes = std::fs::read(berth_bin()).unwrap();
    assert_eq!(&bytes[..4], b"\x7fELF");
    let word = |at: usize, size: usize| {
        bytes[at..at + size].iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (start, size, count) = (word(32, 8), word(54, 2), word(56, 2));
    const PT_INTERP: usize = 3;
    assert!(
        (0..count).all(|index| word(start + index * size, 4) != PT_INTERP),
        "it asks for a dynamic linker"
    );
}

#[test]
fn a_bundle_of_our_own_spec_runs() {
    let bundle = Bundle::new("run", &["sh", "-c", "echo pid $$; exit 5"]);
    let id = format!("run-{}", std::process::id());
    let outcome = bundle.oci(&["run", &id]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (5, "pid 1\n"), "{outcome:?}");
    assert!(!Path::new(&bundle.0.join("state")).join(&id).exists(), "the state is gone");
}

#[test]
fn create_start_state_kill_delete() {
    let bundle = Bundle::new("life", &["sleep", "100"]);
    let id = format!("life-{}", std::process::id());
    // the container's streams must not be the pipes that this test reads to their end
    let create = format!("exec \"$0\" oci --root \"$1\" create {id} >/dev/null 2>&1 </dev/null");
    let mut command = Command::new("sh");
    command.args(["-c", &create]).arg(berth_bin()).arg(bundle.0.join("state")).current_dir(&bundle.0);
    run(&mut command).ok();
    let status = || -> String {
        let state: serde_json::Value = serde_json::from_str(bundle.oci(&["state", &id]).ok()).unwrap();
        state["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status(), "created");
    bundle.oci(&["start", &id]).ok();
    assert_eq!(status(), "running");
    assert_eq!(bundle.oci(&["exec", &id, "echo", "inside"]).ok(), "inside");
    assert_eq!(bundle.oci(&["exec", &id, "sh", "-c", "exit 3"]).code, 3);
    bundle.oci(&["kill", &id, "KILL"]).ok();
    berth_tests::until("it stops", 5, || status() == "stopped");
    bundle.oci(&["delete", &id]).ok();
    assert_ne!(bundle.oci(&["state", &id]).code, 0);
}
