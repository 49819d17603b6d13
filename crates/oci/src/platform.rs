//! Platforms: `linux/amd64`, `linux/arm/v7`, their other spellings, and which image fits which host.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image was built for.
///
/// Source: OCI image-spec, `image-index.md`; the spellings are those of Go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The processor, in Go's spelling: `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// The operating system: `linux`.
    #[serde(default)]
    pub os: String,
    /// The version of the operating system, for Windows images.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Features of the operating system that are needed, for Windows images.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The variant of the processor: `v7` of `arm`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text names no platform, in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlatform {
    /// What asks for any of several platforms.
    #[error("\"{0}\": wildcards not yet supported: invalid argument")]
    Wildcard(String),
    /// The first part is neither a word nor a word with a version.
    #[error(
        "\"{0}\" is an invalid OS component of \"{1}\": OSAndVersion specifier component must match \"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$\": invalid argument"
    )]
    System(String, String),
    /// A part has characters that do not belong there.
    #[error(
        "\"{0}\" is an invalid component of \"{1}\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    Component(String, String),
    /// One part that is neither a known system nor a known architecture, or more than three.
    #[error("\"{0}\": unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// More than three parts.
    #[error("\"{0}\": cannot parse platform specifier: invalid argument")]
    Parts(String),
}

impl Platform {
    /// The platform that this program runs on.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "").normalized()
    }

    /// A platform without system version and features; not normalised.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant: variant.to_owned(),
            ..Self::default()
        }
    }

    /// Parses `os`, `arch`, `os/arch` or `os/arch/variant`; what is left out is the host's. The system may have a version:
    /// `windows(10.0.17763)/amd64`.
    ///
    /// Errors: [`InvalidPlatform`].
    pub fn parse(text: &str) -> Result<Self, InvalidPlatform> {
        if text.contains('*') {
            return Err(InvalidPlatform::Wildcard(text.to_owned()));
        }
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let Some((os, os_version)) = system(parts[0]) else {
            return Err(InvalidPlatform::System(parts[0].to_owned(), text.to_owned()));
        };
        if let Some(bad) = parts[1..].iter().find(|part| !is_word(part)) {
            return Err(InvalidPlatform::Component((*bad).to_owned(), text.to_owned()));
        }
        let host = Self::host();
        let platform = match parts.as_slice() {
            [one] => {
                let os = Self::new(os, "", "").normalized().os;
                if is_known_os(&os) {
                    Self::new(&os, &host.architecture, &host.variant)
                } else {
                    let platform = Self::new(&host.os, one, "").normalized();
                    if !is_known_architecture(&platform.architecture) {
                        return Err(InvalidPlatform::Unknown(text.to_owned()));
                    }
                    platform
                }
            }
            [_, architecture] => Self::new(os, architecture, "").normalized(),
            [_, architecture, variant] => Self::new(os, architecture, variant).normalized(),
            _ => return Err(InvalidPlatform::Parts(text.to_owned())),
        };
        Ok(Self { os_version: os_version.to_owned(), ..platform })
    }

    /// The same platform in the one spelling that is compared: `x86_64` is `amd64`, `aarch64` is `arm64`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = normalize_architecture(&self.architecture, &self.variant);
        Self { architecture, os, variant, ..self.clone() }
    }

    /// How well an image for `offered` serves this platform: `None` not at all, smaller is better.
    ///
    /// An older variant of the same processor serves (`v6` on a `v7` host), and 32-bit ARM on arm64.
    pub fn rank(&self, offered: &Self) -> Option<u32> {
        let (wanted, offered) = (self.normalized(), offered.normalized());
        if wanted.os != offered.os {
            return None;
        }
        let chain = compatible(&wanted.architecture, &wanted.variant);
        let position = chain
            .iter()
            .position(|(arch, variant)| *arch == offered.architecture && *variant == offered.variant)?;
        u32::try_from(position).ok()
    }

    /// Whether an image for `offered` runs on this platform.
    pub fn accepts(&self, offered: &Self) -> bool {
        self.rank(offered).is_some()
    }
}

fn is_word(part: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !part.is_empty() && part.bytes().all(good)
}

