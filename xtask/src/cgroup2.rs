//! `cargo xtask test --cgroup2`: what depends on cgroup version 2, in a virtual machine that has it.
//!
//! Debian's cloud kernel under software emulation, with a root file system in memory that is made here: busybox, the
//! kernel modules that are needed, test programs and the `berth` binary. Nothing is installed but QEMU; the kernel and
//! systemd are downloaded and unpacked into `target/kept`. The guest runs `cgroup2/init.sh`, and when it is through with
//! it, systemd with `cgroup2/systemd.sh`; it speaks on its serial line, and its last line says how it went.

pub(crate) mod cpio;
pub(crate) mod kernel;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::{Outcome, setup};

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
    setup::packages(&[("qemu-system-x86_64", "qemu-system-x86")])?;
    let folder = setup::kept().join("cgroup2");
    let kernel = kernel::fetch(&folder, &kernel::MODULES)?;
    let tests = build_tests()?;
    let berth = match std::env::var_os("BERTH_BIN") {
        Some(path) => PathBuf::from(path),
        None => setup::binary("quick")?,
    };
    let images = setup::images(&["busybox"])?;
    let systemd = systemd(&folder)?;
    let initrd = folder.join("initrd");
    std::fs::write(&initrd, root(&kernel, &tests, &berth, &images, &systemd)?)?;
    Guest::boot(&kernel.image, &initrd, "")?.listen()?;
    // The other layout that systemd can have, with nothing of version 2 that was in use before.
    Guest::boot(&kernel.image, &initrd, "berth.systemd systemd.unified_cgroup_hierarchy=0")?.listen()
}

/// The guest's root file system.
fn root(
    kernel: &kernel::Kernel,
    tests: &[PathBuf],
    berth: &Path,
    images: &Path,
    systemd: &Path,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut archive = cpio::Archive::default();
    for folder in ["bin", "dev", "modules", "proc", "root", "run", "sys", "tests", "tmp", "var"] {
        archive.folder(folder);
    }
    let busybox = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let busybox = busybox.map(|folder| folder.join("busybox")).find(|path| path.exists());
    archive.program("bin/busybox", &busybox.ok_or("there is no busybox")?)?;
    archive.program("bin/berth", berth)?;
    archive.program("busybox.tar", &images.join("busybox.tar"))?;
    for (number, module) in kernel.modules.iter().enumerate() {
        archive.file(&format!("modules/{number:02}"), 0o644, module);
    }
    for test in tests {
        let name = test.file_name().and_then(|name| name.to_str()).unwrap_or("test");
        archive.program(&format!("tests/{name}"), test)?;
    }
    archive.file("init", 0o755, include_bytes!("cgroup2/init.sh"));
    archive.file("engine.sh", 0o755, include_bytes!("cgroup2/engine.sh"));
    archive.file("systemd.sh", 0o755, include_bytes!("cgroup2/systemd.sh"));
    archive.file("expect.sh", 0o755, include_bytes!("cgroup2/expect.sh"));
    archive.program("systemd.tar", systemd)?;
    Ok(archive.finish())
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

/// A virtual machine, ended with the value.
struct Guest(Child);

impl Guest {
    fn boot(kernel: &Path, initrd: &Path, words: &str) -> Result<Self, Box<dyn Error>> {
        let mut qemu = Command::new("qemu-system-x86_64");
        // With a thread for each of its processors, those of a busy host make it hang now and then.
        qemu.args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", "2048", "-no-reboot"]);
        qemu.args([
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "stdio",
            "-nic",
            "none",
            "-nodefaults",
        ]);
        qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
        // `panic=-1` reboots at once, which `-no-reboot` makes an end. A busy host's timer is too late for the check.
        qemu.arg("-append")
            .arg(format!("console=ttyS0 quiet panic=-1 mitigations=off no_timer_check {words}"));
        qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(Self(qemu.spawn().map_err(|error| format!("{qemu:?}: {error}"))?))
    }

    /// Passes on what the guest says, and looks for its last word.
    fn listen(&mut self) -> Outcome {
        let (sender, lines) = mpsc::channel();
        let output = self.0.stdout.take().ok_or("QEMU has no output")?;
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    break;
                }
            }
        });
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let line = match lines.recv_timeout(left) {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err("the guest is not done in ten minutes".into());
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err("the guest ended without a last word".into());
                }
            };
            println!("{line}");
            match line.strip_prefix(LAST_WORD) {
                Some("0") => return Ok(()),
                Some(count) => return Err(format!("{count} of the guest's programs failed").into()),
                None => {}
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Either it has ended, or it is to.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
