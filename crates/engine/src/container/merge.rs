//! What a container runs: the request's configuration with the image's under it. Pure.

use berth_oci::container::{Config, Empty, Healthcheck, Map};
use berth_oci::image::RunConfig;

use super::signal;
use crate::error::{Error, Result};

/// Puts the image's values where the request has none, as Docker merges them.
pub(crate) fn merge(config: &mut Config, image: &RunConfig) {
    fill(&mut config.user, &image.user);
    fill(&mut config.working_dir, &image.working_dir);
    fill(&mut config.stop_signal, &image.stop_signal);
    merge_keys(&mut config.exposed_ports, image.exposed_ports.as_ref());
    merge_keys(&mut config.volumes, image.volumes.as_ref());
    merge_env(config, image);
    let labels = config.labels.get_or_insert_default();
    for (name, value) in image.labels.iter().flatten() {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if is_empty(config.entrypoint.as_ref()) {
        if is_empty(config.cmd.as_ref()) {
            config.cmd.clone_from(&image.cmd);
            config.args_escaped = image.args_escaped;
        }
        // `[]` says "none"; only what was not said at all is the image's.
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if let Some(check) = &image.healthcheck {
        merge_healthcheck(&mut config.healthcheck, check);
    }
}

/// Checks the merged configuration and makes it what Docker would keep.
///
/// Errors: `InvalidParameter` with Docker's text.
pub(crate) fn finish(config: &mut Config) -> Result<()> {
    if config.entrypoint.as_deref().is_some_and(|entry| matches!(entry, [only] if only.is_empty())) {
        config.entrypoint = None;
    }
    if is_empty(config.entrypoint.as_ref()) && is_empty(config.cmd.as_ref()) {
        return Err(Error::invalid("no command specified"));
    }
    Ok(())
}

/// Checks what does not depend on the image.
///
/// Errors: `InvalidParameter` with Docker's text.
pub(crate) fn check(config: &mut Config) -> Result<()> {
    if !config.working_dir.is_empty() {
        if !config.working_dir.starts_with('/') {
            let path = &config.working_dir;
            return Err(Error::invalid(format!(
                "the working directory '{path}' is invalid, it needs to be an absolute path"
            )));
        }
        config.working_dir = super::mounts::clean(&config.working_dir);
    }
    if !config.stop_signal.is_empty() {
        signal::parse(&config.stop_signal)?;
    }
    for variable in config.env.iter().flatten() {
        if variable.is_empty() || variable.starts_with('=') {
            return Err(Error::invalid(format!("invalid environment variable: {variable}")));
        }
    }
    config.healthcheck.as_ref().map_or(Ok(()), check_healthcheck)
}

/// The program and its arguments.
pub(crate) fn command(config: &Config) -> (String, Vec<String>) {
    let mut words = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).cloned();
    (words.next().unwrap_or_default(), words.collect())
}

fn is_empty(list: Option<&Vec<String>>) -> bool {
    list.is_none_or(Vec::is_empty)
}

fn fill(value: &mut String, image: &str) {
    if value.is_empty() {
        image.clone_into(value);
    }
}

fn merge_keys<V>(keys: &mut Option<Map<Empty>>, image: Option<&std::collections::BTreeMap<String, V>>) {
    if keys.as_ref().is_none_or(Map::is_empty) {
        *keys = image.map(|_| Map::new());
    }
    let Some(image) = image else { return };
    let keys = keys.get_or_insert_default();
    for name in image.keys() {
        keys.entry(name.clone()).or_default();
    }
}

fn merge_env(config: &mut Config, image: &RunConfig) {
    if config.env.as_ref().is_none_or(Vec::is_empty) {
        config.env.clone_from(&image.env);
        return;
    }
    let Some(image_env) = &image.env else { return };
    let name = |variable: &str| variable.split_once('=').map_or(variable, |(name, _)| name).to_owned();
    let env = config.env.get_or_insert_default();
    let asked: Vec<String> = env.iter().map(|variable| name(variable)).collect();
    env.extend(image_env.iter().filter(|variable| !asked.contains(&name(variable))).cloned());
}

fn merge_healthcheck(config: &mut Option<Healthcheck>, image: &berth_oci::image::Healthcheck) {
    let check = config.get_or_insert_default();
    if check.test.as_ref().is_none_or(Vec::is_empty) {
        check.test.clone_from(&image.test);
    }
    for (value, image) in [
        (&mut check.interval, image.interval),
        (&mut check.timeout, image.timeout),
        (&mut check.start_period, image.start_period),
        (&mut check.start_interval, image.start_interval),
    ] {
        if *value == 0 {
            *value = image;
        }
    }
    if check.retries == 0 {
        check.retries = i32::try_from(image.retries).unwrap_or(0);
    }
}

/// No duration of a health check is shorter, in nanoseconds.
const HEALTH_LEAST: i64 = 1_000_000;

fn check_healthcheck(check: &Healthcheck) -> Result<()> {
    for (value, name) in [
        (check.interval, "Interval"),
        (check.timeout, "Timeout"),
        (check.start_period, "StartPeriod"),
        (check.start_interval, "StartInterval"),
    ] {
        if value != 0 && value < HEALTH_LEAST {
            return Err(Error::invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if check.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn entrypoint_and_command_follow_dockers_table() {
        let image = RunConfig { entrypoint: list(&["e"]), cmd: list(&["c"]), ..RunConfig::default() };
        let check = |entrypoint: Option<Vec<String>>, cmd: Option<Vec<String>>, expect: &[&str]| {
            let mut config = Config { entrypoint, cmd, ..Config::default() };
            merge(&mut config, &image);
            finish(&mut config).unwrap();
            let (path, args) = command(&config);
            assert_eq!([vec![path], args].concat(), expect);
        };
        check(None, None, &["e", "c"]);
        check(None, list(&["x"]), &["e", "x"]);
        check(list(&["y"]), None, &["y"]);
        check(list(&["y"]), list(&["x"]), &["y", "x"]);
        check(list(&[]), None, &["c"]);
        check(list(&[""]), list(&["x"]), &["x"]);
    }

    #[test]
    fn nothing_to_run_is_refused() {
        let mut config = Config { entrypoint: list(&[""]), ..Config::default() };
        assert_eq!(finish(&mut config).unwrap_err().to_string(), "no command specified");
    }

    #[test]
    fn the_request_wins_over_the_image() {
        let image = RunConfig {
            env: list(&["PATH=/bin", "A=1"]),
            labels: Some([("l".to_owned(), "image".to_owned()), ("m".to_owned(), "1".to_owned())].into()),
            user: "nobody".to_owned(),
            ..RunConfig::default()
        };
        let mut config = Config { env: list(&["A=2", "B"]), ..Config::default() };
        config.labels = Some([("l".to_owned(), "mine".to_owned())].into_iter().collect());
        merge(&mut config, &image);
        assert_eq!(config.env, list(&["A=2", "B", "PATH=/bin"]));
        assert_eq!(config.labels.as_ref().unwrap()["l"], "mine");
        assert_eq!(config.labels.as_ref().unwrap()["m"], "1");
        assert_eq!(config.user, "nobody");
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let refused = |config: Config, expect: &str| {
            assert_eq!(check(&mut config.clone()).unwrap_err().to_string(), expect);
        };
        let config = Config { working_dir: "a".to_owned(), ..Config::default() };
        refused(config, "the working directory 'a' is invalid, it needs to be an absolute path");
        refused(Config { env: list(&["=a"]), ..Config::default() }, "invalid environment variable: =a");
        refused(Config { stop_signal: "FOO".to_owned(), ..Config::default() }, "invalid signal: FOO");
        let healthcheck = Some(Healthcheck { interval: 10, ..Healthcheck::default() });
        refused(
            Config { healthcheck, ..Config::default() },
            "Interval in Healthcheck cannot be less than 1ms",
        );
    }
}
