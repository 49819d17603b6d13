//! `--device`, `--device-cgroup-rule`.

use berth_api::container::{DeviceMapping, DeviceRequest};

/// One `--device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Device {
    /// A node of the host.
    Node(DeviceMapping),
    /// A device that a specification on the host describes: `vendor.com/class=name`.
    Described(String),
}

/// Reads one `--device`: `path[:path inside][:permissions]`.
///
/// # Errors
/// Docker's text.
pub(crate) fn parse(value: &str) -> Result<Device, String> {
    if is_described(value) {
        return Ok(Device::Described(value.to_owned()));
    }
    let parts: Vec<&str> = value.split(':').collect();
    let (path, inside, permissions) = match parts.as_slice() {
        [path] => (*path, *path, "rwm"),
        [path, mode] if is_mode(mode) => (*path, *path, *mode),
        [path, inside] => (*path, *inside, "rwm"),
        [path, inside, mode] => (*path, *inside, *mode),
        _ => return Err(format!("invalid device specification: {value}")),
    };
    Ok(Device::Node(DeviceMapping {
        path_on_host: path.to_owned(),
        path_in_container: if inside.is_empty() { path } else { inside }.to_owned(),
        cgroup_permissions: permissions.to_owned(),
    }))
}

/// Checks one `--device` as the flag does, before the whole is read.
pub(crate) fn check(value: &str) -> Result<(), String> {
    if is_described(value) {
        return Ok(());
    }
    let parts: Vec<&str> = value.split(':').collect();
    if parts.len() > 3 || value.is_empty() {
        return Err(format!("bad format for path: {value}"));
    }
    let (inside, mode) = match parts.as_slice() {
        [path] => (*path, None),
        [path, mode] if is_mode(mode) => (*path, Some(*mode)),
        [_, inside] => (*inside, None),
        [_, inside, mode] => (*inside, Some(*mode)),
        _ => ("", None),
    };
    if parts.len() > 1 && (parts[0].is_empty() || parts[1].is_empty()) {
        return Err(format!("bad format for path: {value}"));
    }
    if mode.is_some_and(|mode| !is_mode(mode)) {
        return Err(format!("bad mode specified: {}", mode.unwrap_or_default()));
    }
    if !inside.starts_with('/') {
        return Err(format!("{inside} is not an absolute path"));
    }
    Ok(())
}

/// Devices by description, as the engine asks for them.
pub(crate) fn request(names: Vec<String>) -> Option<DeviceRequest> {
    (!names.is_empty()).then(|| DeviceRequest {
        driver: "cdi".to_owned(),
        device_ids: Some(names),
        ..DeviceRequest::default()
    })
}

fn is_mode(text: &str) -> bool {
    let mut seen = Vec::new();
    !text.is_empty()
        && text.bytes().all(|byte| {
            let is_new = !seen.contains(&byte);
            seen.push(byte);
            is_new && b"rwm".contains(&byte)
        })
}

fn is_described(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    word(vendor) && word(class) && word(name)
}

/// Checks one `--device-cgroup-rule`: `c 1:3 rwm`.
pub(crate) fn check_rule(value: &str) -> Result<(), String> {
    let number =
        |text: &str| text == "*" || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let parts: Vec<&str> = value.split(' ').collect();
    let is_rule = match parts.as_slice() {
        [kind, numbers, mode] => {
            ["a", "b", "c"].contains(kind)
                && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
                && (1..=3).contains(&mode.len())
                && mode.bytes().all(|byte| b"rwm".contains(&byte))
        }
        _ => false,
    };
    if is_rule { Ok(()) } else { Err(format!("invalid device cgroup format '{value}'")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes() {
        let node = |value: &str| match parse(value).unwrap() {
            Device::Node(node) => {
                format!("{} {} {}", node.path_on_host, node.path_in_container, node.cgroup_permissions)
            }
            Device::Described(name) => name,
        };
        assert_eq!(node("/dev/a"), "/dev/a /dev/a rwm");
        assert_eq!(node("/dev/a:r"), "/dev/a /dev/a r");
        assert_eq!(node("/dev/a:/dev/b"), "/dev/a /dev/b rwm");
        assert_eq!(node("/dev/a:/dev/b:rw"), "/dev/a /dev/b rw");
        assert_eq!(node("vendor.com/net=eth0"), "vendor.com/net=eth0");
        assert_eq!(check("/dev/a:/dev/b:x").unwrap_err(), "bad mode specified: x");
        assert_eq!(check("dev").unwrap_err(), "dev is not an absolute path");
        assert!(check("/dev/a").is_ok());
    }

    #[test]
    fn rules() {
        assert!(check_rule("c 1:3 rwm").is_ok() && check_rule("a *:* r").is_ok());
        assert_eq!(check_rule("foo").unwrap_err(), "invalid device cgroup format 'foo'");
    }
}
