//! Berth, a container platform in one static binary.
//!
//! What the binary is depends on how it is called, and that is decided here before anything else happens: the shim of a
//! container must not carry more than it needs, and the runtime must not have threads.
//!
//! | called as | with | is |
//! | --- | --- | --- |
//! | `docker-init` | | process 1 of a container |
//! | `runc`, `berth-runc` | | the OCI runtime |
//! | `dockerd` | | the engine |
//! | any other name | `shim` | the supervisor of one container |
//! | | `oci` | the OCI runtime |
//! | | `daemon` | the engine |
//! | | anything else | the command line (`docker`: Docker's; `docker-credential-berth`: its credential helper) |

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    if berth_shim::init::is_called_as(&called) {
        return berth_shim::init::main(arguments);
    }
    match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("runc" | "berth-runc") => return berth_runtime::cli::main(arguments),
        Some("dockerd") => return daemon(arguments),
        _ => {}
    }
    let Some(first) = arguments.next() else {
        return berth_cli::main([called]);
    };
    match first.to_str() {
        Some("shim") => berth_shim::server::main(arguments),
        Some("oci") => berth_runtime::cli::main(arguments),
        Some("daemon") => daemon(arguments),
        _ => berth_cli::main([called, first].into_iter().chain(arguments)),
    }
}

/// The engine. The command line starts it with `--detached` when there is none: then it must not end with the
/// terminal that the first command came from.
fn daemon(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| first == "--detached").is_some() {
        // Fails only for a process that leads its session already, which is as good.
        let _ = rustix::process::setsid();
    }
    berth_daemon::main(arguments)
}
