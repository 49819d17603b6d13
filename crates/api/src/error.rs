//! What every answer of 400 and above says.

use serde::{Deserialize, Serialize};

/// The body of an error.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorResponse {
    /// The text for people.
    pub message: String,
}
