//! Containers, images, events and everything that decides in Berth.
//!
//! [`Engine`] is the whole of it: a handle that is cheap to clone. What it answers with are plain values; what goes
//! wrong is an [`Error`] with a [`Class`]. It knows nothing of HTTP, of API versions or of command lines.
//!
//! Names of containers in calls are what users write: a name (with or without a leading slash), an id, or a prefix
//! of an id that fits one container only.
//!
//! On disk, under [`EngineConfig::data_root`] (mode 0710, all below 0700):
//! ```text
//! lock                         one engine only
//! engine-id                    what `info` shows
//! containers/<id>/             hosts, hostname, resolv.conf, <id>-json.log*, exit (the shim's)
//! volumes/<name>/_data         named and anonymous volumes
//! trash/                       renamed here, then deleted in the background
//! …                            what the store keeps: blobs, layers, snapshots, the database
//! ```
//! and under [`EngineConfig::exec_root`]:
//! ```text
//! rootfs/                      empty: where a container's root is mounted, in its own mount namespace
//! shim/<id>/                   the shim's socket
//! ```
#![forbid(unsafe_code)]

pub mod archive;
mod check;
pub mod config;
pub mod container;
pub mod embedded;
pub mod error;
pub mod event;
pub mod exec;
pub mod filters;
#[doc(hidden)]
pub mod fuzz;
pub mod image;
pub mod security;
pub mod stats;
pub mod system;
pub mod time;

mod api;
mod channel;
mod files;
mod host;
mod inner;
mod names;
mod restore;
mod rootfs;
mod spec;
mod system_info;
mod trash;
mod user;
mod views;
mod volumes;

use std::sync::Arc;

pub use api::Wait;
pub use archive::{Change, ChangeKind, Commit, CopyIn, CopyOut, PathStat};
pub use channel::Upload;
pub use check::{CheckProgress, RegistryLogins};
pub use config::{BridgeConfig, CgroupDriver, EngineConfig, Live, LiveConfig, Runtime};
pub use container::parse_duration;
pub use container::{
    AttachOptions, Attached, Container, ContainerCreated, ContainerSize, CreateContainer, ListOptions, Logs,
    LogsOptions, MountPoint, NetworkState, Pruned, RemoveOptions, State, Status, StopOptions, Top,
    UpdateContainer, WaitCondition, WaitResult,
};
pub use error::{Class, Error, Result};
pub use event::{Event, EventStream, EventsRequest};
pub use exec::{Exec, ExecConfig, ExecStart, ExecStarted};
pub use filters::Filters;
pub use image::document::{DocumentPut, DocumentRequest, RegistryDocument};
pub use image::registry::{
    DistributionInspect, ImagePull, ImagePush, RegistryCredentials, RegistryFound, RegistryLogin,
    RegistryOptions, RegistryProxies, RegistrySettings, TransferProgress,
};
pub use image::{
    Archive, HistoryItem, Image, ImageCollection, ImageDeleted, ImageImport, ImageListOptions, ImageSummary,
    LoadProgress, Produced,
};
pub use stats::{StatsReport, StatsStream};
pub use system::{DiskUsage, SystemInfo};
pub use time::Time;
pub use views::NetworkView;
pub use volumes::{CreateVolume, VolumeView};

/// The engine. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

use inner::Inner;
