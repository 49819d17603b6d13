//! The Docker Engine API over HTTP: a file per noun, and the machinery that they share.
//!
//! ```text
//! server (accepts) ─► connection (hyper, or a stream) ─► router ─► routes ─► system, containers, … ─► engine
//! ```

mod absent;
mod answer;
mod attach;
mod body;
mod call;
mod check;
mod connection;
mod containers;
mod disk_usage;
mod error;
mod events;
mod exec;
pub(crate) mod fuzz;
mod go_types;
mod images;
mod networks;
mod query;
mod router;
mod routes;
mod server;
mod stream;
mod system;
mod target;
mod time;
mod volumes;
mod websocket;

pub(crate) use containers::list::Summaries;
pub(crate) use server::{Listener, Server, Settings, serve};
