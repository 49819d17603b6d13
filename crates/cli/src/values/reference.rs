//! Image names as the user writes them and as Docker repeats them.

use berth_oci::Reference;

use crate::outcome::Failure;

/// Reads an image name, with `latest` if it has neither tag nor digest.
///
/// # Errors
/// Docker's text.
pub(crate) fn parse(name: &str) -> Result<Reference, Failure> {
    Reference::parse(name).map(Reference::or_latest).map_err(|error| Failure::new(error.to_string()))
}

/// Repository and tag as `images/create` and `tag` take them.
pub(crate) fn split(reference: &Reference) -> (String, String) {
    let tag = reference.digest().map(ToString::to_string).or_else(|| reference.tag().map(str::to_owned));
    (reference.familiar_repository(), tag.unwrap_or_default())
}
