//! Commands and flags that an engine must be new enough for: what Docker's command line refuses where the API version that
//! is spoken does not have it yet.

/// The commands, without their program, and the flags of each with the minor version that they need; the flag without a
/// name is the command itself.
type Row = (&'static [&'static str], &'static [(&'static str, u16)]);

const ROWS: [Row; 19] = [
    (
        &["run", "create", "container run", "container create"],
        &[
            ("annotation", 43),
            ("cgroupns", 41),
            ("cpu-rt-period", 25),
            ("cpu-rt-runtime", 25),
            ("cpus", 25),
            ("gpus", 40),
            ("health-start-interval", 44),
            ("health-start-period", 29),
            ("init", 25),
            ("platform", 32),
            ("stop-timeout", 25),
        ],
    ),
    (&["exec", "container exec"], &[("env", 25), ("env-file", 25), ("workdir", 35)]),
    (
        &["update", "container update"],
        &[("cpu-rt-period", 25), ("cpu-rt-runtime", 25), ("cpus", 29), ("pids-limit", 40)],
    ),
    (&["logs", "container logs"], &[("until", 35)]),
    (&["pull", "image pull", "import", "image import"], &[("platform", 32)]),
    (&["push", "image push"], &[("platform", 46)]),
    (&["images", "image ls"], &[("tree", 47)]),
    (&["history", "image history", "load", "image load", "save", "image save"], &[("platform", 48)]),
    (&["image inspect"], &[("platform", 49)]),
    (&["rmi", "image rm"], &[("platform", 50)]),
    (&["container prune", "image prune", "system df"], &[("", 25)]),
    (&["system prune"], &[("", 25), ("filter", 28)]),
    (
        &["volume create"],
        &[
            ("availability", 42),
            ("group", 42),
            ("limit-bytes", 42),
            ("required-bytes", 42),
            ("scope", 42),
            ("secret", 42),
            ("sharing", 42),
            ("topology-preferred", 42),
            ("topology-required", 42),
            ("type", 42),
        ],
    ),
    (&["volume ls"], &[("cluster", 42)]),
    (&["volume prune"], &[("", 25), ("all", 42)]),
    (&["volume rm"], &[("force", 25)]),
    (&["volume update"], &[("", 42)]),
    (&["network prune"], &[("", 25)]),
    (
        &["network create"],
        &[("attachable", 25), ("config-from", 30), ("config-only", 30), ("ingress", 29), ("scope", 30)],
    ),
];

/// What a command line needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    /// As Docker names it: `"--platform"`, `docker system df`.
    what: String,
    pub(crate) minor: u16,
}

impl Need {
    /// Docker's refusal.
    pub(crate) fn refusal(&self, title: &str, version: berth_api::Version) -> String {
        let Need { what, minor } = self;
        format!("{what} requires API version 1.{minor}, but the {title} daemon API version is {version}")
    }
}

/// What the command at `path` (program included) needs for the flags that were given.
pub(crate) fn needs(path: &str, given: &[&str]) -> Vec<Need> {
    let command = path.split_once(' ').map_or("", |(_, command)| command);
    let Some((_, flags)) = ROWS.iter().find(|(commands, _)| commands.contains(&command)) else {
        return Vec::new();
    };
    let whole = flags.iter().filter(|(flag, _)| flag.is_empty());
    let some = flags.iter().filter(|(flag, _)| given.contains(flag));
    let need = |(flag, minor): &(&str, u16)| {
        let what = if flag.is_empty() { path.to_owned() } else { format!("\"--{flag}\"") };
        Need { what, minor: *minor }
    };
    whole.chain(some).map(need).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_needs_is_told_in_dockers_words() {
        let told = |path: &str, given: &[&str]| {
            let needs = needs(path, given);
            needs.iter().map(|need| need.refusal("Docker", berth_api::Version::new(24))).collect::<Vec<_>>()
        };
        let but = "but the Docker daemon API version is 1.24";
        assert_eq!(told("docker run", &["name", "env"]), Vec::<String>::new());
        assert_eq!(
            told("docker container run", &["platform", "init"]),
            [
                format!("\"--init\" requires API version 1.25, {but}"),
                format!("\"--platform\" requires API version 1.32, {but}")
            ]
        );
        assert_eq!(
            told("docker system df", &[]),
            [format!("docker system df requires API version 1.25, {but}")]
        );
        assert!(told("docker ps", &["all"]).is_empty());
    }

    #[test]
    fn flags_are_in_the_order_in_which_docker_complains() {
        for (commands, flags) in ROWS {
            assert!(flags.is_sorted_by_key(|(flag, _)| *flag), "{commands:?}");
        }
    }
}
