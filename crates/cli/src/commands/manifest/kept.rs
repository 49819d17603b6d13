//! The manifests of lists that are being made.
//!
//! ```text
//! ~/.docker/manifests/<list>/<manifest>     names with `:` as `-` and `/` as `_`; JSON as Docker writes it
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_oci::image::media_type;
use berth_oci::{Descriptor, Reference};
use serde::Deserialize;

use crate::config;
use crate::context::Context;
use crate::format::json::compact;
use crate::outcome::{Failure, io_text};

/// A manifest with its platform.
pub(in crate::commands) struct Kept {
    /// Its name, in full.
    pub(in crate::commands) reference: String,
    pub(in crate::commands) descriptor: Descriptor,
    /// The document, byte for byte.
    pub(in crate::commands) raw: Vec<u8>,
}

impl Kept {
    /// As Docker writes it.
    ///
    /// # Errors
    /// None that happens.
    pub(super) fn to_json(&self) -> Result<String, Failure> {
        let member = match self.descriptor.media_type.as_str() {
            media_type::DOCKER_MANIFEST => "SchemaV2Manifest",
            _ => "OCIManifest",
        };
        let raw = compact(&String::from_utf8_lossy(&self.raw));
        let raw = raw.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        Ok(format!(
            "{{\"Ref\":{},\"Descriptor\":{},\"Raw\":\"{}\",\"{member}\":{raw}}}",
            json(&self.reference)?,
            json(&self.descriptor)?,
            STANDARD.encode(&self.raw),
        ))
    }
}

/// The directory of the lists.
pub(super) struct Lists(PathBuf);

impl Lists {
    pub(super) fn new(context: &Context) -> Self {
        Self(config::directory(&context.globals.config).join("manifests"))
    }

    fn list(&self, list: &Reference) -> PathBuf {
        self.0.join(safe(list))
    }

    /// The manifests of a list, sorted by their names; none if there is no such list.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn all(&self, list: &Reference) -> Result<Vec<Kept>, Failure> {
        let Ok(entries) = fs::read_dir(self.list(list)) else { return Ok(Vec::new()) };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().filter(|path| path.extension().is_none_or(|end| end != "tmp")).map(|p| read(p)).collect()
    }

    /// One manifest of a list.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn get(&self, list: &Reference, manifest: &Reference) -> Result<Option<Kept>, Failure> {
        let path = self.list(list).join(safe(manifest));
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    /// # Errors
    /// What cannot be written.
    pub(super) fn put(&self, list: &Reference, manifest: &Reference, kept: &Kept) -> Result<(), Failure> {
        config::write_private(&self.list(list).join(safe(manifest)), kept.to_json()?.as_bytes())
    }

    /// Forgets a list.
    ///
    /// # Errors
    /// Docker's text where there is no such list.
    pub(super) fn remove(&self, list: &Reference) -> Result<(), Failure> {
        let path = self.list(list);
        if !path.exists() {
            return Err(no_such(list));
        }
        fs::remove_dir_all(&path)
            .map_err(|error| Failure::new(format!("{}: {}", path.display(), io_text(&error))))
    }
}

/// What Docker says of a list or manifest that it does not keep.
pub(super) fn no_such(name: &Reference) -> Failure {
    Failure::new(format!("No such manifest: {name}"))
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let bytes = berth_oci::json::to_vec_html(value).map_err(|error| Failure::new(error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn safe(name: &Reference) -> String {
    name.to_string().replace(':', "-").replace('/', "_")
}

fn read(path: &Path) -> Result<Kept, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct File {
        #[serde(rename = "Ref")]
        reference: String,
        descriptor: Descriptor,
        raw: String,
    }
    let wrong = |why: String| Failure::new(format!("{}: {why}", path.display()));
    let text = fs::read(path).map_err(|error| wrong(io_text(&error)))?;
    let file: File = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let raw = STANDARD.decode(&file.raw).map_err(|error| wrong(error.to_string()))?;
    Ok(Kept { reference: file.reference, descriptor: file.descriptor, raw })
}
