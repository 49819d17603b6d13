//! Devices of the host in a container: `--device`, `--device-cgroup-rule`, `--privileged`, `--gpus`.

use std::io;
use std::path::{Path, PathBuf};

use berth_oci::container::{DeviceMapping, HostConfig};
use berth_oci::runtime::{LinuxDevice, LinuxDeviceCgroup};
use rustix::fs::{AtFlags, CWD, FileType, major, minor, statat};

use crate::error::{Error, Result};

/// Character devices that every container may use: null, zero, random, urandom, tty, console.
const DEFAULT: [(i64, i64); 6] = [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)];

/// `/dev/fuse`, which Docker denies by name.
const FUSE: (i64, i64) = (10, 229);

/// Directories of `/dev` that are the container's own affair, and the console, which the runtime makes.
const NOT_FOR_PRIVILEGED: [&str; 8] =
    ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];

/// The devices of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Devices {
    /// Nodes to make.
    pub nodes: Vec<LinuxDevice>,
    /// Rules of the device cgroup, in order.
    pub rules: Vec<LinuxDeviceCgroup>,
}

impl Devices {
    /// What a container gets beside the nodes that every runtime makes.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's text, for a device that is not there or a rule that is none.
    pub(super) fn of_container(config: &HostConfig) -> Result<Self> {
        let mut devices = Self { nodes: Vec::new(), rules: default_rules() };
        if config.privileged {
            collect(Path::new("/dev"), Path::new("/dev"), &NOT_FOR_PRIVILEGED, &mut devices.nodes);
            devices.rules.push(LinuxDeviceCgroup {
                allow: true,
                kind: "a".to_owned(),
                access: "rwm".to_owned(),
                ..LinuxDeviceCgroup::default()
            });
        } else {
            for mapping in config.resources.devices.iter().flatten() {
                devices.add(mapping)?;
            }
        }
        for rule in config.resources.device_cgroup_rules.iter().flatten() {
            devices.rules.push(parse_rule(rule)?);
        }
        Ok(devices)
    }

    /// One `--device`: a node, or a directory with all nodes below it.
    fn add(&mut self, mapping: &DeviceMapping) -> Result<()> {
        let failed = |reason: &str| {
            Error::invalid(format!(
                "error gathering device information while adding custom device \"{}\": {reason}",
                mapping.path_on_host
            ))
        };
        let host = std::fs::canonicalize(&mapping.path_on_host);
        let host = host.map_err(|error| failed(&reason(&error)))?;
        let inside = if mapping.path_in_container.is_empty() {
            &mapping.path_on_host
        } else {
            &mapping.path_in_container
        };
        let first = self.nodes.len();
        if host.is_dir() {
            collect(&host, Path::new(inside), &[], &mut self.nodes);
        } else {
            self.nodes.extend(node(&host, Path::new(inside)));
        }
        if self.nodes.len() == first {
            return Err(failed("not a device node"));
        }
        let access =
            if mapping.cgroup_permissions.is_empty() { "rwm" } else { mapping.cgroup_permissions.as_str() };
        self.rules.extend(self.nodes[first..].iter().map(|node| LinuxDeviceCgroup {
            allow: true,
            kind: node.kind.clone(),
            major: Some(node.major),
            minor: Some(node.minor),
            access: access.to_owned(),
        }));
        Ok(())
    }
}

/// What can be refused without looking at the host.
pub(super) fn check(config: &HostConfig) -> Result<()> {
    for rule in config.resources.device_cgroup_rules.iter().flatten() {
        parse_rule(rule)?;
    }
    for mapping in config.resources.devices.iter().flatten() {
        if !is_access(&mapping.cgroup_permissions) && !mapping.cgroup_permissions.is_empty() {
            return Err(Error::invalid(format!("bad mode specified: {}", mapping.cgroup_permissions)));
        }
    }
    // No driver of ours offers any: the words are Docker's, the lists Go's.
    if let Some(request) = config.resources.device_requests.iter().flatten().next() {
        let lists = request.capabilities.iter().flatten();
        let lists: Vec<String> =
            lists.map(|list| format!("[{}]", list.clone().unwrap_or_default().join(" "))).collect();
        return Err(Error::invalid(format!(
            "could not select device driver \"{}\" with capabilities: [{}]",
            request.driver,
            lists.join(" ")
        )));
    }
    Ok(())
}

fn default_rules() -> Vec<LinuxDeviceCgroup> {
    let rule = |allow, (major, minor)| LinuxDeviceCgroup {
        allow,
        kind: "c".to_owned(),
        major: Some(major),
        minor: Some(minor),
        access: "rwm".to_owned(),
    };
    let mut rules = vec![LinuxDeviceCgroup::deny_all()];
    rules.extend(DEFAULT.map(|device| rule(true, device)));
    rules.push(rule(false, FUSE));
    rules
}

