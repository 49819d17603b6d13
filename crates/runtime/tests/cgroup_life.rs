//! The life of a control group: made, entered, frozen, killed, removed; on whichever version this host has.

#![allow(clippy::unwrap_used)]

mod cgroup_support;

use std::time::Duration;

use berth_oci::runtime::{LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources};
use berth_runtime::cgroup::{Cgroup, Error};
use cgroup_support::{Group, hierarchies, outside, path, wait_until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

fn plain() -> Group {
    Group::new(&LinuxResources::default())
}

#[test]
fn a_group_is_made_everywhere_and_gone_after() {
    let path = path();
    let group = Cgroup::create(&hierarchies(), &path, &LinuxResources::default()).unwrap();
    assert_eq!(group.path(), path);
    assert_eq!(group.pids().unwrap(), []);
    assert!(group.is_empty().unwrap());
    group.remove().unwrap();
    assert!(matches!(Cgroup::reopen(&hierarchies(), &path), Err(Error::Io { .. })));
    // A second time there is nothing to do.
    group.remove().unwrap();
    hierarchies().prune("/berth-test");
}

#[test]
fn a_process_enters_by_itself_or_is_put_in() {
    let group = plain();
    let own = group.shell("sleep 60 & wait");
    wait_until(|| group.0.pids().unwrap().len() == 2);
    let other = outside("exec sleep 60");
    group.0.attach(other.pid()).unwrap();
    let pids = group.0.pids().unwrap();
    assert!(pids.len() >= 3 && pids.contains(&own.pid()) && pids.contains(&other.pid()));
    for line in
        std::fs::read_to_string(format!("/proc/{}/cgroup", own.pid().as_raw_nonzero())).unwrap().lines()
    {
        let (_, path) = line.rsplit_once(':').unwrap();
        let tree_without_group = line.starts_with("0::") && !group.is_v2() || line.contains(":name=systemd:");
        assert!(path == group.0.path() || tree_without_group, "{line}");
    }
}

#[test]
fn a_group_in_use_is_not_taken_over() {
    let group = plain();
    let _process = group.shell("exec sleep 60");
    let error = Cgroup::create(&hierarchies(), &group.0.path(), &LinuxResources::default()).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { count: 1, .. }), "{error}");
    assert_eq!(group.0.pids().unwrap().len(), 1);
}

#[test]
fn an_empty_group_is_taken_over() {
    let group = plain();
    let again = Cgroup::create(&hierarchies(), &group.0.path(), &LinuxResources::default()).unwrap();
    assert_eq!(again.path(), group.0.path());
}

#[test]
fn groups_below_count_and_go_too() {
    let group = plain();
    let below = format!("{}/inner/most", group.0.path());
    let inner = Cgroup::create(&hierarchies(), &below, &LinuxResources::default()).unwrap();
    let process = outside("exec sleep 60");
    inner.attach(process.pid()).unwrap();
    assert_eq!(group.0.pids().unwrap(), [process.pid()]);
    let error = group.0.remove().unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    drop(process);
    group.0.remove().unwrap();
    assert!(inner.pids().is_err());
}

#[test]
fn a_frozen_group_stands_still() {
    let group = plain();
    let _spinner = group.shell("while :; do :; done");
    let used = || group.0.stats().unwrap().cpu.total;
    assert!(!group.0.frozen().unwrap());
    wait_until(|| used() > 0);
    group.0.freeze().unwrap();
    assert!(group.0.frozen().unwrap());
    // What ran before is accounted for a moment later where the machine is emulated.
    let mut before = used();
    wait_until(|| {
        std::thread::sleep(Duration::from_millis(50));
        std::mem::replace(&mut before, used()) == before
    });
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(used(), before);
    group.0.freeze().unwrap();
    group.0.thaw().unwrap();
    assert!(!group.0.frozen().unwrap());
    wait_until(|| used() > before);
}

