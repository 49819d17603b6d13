//! `volume`

mod create;
mod ls;
mod prune;
mod rm;
mod update;

pub(crate) use create::COMMAND as CREATE;
pub(crate) use ls::{COMMAND as LS, HEADERS, Listed};
pub(crate) use prune::{COMMAND as PRUNE, prune};
pub(crate) use rm::COMMAND as RM;
pub(crate) use update::COMMAND as UPDATE;
