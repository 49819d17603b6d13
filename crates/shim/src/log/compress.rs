//! `berth shim --compress`: standard input, compressed with gzip, to standard output.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use flate2::{Compression, GzBuilder};

/// Runs the compressor, behind everything else that wants the processor.
pub(crate) fn main() -> ExitCode {
    let _ = rustix::process::setpriority_process(None, 19);
    match copy() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn copy() -> io::Result<()> {
    let mut source = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let target = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if super::start::of(&source) > 0 {
        let _ = super::start::set(&target, super::start::of(&source));
    }
    let mut encoder = GzBuilder::new().write(target, Compression::fast());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?;
    Ok(())
}
