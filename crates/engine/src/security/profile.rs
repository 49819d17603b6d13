//! Docker's format of a seccomp profile: rules that hold for some capabilities, architectures and kernels only.

use berth_oci::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArch, LinuxSeccompArg, LinuxSyscall};
use serde::Deserialize;

use super::CapabilitySet;
use crate::error::{Error, Result};

/// A kernel version as profiles compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
}

impl KernelVersion {
    /// The running kernel.
    ///
    /// # Errors
    /// When `uname` answers something unheard of.
    pub fn running() -> Result<Self> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self::parse(&release).ok_or_else(|| Error::Internal(format!("unknown kernel release {release:?}")))
    }

    /// Reads `6.1`, and as much of `6.1.0-38-amd64`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let minor = rest.split(|byte: char| !byte.is_ascii_digit()).next()?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

/// A profile as a user writes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "nullable")]
    architectures: Vec<LinuxSeccompArch>,
    #[serde(default, deserialize_with = "nullable")]
    arch_map: Vec<Architecture>,
    flags: Option<Vec<String>>,
    #[serde(default, deserialize_with = "nullable")]
    listener_path: String,
    #[serde(default, deserialize_with = "nullable")]
    listener_metadata: String,
    #[serde(default, deserialize_with = "nullable")]
    syscalls: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: LinuxSeccompArch,
    #[serde(default, deserialize_with = "nullable")]
    sub_architectures: Vec<LinuxSeccompArch>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "nullable")]
    args: Vec<LinuxSeccompArg>,
    #[serde(default, deserialize_with = "nullable")]
    includes: Filter,
    #[serde(default, deserialize_with = "nullable")]
    excludes: Filter,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default, deserialize_with = "nullable")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    arches: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    min_kernel: String,
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's text.
    pub fn parse(json: &str) -> Result<Self> {
        let failed = |reason: String| Error::invalid(format!("Decoding seccomp profile failed: {reason}"));
        let profile: Self = serde_json::from_str(json).map_err(|error| failed(error.to_string()))?;
        if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
            return Err(Error::invalid(
                "both 'architectures' and 'archMap' are specified in the seccomp profile, use either \
                 'architectures' or 'archMap'",
            ));
        }
        for rule in &profile.syscalls {
            if !rule.name.is_empty() && !rule.names.is_empty() {
                return Err(Error::invalid(
                    "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'",
                ));
            }
            for filter in [&rule.includes, &rule.excludes] {
                if !filter.min_kernel.is_empty() && KernelVersion::parse(&filter.min_kernel).is_none() {
                    return Err(failed(format!("invalid kernel version: {}", filter.min_kernel)));
                }
            }
        }
        Ok(profile)
    }

    /// The filter for a container with these capabilities on this kernel.
    #[must_use]
    pub fn resolve(&self, capabilities: CapabilitySet, kernel: KernelVersion) -> LinuxSeccomp {
        let applies = |rule: &&Rule| {
            !rule.excludes.matches_any(capabilities, kernel)
                && rule.includes.matches_all(capabilities, kernel)
        };
        LinuxSeccomp {
            default_action: self.default_action,
            default_errno_ret: self.default_errno_ret,
            architectures: self.architectures(),
            flags: self.flags.clone(),
            listener_path: self.listener_path.clone(),
            listener_metadata: self.listener_metadata.clone(),
            syscalls: self.syscalls.iter().filter(applies).map(Rule::to_spec).collect(),
        }
    }

    fn architectures(&self) -> Vec<LinuxSeccompArch> {
        let Some(native) = NATIVE else { return self.architectures.clone() };
        self.arch_map.iter().find(|entry| entry.architecture == native).map_or_else(
            || self.architectures.clone(),
            |entry| std::iter::once(native).chain(entry.sub_architectures.iter().copied()).collect(),
        )
    }
}

impl Rule {
    fn to_spec(&self) -> LinuxSyscall {
        let names = if self.name.is_empty() { self.names.clone() } else { vec![self.name.clone()] };
        LinuxSyscall { names, action: self.action, errno_ret: self.errno_ret, args: self.args.clone() }
    }
}

