//! `mounts`: the kernel's file systems, the container's own files under `/etc`, and what the user asked for.

use std::collections::BTreeMap;

use berth_oci::runtime::Mount;

use super::Input;
use crate::container::MountPoint;
use crate::error::{Error, Result};

/// The mounts of a container and what they need of its root.
pub(crate) struct Mounts {
    pub(crate) list: Vec<Mount>,
    /// `linux.rootfsPropagation`: shared and slave mounts inside need more than the default.
    pub(crate) propagation: String,
}

/// File systems that stay writable with `--read-only`.
const ALWAYS_WRITABLE: [&str; 5] = ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"];

impl Mounts {
    pub(super) fn of_container(input: &Input<'_>) -> Result<Mounts> {
        let host = &input.record.host_config;
        let mut asked = asked(input)?;
        // Outer ones first, so that none hides another.
        asked.sort_by_key(|mount| mount.destination.split('/').filter(|part| !part.is_empty()).count());
        let hides = |inner: &str| {
            asked.iter().any(|mount| {
                mount.destination == inner || (mount.destination == "/dev" && inner.starts_with("/dev/"))
            })
        };
        let mut list: Vec<Mount> =
            defaults(input).into_iter().filter(|mount| !hides(&mount.destination)).collect();
        if host.readonly_rootfs {
            for mount in
                list.iter_mut().filter(|mount| !ALWAYS_WRITABLE.contains(&mount.destination.as_str()))
            {
                if !mount.options.iter().any(|option| option == "ro") {
                    mount.options.push("ro".to_owned());
                }
            }
        }
        let propagation = rootfs_propagation(&input.record.mounts);
        list.extend(asked);
        Ok(Mounts { list, propagation })
    }
}

/// What every container has.
fn defaults(input: &Input<'_>) -> Vec<Mount> {
    let host = &input.record.host_config;
    let security = &input.security;
    let read_only = |options: &[&str], read_only: bool| -> Vec<String> {
        options.iter().copied().chain(read_only.then_some("ro")).map(str::to_owned).collect()
    };
    let with = |kind: &str, destination: &str, options: Vec<String>| Mount {
        options,
        ..Mount::new(kind, kind, destination, &[])
    };
    let quiet = ["nosuid", "noexec", "nodev"];
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let mut list = vec![
        with("proc", "/proc", read_only(&quiet, false)),
        with("tmpfs", "/dev", read_only(&["nosuid", "strictatime", "mode=755", "size=65536k"], false)),
        with("devpts", "/dev/pts", read_only(&pts, false)),
        with("sysfs", "/sys", read_only(&quiet, security.readonly_system_mounts)),
        with("cgroup", "/sys/fs/cgroup", read_only(&quiet, !security.writable_cgroups)),
        with("mqueue", "/dev/mqueue", read_only(&quiet, false)),
    ];
    let shared = |source: &str| Mount::new("bind", source, "/dev/shm", &["rbind", "rprivate"]);
    match host.ipc_mode.as_str() {
        "none" => {}
        "host" => list.push(shared("/dev/shm")),
        mode if mode.starts_with("container:") => {
            list.push(shared(&format!("/proc/{}/root/dev/shm", input.joins.ipc.unwrap_or_default())));
        }
        _ => {
            let mut options = read_only(&["nosuid", "noexec", "nodev", "mode=1777"], false);
            options.push(format!("size={}", host.shm_size));
            list.push(Mount { source: "shm".to_owned(), ..with("tmpfs", "/dev/shm", options) });
        }
    }
    list
}

/// What the user asked for, and the container's own files under `/etc` unless he has put something there.
fn asked(input: &Input<'_>) -> Result<Vec<Mount>> {
    let record = input.record;
    let mut list = Vec::new();
    for point in &record.mounts {
        list.push(match point.kind.as_str() {
            "tmpfs" => tmpfs(&point.destination, point.options.iter().map(String::as_str))?,
            _ => bind(point, input)?,
        });
    }
    for (destination, options) in record.host_config.tmpfs.iter().flatten() {
        let options = options.split(',').filter(|option| !option.is_empty());
        list.push(tmpfs(&crate::container::mounts::clean(destination), options)?);
    }
    for (destination, source) in &input.etc_files {
        if !list.iter().any(|mount| mount.destination == *destination) {
            list.push(Mount::new("bind", source, destination, &["rbind", "rprivate"]));
        }
    }
    Ok(list)
}

