//! Names of images: `ubuntu`, `localhost:5000/team/app:1.2`, `repo@sha256:…`.
//!
//! A [`Reference`] is always whole: domain, path and, where given, tag and digest. What users type leaves out
//! the parts that are Docker's defaults (`docker.io`, `library/`, `:latest`); [`Reference::parse`] adds domain
//! and `library/`, [`Reference::familiar`] takes them off again.
//!
//! Source: the grammar of `distribution/reference`; error texts are Docker's, which clients compare.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, InvalidDigest};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const NAME_LEN_MAX: usize = 255;
const TAG_LEN_MAX: usize = 128;

/// A checked, normalised image reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: Box<str>,
    path: Box<str>,
    tag: Option<Box<str>>,
    digest: Option<Digest>,
}

/// Why a text is no reference, in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// The text does not fit the grammar.
    #[error("invalid reference format")]
    Format,
    /// The repository has upper-case letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// The repository name is longer than 255 characters.
    #[error("repository name must not be more than {NAME_LEN_MAX} characters")]
    TooLong,
    /// A name that could be mistaken for an image ID.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// The tag does not fit the grammar.
    #[error("invalid tag format")]
    Tag,
    /// What follows `@` is no digest.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
}

impl Reference {
    /// Parses what a user typed, adding `docker.io` and `library/` where they are left out.
    ///
    /// The tag stays absent when it is: see [`Reference::or_latest`].
    ///
    /// Errors: [`InvalidReference`], whose text is Docker's.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        if is_identifier(text) {
            return Err(InvalidReference::LooksLikeId(text.to_owned()));
        }
        let (name, tag, digest) = split(text);
        let (domain, remainder) = split_domain(name);
        if remainder.bytes().any(|b| b.is_ascii_uppercase()) && is_path(&remainder.to_ascii_lowercase()) {
            // Docker names the path as it completes it.
            let official = domain == DEFAULT_DOMAIN && !remainder.contains('/');
            let path = if official { format!("{OFFICIAL}{remainder}") } else { remainder.to_owned() };
            return Err(InvalidReference::Uppercase(path));
        }
        if !is_domain(domain) || !is_path(remainder) {
            return Err(InvalidReference::Format);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(InvalidReference::Format);
        }
        let domain = if domain == LEGACY_DOMAIN { DEFAULT_DOMAIN } else { domain };
        let path: Box<str> = if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
            format!("{OFFICIAL}{remainder}").into()
        } else {
            remainder.into()
        };
        if path.len() > NAME_LEN_MAX {
            return Err(InvalidReference::TooLong);
        }
        let digest = digest.map(parse_digest).transpose()?;
        Ok(Self { domain: domain.into(), path, tag: tag.map(Into::into), digest })
    }

    /// The registry: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository inside the registry: `library/ubuntu`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Domain and path: `docker.io/library/ubuntu`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository as users write it: `ubuntu`, `localhost:5000/app`.
    pub fn familiar_repository(&self) -> String {
        if *self.domain != *DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL) {
            // `docker.io/library/a/b` keeps its `library/`: only a single component is an official image.
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.to_string(),
        }
    }

    /// The whole reference as users write it: `ubuntu:22.04`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_repository();
        self.push_suffix(&mut text);
        text
    }

    /// Whether neither tag nor digest is given.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// Adds the tag `latest` where neither a tag nor a digest is given.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.is_name_only() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// The same repository with this tag and no digest.
    ///
    /// Errors: [`InvalidReference::Tag`].
    pub fn with_tag(&self, tag: &str) -> Result<Self, InvalidReference> {
        if !is_tag(tag) {
            return Err(InvalidReference::Tag);
        }
        Ok(Self { tag: Some(tag.into()), digest: None, ..self.clone() })
    }

    /// The same repository with this digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
    }
}

/// Whether `text` is a full image ID without its algorithm.
pub fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Splits off digest and tag. A colon is the tag's only after the last slash: before it, it is a port's.
fn split(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    match rest[last..].find(':') {
        Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..]), digest),
        None => (rest, None, digest),
    }
}

