//! One binary under several names, and several engines on one host.

use std::os::unix::fs::symlink;
use std::process::Command;

use berth_tests::{Engine, berth_bin, run};

/// A folder with the binary under a name.
fn linked(engine: &Engine, name: &str) -> std::path::PathBuf {
    let link = engine.dir.join(name);
    symlink(berth_bin(), &link).expect("a link");
    link
}

#[test]
fn linked_as_docker_it_is_docker() {
    let engine = Engine::start();
    let docker = linked(&engine, "docker");
    let ask = |args: &[&str]| {
        let mut command = Command::new(&docker);
        command.args(args).env("DOCKER_HOST", format!("unix://{}", engine.socket().display()));
        run(command.env("DOCKER_CONFIG", engine.dir.join("config")))
    };
    assert!(ask(&["--version"]).ok().starts_with("Docker version "));
    assert!(ask(&["run", "--rm", "hello-world"]).ok().contains("Hello from Berth!"));
    let refused = ask(&["nosuchcommand"]);
    assert!(refused.fails(1).starts_with("docker: "), "{refused:?}");
    let missing = ask(&["run", "--rm", "127.0.0.1:1/nosuch"]);
    assert!(missing.fails(125).contains("docker: Error response from daemon: "), "{missing:?}");
}

#[test]
fn linked_as_dockerd_it_is_the_engine() {
    let engine = Engine::start();
    let dockerd = linked(&engine, "dockerd");
    let help = run(Command::new(&dockerd).arg("--help"));
    for flag in [
        "--data-root",
        "--exec-root",
        "--pidfile",
        "-H, --host",
        "--config-file",
        "--bridge",
        "--bip",
        "--cgroup-parent",
        "--default-runtime",
        "--add-runtime",
        "--log-level",
        "-D, --debug",
    ] {
        assert!(help.ok().contains(flag), "{flag}: {help:?}");
    }
    assert!(run(Command::new(&dockerd).arg("--version")).ok().contains("version"));
    let wrong = run(Command::new(&dockerd).arg("--nosuchflag"));
    assert!(wrong.stderr.contains("unknown flag: --nosuchflag") && wrong.code != 0, "{wrong:?}");
    // A second engine may not have the first one's root.
    let taken = run(Command::new(&dockerd)
        .arg("--data-root")
        .arg(engine.data_root())
        .arg("--exec-root")
        .arg(engine.dir.join("run2"))
        .arg("--pidfile")
        .arg(engine.dir.join("pid2"))
        .arg("-H")
        .arg(format!("unix://{}", engine.dir.join("s2").display())));
    assert!(taken.code != 0 && !taken.stderr.is_empty(), "{taken:?}");
    assert!(engine.berth("version").ok().contains("Server"));
}

#[test]
fn engines_with_roots_of_their_own_do_not_see_each_other() {
    let (one, other) = (Engine::with_images(&["busybox"]), Engine::with_images(&["busybox"]));
    for engine in [&one, &other] {
        engine.berth("run -d --name same busybox sleep 600").ok();
    }
    assert_eq!(one.berth("ps -q").ok().lines().count(), 1);
    assert_ne!(one.berth("ps -q --no-trunc").ok(), other.berth("ps -q --no-trunc").ok());
    one.berth("rm -f same").ok();
    one.assert_clean();
    assert_eq!(other.berth("exec same echo here").ok(), "here");
}