/// `c 1:3 rwm`, with `a` for a kind and `*` for a number.
fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let mut words = text.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    if !matches!(kind, "a" | "b" | "c") || !is_access(access) {
        return Err(invalid());
    }
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| invalid())
        }
        _ => Err(invalid()),
    };
    Ok(LinuxDeviceCgroup {
        allow: true,
        kind: kind.to_owned(),
        major: number(major)?,
        minor: number(minor)?,
        access: access.to_owned(),
    })
}

fn is_access(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.bytes().all(|byte| b"rwm".contains(&byte))
}

/// All device nodes below a directory; what cannot be read, and links, are passed over.
fn collect(host: &Path, inside: &Path, skip: &[&str], nodes: &mut Vec<LinuxDevice>) {
    let Ok(entries) = std::fs::read_dir(host) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Some(name) = path.file_name() else { continue };
        if name.to_str().is_some_and(|name| skip.contains(&name)) {
            continue;
        }
        let inside = inside.join(name);
        if path.is_dir() && !path.is_symlink() {
            collect(&path, &inside, &[], nodes);
        } else {
            nodes.extend(node(&path, &inside));
        }
    }
}

fn node(host: &Path, inside: &Path) -> Option<LinuxDevice> {
    let stat = statat(CWD, host, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => "c",
        FileType::BlockDevice => "b",
        _ => return None,
    };
    Some(LinuxDevice {
        path: inside.to_str()?.to_owned(),
        kind: kind.to_owned(),
        major: i64::from(major(stat.st_rdev)),
        minor: i64::from(minor(stat.st_rdev)),
        file_mode: Some(stat.st_mode & 0o7777),
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
    })
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_oci::container::{DeviceRequest, Resources};

    fn with(resources: Resources) -> HostConfig {
        HostConfig { resources, ..HostConfig::default() }
    }

    fn device(host: &str, inside: &str) -> HostConfig {
        let mapping = DeviceMapping {
            path_on_host: host.to_owned(),
            path_in_container: inside.to_owned(),
            cgroup_permissions: "rw".to_owned(),
        };
        with(Resources { devices: Some(vec![mapping]), ..Resources::default() })
    }

    #[test]
    fn the_default_allows_six_devices() {
        let devices = Devices::of_container(&HostConfig::default()).unwrap();
        assert!(devices.nodes.is_empty());
        assert!(devices.rules[0].is_wildcard() && devices.rules[0].denies());
        assert_eq!(devices.rules.iter().filter(|rule| rule.allow).count(), 6);
        assert!(devices.rules.iter().skip(1).all(|rule| rule.major.is_some() && rule.minor.is_some()));
    }

    #[test]
    fn a_device_gets_a_node_and_a_rule() {
        let devices = Devices::of_container(&device("/dev/full", "/dev/other")).unwrap();
        let node = &devices.nodes[0];
        assert_eq!(
            (node.path.as_str(), node.kind.as_str(), node.major, node.minor),
            ("/dev/other", "c", 1, 7)
        );
        let rule = devices.rules.last().unwrap();
        assert_eq!(
            (rule.allow, rule.major, rule.minor, rule.access.as_str()),
            (true, Some(1), Some(7), "rw")
        );
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let text = |host: &str| Devices::of_container(&device(host, "")).unwrap_err().to_string();
        let words = "error gathering device information while adding custom device";
        assert_eq!(text("/dev/nope"), format!("{words} \"/dev/nope\": no such file or directory"));
        assert_eq!(text("/proc/version"), format!("{words} \"/proc/version\": not a device node"));
    }

    #[test]
    fn rules_are_read_strictly() {
        let rule = parse_rule("c 1:* rw").unwrap();
        assert_eq!((rule.major, rule.minor, rule.access.as_str()), (Some(1), None, "rw"));
        for bad in [
            "",
            "c",
            "c 1:3",
            "x 1:3 r",
            "c 1 r",
            "c 1:3 rwx",
            "c 1:3 ",
            "c -1:3 r",
            "c 1:3 r ",
            "c 1:3 rwmr",
        ] {
            let error = parse_rule(bad).unwrap_err().to_string();
            assert_eq!(error, format!("invalid device cgroup rule format: '{bad}'"));
        }
    }

    #[test]
    fn privileged_sees_the_hosts_devices() {
        let devices =
            Devices::of_container(&HostConfig { privileged: true, ..HostConfig::default() }).unwrap();
        assert!(devices.nodes.iter().any(|node| node.path == "/dev/full"));
        assert!(!devices.nodes.iter().any(|node| node.path.starts_with("/dev/pts")));
        assert!(devices.rules.last().unwrap().allow && devices.rules.last().unwrap().is_wildcard());
    }

    #[test]
    fn devices_by_driver_are_refused_in_dockers_words() {
        let request = DeviceRequest {
            capabilities: Some(vec![Some(vec!["gpu".to_owned()])]),
            ..DeviceRequest::default()
        };
        let config = with(Resources { device_requests: Some(vec![request]), ..Resources::default() });
        assert_eq!(
            check(&config).unwrap_err().to_string(),
            "could not select device driver \"\" with capabilities: [[gpu]]"
        );
    }
}