/// A system and its version, which stands in brackets if it is there.
fn system(part: &str) -> Option<(&str, &str)> {
    let (os, version) = match part.strip_suffix(')') {
        Some(part) => part.split_once('(')?,
        None => (part, ""),
    };
    (is_word(os) && !os.contains('.') && (version.is_empty() || is_word(version))).then_some((os, version))
}

/// The architectures and variants that run on the given one, best first.
fn compatible(architecture: &str, variant: &str) -> Vec<(String, String)> {
    let number = |default: u32| variant.strip_prefix('v').and_then(|v| v.parse().ok()).unwrap_or(default);
    let spell = |architecture: &str, version: u32, plain: u32| {
        let variant = if version == plain { String::new() } else { format!("v{version}") };
        (architecture.to_owned(), variant)
    };
    match architecture {
        "amd64" => (1..=number(1).min(4)).rev().map(|v| spell("amd64", v, 1)).collect(),
        "arm" => (5..=number(7).min(8)).rev().map(|v| spell("arm", v, 0)).collect(),
        "arm64" => {
            let mut all = vec![(architecture.to_owned(), variant.to_owned())];
            if !variant.is_empty() {
                all.push((architecture.to_owned(), String::new()));
            }
            all.extend((5..=8).rev().map(|v| spell("arm", v, 0)));
            all
        }
        _ => vec![(architecture.to_owned(), variant.to_owned())],
    }
}

fn normalize_architecture(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386" | "i486" | "i586" | "i686", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", other) => ("amd64", other),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64", other) => ("arm64", other),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (other, variant) => (other, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

fn is_known_os(os: &str) -> bool {
    const KNOWN: [&str; 16] = [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "hurd",
        "illumos",
        "ios",
        "js",
        "linux",
        "nacl",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "windows",
    ];
    KNOWN.contains(&os)
}

fn is_known_architecture(architecture: &str) -> bool {
    const KNOWN: [&str; 17] = [
        "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc", "ppc64",
        "ppc64le", "riscv", "riscv64", "s390", "s390x", "wasm",
    ];
    KNOWN.contains(&architecture)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let got = match Platform::parse(text) {
            Ok(platform) => platform.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn spellings() {
        check("linux/amd64", "linux/amd64");
        check("Linux/x86_64", "linux/amd64");
        check("linux/aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("linux/armhf", "linux/arm/v7");
        check("linux/armel", "linux/arm/v6");
        check("linux/i386", "linux/386");
        check("arm64", "linux/arm64");
        check("windows/amd64", "windows/amd64");
        check("linux", &Platform::host().to_string());
        check("nonsense", "\"nonsense\": unknown operating system or architecture: invalid argument");
        check("a/b/c/d", "\"a/b/c/d\": cannot parse platform specifier: invalid argument");
        check(
            "a/b/c/d/e f",
            "\"d/e f\" is an invalid component of \"a/b/c/d/e f\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument",
        );
        check("windows(10.0.17763)/amd64", "windows/amd64");
        assert_eq!(Platform::parse("windows(10.0.17763)/amd64").unwrap().os_version, "10.0.17763");
        check("macos()/arm64", "darwin/arm64");
        check("linux/*", "\"linux/*\": wildcards not yet supported: invalid argument");
        for bad in ["", "a.b", "(1)/amd64", "windows(1/amd64", "windows(a b)/amd64", "windows(1)(2)/amd64"] {
            let first = bad.split('/').next().unwrap();
            check(
                bad,
                &format!(
                    "\"{first}\" is an invalid OS component of \"{bad}\": OSAndVersion specifier component must match \"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$\": invalid argument"
                ),
            );
        }
        check(
            "linux/",
            "\"\" is an invalid component of \"linux/\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument",
        );
    }

    /// The rank of an image for a host.
    fn rank(host: &str, image: &str) -> Option<u32> {
        let parse = |text: &str| Platform::parse(text).unwrap();
        parse(host).rank(&parse(image))
    }

    #[test]
    fn what_runs_where() {
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
        assert_eq!(rank("linux/amd64", "linux/amd64/v2"), None);
        assert_eq!(rank("linux/amd64/v3", "linux/amd64/v2"), Some(1));
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/arm64", "linux/arm64/v8"), Some(0));
        assert!(rank("linux/arm64", "linux/arm/v7") > Some(0));
        assert!(Platform::host().accepts(&Platform::host()));
    }
}
