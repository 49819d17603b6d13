//! What of `berth` is the shim's: the tests of this crate run it in place of the one binary.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if berth_shim::init::is_called_as(&name) {
        return berth_shim::init::main(args);
    }
    match args.next() {
        Some(verb) if verb == "shim" => berth_shim::server::main(args),
        _ => ExitCode::FAILURE,
    }
}
