//! `system`: what the engine holds, and cleaning up.

mod df;
mod dial;
mod fsck;
mod prune;

pub(crate) use df::COMMAND as DF;
pub(crate) use dial::COMMAND as DIAL;
pub(crate) use fsck::COMMAND as FSCK;
pub(crate) use prune::COMMAND as PRUNE;
