#![expect(
    clippy::needless_pass_by_value,
    reason = "values of the `json!` macro read better without a reference"
)]

use berth_oci::container::{Config, HostConfig};
use serde_json::{Value, json};

use super::*;
use crate::security::{self, CapabilitySet, KernelVersion, Machine};

/// The spec of a container with this configuration and host configuration, as JSON.
fn spec_of(config: Value, host: Value) -> Value {
    try_spec_of(config, host).unwrap()
}

fn try_spec_of(config: Value, host: Value) -> Result<Value> {
    let machine = Machine {
        capabilities: CapabilitySet::from_bits(u64::MAX),
        kernel: KernelVersion { major: 6, minor: 1 },
        apparmor: false,
        selinux: false,
    };
    let mut config: Config = serde_json::from_value(config).unwrap();
    config.hostname = "box".to_owned();
    let mut host_config: HostConfig = serde_json::from_value(host).unwrap();
    if host_config.shm_size == 0 {
        host_config.shm_size = 64 << 20;
    }
    let missing = |name: &str| Err(Error::NoSuchContainer(name.to_owned()));
    let mounts = crate::container::mounts::plan(&config, &host_config, missing, |_| true)?;
    let record = Record {
        id: "0123".to_owned(),
        path: "sh".to_owned(),
        args: vec!["-c".to_owned(), "true".to_owned()],
        config,
        host_config,
        mounts,
        ..Record::default()
    };
    let spec = generate(&Input {
        record: &record,
        security: security::decide(&record.host_config, &machine)?,
        identity: Identity { uid: 0, gid: 0, groups: vec![10], home: "/root".to_owned() },
        resources: resources::limits(&record.host_config),
        root_path: "/run/berth/rootfs",
        cgroups_path: "/berth/0123".to_owned(),
        subpaths: BTreeMap::new(),
        etc_files: vec![("/etc/hosts", "/c/hosts".to_owned())],
        joins: Joins { pid: Some(7), ipc: Some(8) },
        link_env: Vec::new(),
        init: record.host_config.init.and_then(|init| init.then_some("/berth/init")),
        recursive_readonly: true,
        has_sysctl: &|_| true,
        default_ulimits: &[],
    })?;
    Ok(serde_json::to_value(spec).unwrap())
}

/// Compares the part of the spec at a JSON pointer with what is expected.
#[track_caller]
fn check(host: Value, pointer: &str, expect: Value) {
    let spec = spec_of(json!({}), host);
    assert_eq!(spec.pointer(pointer).cloned().unwrap_or(Value::Null), expect, "{pointer}");
}

#[track_caller]
fn check_mount(host: Value, destination: &str, expect: Value) {
    let spec = spec_of(json!({}), host);
    let mounts = spec["mounts"].as_array().unwrap();
    let found = mounts.iter().find(|mount| mount["destination"] == destination);
    assert_eq!(found.cloned().unwrap_or(Value::Null), expect, "{destination}");
}

