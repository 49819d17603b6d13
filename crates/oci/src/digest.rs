//! Content digests: `sha256:<64 hex>` and `sha512:<128 hex>`, checked once when they are parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The hash algorithms that image content may be named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, what everybody writes.
    Sha256,
    /// SHA-512, allowed by the OCI image specification.
    Sha512,
}

/// A checked digest: a known algorithm and the right number of lower-case hex digits.
///
/// Source: OCI image-spec, `descriptor.md`, "Digests".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    text: Box<str>,
    algorithm: Algorithm,
}

/// Why a text is no digest, in the words of Docker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    /// There is no `algorithm:hex` or a character that does not belong there.
    #[error("invalid checksum digest format")]
    Format,
    /// The number of hex digits does not fit the algorithm.
    #[error("invalid checksum digest length")]
    Length,
    /// The algorithm is well-formed but unknown.
    #[error("unsupported digest algorithm")]
    Unsupported,
}

impl Algorithm {
    /// The name as it stands in front of the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The number of hex digits of a digest.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    fn parse(name: &str) -> Result<Self, InvalidDigest> {
        match name {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ if is_algorithm_name(name) => Err(InvalidDigest::Unsupported),
            _ => Err(InvalidDigest::Format),
        }
    }
}

/// Whether `name` fits the grammar of algorithm names (`[a-z0-9]+([+._-][a-z0-9]+)*`).
fn is_algorithm_name(name: &str) -> bool {
    name.split(['+', '.', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

impl Digest {
    /// Parses `algorithm:hex`.
    ///
    /// Errors: [`InvalidDigest`] when the text is not exactly a digest.
    pub fn parse(text: &str) -> Result<Self, InvalidDigest> {
        let (name, hex) = text.split_once(':').ok_or(InvalidDigest::Format)?;
        let algorithm = Algorithm::parse(name)?;
        if !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(InvalidDigest::Format);
        }
        if hex.len() != algorithm.hex_len() {
            return Err(InvalidDigest::Length);
        }
        Ok(Self { text: text.into(), algorithm })
    }

    /// The digest with these raw SHA-256 bytes.
    pub fn from_sha256(bytes: &[u8; 32]) -> Self {
        Self { text: spell(Algorithm::Sha256, bytes), algorithm: Algorithm::Sha256 }
    }

    /// The digest with these raw SHA-512 bytes.
    pub fn from_sha512(bytes: &[u8; 64]) -> Self {
        Self { text: spell(Algorithm::Sha512, bytes), algorithm: Algorithm::Sha512 }
    }

    /// The whole text, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The hex digits alone.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }

    /// The first twelve hex digits, as tables show them.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn spell(algorithm: Algorithm, bytes: &[u8]) -> Box<str> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(algorithm.name().len() + 1 + bytes.len() * 2);
    text.push_str(algorithm.name());
    text.push(':');
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text.into_boxed_str()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<(), InvalidDigest>) {
        assert_eq!(Digest::parse(text).map(|_| ()), expect, "{text}");
    }

    #[test]
    fn what_is_a_digest() {
        let hex = "0123456789abcdef".repeat(4);
        check(&format!("sha256:{hex}"), Ok(()));
        check(&format!("sha512:{hex}{hex}"), Ok(()));
        check(&format!("sha256:{hex}{hex}"), Err(InvalidDigest::Length));
        check(&format!("sha256:{}", hex.to_uppercase()), Err(InvalidDigest::Format));
        check(&format!("sha256:{}", &hex[1..]), Err(InvalidDigest::Length));
        check(&format!("sha384:{hex}"), Err(InvalidDigest::Unsupported));
        check(&hex, Err(InvalidDigest::Format));
        check(&format!(":{hex}"), Err(InvalidDigest::Format));
        check("sha256:../../../etc/passwd", Err(InvalidDigest::Format));
        check("", Err(InvalidDigest::Format));
    }

    #[test]
    fn raw_bytes_are_spelled_in_hex() {
        let digest = Digest::from_sha256(&[0xa5; 32]);
        assert_eq!(digest.as_str(), format!("sha256:{}", "a5".repeat(32)));
        assert_eq!(Digest::parse(digest.as_str()), Ok(digest.clone()));
        assert_eq!(digest.short(), "a5a5a5a5a5a5");
        assert_eq!(Digest::from_sha512(&[1; 64]).hex().len(), 128);
    }
}
