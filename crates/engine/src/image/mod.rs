//! Images: the store's, with who uses them, and the events that tell of changes.

pub(crate) mod collect;
pub(crate) mod document;
pub(crate) mod glob;
mod ops;
pub(crate) mod registry;

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::error::Result;
use crate::filters::Filters;
use crate::time::Time;

pub use collect::ImageCollection;
pub(crate) use ops::{blocking, check_platform, error, graph_driver, name_of};

/// Which images to list.
#[derive(Clone, Debug, Default)]
pub struct ImageListOptions {
    /// Intermediate ones, too.
    pub all: bool,
    /// `before dangling label reference since until`.
    pub filters: Filters,
    /// How much each shares with others is worked out.
    pub shared_size: bool,
}

/// An image in a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageSummary {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// The id of the image it was built upon; empty if unknown.
    pub parent_id: String,
    /// `name:tag`, as users write them.
    pub repo_tags: Vec<String>,
    /// `name@sha256:…`.
    pub repo_digests: Vec<String>,
    /// When it was made.
    pub created: Time,
    /// Bytes of all its layers.
    pub size: u64,
    /// Bytes shared with other images; -1 if not worked out.
    pub shared_size: i64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Containers that use it; -1 if not worked out.
    pub containers: i64,
}

/// An image in full.
#[derive(Clone, Debug)]
pub struct Image {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// `name:tag`, as users write them.
    pub repo_tags: Vec<String>,
    /// `name@sha256:…`.
    pub repo_digests: Vec<String>,
    /// The image that it was made from by a commit here; empty otherwise.
    pub parent: String,
    /// Its configuration document.
    pub config: berth_oci::ImageConfig,
    /// Bytes of all its layers.
    pub size: u64,
    /// The name of the graph driver (`overlay2`) and where the layers are.
    pub graph_driver: GraphDriver,
    /// When it was last tagged.
    pub last_tagged: Time,
}

/// Where layers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphDriver {
    /// Its name.
    pub name: String,
    /// Its particulars (`LowerDir`, `MergedDir`, `UpperDir`, `WorkDir`).
    pub data: BTreeMap<String, String>,
}

/// One step of an image's making, newest first in a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryItem {
    /// The image's id, or `<missing>`.
    pub id: String,
    /// When.
    pub created: Time,
    /// By which command.
    pub created_by: String,
    /// The names of the image.
    pub tags: Vec<String>,
    /// Bytes of its layer.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

/// What the removal of an image did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageDeleted {
    /// A name was taken away.
    Untagged(String),
    /// An image or layer was deleted.
    Deleted(String),
}

/// What an import is told.
#[derive(Clone, Debug, Default)]
pub struct ImageImport {
    /// The name to give it; `None`: none.
    pub repository: Option<String>,
    /// Its tag; `None`: `latest`.
    pub tag: Option<String>,
    /// A remark for its history.
    pub message: String,
    /// Dockerfile instructions that change its configuration.
    pub changes: Vec<String>,
    /// `os[/architecture[/variant]]`; `None`: the host's.
    pub platform: Option<String>,
}

/// One step of a load, as the client prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadProgress {
    /// A line to print (`Loaded image: x:latest\n`).
    Stream(String),
    /// A layer is being unpacked.
    Layer {
        /// The layer, shortened.
        id: String,
        /// Bytes done.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// A stream of something that is produced as it is read.
pub struct Produced<T> {
    pub(crate) receiver: mpsc::Receiver<Result<T>>,
}

impl<T> futures_util::Stream for Produced<T> {
    type Item = Result<T>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context)
    }
}

/// A tar archive on its way out.
pub type Archive = Produced<Bytes>;
