//! What a process finds itself in: namespaces, identity, capabilities, limits, devices, kernel parameters.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod common;

use std::process::Command;

use common::Bundle;
use serde_json::json;

/// Runs a script in a container that `change` made out of the example, and compares what it writes.
#[track_caller]
fn check(script: &str, change: impl FnOnce(&mut Bundle), expected: &str) {
    let mut bundle = Bundle::new(script);
    change(&mut bundle);
    assert_eq!(bundle.run().ok(), expected);
}

/// A container that must not come to be.
#[track_caller]
fn refused(change: impl FnOnce(&mut Bundle), expected: &str) {
    let mut bundle = Bundle::new("true");
    change(&mut bundle);
    let said = bundle.run().failed();
    assert!(said.contains(expected), "{said}");
}

#[test]
fn namespaces_are_new_unless_they_are_the_callers() {
    let script = "for kind in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$kind; done";
    let host: Vec<String> = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
        .iter()
        .map(|kind| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string())
        .collect();
    let mut bundle = Bundle::new(script);
    bundle.namespace("cgroup", Some(""));
    let out = bundle.run().ok();
    let same: Vec<bool> = out.lines().zip(&host).map(|(inside, outside)| inside == outside).collect();
    assert_eq!(same, [false, false, false, false, false, true, true, false]);
    bundle.namespace("net", None).namespace("network", None).namespace("ipc", None).namespace("uts", None);
    bundle.spec["hostname"] = json!(null);
    let out = bundle.run().ok();
    let same: Vec<bool> = out.lines().zip(&host).map(|(inside, outside)| inside == outside).collect();
    assert_eq!(same, [false, true, false, true, false, true, true, true]);
}

#[test]
fn namespaces_of_another_container_are_joined() {
    let mut first = Bundle::new("echo in-shm > /dev/shm/x; exec sleep 100");
    first.spec["hostname"] = json!("first");
    first.start();
    let pid = first.state("pid");
    let mut second = Bundle::new(
        "hostname; readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; ps | grep -c 'sleep 100'",
    );
    for (kind, name) in [("uts", "uts"), ("network", "net"), ("ipc", "ipc"), ("pid", "pid")] {
        second.namespace(kind, Some(&format!("/proc/{pid}/ns/{name}")));
    }
    second.spec["hostname"] = json!(null);
    let out = second.run().ok();
    let link =
        |name: &str| std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string();
    // The shell and grep name the pattern too.
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..3], ["first", &link("net"), &link("ipc")]);
    assert!(lines[3].parse::<u32>().unwrap() >= 1, "processes of the first container are seen");
    let mut missing = Bundle::new("true");
    missing.namespace("network", Some("/no/such"));
    let said = missing.run().failed();
    assert!(said.contains("open net namespace /no/such: no such file or directory"), "{said}");
    let mut wrong = Bundle::new("true");
    wrong.namespace("network", Some(&format!("/proc/{pid}/ns/uts")));
    assert!(wrong.run().failed().contains("join net namespace: invalid argument"));
}

