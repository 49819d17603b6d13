//! Registries: log-in, search, what a name stands for, and the last word of a push.

use berth_oci::{Descriptor, Platform};
use serde::{Deserialize, Serialize};

/// Credentials, as clients send them: `POST /auth` and the header `X-Registry-Auth`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// The user.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The password or access token.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// User and password in one: base64 of `user:password`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth: String,
    /// An address that registries once asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
    /// The registry.
    #[serde(rename = "serveraddress", skip_serializing_if = "String::is_empty")]
    pub server_address: String,
    /// A refresh token instead of a password.
    #[serde(rename = "identitytoken", skip_serializing_if = "String::is_empty")]
    pub identity_token: String,
    /// A ready bearer token.
    #[serde(rename = "registrytoken", skip_serializing_if = "String::is_empty")]
    pub registry_token: String,
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (user, server) = (&self.username, &self.server_address);
        formatter
            .debug_struct("AuthConfig")
            .field("username", user)
            .field("server_address", server)
            .finish_non_exhaustive()
    }
}

/// The answer to a log-in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthResponse {
    /// A refresh token to keep instead of the password; empty if there is none.
    pub identity_token: String,
    /// What to tell the user.
    pub status: String,
}

/// One line of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    /// Its stars.
    pub star_count: i64,
    /// Whether it is an official image.
    pub is_official: bool,
    /// Its name.
    pub name: String,
    /// Whether it is built automatically.
    pub is_automated: bool,
    /// What it is, in a line.
    pub description: String,
}

/// What a name stands for at its registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DistributionInspect {
    /// The document that it names.
    pub descriptor: DistributionDescriptor,
    /// The platforms there are.
    pub platforms: Vec<Platform>,
}

/// A document at a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DistributionDescriptor {
    /// Its media type.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
}

impl DistributionInspect {
    /// From its parts.
    pub fn new(media_type: String, digest: String, size: u64, platforms: Vec<Platform>) -> Self {
        Self { descriptor: DistributionDescriptor { media_type, digest, size }, platforms }
    }
}

/// The last word of a push, as the `aux` of a progress message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PushResult {
    /// The tag.
    pub tag: String,
    /// The digest of the manifest.
    pub digest: String,
    /// The length of the manifest.
    pub size: u64,
}

/// `GET /berth/manifests/{name}`: what a name stands for. Berth's own; so are the two below.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DocumentInspect {
    /// The media type of the document.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// The document in base64.
    pub raw: String,
    /// The platform of an image, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// `PUT /berth/manifests/{name}`: where a document is now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DocumentPutResult {
    /// Its digest.
    pub digest: String,
}

/// `GET /berth/referrers/{name}`: the manifests that name another one as their subject.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DocumentReferrers {
    /// Their descriptors, each with its `artifactType`.
    pub manifests: Vec<Descriptor>,
}