#[test]
fn nothing_survives_being_killed() {
    let limit = LinuxPids { limit: 100 };
    let group = Group::new(&LinuxResources { pids: Some(limit), ..LinuxResources::default() });
    // Twenty-five shells that fork all the time: who is killed one by one is soon succeeded.
    let fork = "f() { while :; do (true); done; }; trap '' TERM INT HUP";
    let mut bomb = group.shell(&format!("{fork}; {} f", "f & ".repeat(24)));
    wait_until(|| group.0.pids().is_ok_and(|pids| pids.len() > 20));
    group.0.kill_all().unwrap();
    bomb.wait();
    wait_until(|| group.0.is_empty().unwrap());
}

#[test]
fn the_frozen_are_killed_too() {
    let group = plain();
    let mut sleeper = group.shell("exec sleep 60");
    wait_until(|| !group.0.is_empty().unwrap());
    group.0.freeze().unwrap();
    group.0.kill_all().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&sleeper.wait()), Some(9));
}

#[test]
fn the_oom_killer_is_noticed() {
    let memory = LinuxMemory { limit: Some(16 << 20), swap: Some(16 << 20), ..LinuxMemory::default() };
    let group = Group::new(&LinuxResources { memory: Some(memory), ..LinuxResources::default() });
    let watch = group.0.watch_oom().unwrap().expect("there is a memory controller");
    assert_eq!(watch.count().unwrap(), 0);
    let ready = |milliseconds: i64| {
        let interest = PollFlags::from_bits_retain(watch.interest().bits() as u16);
        let wait = Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
        poll(&mut [PollFd::new(&watch, interest)], Some(&wait)).unwrap() > 0
    };
    assert!(!ready(0), "nothing has happened");
    let mut hog = group.shell("exec dd if=/dev/zero of=/dev/null bs=64M count=1");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&hog.wait()), Some(9));
    assert!(ready(20_000));
    assert_eq!(watch.count().unwrap(), 1);
    assert!(!ready(0), "the count silences it");
    assert_eq!(group.0.oom_kills().unwrap(), 1);
    assert_eq!(group.0.stats().unwrap().memory.oom_kills, 1);
}

#[test]
fn the_oom_killer_is_noticed_after_the_group_has_gone() {
    let memory = LinuxMemory { limit: Some(16 << 20), swap: Some(16 << 20), ..LinuxMemory::default() };
    let limited = LinuxResources { memory: Some(memory), ..LinuxResources::default() };
    for (program, killed) in [("exec dd if=/dev/zero of=/dev/null bs=64M count=1", 1), ("exec true", 0)] {
        // Asked at once, and when the removal has been told, too.
        for late in [Duration::ZERO, Duration::from_millis(800)] {
            let group = Group::new(&limited);
            let watch = group.0.watch_oom().unwrap().expect("there is a memory controller");
            group.shell(program).wait();
            group.0.remove().unwrap();
            std::thread::sleep(late);
            match watch.count() {
                Ok(count) => assert_eq!(count, killed, "{program} {late:?}"),
                // With version 2 the group takes its count along.
                Err(error) => assert!(group.is_v2(), "{error}"),
            }
        }
    }
}

fn rule(allow: bool, major: i64, minor: Option<i64>, access: &str) -> LinuxDeviceCgroup {
    LinuxDeviceCgroup { allow, kind: "c".to_owned(), major: Some(major), minor, access: access.to_owned() }
}

fn devices(rules: &[LinuxDeviceCgroup]) -> LinuxResources {
    LinuxResources { devices: rules.to_vec(), ..LinuxResources::default() }
}

/// Which of these a process of the group may do: read `/dev/null`, read and write `/dev/kmsg`, make a node.
fn access(group: &Group) -> String {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("node");
    let tries = [
        "exec 3</dev/null".to_owned(),
        "exec 3</dev/kmsg".to_owned(),
        "exec 3>>/dev/kmsg".to_owned(),
        format!("exec mknod {} c 1 11", node.display()),
    ];
    let allowed = |script: &String| group.shell(script).wait().success();
    tries
        .iter()
        .zip("nrwm".chars())
        .map(|(script, letter)| if allowed(script) { letter } else { '-' })
        .collect()
}