fn bind(point: &MountPoint, input: &Input<'_>) -> Result<Mount> {
    let recursive_readonly = input.recursive_readonly;
    let has = |option: &str| point.options.iter().any(|have| have == option);
    let mut options = vec![if has("bind") { "bind" } else { "rbind" }];
    if !point.writable {
        if has("ro-force-recursive") && !recursive_readonly {
            return Err(Error::invalid("recursively read-only mounts need Linux 5.12"));
        }
        options.push(if recursive_readonly && !has("ro-non-recursive") { "rro" } else { "ro" });
    }
    options.push(if point.propagation.is_empty() { "rprivate" } else { &point.propagation });
    let source = input.subpaths.get(point.destination.as_str()).unwrap_or(&point.source);
    // Docker takes the paths of `Volumes` as they come; inside they are below the root in any case.
    let destination = format!("/{}", point.destination.trim_start_matches('/'));
    Ok(Mount::new("bind", source, &destination, &options))
}

/// A `tmpfs` with Docker's defaults under the user's options.
fn tmpfs<'a>(destination: &str, options: impl Iterator<Item = &'a str>) -> Result<Mount> {
    let defaults = ["noexec", "nosuid", "nodev", "rprivate"];
    let options = merge_tmpfs_options(defaults.into_iter().chain(options))?;
    Ok(Mount { options, ..Mount::new("tmpfs", "tmpfs", destination, &[]) })
}

/// Flags that a `tmpfs` takes; those of one row undo each other.
const TMPFS_FLAGS: &[&[&str]] = &[
    &["ro", "rw"],
    &["exec", "noexec"],
    &["suid", "nosuid"],
    &["dev", "nodev"],
    &["sync", "async"],
    &["dirsync"],
    &["mand", "nomand"],
    &["atime", "noatime"],
    &["diratime", "nodiratime"],
    &["relatime", "norelatime"],
    &["strictatime", "nostrictatime"],
    &["remount"],
    &["defaults"],
    &["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"],
];
/// Options with a value that a `tmpfs` takes.
const TMPFS_VALUES: &[&str] = &["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];

/// Of options that undo each other or give a value twice, the last one holds.
///
/// Errors: Docker's text for an option that a `tmpfs` does not have.
fn merge_tmpfs_options<'a>(options: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let mut kept: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for (place, option) in options.enumerate() {
        let row = TMPFS_FLAGS.iter().position(|row| row.contains(&option));
        let key = match (row, option.split_once('=')) {
            (Some(row), _) => format!("flag {row}"),
            (None, Some((name, _))) if TMPFS_VALUES.contains(&name) => format!("value {name}"),
            _ => return Err(Error::Refused(format!("invalid tmpfs option {option:?}"))),
        };
        kept.insert(key, (place, option));
    }
    let mut kept: Vec<_> = kept.into_values().collect();
    kept.sort_unstable();
    Ok(kept.into_iter().map(|(_, option)| option.to_owned()).collect())
}

/// Shared mounts inside ask for a shared root, slave ones for at least a slave root.
fn rootfs_propagation(points: &[MountPoint]) -> String {
    let any = |words: [&str; 2]| points.iter().any(|point| words.contains(&point.propagation.as_str()));
    if any(["shared", "rshared"]) {
        "shared".to_owned()
    } else if any(["slave", "rslave"]) {
        "rslave".to_owned()
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tmpfs_options_merge() {
        let check = |options: &str, expect: &str| {
            let merged = merge_tmpfs_options(options.split(',')).map(|options| options.join(","));
            assert_eq!(merged.unwrap_or_else(|error| error.to_string()), expect);
        };
        check("noexec,nosuid,nodev,rprivate,size=1m,exec", "nosuid,nodev,rprivate,size=1m,exec");
        check("size=1m,size=2m,mode=755", "size=2m,mode=755");
        check("noexec,foo", "invalid tmpfs option \"foo\"");
        check("foo=1", "invalid tmpfs option \"foo=1\"");
    }
}
