//! What a path in a container is: the `X-Docker-Container-Path-Stat` header of `/containers/{id}/archive`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// A path in a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PathStat {
    /// The last part of the path.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Kind and permissions, as Go numbers them: see the constants.
    pub mode: u32,
    /// When its content changed last; RFC 3339.
    pub mtime: String,
    /// Where it leads if it is a symbolic link.
    #[serde(rename = "linkTarget")]
    pub link_target: String,
}

impl PathStat {
    /// The header that carries it.
    pub const HEADER: &'static str = "x-docker-container-path-stat";
    /// A directory.
    pub const DIRECTORY: u32 = 1 << 31;
    /// A symbolic link.
    pub const SYMLINK: u32 = 1 << 27;
    /// A device, of blocks unless [`Self::CHARACTERS`] is there too.
    pub const DEVICE: u32 = 1 << 26;
    /// A named pipe.
    pub const PIPE: u32 = 1 << 25;
    /// A socket.
    pub const SOCKET: u32 = 1 << 24;
    /// Runs as its owner.
    pub const SET_UID: u32 = 1 << 23;
    /// Runs as its group.
    pub const SET_GID: u32 = 1 << 22;
    /// A device of characters.
    pub const CHARACTERS: u32 = 1 << 21;
    /// Only owners remove from it.
    pub const STICKY: u32 = 1 << 20;
    /// Something else.
    pub const IRREGULAR: u32 = 1 << 19;

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & Self::DIRECTORY != 0
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & Self::SYMLINK != 0
    }

    /// The header's value.
    pub fn to_header(&self) -> String {
        // Texts and numbers alone: this cannot fail, and an empty object would only say that nothing is known.
        BASE64_STANDARD.encode(serde_json::to_vec(self).unwrap_or_else(|_| b"{}".to_vec()))
    }

    /// Reads the header's value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_header(value: &str) -> Result<Self, String> {
        let json = BASE64_STANDARD.decode(value).map_err(|error| error.to_string())?;
        serde_json::from_slice(&json).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_base64_of_json() {
        // {"name":"etc","size":4096,"mode":2147484141,"mtime":"2024-01-02T03:04:05Z","linkTarget":""}
        let header = "eyJuYW1lIjoiZXRjIiwic2l6ZSI6NDA5NiwibW9kZSI6MjE0NzQ4NDE0MSwibXRpbWUiOiIyMDI0LTAxLTAyVDAzOjA0OjA1WiIsImxpbmtUYXJnZXQiOiIifQ==";
        let stat = PathStat::from_header(header).unwrap();
        assert!(stat.is_directory() && !stat.is_symlink());
        assert_eq!((stat.name.as_str(), stat.mode & 0o7777), ("etc", 0o755));
        assert_eq!(stat.to_header(), header);
        assert!(PathStat::from_header("{}").is_err());
    }
}
