//! Image names as the user writes them and as the API takes them; platforms likewise.

use berth_oci::{Platform, Reference};

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
    (reference.repository(), tag.unwrap_or_default())
}

/// What most commands say before what is wrong with a `--platform`; some of Docker's say it in other words or not at all.
pub(crate) const INVALID_PLATFORM: &str = "invalid platform: ";

/// A `--platform` as the API takes it in a query: JSON.
///
/// # Errors
/// `prefix` and Docker's text.
pub(crate) fn platform(text: &str, prefix: &str) -> Result<String, Failure> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let platform = Platform::parse(text).map_err(|error| Failure::new(format!("{prefix}{error}")))?;
    serde_json::to_string(&platform).map_err(|error| Failure::new(error.to_string()))
}

/// The same for several.
///
/// # Errors
/// Docker's text for the first that is wrong.
pub(crate) fn platforms(texts: &[String], prefix: &str) -> Result<Vec<String>, Failure> {
    texts.iter().map(|text| platform(text, prefix)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_json() {
        assert_eq!(platform("linux/amd64", "").unwrap(), r#"{"architecture":"amd64","os":"linux"}"#);
        assert!(platform("foo", "no: ").unwrap_err().text.starts_with("no: \"foo\""));
    }
}
