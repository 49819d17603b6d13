//! `volume`: what there is, and its removal. Making volumes by hand is not built yet.

mod ls;
mod prune;
mod rm;

pub(crate) use ls::{COMMAND as LS, HEADERS, Listed};
pub(crate) use prune::{COMMAND as PRUNE, prune};
pub(crate) use rm::COMMAND as RM;
