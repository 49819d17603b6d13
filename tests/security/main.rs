//! Black-box tests of what went wrong in peers: each named after its lesson.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bombs;
mod copies;
mod images;
mod reach;

use berth_tests::{CLIENTS, Client, Engine, berth_bin, run};
use std::process::Command;

fn hash(path: &std::path::Path) -> String {
    run(Command::new("sha256sum").arg(path)).ok().to_owned()
}

/// CVE-2019-5736: the host's binary is reachable as `/proc/self/exe`.
#[test]
fn the_hosts_binary_cannot_be_written_through_proc_self_exe() {
    let engine = Engine::with_images(&["busybox"]);
    let before = hash(&berth_bin());
    engine.run(Client::Docker, &["run", "--rm", "--entrypoint", "/proc/self/exe", "busybox", "version"]);
    let script = "for n in 1 2 3 4 5 6 7 8 9; do for p in /proc/[0-9]*; do echo x 2>/dev/null >>$p/exe; done; done; true";
    engine.run(Client::Docker, &["run", "-d", "--name", "writer", "busybox", "sleep", "60"]).ok();
    std::thread::scope(|scope| {
        scope.spawn(|| engine.run(Client::Docker, &["exec", "writer", "sh", "-c", script]));
        for _ in 0..30 {
            engine.docker("exec writer true").ok();
            engine.docker("exec writer /proc/self/exe");
        }
    });
    assert_eq!(hash(&berth_bin()), before);
}

/// CVE-2024-21626: a leaked descriptor as working directory.
#[test]
fn no_descriptor_leads_out() {
    let engine = Engine::with_images(&["busybox"]);
    engine.docker("run -d --name box busybox sleep 600").ok();
    for client in CLIENTS {
        for number in 3..21 {
            let place = format!("/proc/self/fd/{number}");
            // Whatever is run there would succeed.
            let outcome = engine.run(client, &["run", "--rm", "-w", &place, "busybox", "true"]);
            assert_ne!(outcome.code, 0, "{place}: {outcome:?}");
            let outcome = engine.run(client, &["exec", "-w", &place, "box", "true"]);
            assert_ne!(outcome.code, 0, "{place}: {outcome:?}");
        }
        // `ls` has the directory that it lists open besides.
        let listed = ["0", "1", "2", "3"];
        let list = ["ls", "-l", "/proc/self/fd"];
        let first = engine.run(client, &[&["run", "--rm", "busybox"], &list[..]].concat());
        let further = engine.run(client, &[&["exec", "box"], &list[..]].concat());
        for seen in [first, further] {
            let descriptors: Vec<(&str, &str)> = seen
                .ok()
                .lines()
                .filter_map(|line| line.split_once(" -> "))
                .map(|(name, target)| (name.rsplit(' ').next().unwrap_or_default(), target))
                .collect();
            assert!(descriptors.len() >= 3, "{seen:?}");
            for (name, target) in descriptors {
                let own = name == "3" && target.starts_with("/proc/");
                assert!(listed.contains(&name) && (name != "3" || own), "{name} -> {target}: {seen:?}");
            }
        }
    }
}

/// CVE-2021-30465 and CVE-2025-31133: a mount's target is swapped for a link while containers start. Each start makes
/// many mounts below the directory that is swapped, so that ten thousand are made in a few dozen starts.
#[test]
fn a_swapped_mount_target_leads_nowhere() {
    const MOUNTS: usize = 10_000;
    let engine = Engine::with_images(&["busybox"]);
    let pattern = std::fs::read("/proc/sys/kernel/core_pattern").unwrap();
    engine.docker("run --rm -v shared:/v busybox mkdir /v/a").ok();
    let volume = engine.data_root().join("volumes/shared/_data");
    std::os::unix::fs::symlink("/../../../../../../../../tmp", volume.join("b")).unwrap();
    let mark = format!("swapped-{}-", std::process::id());
    let targets: Vec<String> = (0..200).map(|number| format!("/v/a/{mark}{number}")).collect();
    let count = format!("grep -c {mark} /proc/mounts; true");
    let mut args = vec!["run", "--rm", "--net", "none", "-v", "shared:/v"];
    args.extend(targets.iter().flat_map(|target| ["--tmpfs", target.as_str()]));
    args.extend(["busybox", "sh", "-c", &count]);
    let (mut made, mut refused, mut swaps) = (0, 0, 0_u64);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let folder = std::fs::File::open(&volume).unwrap();
            let mut swaps = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&folder, "a", &folder, "b", exchange).unwrap();
                swaps += 1;
            }
            swaps
        });
        while made + refused < MOUNTS && refused < 500 {
            let outcome = engine.run(Client::Docker, &args);
            match outcome.stdout.trim().parse::<usize>() {
                Ok(mounts) if outcome.code == 0 => made += mounts,
                _ => refused += 1,
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        swaps = swapper.join().unwrap();
    });
    println!("{made} mounts made, {refused} starts refused, {swaps} swaps");
    assert!(made + refused >= MOUNTS && swaps > MOUNTS as u64, "{made} {refused} {swaps}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&mark), "mounted outside the root: {mounts}");
    let outside = std::fs::read_dir("/tmp").unwrap().flatten();
    let outside: Vec<_> =
        outside.filter(|entry| entry.file_name().to_string_lossy().contains(&mark)).collect();
    assert!(outside.is_empty(), "made outside the root: {outside:?}");
    assert_eq!(std::fs::read("/proc/sys/kernel/core_pattern").unwrap(), pattern);
}

/// CVE-2022-0492: the release agent of cgroup v1.
#[test]
fn a_container_cannot_mount_a_cgroup_of_its_own() {
    let engine = Engine::with_images(&["debian"]);
    let script = "mkdir -p /tmp/c && mount -t cgroup -o rdma,memory cgroup /tmp/c || mount -t cgroup -o memory c /tmp/c";
    let args = ["run", "--rm", "debian", "unshare", "-UrCm", "sh", "-c", script];
    let outcome = engine.run(Client::Docker, &args);
    assert_ne!(outcome.code, 0, "{outcome:?}");
    let find = "find /sys/fs/cgroup -name release_agent -writable";
    let agent = engine.run(Client::Docker, &["run", "--rm", "debian", "sh", "-c", find]);
    assert_eq!(agent.stdout.trim(), "");
}
