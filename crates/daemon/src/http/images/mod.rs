//! Images: `/images/…`

pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod transfer;
