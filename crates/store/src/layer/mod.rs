//! Layers: a directory for each diff ID, unpacked on its own from a tar stream.

/// Why an archive or layer is not acceptable, or could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The stream is no tar, or is cut short, or says two things at once.
    #[error("invalid tar header: {0}")]
    Malformed(String),
    /// A bound was reached: see [`Limits`].
    #[error("layer is refused: {0}")]
    Limit(String),
    /// A path leaves the layer.
    #[error("invalid path in layer: {0}")]
    Path(String),
    /// The content does not have the digest or length that it was announced with.
    #[error("{0}")]
    Digest(String),
    /// The system refused.
    #[error("{what}")]
    Io {
        /// What was tried, and on what.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl LayerError {
    /// Whether the archive is at fault, not the machine.
    pub fn is_callers_fault(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// Bounds on what a layer may hold; whoever exceeds one is refused and nothing is left behind.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The number of entries of one layer.
    pub entries_max: u64,
    /// The number of components of a path.
    pub depth_max: usize,
    /// The length of a path in bytes.
    pub path_bytes_max: usize,
    /// The size of one unpacked layer in bytes.
    pub layer_bytes_max: u64,
    /// How many times larger than the compressed stream the unpacked one may be, once it is larger than
    /// `ratio_free_bytes`.
    pub ratio_max: u64,
    /// The unpacked size below which the ratio does not matter.
    pub ratio_free_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries_max: 4_000_000,
            depth_max: 1024,
            path_bytes_max: 4096,
            layer_bytes_max: 256 << 30,
            ratio_max: 200,
            ratio_free_bytes: 1 << 30,
        }
    }
}