#[test]
fn devices_are_only_those_that_rules_allow() {
    let deny = LinuxDeviceCgroup::deny_all();
    let group = Group::new(&devices(std::slice::from_ref(&deny)));
    assert_eq!(access(&group), "n--m");
    for (rules, expected) in [
        (vec![deny.clone(), rule(true, 1, Some(11), "r")], "nr-m"),
        (vec![deny.clone(), rule(true, 1, Some(11), "w")], "n-wm"),
        (vec![deny.clone(), rule(true, 1, None, "rw")], "nrwm"),
        (vec![deny.clone(), rule(true, 1, Some(11), "rwm"), rule(false, 1, Some(11), "w")], "nr-m"),
        (vec![deny.clone(), rule(true, 2, Some(11), "rw"), rule(true, 1, Some(12), "rw")], "n--m"),
        (vec![deny.clone()], "n--m"),
        (vec![LinuxDeviceCgroup { allow: true, access: "rwm".to_owned(), ..deny.clone() }], "nrwm"),
        (
            vec![
                LinuxDeviceCgroup { allow: true, access: "rwm".to_owned(), ..deny.clone() },
                rule(false, 1, Some(11), "w"),
            ],
            "nr-m",
        ),
        (vec![deny.clone()], "n--m"),
    ] {
        group.0.update(&devices(&rules)).unwrap();
        assert_eq!(access(&group), expected, "{rules:?}");
    }
    // No rules leave the rules alone in an update.
    group.0.update(&LinuxResources::default()).unwrap();
    assert_eq!(access(&group), "n--m");
}

#[test]
fn rules_that_no_kernel_can_keep_are_refused() {
    let group = plain();
    for rules in [
        vec![LinuxDeviceCgroup::deny_all(), rule(true, 1, None, "rw"), rule(false, 1, Some(11), "w")],
        vec![rule(true, 1, Some(11), "rx")],
        vec![rule(true, -7, Some(11), "r")],
        vec![LinuxDeviceCgroup { kind: "q".to_owned(), ..rule(true, 1, Some(1), "r") }],
    ] {
        let error = group.0.update(&devices(&rules)).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{rules:?}: {error}");
    }
}

#[test]
fn statistics_tell_of_work_done() {
    let group = plain();
    let mut worker = group.shell("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done");
    assert!(worker.wait().success());
    let sleeper = group.shell("exec sleep 60");
    let stats = group.0.full_stats().unwrap();
    assert_eq!(stats.unified, group.is_v2());
    assert!(stats.cpu.total > 0);
    assert!(stats.memory.usage.usage > 0 && stats.memory.usage.limit > 1 << 40);
    assert!(stats.memory.stat.contains_key("pgfault"));
    assert_eq!(stats.pids.current, 1);
    assert_eq!(stats.pids.limit, u64::MAX);
    if !group.is_v2() {
        assert_eq!(stats.cpu.per_cpu.iter().sum::<u64>(), stats.cpu.total);
        assert_eq!(stats.cpu.per_cpu_user.len(), stats.cpu.per_cpu.len());
    }
    let quick = group.0.stats().unwrap();
    assert_eq!(quick.pids, stats.pids);
    drop(sleeper);
}

#[test]
fn many_at_once_do_not_meet() {
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| {
                for _ in 0..8 {
                    let group = plain();
                    let mut process = group.shell("exit 3");
                    assert_eq!(process.wait().code(), Some(3));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn paths_that_lead_out_are_refused() {
    for path in ["", "/", "/berth-test/../..", "../x"] {
        let error = Cgroup::create(&hierarchies(), path, &LinuxResources::default()).unwrap_err();
        assert!(matches!(error, Error::Path { .. }), "{path}");
    }
}
