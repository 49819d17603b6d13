//! OCI runtimes side by side on one bundle: `run` of a program that ends at once.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runtimes and the words before `run`.
const RUNTIMES: [(&str, &[&str]); 3] =
    [("berth oci", &["/usr/local/bin/berth", "oci"]), ("crun", &["crun"]), ("runc", &["runc"])];

/// Prints the table of the runtimes.
pub(super) fn table() {
    let bundle = "/var/tmp/berth-bench-oci";
    let _ = fs::remove_dir_all(bundle);
    fs::create_dir_all(format!("{bundle}/rootfs")).expect("the lab's /var/tmp can be written");
    let unpack = ["-xf", "/var/tmp/images/busybox.tar", "-C", &format!("{bundle}/rootfs")];
    let unpacked = Command::new("tar").args(unpack).status().expect("tar runs");
    assert!(unpacked.success(), "busybox.tar was not unpacked");
    println!("\n| OCI `run` of /bin/true, median ms | berth oci | crun | runc |\n| --- | --- | --- | --- |");
    for (name, seccomp) in [("plain", false), ("with a seccomp profile of Docker's size", true)] {
        fs::write(format!("{bundle}/config.json"), spec(seccomp)).expect("the bundle can be written");
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); RUNTIMES.len()];
        for round in 0..40 {
            for (index, (runtime, words)) in RUNTIMES.iter().enumerate() {
                let mut command = Command::new(words[0]);
                command.args(&words[1..]).args(["run", "--bundle", bundle, &format!("bench-{round}")]);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
                let start = Instant::now();
                let output = command.output().unwrap_or_else(|error| panic!("{runtime}: {error}"));
                times[index].push(start.elapsed());
                assert!(output.status.success(), "{runtime}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        let cells = times.into_iter().map(|times| format!("{:.2}", super::middle(times).as_secs_f64() * 1e3));
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    let _ = fs::remove_dir_all(bundle);
}

/// The configuration that `runc spec` writes, without a terminal; with the profile of a running Docker where asked.
fn spec(seccomp: bool) -> String {
    let folder = "/var/tmp/berth-bench-spec";
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).expect("the lab's /var/tmp can be written");
    let made = Command::new("runc").arg("spec").current_dir(folder).status().expect("runc runs");
    assert!(made.success(), "runc spec failed");
    let text = fs::read_to_string(format!("{folder}/config.json")).expect("runc spec wrote it");
    let mut spec: serde_json::Value = serde_json::from_str(&text).expect("runc writes JSON");
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!(["/bin/true"]);
    if seccomp {
        spec["linux"]["seccomp"] = docker_profile();
    }
    let _ = fs::remove_dir_all(folder);
    spec.to_string()
}

/// The profile that the real Docker hands to its runtime, read off the bundle of a running container.
fn docker_profile() -> serde_json::Value {
    let docker = |args: &[&str]| {
        let output = Command::new("docker").args(["-H", "unix:///run/docker-lab.sock"]).args(args).output();
        String::from_utf8_lossy(&output.expect("docker runs").stdout).trim().to_owned()
    };
    let id = docker(&["run", "-d", "--rm", "busybox", "sleep", "60"]);
    let path = format!("/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/{id}/config.json");
    let path = if fs::exists(&path).unwrap_or(false) {
        path
    } else {
        format!("/run/containerd/io.containerd.runtime.v2.task/moby/{id}/config.json")
    };
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    docker(&["rm", "-f", &id]);
    let spec: serde_json::Value = serde_json::from_str(&text).expect("a bundle is JSON");
    assert!(spec["linux"]["seccomp"].is_object(), "Docker runs without a profile");
    spec["linux"]["seccomp"].clone()
}