#[test]
fn a_plain_container_is_dockers() {
    let spec = spec_of(json!({}), json!({}));
    assert_eq!(spec["process"]["args"], json!(["sh", "-c", "true"]));
    assert_eq!(spec["process"]["cwd"], "/");
    assert_eq!(spec["process"]["user"], json!({"uid": 0, "gid": 0, "additionalGids": [10]}));
    assert_eq!(spec["process"]["oomScoreAdj"], 0);
    assert_eq!(spec["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
    assert_eq!(spec["root"], json!({"path": "/run/berth/rootfs"}));
    assert_eq!(spec["hostname"], "box");
    assert_eq!(spec["linux"]["cgroupsPath"], "/berth/0123");
    assert!(spec["linux"]["seccomp"]["syscalls"].is_array());
    let destinations: Vec<&str> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect();
    assert_eq!(
        destinations,
        ["/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm", "/etc/hosts"]
    );
    let types: Vec<&str> = spec["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|namespace| namespace["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["mount", "network", "uts", "pid", "ipc"]);
}

#[test]
fn the_environment() {
    let env = |config: Value| spec_of(config, json!({}))["process"]["env"].clone();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env(json!({})), json!([path, "HOSTNAME=box", "HOME=/root"]));
    assert_eq!(env(json!({"Tty": true})), json!([path, "HOSTNAME=box", "TERM=xterm", "HOME=/root"]));
    assert_eq!(
        env(json!({"Env": ["PATH=/bin", "A=1", "HOSTNAME", "HOME=/x"]})),
        json!(["PATH=/bin", "A=1", "HOME=/x"])
    );
}

#[test]
fn terminals_and_directories() {
    let spec = spec_of(json!({"Tty": true, "WorkingDir": "/srv"}), json!({"ConsoleSize": [24, 80]}));
    assert_eq!(spec["process"]["terminal"], true);
    assert_eq!(spec["process"]["consoleSize"], json!({"height": 24, "width": 80}));
    assert_eq!(spec["process"]["cwd"], "/srv");
}

#[test]
fn namespaces_are_shared_as_asked() {
    let namespaces = |host: Value| {
        let spec = spec_of(json!({}), host);
        let list = spec["linux"]["namespaces"].as_array().unwrap().clone();
        list.iter()
            .map(|namespace| {
                let path = namespace["path"].as_str().map_or_else(String::new, |path| format!("={path}"));
                format!("{}{path}", namespace["type"].as_str().unwrap())
            })
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(namespaces(json!({"NetworkMode": "host"})), "mount uts pid ipc");
    assert_eq!(namespaces(json!({"NetworkMode": "container:abc"})), "mount network uts pid ipc");
    assert_eq!(namespaces(json!({"PidMode": "host", "IpcMode": "host", "UTSMode": "host"})), "mount network");
    assert_eq!(
        namespaces(json!({"PidMode": "container:a", "IpcMode": "container:b"})),
        "mount network uts pid=/proc/7/ns/pid ipc=/proc/8/ns/ipc"
    );
    assert_eq!(namespaces(json!({"CgroupnsMode": "private"})), "mount network uts pid ipc cgroup");
    check(json!({"UTSMode": "host"}), "/hostname", Value::Null);
}

#[test]
fn limits_of_memory_cpu_and_processes() {
    check(json!({}), "/linux/resources/memory", Value::Null);
    check(
        json!({"Memory": 10_000_000, "MemorySwap": 20_000_000, "MemoryReservation": 7_000_000, "MemorySwappiness": 5,
               "OomKillDisable": true}),
        "/linux/resources/memory",
        json!({"limit": 10_000_000, "swap": 20_000_000, "reservation": 7_000_000, "swappiness": 5,
               "disableOOMKiller": true}),
    );
    check(
        json!({"Memory": 10_000_000, "MemorySwap": -1}),
        "/linux/resources/memory",
        json!({"limit": 10_000_000}),
    );
    check(
        json!({"NanoCpus": 500_000_000}),
        "/linux/resources/cpu",
        json!({"quota": 50_000, "period": 100_000}),
    );
    check(
        json!({"CpuShares": 512, "CpuQuota": 25_000, "CpuPeriod": 50_000, "CpusetCpus": "0-1", "CpusetMems": "0"}),
        "/linux/resources/cpu",
        json!({"shares": 512, "quota": 25_000, "period": 50_000, "cpus": "0-1", "mems": "0"}),
    );
    check(json!({"PidsLimit": 5}), "/linux/resources/pids", json!({"limit": 5}));
    check(json!({"PidsLimit": 0}), "/linux/resources/pids", json!({"limit": -1}));
    check(json!({}), "/linux/resources/pids", Value::Null);
    check(json!({"BlkioWeight": 300}), "/linux/resources/blockIO", json!({"weight": 300}));
    check(json!({"OomScoreAdj": 500}), "/process/oomScoreAdj", json!(500));
    check(
        json!({"Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": -1}]}),
        "/process/rlimits",
        json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": u64::MAX}]),
    );
}

