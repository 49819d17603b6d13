//! The integration tests that the package `docker` of Python tests itself with, as they are.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{Target, clients};
use berth_tests::run;

/// Which of its files concern what there is; the others need a swarm, plug-ins, a build or own networks.
const FILES: [&[&str]; 2] = [
    &["api_container_test.py", "errors_test.py", "api_client_test.py"],
    &[
        "api_exec_test.py",
        "api_healthcheck_test.py",
        "api_image_test.py",
        "api_volume_test.py",
        "client_test.py",
        "models_containers_test.py",
        "models_images_test.py",
        "models_resources_test.py",
        "models_volumes_test.py",
        "regression_test.py",
    ],
];

/// `test | why it fails`.
fn known() -> BTreeSet<&'static str> {
    let rows = include_str!("docker_py.known").lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|row| row.split_once(" | ").map(|(name, _)| name.trim())).collect()
}

/// Runs files of the suite on an engine of their own; fails with what failed, and with what no longer does.
fn suite(files: &[&str]) {
    let target = Target::start();
    // what the suite finds in Alpine and not in a bare busybox: a user and a folder
    let made = tempfile::tempdir().unwrap();
    let archive = berth_tests::images().join("busybox.tar");
    let script = r#"
        mkdir root && tar xf "$1" -C root && mkdir -p root/var/opt
        echo 'postgres:x:70:70::/:/bin/sh' >> root/etc/passwd
        tar cf alpine.tar -C root . && docker import -c 'CMD ["sh"]' alpine.tar alpine:3.10"#;
    let mut make = target.command(60, Path::new("sh"));
    make.args(["-ec", script, "sh"]).arg(archive).current_dir(made.path());
    run(&mut make).ok();
    target.docker("tag alpine:3.10 alpine:latest").ok();
    let mut pytest = target.command(400, &clients().join("python/bin/python"));
    pytest.args([
        "-W",
        "ignore",
        "-m",
        "pytest",
        "-q",
        "--timeout",
        "60",
        "--tb",
        "short",
        "-p",
        "no:cacheprovider",
    ]);
    pytest.args(["-rA", "--color", "no"]).args(files.iter().map(|file| format!("tests/integration/{file}")));
    pytest.current_dir(clients().join("docker-py"));
    // fields that newer versions no longer have are in its expectations
    let outcome = run(pytest.env("DOCKER_TEST_API_VERSION", "1.45"));
    let rows = |word: &str| -> BTreeSet<&str> {
        let lines =
            outcome.stdout.lines().filter_map(|line| line.strip_prefix(word)?.split_whitespace().next());
        lines.filter_map(|line| line.split_once("_test.py::").map(|(_, name)| name)).collect()
    };
    let (failed, passed, known) = (rows("FAILED "), rows("PASSED "), known());
    assert!(passed.len() > 20, "the suite did not run: {}\n{}", outcome.stdout, outcome.stderr);
    let new: Vec<_> = failed.difference(&known).collect();
    assert!(new.is_empty(), "failed: {new:#?}\n{}", outcome.stdout);
    // what needs a registry fails or not, as the network is; the rest must leave the list when it is mended
    let told = include_str!("docker_py.known");
    let moving = |name: &str| told.lines().any(|row| row.starts_with(name) && !row.contains("| FIXME"));
    let mended: Vec<_> = passed.intersection(&known).filter(|name| !moving(name)).collect();
    assert!(mended.is_empty(), "no longer fail: take them out of docker_py.known: {mended:#?}");
}

#[test]
fn suite_of_containers() {
    suite(FILES[0]);
}

#[test]
fn suite_of_the_rest() {
    suite(FILES[1]);
}
