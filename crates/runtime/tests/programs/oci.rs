//! The runtime's command line by itself, without the rest of Berth.

use std::process::ExitCode;

fn main() -> ExitCode {
    berth_runtime::cli::main(std::env::args_os().skip(1))
}