#[test]
fn a_user_namespace_maps_ids() {
    let script = "id -u; id -g; cat /proc/self/uid_map | tr -s ' '; ls -ln /dev/null | awk '{print $3}'; \
                  touch /tmp/made; chown 5:6 /tmp/made; echo 7 > /proc/self/oom_score_adj; echo x > /dev/null; \
                  ls -ln / | awk '$9==\"proc\"{print $1}'; mount -t tmpfs x /tmp 2>/dev/null || echo no mount";
    let mut bundle = Bundle::new(script);
    bundle.namespace("user", Some(""));
    for map in ["uidMappings", "gidMappings"] {
        bundle.spec["linux"][map] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    bundle.privileged();
    // The bundle is the host root's: the container's root cannot even walk there.
    let rootfs = bundle.rootfs();
    let status = Command::new("chown").args(["-R", "100000:100000"]).arg(&rootfs).status().unwrap();
    assert!(status.success());
    std::fs::set_permissions(&bundle.path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let source = bundle.path.join("secret");
    std::fs::create_dir(&source).unwrap();
    bundle.mount("bind", source.to_str().unwrap(), "/mnt", &["rbind", "ro"]);
    let out = bundle.run().ok();
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    assert_eq!(lines[..3], ["0", "0", "0 100000 65536"], "{out}");
    assert_eq!(lines[3], "65534", "the host's device, bound");
    use std::os::unix::fs::MetadataExt;
    let made = rootfs.join("tmp/made").metadata().unwrap();
    assert_eq!((made.uid(), made.gid()), (100_005, 100_006));
}

#[test]
fn a_user_namespace_is_joined_with_the_others() {
    let mapped = |bundle: &mut Bundle| {
        for map in ["uidMappings", "gidMappings"] {
            bundle.spec["linux"][map] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        }
        Command::new("chown").args(["-R", "100000:100000"]).arg(bundle.rootfs()).status().unwrap();
    };
    let mut first = Bundle::new("exec sleep 100");
    first.namespace("user", Some(""));
    mapped(&mut first);
    first.start();
    let pid = first.state("pid");
    let mut second = Bundle::new("cat /proc/self/uid_map | tr -s ' '; readlink /proc/self/ns/net; echo $$");
    second.namespace("user", Some(&format!("/proc/{pid}/ns/user")));
    second.namespace("network", Some(&format!("/proc/{pid}/ns/net")));
    mapped(&mut second);
    let net = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().display().to_string();
    let out = second.run().ok();
    assert_eq!(out.lines().map(str::trim).collect::<Vec<_>>(), ["0 100000 65536", &net, "1"]);
    // A new user namespace with a network namespace of the host.
    let mut third = Bundle::new("readlink /proc/self/ns/net");
    third.namespace("user", Some("")).namespace("network", Some("/proc/self/ns/net"));
    third.mount("sysfs", "sysfs", "/none", &[]);
    third.spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "sysfs");
    mapped(&mut third);
    let host = std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    assert_eq!(third.run().ok(), host);
}

#[test]
fn a_time_namespace_has_its_offsets() {
    let set = |bundle: &mut Bundle| {
        bundle.namespace("time", Some(""));
        bundle.spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000, "nanosecs": 5}});
    };
    check("[ $(cut -d. -f1 /proc/uptime) -gt 1000000 ] && echo later", set, "later");
    let before = std::fs::read_link("/proc/self/ns/time").unwrap();
    assert_eq!(before, std::fs::read_link("/proc/self/ns/time_for_children").unwrap());
    refused(
        |bundle| bundle.spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}}),
        "time offsets need a new time namespace",
    );
}

#[test]
fn memory_is_shared_with_another_container() {
    let first = Bundle::new("echo from-first >/dev/shm/x; ln -s /etc /tmp/link; exec sleep 100");
    first.start();
    let pid = first.state("pid");
    common::until(|| {
        first.oci(&["exec", &first.id, "cat", "/dev/shm/x"]).out == "from-first"
            && first.oci(&["exec", &first.id, "test", "-L", "/tmp/link"]).code == 0
    });
    let mut second = Bundle::new("cat /dev/shm/x; echo from-second >/dev/shm/y; pwd");
    second.namespace("ipc", Some(&format!("/proc/{pid}/ns/ipc")));
    second.spec["process"]["cwd"] = json!("/var");
    second.spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev/shm");
    second.mount("bind", &format!("/proc/{pid}/root/dev/shm"), "/dev/shm", &["rbind", "rprivate"]);
    assert_eq!(second.run().ok(), "from-first\n/var");
    assert_eq!(first.oci(&["exec", &first.id, "cat", "/dev/shm/y"]).ok(), "from-second");
    // A link is of the other container's making, and leads nowhere.
    let last = second.spec["mounts"].as_array_mut().unwrap().len() - 1;
    second.spec["mounts"][last]["source"] = json!(format!("/proc/{pid}/root/tmp/link/"));
    assert!(second.run().failed().contains("too many levels of symbolic links"));
}