/// The first component is a domain if it could not be a path component of an official name.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn parse_digest(text: &str) -> Result<Digest, InvalidReference> {
    Digest::parse(text).map_err(|error| match error {
        InvalidDigest::Format => InvalidReference::Format,
        // The reference grammar itself asks for 32 hex digits at least.
        InvalidDigest::Length if text.split_once(':').is_some_and(|(_, hex)| hex.len() < 32) => {
            InvalidReference::Format
        }
        other => InvalidReference::Digest(other),
    })
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (address, None),
            Some((address, rest)) => match rest.strip_prefix(':') {
                Some(port) => (address, Some(port)),
                None => return false,
            },
            None => return false,
        },
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    let host_is_good = if domain.starts_with('[') {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
    } else {
        host.split('.').all(is_domain_component)
    };
    host_is_good && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_domain_component(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('-')
        && !part.ends_with('-')
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let bytes = part.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    bytes.split(alphanumeric).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

/// `[\w][\w.-]{0,127}`
fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= TAG_LEN_MAX
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.repository();
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// Whole and familiar form.
    fn check(text: &str, whole: &str, familiar: &str) {
        let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            (reference.to_string().as_str(), reference.familiar().as_str()),
            (whole, familiar),
            "{text}"
        );
        assert_eq!(Reference::parse(whole), Ok(reference.clone()), "{whole}");
        assert_eq!(Reference::parse(familiar), Ok(reference), "{familiar}");
    }

    fn check_bad(text: &str, expect: &str) {
        let error = Reference::parse(text).expect_err(text);
        assert_eq!(error.to_string(), expect, "{text}");
    }

    #[test]
    fn names_are_normalised_as_docker_does() {
        check("ubuntu", "docker.io/library/ubuntu", "ubuntu");
        check("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04");
        check("library/ubuntu", "docker.io/library/ubuntu", "ubuntu");
        check("user/app", "docker.io/user/app", "user/app");
        check("docker.io/ubuntu", "docker.io/library/ubuntu", "ubuntu");
        check("index.docker.io/user/app:1", "docker.io/user/app:1", "user/app:1");
        check("localhost/app", "localhost/app", "localhost/app");
        check("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1");
        check("reg.io/a/b/c_d--e.f", "reg.io/a/b/c_d--e.f", "reg.io/a/b/c_d--e.f");
        check("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app");
        check("[2001:db8::1]/app", "[2001:db8::1]/app", "[2001:db8::1]/app");
        check("REG/app", "REG/app", "REG/app");
        check("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b");
        check("app:TAG_1.2-x", "docker.io/library/app:TAG_1.2-x", "app:TAG_1.2-x");
        let digest = format!("app@sha256:{HEX}");
        check(&digest, &format!("docker.io/library/{digest}"), &digest);
        let both = format!("reg.io/app:1@sha256:{HEX}");
        check(&both, &both, &both);
        check(&HEX[1..], &format!("docker.io/library/{}", &HEX[1..]), &HEX[1..]);
    }

    #[test]
    fn bad_names_are_refused_in_dockers_words() {
        for text in [
            "",
            ":",
            ":tag",
            "@",
            "a:",
            "a b",
            "-a",
            "a-",
            "_a",
            "a..b",
            "a___b",
            "a/",
            "/a",
            "a//b",
            "a/-b",
            "reg.io:port/a",
            "reg.io:/a",
            "-reg.io/a",
            "reg-.io/a",
            "[::1/a",
            "[x]/a",
            "a:tag:tag",
            "a:-tag",
            "a:.tag",
            "a@sha256:123",
            "a@sha256",
            "a@b@c",
            "é",
            "a:b/c:d/",
            "http://a/b",
        ] {
            check_bad(text, "invalid reference format");
        }
        check_bad("UPPER", "invalid reference format: repository name (library/UPPER) must be lowercase");
        check_bad("reg.io/Upper:1", "invalid reference format: repository name (Upper) must be lowercase");
        check_bad(
            HEX,
            &format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"),
        );
        check_bad(&format!("a:{}", "t".repeat(129)), "invalid reference format");
        let long = "a".repeat(256);
        check_bad(&format!("reg.io/{long}"), "repository name must not be more than 255 characters");
        check_bad(&format!("a@sha384:{HEX}"), "unsupported digest algorithm");
        check_bad(&format!("a@sha256:{}", &HEX[1..]), "invalid checksum digest length");
    }

    #[test]
    fn tags_and_digests_are_replaced() {
        let reference = Reference::parse("app").unwrap();
        assert!(reference.is_name_only());
        assert_eq!(reference.clone().or_latest().familiar(), "app:latest");
        assert_eq!(reference.with_tag("1").unwrap().familiar(), "app:1");
        assert_eq!(reference.with_tag("a b"), Err(InvalidReference::Tag));
        let digest = Digest::from_sha256(&[0; 32]);
        let with_digest = reference.with_tag("1").unwrap().with_digest(digest);
        assert_eq!(with_digest.tag(), None);
        assert_eq!(with_digest.clone().or_latest(), with_digest);
    }

    proptest::proptest! {
        #[test]
        fn whatever_parses_is_printed_and_parsed_again(text in "[a-zA-Z0-9./:@_\\-\\[\\]]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                proptest::prop_assert_eq!(Reference::parse(&reference.to_string()), Ok(reference.clone()));
                proptest::prop_assert_eq!(Reference::parse(&reference.familiar()), Ok(reference));
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in ".*") {
            let _ = Reference::parse(&text);
        }
    }
}
