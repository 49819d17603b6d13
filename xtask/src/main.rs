//! Tasks of this workspace: `cargo xtask test|bench|tidy`.

#![allow(clippy::print_stdout, reason = "a program of tasks speaks on its standard output")]

mod bench;
mod cgroup2;
mod clients;
mod conformance;
mod dist;
mod guest;
mod power;
mod setup;
mod test;
mod tidy;

use std::process::ExitCode;

/// What a task ends with: nothing, or a text for the user.
type Outcome = Result<(), Box<dyn std::error::Error>>;

const USAGE: &str = "\
cargo xtask test [--cgroup2|--power] [FILTER…]   everything: units and black-box tests, as root, with their packages and images; or
                                         what needs cgroup v2, or a power cut, in a virtual machine
cargo xtask bench run                    the start path against Docker, Podman and crun, in the peer lab
cargo xtask bench requests SOCKET [PATH] how many requests a second the engine behind a socket answers
cargo xtask bench ship                   pull, push, save and load against Docker, Podman and skopeo, in the peer lab
cargo xtask conformance engine [--record|--recorded] [--socket PATH] [CASE…]   the corpus against the real Docker and ours
cargo xtask dist [--out FOLDER] [--binary PATH]   a Debian package and an archive, the same bytes from the same sources
cargo xtask tidy                         the house rules that no compiler knows";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test", filters @ ..] => test::run(filters),
        ["bench", name @ ("run" | "ship")] => bench::run(name),
        ["bench", "requests", socket] => bench::requests(socket, "/v1.45/containers/json"),
        ["bench", "requests", socket, path] => bench::requests(socket, path),
        ["bench-inside", name] => bench::inside(name),
        ["conformance", "engine", words @ ..] => conformance::run(words),
        ["dist", words @ ..] => dist::run(words),
        ["tidy"] => tidy::run(),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
