//! Real clients as their users have them: the SDKs of Python, JavaScript and Rust, testcontainers, both docker-compose,
//! and the call sequences of tools that come with a screen. `cargo xtask test` installs them (`xtask/src/clients.rs`).
//!
//! With `BERTH_PEER=unix:///…` they are turned on that engine instead, which proves the tests: the real Docker passes.
//! Run them in its network namespace then, with `ENGINE_ROOT` as the root of its file system.

#![allow(clippy::unwrap_used, reason = "tests")]

mod bollard;
mod compose;
mod docker_py;
mod load;
mod sequences;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_tests::{Engine, Outcome, run};

/// The folder of the installed clients.
fn clients() -> PathBuf {
    let Some(path) = std::env::var_os("BERTH_CLIENTS") else {
        panic!("BERTH_CLIENTS is not set: these tests are run by `cargo xtask test`");
    };
    PathBuf::from(path)
}

/// The engine that a test's clients speak to: one of its own, or the peer.
struct Target {
    /// Ends with the test.
    _engine: Option<Engine>,
    host: String,
}

impl Target {
    fn start() -> Target {
        if let Ok(host) = std::env::var("BERTH_PEER") {
            return Target { _engine: None, host };
        }
        let engine = Engine::with_images(&["busybox"]);
        Target { host: format!("unix://{}", engine.socket().display()), _engine: Some(engine) }
    }

    /// A program, addressed to the engine; it gets `seconds` to end.
    fn command(&self, seconds: u32, program: &Path) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", &seconds.to_string()]).arg(program);
        let python = clients().join("python/bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(python).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(path).unwrap_or_else(|_| OsString::from("/usr/bin")));
        command.env("NODE_PATH", clients().join("node/node_modules"));
        command.env("DOCKER_HOST", &self.host).env("DOCKER_CONFIG", "/nonexistent");
        // The helper image that removes what a crashed test run left needs a registry.
        command.env("TESTCONTAINERS_RYUK_DISABLED", "true");
        command
    }

    /// Runs one of the programs beside this file; fails with all that it said.
    #[track_caller]
    fn program(&self, interpreter: &str, name: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name);
        let mut command = self.command(120, &clients().join("python/bin").join(interpreter));
        let outcome = run(command.arg(file));
        assert_eq!(outcome.code, 0, "{command:?}\n{}\n{}", outcome.stdout, outcome.stderr);
    }

    /// The real `docker`, its words separated by blanks.
    fn docker(&self, line: &str) -> Outcome {
        run(self.command(60, &berth_tests::docker_bin()).args(line.split_whitespace()))
    }
}

#[test]
fn sdk_of_python() {
    Target::start().program("python", "sdk.py");
}

#[test]
fn sdk_of_javascript() {
    Target::start().program("node", "dockerode.js");
}

#[test]
fn testcontainers_of_python() {
    Target::start().program("python", "tc.py");
}

#[test]
fn testcontainers_of_javascript() {
    Target::start().program("node", "testcontainers.js");
}
