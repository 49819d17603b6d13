//! `cargo xtask test --power`: the power is cut, again and again, while images are imported, loaded, saved, committed
//! and removed.
//!
//! A virtual machine with a disk of its own works until it is killed, at a moment that chance chooses: what its kernel
//! had not written to the disk yet is gone. Then it boots again with the same disk. Whatever a command had said it had
//! done must be there, every image must be whole byte for byte, and nothing may lie around that no image needs.
//!
//! The guest is made as that of `--cgroup2` is; it runs `power/init.sh`.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::cgroup2::{cpio, kernel};
use crate::{Outcome, setup};

/// How often the power is cut.
const CUTS: u32 = 24;
/// The longest time that the guest works before that.
const WORK: Duration = Duration::from_millis(6000);
/// The longest time that it may need to come up and check.
const PATIENCE: Duration = Duration::from_secs(120);
const DISK_BYTES: u64 = 1 << 30;

/// What the kernel needs besides what containers need: a disk and its file system.
const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "ext4", "overlay"];

/// Cuts and looks.
pub(crate) fn run() -> Outcome {
    setup::packages(&[("qemu-system-x86_64", "qemu-system-x86"), ("mkfs.ext4", "e2fsprogs")])?;
    let folder = setup::kept().join("power");
    std::fs::create_dir_all(&folder)?;
    let kernel = kernel::fetch(&setup::kept().join("cgroup2"), &MODULES)?;
    let berth = match std::env::var_os("BERTH_BIN") {
        Some(path) => path.into(),
        None => setup::binary("quick")?,
    };
    let images = setup::images(&["busybox"])?;
    let initrd = folder.join("initrd");
    std::fs::write(&initrd, root(&kernel, &berth, &images)?)?;
    let disk = folder.join("disk");
    std::fs::File::create(&disk)?.set_len(DISK_BYTES)?;
    setup::call(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk))?;
    let mut random = Random::new();
    let mut names = BTreeSet::new();
    let mut done = 0;
    for cut in 1..=CUTS {
        let work = WORK.mul_f64(random.part());
        let mut guest = Guest::boot(&kernel.image, &initrd, &disk, &names)?;
        done += guest
            .work(work, &mut names)
            .map_err(|error| format!("cut {cut} (seed {}): {error}", random.seed))?;
    }
    println!("power: {CUTS} cuts, {done} commands before them, everything whole");
    if done < u64::from(CUTS) {
        return Err(format!("the guest did {done} commands only: the cuts hit nothing").into());
    }
    std::fs::remove_file(disk)?;
    Ok(())
}

/// The guest's root file system.
fn root(kernel: &kernel::Kernel, berth: &Path, images: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut archive = cpio::Archive::default();
    for folder in ["bin", "data", "dev", "modules", "proc", "root", "run", "sys", "tmp", "var", "var/log"] {
        archive.folder(folder);
    }
    archive.program("bin/busybox", &setup::program("busybox")?)?;
    archive.program("bin/berth", berth)?;
    archive.program("busybox.tar", &images.join("busybox.tar"))?;
    for (number, module) in kernel.modules.iter().enumerate() {
        archive.file(&format!("modules/{number:02}"), 0o644, module);
    }
    archive.file("init", 0o755, include_bytes!("power/init.sh"));
    Ok(archive.finish())
}

/// A virtual machine, killed with the value.
struct Guest {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Guest {
    fn boot(
        kernel: &Path,
        initrd: &Path,
        disk: &Path,
        names: &BTreeSet<String>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024", "-no-reboot"]);
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
        qemu.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=writeback", disk.display()));
        qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
        let expected: Vec<&str> = names.iter().map(String::as_str).collect();
        let line = format!("console=ttyS0 quiet panic=-1 mitigations=off expected={}", expected.join(","));
        qemu.args(["-append", &line]).stdin(Stdio::null()).stdout(Stdio::piped());
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

    /// Waits until the guest has checked, lets it work for a while, and cuts the power. The number of commands it did.
    fn work(&mut self, time: Duration, names: &mut BTreeSet<String>) -> Result<u64, Box<dyn Error>> {
        let mut end = Instant::now() + PATIENCE;
        let (mut working, mut done) = (false, 0);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Timeout) if working => return Ok(done),
                Err(mpsc::RecvTimeoutError::Timeout) => return Err("the guest does not come up".into()),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err("the guest ended by itself".into()),
            };
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("guest:"), Some("working"), _) => {
                    working = true;
                    end = Instant::now() + time;
                }
                (Some("guest:"), Some("fault"), _) => return Err(line.into()),
                // What is about to go may be gone already.
                (Some("guest:"), Some("removes"), Some(name)) => {
                    names.remove(name);
                }
                (Some("guest:"), Some("did"), Some(name)) => {
                    done += 1;
                    if name != "-" {
                        names.insert(name.to_owned());
                    }
                }
                _ => println!("{line}"),
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Chance, with a seed that is told where something fails.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Self {
        let given = std::env::var("BERTH_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = given.unwrap_or_else(|| now.map_or(1, |now| now.as_millis() as u64));
        Self { seed, state: seed }
    }

    /// A number from 0 to 1 (splitmix64).
    fn part(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