#[test]
fn names_and_kernel_parameters() {
    check(
        "hostname; cat /proc/sys/kernel/domainname /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_forward",
        |bundle| {
            bundle.spec["hostname"] = json!("inside");
            bundle.spec["domainname"] = json!("example.org");
            bundle.spec["linux"]["sysctl"] = json!({"kernel.shmmni": "77", "net.ipv4.ip_forward": "1", "net/ipv4/conf/lo/forwarding": "1"});
        },
        "inside\nexample.org\n77\n1",
    );
    refused(
        |bundle| bundle.spec["linux"]["sysctl"] = json!({"kernel.core_pattern": "|/evil"}),
        r#"sysctl "kernel.core_pattern" is not in a separate kernel namespace"#,
    );
    refused(
        |bundle| {
            bundle.namespace("network", None);
            bundle.spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        },
        "not allowed in the hosts network namespace",
    );
    refused(
        |bundle| bundle.spec["linux"]["sysctl"] = json!({"net.../../kernel/core_pattern": "x"}),
        "no such file or directory",
    );
}

#[test]
fn loopback_is_up() {
    check("ip addr show dev lo | grep -o 'inet 127[^ ]*'", |_| (), "inet 127.0.0.1/8");
}

#[test]
fn identity_umask_and_home() {
    let script = "id -u; id -g; id -G; umask; echo $HOME; pwd; touch file; stat -c '%u:%g %a' file";
    check(
        script,
        |bundle| {
            std::fs::write(
                bundle.rootfs().join("etc/passwd"),
                "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv/app:/bin/sh\n",
            )
            .unwrap();
            bundle.spec["process"]["user"] =
                json!({"uid": 1000, "gid": 2000, "additionalGids": [3000, 4000], "umask": 0o027});
            bundle.spec["process"]["cwd"] = json!("/tmp");
        },
        "1000\n2000\n2000 3000 4000\n0027\n/srv/app\n/tmp\n1000:2000 640",
    );
    check("echo $HOME; umask", |_| (), "/root\n0022");
    check(
        "echo $HOME $A; env | grep -c ^A=",
        |bundle| bundle.spec["process"]["env"] = json!(["PATH=/bin", "HOME=/x", "A=1", "A=2"]),
        "/x 2\n1",
    );
}

#[test]
fn a_user_can_write_to_the_streams_it_got() {
    check(
        "echo there > /dev/stdout",
        |bundle| bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000}),
        "there",
    );
}

#[test]
fn a_missing_working_directory_is_made() {
    check("pwd", |bundle| bundle.spec["process"]["cwd"] = json!("/srv/a/b"), "/srv/a/b");
    refused(|bundle| bundle.spec["process"]["cwd"] = json!("/etc/passwd"), "not a directory");
    refused(|bundle| bundle.spec["process"]["cwd"] = json!("tmp"), "Cwd must be an absolute path");
}

#[test]
fn capabilities_are_exactly_those_asked_for() {
    let script = "grep Cap /proc/self/status | tr -d '\\t' | tr '\\n' ' '";
    check(
        script,
        |bundle| {
            bundle.spec["process"]["capabilities"] = json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"], "effective": ["CAP_CHOWN"],
                "permitted": ["CAP_CHOWN", "CAP_KILL"], "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"],
            });
            bundle.spec["process"]["user"] = json!({"uid": 5, "gid": 5});
        },
        "CapInh:0000000000000001 CapPrm:0000000000000001 CapEff:0000000000000001 CapBnd:0000000000002021 \
         CapAmb:0000000000000001",
    );
    check(
        script,
        |bundle| bundle.spec["process"]["capabilities"] = json!(null),
        "CapInh:0000000000000000 CapPrm:0000000000000000 CapEff:0000000000000000 CapBnd:0000000000000000 \
         CapAmb:0000000000000000",
    );
    // What the caller lacks itself (CAP_SYS_RESOURCE here) is left out, and is no reason to fail.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap().to_owned();
    check(
        "sed -n 's/CapEff:.//p' /proc/self/status",
        |bundle| {
            bundle.privileged();
        },
        &own,
    );
}

