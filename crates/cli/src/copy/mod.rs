//! Files between the host and a container: which path becomes which, and the tar archive that carries them.
//!
//! The rules are those of `cp -r` with Docker's words: `/.` at the end of a source means what is in it, a slash at the
//! end of a destination means that it is a directory, and a destination that is not there takes the source's place.

mod pack;
mod paths;
mod pipe;
mod unpack;

pub(crate) use pack::pack;
pub(crate) use paths::{Info, absolute, check_output, destination, join_link, prepare, rebase_name, source};
pub(crate) use pipe::{archive_pipe, body_pipe};
pub(crate) use unpack::unpack;
