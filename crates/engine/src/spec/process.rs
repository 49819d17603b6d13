//! `process`: what is run, as whom, with which environment and limits.

use berth_oci::container::Ulimit;
use berth_oci::runtime::{ConsoleSize, PosixRlimit, Process, User};

use super::Input;
use crate::error::Result;

/// Where the init program is inside.
pub(crate) const INIT_PATH: &str = "/sbin/docker-init";
/// `PATH` where the image says nothing.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As whom a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// The home directory, for `HOME`.
    pub(crate) home: String,
}

impl Identity {
    pub(crate) fn user(&self) -> User {
        User { uid: self.uid, gid: self.gid, additional_gids: self.groups.clone(), ..User::default() }
    }
}

/// The first process.
pub(super) fn of_container(input: &Input<'_>) -> Result<Process> {
    let record = input.record;
    let config = &record.config;
    let mut args: Vec<String> = std::iter::once(&record.path).chain(&record.args).cloned().collect();
    if input.init.is_some() {
        args.splice(0..0, [INIT_PATH.to_owned(), "--".to_owned()]);
    }
    let [height, width] = record.host_config.console_size;
    Ok(Process {
        terminal: config.tty,
        console_size: (config.tty && height > 0 && width > 0).then_some(ConsoleSize { height, width }),
        user: input.identity.user(),
        args,
        env: environment(config, &input.identity.home, &input.link_env),
        cwd: if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() },
        capabilities: Some(input.security.capabilities.clone()),
        rlimits: rlimits(record.host_config.resources.ulimits.as_deref(), input.default_ulimits),
        no_new_privileges: input.security.no_new_privileges,
        apparmor_profile: input.security.apparmor_profile.clone(),
        selinux_label: input.security.selinux_label.clone(),
        oom_score_adj: Some(record.host_config.oom_score_adj),
        ..Process::default()
    })
}

/// The environment of a container's processes: the engine's few and those of its links, under the container's own.
pub(crate) fn environment(
    config: &berth_oci::container::Config,
    home: &str,
    linked: &[String],
) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", config.hostname)];
    if config.tty {
        env.push("TERM=xterm".to_owned());
    }
    env.extend_from_slice(linked);
    override_env(&mut env, config.env.as_deref().unwrap_or_default());
    if !home.is_empty() && !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// Puts `changes` over `env`: the same name is replaced where it stands, a name without `=` is taken out.
pub(crate) fn override_env(env: &mut Vec<String>, changes: &[String]) {
    for change in changes {
        let name = change.split_once('=').map_or(change.as_str(), |(name, _)| name);
        let same = |variable: &String| variable.split_once('=').is_some_and(|(have, _)| have == name);
        let place = env.iter().position(same);
        match (place, change.contains('=')) {
            (Some(place), true) => env[place].clone_from(change),
            (Some(place), false) => {
                env.remove(place);
            }
            (None, true) => env.push(change.clone()),
            (None, false) => {}
        }
    }
}

/// The container's limits, and the engine's where it names none.
pub(crate) fn rlimits(own: Option<&[Ulimit]>, default: &[Ulimit]) -> Vec<PosixRlimit> {
    let own = own.unwrap_or_default();
    let others = default.iter().filter(|limit| !own.iter().any(|mine| mine.name == limit.name));
    let rlimit = |limit: &Ulimit| PosixRlimit {
        kind: format!("RLIMIT_{}", limit.name.to_uppercase()),
        // -1 is the largest number there is: no limit.
        hard: limit.hard as u64,
        soft: limit.soft as u64,
    };
    own.iter().chain(others).map(rlimit).collect()
}
