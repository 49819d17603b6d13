//! The client of image registries: what a name stands for, pull, push, log in, search.
//!
//! ```text
//! Client ── endpoints (mirrors first, the registry last) ── Session (authorises each request) ── transport (TLS, proxy)
//!    │
//!    ├─ pull: manifest ► configuration ► layers, each  socket ► hash ► inflate ► unpack  in one pass into the store
//!    └─ push: what is there already is asked first, the rest mounted or uploaded in chunks, the manifest last
//! ```
//!
//! What a registry says is believed only as far as a digest goes: manifests, configurations and layers are checked
//! against the digest and length that named them, and nothing of an image is visible before all of it is in the store.
//! Credentials go to the registry they belong to and to a token service of the same site, to nobody else.
//!
//! Source: OCI distribution-spec 1.1; the token protocol of the Docker registry; texts as the Docker Engine has them.
#![forbid(unsafe_code)]

mod auth;
mod client;
mod document;
mod download;
mod endpoint;
mod error;
mod fetch;
#[doc(hidden)]
pub mod fuzz;
mod options;
mod pull;
mod push;
mod search;
mod session;
mod transport;
mod upload;

pub use client::{Client, Login, Resolved};
pub use document::Put;
pub use error::{Class, Error};
pub use fetch::Fetched;
pub use options::{Credentials, InvalidOption, Options, Proxies, Registry};
pub use pull::{Pull, Pulled};
pub use push::{Push, Pushed};
pub use search::Found;

/// A word about the progress of a pull or push, in the terms of Docker's own messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// What it is about: the short digest of a layer, a tag, or nothing.
    pub id: String,
    /// What happens: `Downloading`, `Pull complete`, …
    pub status: String,
    /// Bytes done and bytes in all.
    pub progress: Option<(u64, u64)>,
}

/// Where progress goes; called from several tasks.
pub type OnUpdate = std::sync::Arc<dyn Fn(Update) + Send + Sync>;