#[test]
fn no_new_privileges_as_asked_for() {
    check("sed -n 's/NoNewPrivs:.//p' /proc/self/status", |_| (), "1");
    let off = |bundle: &mut Bundle| bundle.spec["process"]["noNewPrivileges"] = false.into();
    check("sed -n 's/NoNewPrivs:.//p' /proc/self/status", off, "0");
}

#[test]
fn limits_are_set_as_far_as_they_may_be() {
    check(
        "ulimit -Sn; ulimit -Hn; ulimit -c",
        |bundle| {
            bundle.spec["process"]["rlimits"] = json!([
                {"type": "RLIMIT_NOFILE", "soft": 111, "hard": 222},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            ]);
        },
        "111\n222\n0",
    );
    // More than the caller has: as much as there is, where it may not be raised.
    let mut bundle = Bundle::new("ulimit -Hn");
    bundle.spec["process"]["rlimits"] =
        json!([{"type": "RLIMIT_NOFILE", "soft": 1_000_000, "hard": 1_000_000}]);
    let limit: u64 = bundle.run().ok().parse().unwrap();
    assert!((1..=1_000_000).contains(&limit));
    refused(
        |bundle| bundle.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
        "unknown rlimit",
    );
}

#[test]
fn oom_score_is_set_or_left() {
    let set = |value: i32| move |bundle: &mut Bundle| bundle.spec["process"]["oomScoreAdj"] = value.into();
    check("cat /proc/self/oom_score_adj", set(321), "321");
    let mut lower = Bundle::new("cat /proc/self/oom_score_adj");
    set(-999)(&mut lower);
    let value: i32 = lower.run().ok().parse().unwrap();
    assert!((-999..=0).contains(&value), "{value}");
    refused(set(1001), "oomScoreAdj");
}

