//! `cargo xtask test --cgroup2`: what depends on cgroup version 2, in a virtual machine that has it.
//!
//! Debian's cloud kernel under software emulation, with a root file system in memory that is made here: busybox, the
//! kernel modules that are needed, test programs and the `berth` binary. Nothing is installed but QEMU; the kernel is
//! downloaded and unpacked into `target/kept`. The guest runs `cgroup2/init.sh` and speaks on its serial line; its last
//! line says how it went.

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
const PATIENCE: Duration = Duration::from_secs(290);

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
    let initrd = folder.join("initrd");
    std::fs::write(&initrd, root(&kernel, &tests, &berth, &images)?)?;
    let mut guest = Guest::boot(&kernel.image, &initrd)?;
    guest.listen()
}

/// The guest's root file system.
fn root(
    kernel: &kernel::Kernel,
    tests: &[PathBuf],
    berth: &Path,
    images: &Path,
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
    Ok(archive.finish())
}

/// The test programs, which are static as everything is.
fn build_tests() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["test", "--no-run", "--package", "berth-runtime", "--profile", "quick"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    build.args(TESTS.iter().flat_map(|test| ["--test", test]));
    let said = setup::output(build.current_dir(setup::root()).stderr(Stdio::inherit()))?;
    let messages = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let programs: Vec<PathBuf> =
        messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?))).collect();
    if programs.len() == TESTS.len() {
        Ok(programs)
    } else {
        Err(format!("cargo built {} of {} tests", programs.len(), TESTS.len()).into())
    }
}

/// A virtual machine, ended with the value.
struct Guest(Child);

impl Guest {
    fn boot(kernel: &Path, initrd: &Path) -> Result<Self, Box<dyn Error>> {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048", "-no-reboot"]);
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
        // `panic=-1` reboots at once, which `-no-reboot` makes an end.
        qemu.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
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
                    return Err("the guest is not done in five minutes".into());
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