#[test]
fn mounts_are_dockers() {
    let bind = |source: &str, destination: &str, options: &[&str]| json!({"type": "bind", "source": source, "destination": destination, "options": options});
    check_mount(json!({"Binds": ["/a:/b"]}), "/b", bind("/a", "/b", &["rbind", "rprivate"]));
    check_mount(json!({"Binds": ["/a:/b:ro"]}), "/b", bind("/a", "/b", &["rbind", "rro", "rprivate"]));
    check_mount(json!({"Binds": ["/a:/b:rslave"]}), "/b", bind("/a", "/b", &["rbind", "rslave"]));
    check(json!({"Binds": ["/a:/b:rslave"]}), "/linux/rootfsPropagation", json!("rslave"));
    check(json!({"Binds": ["/a:/b:shared"]}), "/linux/rootfsPropagation", json!("shared"));
    let mount = json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true,
                       "BindOptions": {"NonRecursive": true, "ReadOnlyNonRecursive": true}});
    check_mount(json!({"Mounts": [mount]}), "/b", bind("/a", "/b", &["bind", "ro", "rprivate"]));
    check_mount(
        json!({"Binds": ["/x:/etc/hosts"]}),
        "/etc/hosts",
        bind("/x", "/etc/hosts", &["rbind", "rprivate"]),
    );
    check_mount(json!({"Binds": ["/x:/dev"]}), "/dev/pts", Value::Null);
    check_mount(
        json!({"Tmpfs": {"/t": "size=1m,exec"}}),
        "/t",
        json!({"type": "tmpfs", "source": "tmpfs", "destination": "/t",
               "options": ["nosuid", "nodev", "rprivate", "size=1m", "exec"]}),
    );
    check_mount(
        json!({"ShmSize": 4096}),
        "/dev/shm",
        json!({"type": "tmpfs", "source": "shm", "destination": "/dev/shm",
               "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=4096"]}),
    );
    check_mount(json!({"IpcMode": "none"}), "/dev/shm", Value::Null);
    check_mount(json!({"IpcMode": "host"}), "/dev/shm", bind("/dev/shm", "/dev/shm", &["rbind", "rprivate"]));
    assert!(try_spec_of(json!({}), json!({"Tmpfs": {"/x": "foo"}})).is_err());
}

#[test]
fn outer_mounts_come_before_inner_ones() {
    let spec = spec_of(json!({}), json!({"Binds": ["/1:/a/b/c", "/2:/a", "/3:/a/b"]}));
    let order: Vec<&str> = spec["mounts"].as_array().unwrap()[7..]
        .iter()
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["/a", "/a/b", "/etc/hosts", "/a/b/c"]);
}

#[test]
fn privileged_and_read_only() {
    let sys = |options: &[&str]| json!({"type": "sysfs", "source": "sysfs", "destination": "/sys", "options": options});
    check_mount(json!({}), "/sys", sys(&["nosuid", "noexec", "nodev", "ro"]));
    check_mount(json!({"Privileged": true}), "/sys", sys(&["nosuid", "noexec", "nodev"]));
    check(json!({"Privileged": true}), "/linux/seccomp", Value::Null);
    check(json!({"Privileged": true}), "/linux/maskedPaths", Value::Null);
    check(json!({"ReadonlyRootfs": true}), "/root/readonly", json!(true));
    let spec = spec_of(json!({}), json!({"ReadonlyRootfs": true, "Privileged": true}));
    let mounts = spec["mounts"].as_array().unwrap();
    let options = |destination: &str| {
        mounts.iter().find(|mount| mount["destination"] == destination).unwrap()["options"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert!(options("/sys").contains(&json!("ro")));
    assert!(!options("/dev/shm").contains(&json!("ro")));
    assert!(!options("/etc/hosts").contains(&json!("ro")));
}

#[test]
fn sysctls_and_annotations() {
    let plain =
        json!({"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"});
    check(json!({}), "/linux/sysctl", plain);
    check(json!({"NetworkMode": "host"}), "/linux/sysctl", Value::Null);
    check(
        json!({"NetworkMode": "host", "Sysctls": {"kernel.shmmax": "1"}}),
        "/linux/sysctl",
        json!({"kernel.shmmax": "1"}),
    );
    check(json!({"Annotations": {"a": "b"}}), "/annotations", json!({"a": "b"}));
}

#[test]
fn init_comes_first() {
    let spec = spec_of(json!({}), json!({"Init": true}));
    assert_eq!(spec["process"]["args"], json!(["/sbin/docker-init", "--", "sh", "-c", "true"]));
    let last = spec["mounts"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["source"], "/berth/init");
    assert_eq!(last["options"], json!(["rbind", "ro", "rprivate"]));
}
