//! Containers: `/containers/…`

pub(crate) mod archive;
pub(crate) mod attach;
pub(crate) mod commit;
pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod process;
pub(crate) mod prune;
pub(crate) mod stats;
pub(crate) mod wait;