impl Filter {
    fn matches_any(&self, capabilities: CapabilitySet, kernel: KernelVersion) -> bool {
        self.arches.iter().any(|arch| arch == GO_ARCH)
            || self.caps.iter().any(|name| capabilities.contains(name))
            || KernelVersion::parse(&self.min_kernel).is_some_and(|least| kernel >= least)
    }

    fn matches_all(&self, capabilities: CapabilitySet, kernel: KernelVersion) -> bool {
        (self.arches.is_empty() || self.arches.iter().any(|arch| arch == GO_ARCH))
            && self.caps.iter().all(|name| capabilities.contains(name))
            && KernelVersion::parse(&self.min_kernel).is_none_or(|least| kernel >= least)
    }
}

/// The architecture of this program by libseccomp's name.
pub(super) const NATIVE: Option<LinuxSeccompArch> = if cfg!(target_arch = "x86_64") {
    Some(LinuxSeccompArch::X86_64)
} else if cfg!(target_arch = "aarch64") {
    Some(LinuxSeccompArch::Aarch64)
} else {
    None
};

/// The architecture of this program by Go's name, which profiles use in conditions.
const GO_ARCH: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };

/// Reads `null` as nothing, as Go does.
fn nullable<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: KernelVersion = KernelVersion { major: 6, minor: 1 };

    fn names(json: &str, capabilities: CapabilitySet) -> String {
        let filter = Profile::parse(json).unwrap().resolve(capabilities, KERNEL);
        let names: Vec<_> = filter.syscalls.iter().flat_map(|rule| rule.names.clone()).collect();
        names.join(" ")
    }

    #[test]
    fn versions_are_read_and_compared() {
        assert_eq!(KernelVersion::parse("6.1.0-38-cloud-amd64"), Some(KERNEL));
        assert_eq!(KernelVersion::parse("6.1"), Some(KERNEL));
        assert_eq!(KernelVersion::parse("6"), None);
        assert_eq!(KernelVersion::parse("a.b"), None);
        assert!(KernelVersion::parse("5.10").unwrap() < KERNEL);
        assert!(KernelVersion::running().is_ok());
    }

    #[test]
    fn rules_hold_where_they_say() {
        let profile = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["always"],"action":"SCMP_ACT_ALLOW","args":null},
            {"name":"old_style","action":"SCMP_ACT_ALLOW","comment":"x"},
            {"names":["with"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["without"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["elsewhere"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["s390x"]}},
            {"names":["here"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64","arm64"]}},
            {"names":["old"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
            {"names":["new"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.2"}},
            {"names":["before"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"6.1"}}]}"#;
        assert_eq!(names(profile, CapabilitySet::default()), "always old_style without here old");
        let admin = CapabilitySet::from_bits(1 << 21);
        assert_eq!(names(profile, admin), "always old_style with here old");
    }

    #[test]
    fn the_architectures_are_those_of_this_machine() {
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[
            {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
            {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]},
            {"architecture":"SCMP_ARCH_RISCV64","subArchitectures":null}]}"#;
        let filter = Profile::parse(profile).unwrap().resolve(CapabilitySet::default(), KERNEL);
        assert_eq!(filter.architectures.first().copied(), NATIVE);
        assert_eq!(filter.architectures.len(), 2);
    }

    #[test]
    fn contradictions_are_refused() {
        for (json, words) in [
            (r#"{"defaultAction":"SCMP_ACT_NONE"}"#, "Decoding seccomp profile failed: "),
            ("[]", "Decoding seccomp profile failed: "),
            (
                r#"{"defaultAction":"SCMP_ACT_LOG","architectures":["SCMP_ARCH_X86"],
                    "archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
                "'archMap'",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_LOG",
                    "syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_LOG"}]}"#,
                "'names'",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_LOG",
                    "syscalls":[{"name":"a","action":"SCMP_ACT_LOG","includes":{"minKernel":"six"}}]}"#,
                "invalid kernel version: six",
            ),
        ] {
            let error = Profile::parse(json).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
