//! `--security-opt`, as it arrives in `HostConfig.SecurityOpt`.

use super::{Machine, Profile};
use crate::error::{Error, Result};

/// The system call filter that is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SeccompChoice {
    /// Docker's default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile of the user's own.
    Profile(Box<Profile>),
}

/// All security options of a container, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecurityOptions {
    /// `seccomp=`.
    pub seccomp: SeccompChoice,
    /// `no-new-privileges`.
    pub no_new_privileges: bool,
    /// `apparmor=`.
    pub apparmor: Option<String>,
    /// `label=`, each without that word.
    pub labels: Vec<String>,
    /// `systempaths=unconfined`.
    pub system_paths_unconfined: bool,
    /// `writable-cgroups`: the cgroup mount of the container is not read-only.
    pub writable_cgroups: bool,
}

impl SecurityOptions {
    /// Reads the list.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's text.
    pub fn parse(list: &[String]) -> Result<Self> {
        let mut options = Self::default();
        for option in list {
            options.read(option)?;
        }
        Ok(options)
    }

    fn read(&mut self, option: &str) -> Result<()> {
        match option {
            "no-new-privileges" => self.no_new_privileges = true,
            "writable-cgroups" => self.writable_cgroups = true,
            "disable" => self.labels.push("disable".to_owned()),
            _ => {
                let pair = option.split_once('=').or_else(|| option.split_once(':'));
                let Some((key, value)) = pair else {
                    return Err(Error::invalid(format!("invalid --security-opt 1: \"{option}\"")));
                };
                self.read_pair(option, key, value)?;
            }
        }
        Ok(())
    }

    fn read_pair(&mut self, option: &str, key: &str, value: &str) -> Result<()> {
        let refused = || Error::invalid(format!("invalid --security-opt 2: \"{option}\""));
        match key {
            "label" => self.labels.push(value.to_owned()),
            "apparmor" => self.apparmor = Some(value.to_owned()),
            "seccomp" => {
                self.seccomp = match value {
                    "" | "builtin" => SeccompChoice::Default,
                    "unconfined" => SeccompChoice::Unconfined,
                    json => SeccompChoice::Profile(Box::new(Profile::parse(json)?)),
                }
            }
            "no-new-privileges" => self.no_new_privileges = boolean(value).ok_or_else(refused)?,
            "writable-cgroups" => self.writable_cgroups = boolean(value).ok_or_else(refused)?,
            // Docker's command line turns this into empty lists of paths; here it may also arrive as it is.
            "systempaths" if value == "unconfined" => self.system_paths_unconfined = true,
            _ => return Err(refused()),
        }
        Ok(())
    }

    /// The `AppArmor` profile, where the kernel has it: without it Docker ignores what is asked for.
    pub(super) fn apparmor_profile(&self, machine: &Machine) -> String {
        if machine.apparmor { self.apparmor.clone().unwrap_or_default() } else { String::new() }
    }
}

/// What Go's `strconv.ParseBool` takes.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[&str]) -> Result<SecurityOptions, String> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        SecurityOptions::parse(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read() {
        assert_eq!(check(&[]), Ok(SecurityOptions::default()));
        let options = check(&[
            "no-new-privileges",
            "apparmor=unconfined",
            "label=type:x",
            "label:disable",
            "seccomp=unconfined",
            "systempaths=unconfined",
            "writable-cgroups=true",
        ])
        .unwrap();
        assert_eq!(options.seccomp, SeccompChoice::Unconfined);
        assert!(options.no_new_privileges && options.system_paths_unconfined && options.writable_cgroups);
        assert_eq!(options.apparmor.as_deref(), Some("unconfined"));
        assert_eq!(options.labels, ["type:x", "disable"]);
        assert_eq!(check(&["seccomp=builtin"]).unwrap().seccomp, SeccompChoice::Default);
        assert!(!check(&["no-new-privileges=0"]).unwrap().no_new_privileges);
        assert!(check(&["no-new-privileges:true"]).unwrap().no_new_privileges);
    }

    #[test]
    fn errors_are_dockers() {
        assert_eq!(check(&["foo"]), Err("invalid --security-opt 1: \"foo\"".to_owned()));
        assert_eq!(check(&["foo=bar"]), Err("invalid --security-opt 2: \"foo=bar\"".to_owned()));
        let maybe = "no-new-privileges=maybe";
        assert_eq!(check(&[maybe]), Err(format!("invalid --security-opt 2: \"{maybe}\"")));
        assert_eq!(
            check(&["systempaths=foo"]),
            Err("invalid --security-opt 2: \"systempaths=foo\"".to_owned())
        );
        assert!(check(&["seccomp={"]).unwrap_err().starts_with("Decoding seccomp profile failed: "));
    }
}
