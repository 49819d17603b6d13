//! Virtual machines: Debian's cloud kernel under software emulation, with a root file system in memory that is made
//! here of busybox, the kernel modules that are needed, the `berth` binary and a script that is its first process.
//!
//! Nothing is installed but QEMU; the kernel is downloaded and unpacked into `target/kept`. A guest speaks on its serial
//! line.

pub(crate) mod cpio;
pub(crate) mod kernel;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use crate::setup;

/// What all guests are made of.
pub(crate) struct Parts {
    pub(crate) kernel: kernel::Kernel,
    berth: PathBuf,
    images: PathBuf,
}

impl Parts {
    /// Installs QEMU and these packages, downloads the kernel with these modules, builds the binary.
    pub(crate) fn fetch(modules: &[&str], packages: &[(&str, &str)]) -> Result<Self, Box<dyn Error>> {
        setup::packages(&[&[("qemu-system-x86_64", "qemu-system-x86")], packages].concat())?;
        let kernel = kernel::fetch(&setup::kept().join("cgroup2"), modules)?;
        let berth = match std::env::var_os("BERTH_BIN") {
            Some(path) => PathBuf::from(path),
            None => setup::binary("quick")?,
        };
        Ok(Self { kernel, berth, images: setup::images(&["busybox"])? })
    }

    /// A root file system with this first process.
    pub(crate) fn root(&self, init: &[u8]) -> Result<cpio::Archive, Box<dyn Error>> {
        let mut archive = cpio::Archive::default();
        for folder in ["bin", "dev", "modules", "proc", "root", "run", "sys", "tmp", "var", "var/log"] {
            archive.folder(folder);
        }
        archive.program("bin/busybox", &setup::program("busybox")?)?;
        archive.program("bin/berth", &self.berth)?;
        archive.program("busybox.tar", &self.images.join("busybox.tar"))?;
        for (number, module) in self.kernel.modules.iter().enumerate() {
            archive.file(&format!("modules/{number:02}"), 0o644, module);
        }
        archive.file("init", 0o755, init);
        Ok(archive)
    }
}

/// How a guest is.
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initrd: &'a Path,
    pub(crate) memory_mb: u32,
    /// A thread for each of its processors: faster, but those of a busy host make it hang now and then.
    pub(crate) threads: bool,
    /// Further words for the kernel.
    pub(crate) words: &'a str,
    /// Further words for QEMU: disks and networks.
    pub(crate) devices: &'a [String],
}

/// What came of waiting for a line.
pub(crate) enum Said {
    Line(String),
    /// Nothing until the time was over.
    Nothing,
    /// The guest has ended.
    End,
}

/// A virtual machine; its power is cut with the value.
pub(crate) struct Guest {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Guest {
    /// Switches it on.
    pub(crate) fn boot(machine: &Machine<'_>) -> Result<Self, Box<dyn Error>> {
        let mut qemu = Command::new("qemu-system-x86_64");
        let accelerator = if machine.threads { "tcg,thread=multi" } else { "tcg,thread=single" };
        qemu.args(["-accel", accelerator, "-cpu", "max", "-smp", "2", "-no-reboot", "-nodefaults"]);
        qemu.args(["-m", &machine.memory_mb.to_string()]);
        qemu.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]).args(machine.devices);
        qemu.arg("-kernel").arg(machine.kernel).arg("-initrd").arg(machine.initrd);
        // `panic=-1` reboots at once, which `-no-reboot` makes an end. A busy host's timer is too late for the check.
        let words = format!("console=ttyS0 quiet panic=-1 mitigations=off no_timer_check {}", machine.words);
        qemu.args(["-append", &words]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = qemu.spawn().map_err(|error| format!("{qemu:?}: {error}"))?;
        let output = child.stdout.take().ok_or("QEMU has no output")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next line that it says.
    pub(crate) fn line(&self, end: Instant) -> Said {
        match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => Said::Line(line),
            Err(mpsc::RecvTimeoutError::Timeout) => Said::Nothing,
            Err(mpsc::RecvTimeoutError::Disconnected) => Said::End,
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Either it has ended, or it is to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
