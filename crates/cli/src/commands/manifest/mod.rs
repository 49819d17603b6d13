//! `manifest`: the documents behind image names, and lists of them for several platforms. Lists that are being made are
//! kept where Docker keeps them and as Docker writes them, so that both command lines share them.

mod inspect;
mod kept;
mod list;
mod push;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_api::client::{Client, DocumentOptions};
use berth_oci::image::{Document, media_type};
use berth_oci::{Descriptor, Index, Reference};

use crate::command::{Entry, Group};
use crate::config::credentials;
use crate::context::Context;
use crate::outcome::Failure;
use kept::Kept;

static COMMANDS: &[&dyn Entry] =
    &[&list::ANNOTATE, &list::CREATE, &inspect::COMMAND, &push::COMMAND, &list::RM];

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "manifest",
    about: "Look at manifests and make lists of them for several platforms",
    commands: COMMANDS,
    aliases: &[],
    later: &[],
};

/// What `--insecure` is for.
pub(super) const INSECURE: &str = "Speak to a registry without a valid certificate";

/// A manifest or an index, as its registry has it.
pub(super) enum Found {
    /// A manifest, with the platform of its image.
    Manifest(Kept),
    /// An index.
    Index(Index),
}

/// How a registry is asked by who has logged in there.
///
/// # Errors
/// A credential helper that fails.
pub(super) fn asking(
    context: &Context,
    reference: &Reference,
    insecure: bool,
) -> Result<DocumentOptions, Failure> {
    let auth = credentials::get(&context.config_path(), reference.domain())?;
    Ok(DocumentOptions { insecure, auth })
}

/// What a name stands for at its registry.
///
/// # Errors
/// Docker's text where there is no such name; the registry cannot be asked.
pub(super) async fn fetch(
    client: &Client,
    reference: &Reference,
    options: &DocumentOptions,
) -> Result<Found, Failure> {
    let found = match client.document(&reference.to_string(), true, options).await {
        Ok(found) => found,
        Err(error) if error.is_not_found() => {
            return Err(Failure::new(format!("no such manifest: {}", reference.familiar())));
        }
        Err(error) => return Err(error.into()),
    };
    let wrong = |why: String| Failure::new(format!("{}: {why}", reference.familiar()));
    let raw = STANDARD.decode(&found.raw).map_err(|error| wrong(error.to_string()))?;
    let digest = found.digest.parse().map_err(|_| wrong(format!("{:?} is no digest", found.digest)))?;
    match Document::parse(&raw).map_err(|error| wrong(error.to_string()))? {
        Document::Index(index) => Ok(Found::Index(index)),
        Document::Manifest(manifest) => {
            let kind = match (found.media_type.as_str(), manifest.media_type.as_str()) {
                (media_type::MANIFEST | media_type::DOCKER_MANIFEST, _) => found.media_type,
                (_, "") => media_type::MANIFEST.to_owned(),
                (_, inside) => inside.to_owned(),
            };
            let descriptor = Descriptor {
                media_type: kind,
                digest,
                size: raw.len() as u64,
                urls: Vec::new(),
                annotations: std::collections::BTreeMap::new(),
                platform: found.platform,
                other: serde_json::Map::new(),
            };
            Ok(Found::Manifest(Kept { reference: reference.to_string(), descriptor, raw }))
        }
    }
}

/// A list of manifests as a document, byte for byte as Docker makes it.
///
/// # Errors
/// Docker's text for a manifest without a platform, where `strict`.
pub(super) fn document(manifests: &[Kept], strict: bool) -> Result<(String, &'static str), Failure> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        schema_version: u32,
        media_type: &'a str,
        manifests: Vec<Entry<'a>>,
    }
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry<'a> {
        media_type: &'a str,
        size: u64,
        digest: &'a str,
        platform: berth_oci::Platform,
    }
    let is_oci = manifests.first().is_some_and(|first| first.descriptor.media_type == media_type::MANIFEST);
    let kind = if is_oci { media_type::INDEX } else { media_type::DOCKER_LIST };
    let mut entries = Vec::new();
    for Kept { reference, descriptor, .. } in manifests {
        let platform = descriptor.platform.clone().unwrap_or_default();
        if strict && (platform.os.is_empty() || platform.architecture.is_empty()) {
            return Err(Failure::new(format!(
                "manifest {reference} must have an OS and Architecture to be pushed to a registry"
            )));
        }
        entries.push(Entry {
            media_type: &descriptor.media_type,
            size: descriptor.size,
            digest: descriptor.digest.as_str(),
            platform,
        });
    }
    let list = List { schema_version: 2, media_type: kind, manifests: entries };
    let json = berth_oci::json::to_vec_html(&list).map_err(|error| Failure::new(error.to_string()))?;
    Ok((crate::format::json::indent_by(&String::from_utf8_lossy(&json), "   "), kind))
}
