//! `cargo xtask test --cgroup2`: what depends on cgroup version 2, in a virtual machine that has it.
//!
//! The guest (see `guest`) has test programs and systemd besides. It runs `cgroup2/init.sh`, and when it is through with
//! it, systemd with `cgroup2/systemd.sh`; its last line says how it went.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::guest::{Guest, Machine, Parts, Said};
use crate::{Outcome, setup};

/// A disk to be throttled, overlays, and what a bridged container needs.
const MODULES: [&str; 14] = [
    "null_blk",
    "overlay",
    "bridge",
    "br_netfilter",
    "veth",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_ct",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_reject_inet",
    "nft_redir",
];

/// Tests of `berth-runtime` that say something else on version 2.
const TESTS: [&str; 3] = ["cgroup_life", "cgroup_limits", "seccomp_load"];

/// The line that the guest ends with, followed by the number of failures.
const LAST_WORD: &str = "berth-guest: failures ";

/// Then it hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// Downloads, builds, boots, and reads what the guest says.
pub(crate) fn run() -> Outcome {
    if !cfg!(target_arch = "x86_64") {
        return Err(
            "test: --cgroup2 needs an x86-64 machine: its guest runs the programs that are built here".into(),
        );
    }
    let parts = Parts::fetch(&MODULES, &[])?;
    let folder = setup::kept().join("cgroup2");
    let mut archive = parts.root(include_bytes!("cgroup2/init.sh"))?;
    archive.folder("tests");
    for test in build_tests()? {
        let name = test.file_name().and_then(|name| name.to_str()).unwrap_or("test");
        archive.program(&format!("tests/{name}"), &test)?;
    }
    archive.file("engine.sh", 0o755, include_bytes!("cgroup2/engine.sh"));
    archive.file("systemd.sh", 0o755, include_bytes!("cgroup2/systemd.sh"));
    archive.file("expect.sh", 0o755, include_bytes!("cgroup2/expect.sh"));
    archive.program("systemd.tar", &systemd(&folder)?)?;
    let initrd = folder.join("initrd");
    std::fs::write(&initrd, archive.finish())?;
    let kernel = &parts.kernel.image;
    let no_network = ["-nic".to_owned(), "none".to_owned()];
    // The other layout that systemd can have comes second, with nothing of version 2 that was in use before.
    for words in ["", "berth.systemd systemd.unified_cgroup_hierarchy=0"] {
        let machine =
            Machine { kernel, initrd: &initrd, memory_mb: 2048, threads: false, words, devices: &no_network };
        listen(&Guest::boot(&machine)?)?;
    }
    Ok(())
}

/// Debian's systemd with what it is linked with, unpacked and not configured: enough to be a first process.
fn systemd(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let archive = folder.join("systemd.tar");
    if archive.exists() {
        return Ok(archive);
    }
    let part = folder.join("systemd.part.tar");
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--variant=extract", "--include=systemd", "--dpkgopt=path-exclude=/usr/share/*"]);
    setup::call(make.arg("bookworm").arg(&part).arg("http://deb.debian.org/debian"))?;
    std::fs::rename(part, &archive)?;
    Ok(archive)
}

/// The test programs, which are static as everything is.
fn build_tests() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut build = setup::cargo();
    build.args(["test", "--no-run", "--package", "berth-runtime", "--profile", "quick"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    build.args(TESTS.iter().flat_map(|test| ["--test", test]));
    let said = setup::output(build.current_dir(setup::root()).stderr(Stdio::inherit()))?;
    let messages = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    // The programs that the tests call are built with them.
    let tests = messages.filter(|message| message["profile"]["test"] == true);
    let programs: Vec<PathBuf> =
        tests.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?))).collect();
    if programs.len() == TESTS.len() {
        Ok(programs)
    } else {
        Err(format!("cargo built {} of {} tests", programs.len(), TESTS.len()).into())
    }
}

/// Passes on what the guest says, and looks for its last word.
fn listen(guest: &Guest) -> Outcome {
    let end = Instant::now() + PATIENCE;
    loop {
        let line = match guest.line(end) {
            Said::Line(line) => line,
            Said::Nothing => return Err("the guest is not done in ten minutes".into()),
            Said::End => return Err("the guest ended without a last word".into()),
        };
        println!("{line}");
        match line.strip_prefix(LAST_WORD) {
            Some("0") => return Ok(()),
            Some(count) => return Err(format!("{count} of the guest's programs failed").into()),
            None => {}
        }
    }
}
