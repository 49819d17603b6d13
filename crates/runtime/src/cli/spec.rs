//! `spec`: a configuration to start from.

use std::io::Write;
use std::process::ExitCode;

use berth_oci::Spec;
use berth_oci::runtime::{
    Linux, LinuxCapabilities, LinuxDeviceCgroup, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType,
    LinuxResources, Mount, PosixRlimit, Process, Root, VERSION,
};

use super::arguments::{Flag, Parsed};
use super::{About, Failure, Global, Outcome};
use crate::cgroup::{Hierarchies, Version};

pub(super) const FLAGS: &[Flag] = &[Flag::value("bundle").or('b'), Flag::switch("rootless")];

pub(super) fn spec(_global: &Global, arguments: &Parsed) -> Outcome {
    if let Some(bundle) = arguments.value("bundle") {
        rustix::process::chdir(bundle).about(format_args!("chdir {bundle}"))?;
    }
    let unified = Hierarchies::detect().is_ok_and(|hierarchies| hierarchies.version() == Version::V2);
    let mut spec = example(unified);
    if arguments.has("rootless") {
        make_rootless(&mut spec);
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).open("config.json").map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::AlreadyExists => Failure::new("File config.json exists. Remove it first"),
                _ => Failure::new(format!("create config.json: {}", crate::error::io_text(&error))),
            }
        })?;
    let text = serde_json::to_string_pretty(&spec).map_err(|error| Failure::new(error.to_string()))?;
    file.write_all(text.as_bytes()).about("write config.json")?;
    Ok(ExitCode::SUCCESS)
}

/// A shell in a directory `rootfs`, isolated, with few capabilities and a read-only root.
fn example(unified: bool) -> Spec {
    let capabilities = || ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"].map(str::to_owned).to_vec();
    let mut kinds = vec![
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
    ];
    if unified {
        kinds.push(LinuxNamespaceType::Cgroup);
    }
    Spec {
        oci_version: VERSION.to_owned(),
        process: Some(Process {
            terminal: true,
            args: vec!["sh".to_owned()],
            env: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
                "TERM=xterm".to_owned(),
            ],
            cwd: "/".to_owned(),
            capabilities: Some(LinuxCapabilities {
                bounding: capabilities(),
                effective: capabilities(),
                permitted: capabilities(),
                ..LinuxCapabilities::default()
            }),
            rlimits: vec![PosixRlimit { kind: "RLIMIT_NOFILE".to_owned(), hard: 1024, soft: 1024 }],
            no_new_privileges: true,
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".to_owned(), readonly: true }),
        hostname: "berth".to_owned(),
        mounts: mounts(),
        linux: Some(Linux {
            namespaces: kinds.into_iter().map(|kind| LinuxNamespace { kind, path: String::new() }).collect(),
            resources: Some(LinuxResources {
                devices: vec![LinuxDeviceCgroup::deny_all()],
                ..LinuxResources::default()
            }),
            masked_paths: [
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/sys/devices/virtual/powercap",
                "/proc/scsi",
            ]
            .map(str::to_owned)
            .to_vec(),
            readonly_paths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
                .map(str::to_owned)
                .to_vec(),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

fn mounts() -> Vec<Mount> {
    let plain = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&plain[..], more].concat();
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    vec![
        Mount::new("proc", "proc", "/proc", &[]),
        Mount::new("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        Mount::new("devpts", "devpts", "/dev/pts", &pts),
        Mount::new("tmpfs", "shm", "/dev/shm", &with(&["mode=1777", "size=65536k"])),
        Mount::new("mqueue", "mqueue", "/dev/mqueue", &plain),
        Mount::new("sysfs", "sysfs", "/sys", &with(&["ro"])),
        Mount::new("cgroup", "cgroup", "/sys/fs/cgroup", &with(&["relatime", "ro"])),
    ]
}

/// For a user without privileges: ids mapped to the caller's, no network namespace, no cgroup limits.
fn make_rootless(spec: &mut Spec) {
    let own = |id: u32| vec![LinuxIdMapping { container_id: 0, host_id: id, size: 1 }];
    if let Some(linux) = &mut spec.linux {
        linux.namespaces.retain(|namespace| namespace.kind != LinuxNamespaceType::Network);
        linux.namespaces.push(LinuxNamespace { kind: LinuxNamespaceType::User, path: String::new() });
        linux.uid_mappings = own(rustix::process::geteuid().as_raw());
        linux.gid_mappings = own(rustix::process::getegid().as_raw());
        linux.resources = None;
    }
    for mount in &mut spec.mounts {
        mount.options.retain(|option| option != "gid=5");
        if mount.destination == "/sys" {
            // sysfs belongs to a network namespace, and this one is not the container's.
            *mount = Mount::new("none", "/sys", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]);
        }
    }
    spec.mounts.retain(|mount| mount.kind != "cgroup");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Namespaces;

    #[test]
    fn the_example_is_valid() {
        for unified in [false, true] {
            let mut spec = example(unified);
            Namespaces::from_spec(&spec).unwrap();
            make_rootless(&mut spec);
            Namespaces::from_spec(&spec).unwrap();
        }
    }
}
