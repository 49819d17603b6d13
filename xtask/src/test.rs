//! `cargo xtask test`: every test there is, with what they need.

use crate::{Outcome, cgroup2, clients, conformance, dist, power, setup};

/// Installs, builds and runs; with `--cgroup2` only the tests of cgroup v2 in a virtual machine.
pub(crate) fn run(words: &[&str]) -> Outcome {
    setup::need_root()?;
    let (flags, filters): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with("--"));
    if let Some(flag) = flags.iter().find(|flag| !["--cgroup2", "--power"].contains(flag)) {
        return Err(format!("test: unknown flag {flag}").into());
    }
    if flags.contains(&"--cgroup2") {
        return cgroup2::run();
    }
    if flags.contains(&"--power") {
        return power::run();
    }
    setup::packages(&[])?;
    let images = setup::images(&["busybox", "debian", "httpd", "nginx"])?;
    let docker = setup::docker()?;
    let clients = clients::install()?;
    let binary = setup::binary("quick")?;
    let packages = setup::kept().join("dist");
    if packages.exists() {
        std::fs::remove_dir_all(&packages)?;
    }
    dist::make(&binary, &packages)?;
    let mut tests = setup::cargo();
    tests.args(["test", "--workspace", "--profile", "quick", "--no-fail-fast"]).args(&filters);
    tests.env("BERTH_BIN", binary).env("BERTH_IMAGES", images).env("BERTH_DOCKER", docker);
    tests.env("BERTH_CLIENTS", clients).env("BERTH_PACKAGES", packages);
    setup::call(tests.current_dir(setup::root()))?;
    if filters.is_empty() {
        // What the real Docker answered to the corpus, without it.
        conformance::run(&["--recorded"])?;
    }
    // What the host does not have: the guest runs the programs that are built here.
    if filters.is_empty() && cfg!(target_arch = "x86_64") { cgroup2::run() } else { Ok(()) }
}
