//! Images: `/images/…`

pub(crate) mod create;
pub(crate) mod document;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod registry;
pub(crate) mod transfer;