#[test]
fn scheduling_and_priorities() {
    check(
        "cut -d' ' -f19 /proc/self/stat; ionice -p $$; uname -m",
        |bundle| {
            bundle.spec["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
            bundle.spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
            bundle.spec["linux"]["personality"] = json!({"domain": "LINUX32"});
        },
        if cfg!(target_arch = "x86_64") {
            "5\nbest-effort: prio 6\ni686"
        } else {
            "5\nbest-effort: prio 6\narmv8l"
        },
    );
    refused(
        |bundle| bundle.spec["process"]["scheduler"] = json!({"policy": "SCHED_FAST"}),
        "unknown scheduler policy",
    );
    refused(
        |bundle| bundle.spec["linux"]["personality"] = json!({"domain": "PLAN9"}),
        "unknown personality domain",
    );
}

#[test]
fn devices_and_links() {
    let script = "for name in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$name; done; \
                  for name in fd stdin stdout stderr ptmx; do readlink /dev/$name; done; \
                  stat -c '%n %F %t:%T %a %u:%g' /dev/fuse2 /srv/sub/pipe; head -c 2 /dev/zero | od -An -tx1";
    check(
        script,
        |bundle| {
            bundle.spec["linux"]["devices"] = json!([
                {"path": "/dev/fuse2", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4},
                {"path": "/srv/sub/pipe", "type": "p", "fileMode": 0o600},
            ]);
        },
        "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n/dev/urandom 1:9 666\n\
         /dev/tty 5:0 666\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n\
         /dev/fuse2 character special file 1:5 640 3:4\n/srv/sub/pipe fifo 0:0 600 0:0\n 00 00",
    );
}

#[test]
fn device_rules_are_in_force() {
    let set = |rules: serde_json::Value| {
        move |bundle: &mut Bundle| {
            bundle.spec["linux"]["resources"]["devices"] = rules;
            bundle.spec["process"]["capabilities"]["bounding"] = json!(["CAP_MKNOD"]);
            bundle.spec["process"]["capabilities"]["effective"] = json!(["CAP_MKNOD"]);
            bundle.spec["process"]["capabilities"]["permitted"] = json!(["CAP_MKNOD"]);
        }
    };
    // There need not be such a device: without permission it is not even looked for.
    let script = "exec 2>/tmp/why; mknod /k c 10 5; true </k; grep -q 'not permitted' /tmp/why && echo forbidden || echo allowed";
    check(script, set(json!([{"allow": false, "access": "rwm"}])), "forbidden");
    check(
        script,
        set(json!([{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 5, "access": "rw"}])),
        "allowed",
    );
}

#[test]
fn limits_of_the_cgroup_are_in_force() {
    let mut bundle = Bundle::new("sleep 1 & sleep 1 & sleep 1 & sleep 1 & echo all");
    bundle.spec["linux"]["resources"]["pids"] = json!({"limit": 3});
    assert!(bundle.run().failed().contains("can't fork: Resource temporarily unavailable"));
    let mut bundle = Bundle::new("");
    bundle.spec["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
    bundle.spec["process"]["args"] = json!(["tail", "/dev/zero"]);
    assert_eq!(bundle.run().code, 137);
    let mut bundle = Bundle::new(
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true",
    );
    bundle.spec["linux"]["resources"]["memory"] = json!({"limit": 32 << 20});
    assert_eq!(bundle.run().ok(), (32 << 20).to_string());
}

#[test]
fn the_cgroup_is_where_the_configuration_says() {
    let mut bundle = Bundle::new("cat /proc/self/cgroup");
    let path = format!("/{}/deep/er", bundle.id);
    bundle.spec["linux"]["cgroupsPath"] = json!(path);
    let out = bundle.run().ok();
    assert!(out.lines().any(|line| line.ends_with(&path)), "{out}");
    bundle.namespace("cgroup", Some(""));
    let out = bundle.run().ok();
    assert!(out.lines().any(|line| line.ends_with(":/")) && !out.contains("deep"), "{out}");
    // The parents are the caller's.
    for cgroup in common::cgroups_of(&bundle.id) {
        std::fs::remove_dir(cgroup.join("deep")).unwrap();
        std::fs::remove_dir(&cgroup).unwrap();
    }
}

#[test]
fn cgroups_are_seen_read_only() {
    let script = "ls /sys/fs/cgroup | grep -c -x -e memory -e memory.current; \
                  mkdir /sys/fs/cgroup/x /sys/fs/cgroup/memory/x 2>/dev/null || echo read-only";
    check(script, |_| (), "1\nread-only");
    check(
        script,
        |bundle| {
            bundle.namespace("cgroup", Some(""));
        },
        "1\nread-only",
    );
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    refused(|bundle| bundle.spec["process"]["args"] = json!([]), "process.args must not be empty");
    refused(|bundle| bundle.spec["root"] = json!(null), "root is missing");
    refused(|bundle| bundle.spec["root"]["path"] = json!("nowhere"), "no such file or directory");
    refused(|bundle| bundle.spec["linux"]["rootfsPropagation"] = json!("sideways"), "rootfsPropagation");
    refused(
        |bundle| {
            bundle.namespace("uts", None);
        },
        "without a private UTS namespace",
    );
    refused(
        |bundle| {
            bundle.namespace("mount", None);
        },
        "MNT namespace",
    );
    refused(
        |bundle| {
            bundle.namespace("user", Some(""));
        },
        "needs uidMappings",
    );
    refused(|bundle| bundle.spec["linux"]["intelRdt"] = json!({}), "intelRdt is not supported");
    let bundle = Bundle::new("true");
    std::fs::write(bundle.path.join("config.json"), "{").unwrap();
    assert!(bundle.oci(&["run", &bundle.id]).failed().contains("config.json"));
    std::fs::remove_file(bundle.path.join("config.json")).unwrap();
    assert!(bundle.oci(&["run", &bundle.id]).failed().contains("config.json not found"));
}
