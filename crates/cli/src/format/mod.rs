//! How data is shown: templates, tables, JSON, sizes and times, as Docker shows them.

pub(crate) mod functions;
pub(crate) mod json;
pub(crate) mod list;
pub(crate) mod natural;
pub(crate) mod schema;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod time;
pub(crate) mod units;
pub(crate) mod value;
