//! `--security-opt` and the modes of namespaces.

use crate::flags::quote;
use crate::outcome::open_text;

/// What `--security-opt` values say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Security {
    /// What is sent on; a seccomp profile is in it with its content.
    pub(crate) options: Vec<String>,
    /// `systempaths=unconfined`: nothing is hidden and nothing read-only.
    pub(crate) all_paths: bool,
}

/// Reads all `--security-opt` values.
///
/// # Errors
/// Docker's text for the first value that is wrong.
pub(crate) fn parse(values: &[String]) -> Result<Security, String> {
    let mut security = Security::default();
    for value in values {
        if value == "systempaths=unconfined" {
            security.all_paths = true;
            continue;
        }
        // A colon is the old form of the equals sign.
        let pair = value.split_once('=').or_else(|| value.split_once(':'));
        match pair {
            None if value != "no-new-privileges" => {
                return Err(format!("Invalid --security-opt: {}", quote(value)));
            }
            Some(("seccomp", profile)) if profile != "unconfined" && profile != "builtin" => {
                security.options.push(format!("seccomp={}", seccomp(profile)?));
            }
            _ => security.options.push(value.clone()),
        }
    }
    Ok(security)
}

/// Capabilities in their full names, sorted and each once; unset if there are none.
pub(crate) fn capabilities(add: &[String], drop: &[String]) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let normal = |names: &[String]| {
        let mut names: Vec<String> = names.iter().map(|name| capability(name)).collect();
        names.sort();
        names.dedup();
        (!names.is_empty()).then_some(names)
    };
    (normal(add), normal(drop))
}

fn capability(name: &str) -> String {
    let name = name.trim().to_uppercase();
    if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
}

/// The content of a profile: the file may be on another machine than the engine.
fn seccomp(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("opening seccomp profile ({path}) failed: {}", open_text(path, &error)))?;
    if let Err(error) = berth_oci::json::from_slice::<serde::de::IgnoredAny>(text.as_bytes()) {
        return Err(format!("compacting json for seccomp profile ({path}) failed: {error}"));
    }
    Ok(crate::format::json::compact(&text))
}

/// Checks `--pid`, `--uts`, `--userns` and `--cgroupns`.
///
/// # Errors
/// Docker's text.
pub(crate) fn check_modes(pid: &str, uts: &str, userns: &str, cgroupns: &str) -> Result<(), String> {
    let of_container = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    if !(pid.is_empty() || pid == "host" || of_container(pid)) {
        return Err("--pid: invalid PID mode".to_owned());
    }
    if !matches!(uts, "" | "host") {
        return Err("--uts: invalid UTS mode".to_owned());
    }
    if !matches!(userns, "" | "host") {
        return Err("--userns: invalid USER mode".to_owned());
    }
    if !matches!(cgroupns, "" | "host" | "private") {
        return Err("--cgroupns: invalid CGROUP mode".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expect: &str) {
        let got = parse(&[value.to_owned()])
            .map(|security| format!("{:?} {}", security.options, security.all_paths));
        assert_eq!(got.unwrap_or_else(|error| error), expect, "{value}");
    }

    #[test]
    fn options() {
        check("no-new-privileges", r#"["no-new-privileges"] false"#);
        check("no-new-privileges:false", r#"["no-new-privileges:false"] false"#);
        check("seccomp=unconfined", r#"["seccomp=unconfined"] false"#);
        check("systempaths=unconfined", "[] true");
        check("foo", r#"Invalid --security-opt: "foo""#);
        check(
            "seccomp=/nope",
            "opening seccomp profile (/nope) failed: open /nope: no such file or directory",
        );
    }

    #[test]
    fn capabilities_are_normal() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (add, drop) = capabilities(&names(&["sys_admin", "all", "CAP_SYS_ADMIN", "chown"]), &[]);
        assert_eq!(add.unwrap(), ["ALL", "CAP_CHOWN", "CAP_SYS_ADMIN"]);
        assert_eq!(drop, None);
    }

    #[test]
    fn modes() {
        assert!(check_modes("container:x", "host", "host", "private").is_ok());
        assert_eq!(check_modes("foo", "", "", "").unwrap_err(), "--pid: invalid PID mode");
        assert_eq!(check_modes("", "", "", "foo").unwrap_err(), "--cgroupns: invalid CGROUP mode");
    }
}
