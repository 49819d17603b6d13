//! `cargo xtask test --power`: the power is cut, again and again, while images are imported, loaded, saved, committed,
//! pushed, pulled and removed.
//!
//! A virtual machine with a disk of its own works until it is killed, at a moment that chance chooses: what its kernel
//! had not written to the disk yet is gone. Then it boots again with the same disk. Whatever a command had said it had
//! done must be there, every image must be whole byte for byte, and nothing may lie around that no image needs. In the
//! end all images are removed: the disk must be as empty as before.
//!
//! The guest (see `guest`) runs `power/init.sh`. The registry that it pulls from and pushes to is a process of the host,
//! whose power stays on.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::guest::{Guest, Machine, Parts, Said};
use crate::{Outcome, setup};

/// How often the power is cut.
const CUTS: u32 = 24;
/// The longest time that the guest works before that.
const WORK: Duration = Duration::from_millis(6000);
/// The longest time that it may need to come up and check.
const PATIENCE: Duration = Duration::from_secs(120);
const DISK_BYTES: u64 = 1 << 30;

/// What the kernel needs besides what containers need: a disk, its file system, and a network.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_net", "ext4", "overlay"];

/// Cuts and looks.
pub(crate) fn run() -> Outcome {
    let parts =
        Parts::fetch(&MODULES, &[("mkfs.ext4", "e2fsprogs"), ("docker-registry", "docker-registry")])?;
    let folder = setup::kept().join("power");
    std::fs::create_dir_all(&folder)?;
    let mut archive = parts.root(include_bytes!("power/init.sh"))?;
    archive.folder("data");
    let initrd = folder.join("initrd");
    std::fs::write(&initrd, archive.finish())?;
    let disk = folder.join("disk");
    std::fs::File::create(&disk)?.set_len(DISK_BYTES)?;
    setup::call(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk))?;
    let registry = Registry::start(&folder.join("registry"))?;
    let devices = [
        "-drive".to_owned(),
        format!("file={},format=raw,if=virtio,cache=writeback", disk.display()),
        "-nic".to_owned(),
        "user,model=virtio-net-pci".to_owned(),
    ];
    let boot = |names: &BTreeSet<String>, more: &str| {
        let expected: Vec<&str> = names.iter().map(String::as_str).collect();
        // The host, as QEMU's guests see it.
        let words = format!("registry=10.0.2.2:{} expected={} {more}", registry.port, expected.join(","));
        let (kernel, initrd) = (&parts.kernel.image, &initrd);
        let machine =
            Machine { kernel, initrd, memory_mb: 1024, threads: true, words: &words, devices: &devices };
        Guest::boot(&machine)
    };
    let mut random = Random::new();
    let mut names = BTreeSet::new();
    let mut done = 0;
    for cut in 1..=CUTS {
        let time = WORK.mul_f64(random.part());
        // Each begins its work with another command, or the last ones would hardly ever be cut.
        let guest = boot(&names, &format!("first={cut}"))?;
        done += work(&guest, time, &mut names)
            .map_err(|error| format!("cut {cut} (seed {}): {error}", random.seed))?;
    }
    finish(&boot(&names, "last")?).map_err(|error| format!("after the last cut: {error}"))?;
    println!(
        "power: {CUTS} cuts, {done} commands before them, everything whole, and nothing left in the end"
    );
    if done < u64::from(CUTS) {
        return Err(format!("the guest did {done} commands only: the cuts hit nothing").into());
    }
    drop(registry);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Waits until the guest has checked, and lets it work for a while. The number of commands it did.
fn work(guest: &Guest, time: Duration, names: &mut BTreeSet<String>) -> Result<u64, Box<dyn Error>> {
    let mut end = Instant::now() + PATIENCE;
    let (mut working, mut done) = (false, 0);
    loop {
        let line = match guest.line(end) {
            Said::Line(line) => line,
            Said::Nothing if working => return Ok(done),
            Said::Nothing => return Err("the guest does not come up".into()),
            Said::End => return Err("the guest ended by itself".into()),
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

/// Lets the guest check once more, and remove all.
fn finish(guest: &Guest) -> Outcome {
    let end = Instant::now() + PATIENCE;
    loop {
        match guest.line(end) {
            Said::Line(line) if line == "guest: empty" => return Ok(()),
            Said::Line(line) if line.starts_with("guest: fault") => return Err(line.into()),
            Said::Line(line) => println!("{line}"),
            Said::Nothing => return Err("the guest does not get empty".into()),
            Said::End => return Err("the guest ended by itself".into()),
        }
    }
}

/// Debian's `docker-registry` on the host; it ends with the value.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    fn start(folder: &Path) -> Result<Self, Box<dyn Error>> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let root = folder.join("data");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            root.display()
        );
        let path = folder.join("config.yml");
        std::fs::write(&path, config)?;
        let mut serve = Command::new("docker-registry");
        serve.arg("serve").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = serve.spawn().map_err(|error| format!("{serve:?}: {error}"))?;
        Ok(Self { child, port })
    }
}

impl Drop for Registry {
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
