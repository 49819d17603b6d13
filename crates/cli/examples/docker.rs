//! The command line alone, without an engine in the same binary: what the tests of this crate run.

fn main() -> std::process::ExitCode {
    berth_cli::main(std::env::args_os())
}
