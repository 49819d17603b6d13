//! Lines of progress: what `images/create`, `images/load` and the like answer while they work.

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Text that is shown as it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// What happens to the thing called `id`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// How far it is.
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<Progress>,
    /// How far it is, as a bar.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// What this line is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// A result, in the terms of the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<crate::registry::PushResult>,
    /// What went wrong; nothing follows.
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    /// The same as plain text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// How far something is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Done.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: i64,
    /// To be done.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: i64,
    /// `bytes` when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub units: String,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    /// A number, mostly absent.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: i64,
    /// The text.
    pub message: String,
}

impl Message {
    /// A line that says that the work failed.
    pub fn error(message: impl Into<String>) -> Self {
        let message = message.into();
        let error_detail = Some(ErrorDetail { code: 0, message: message.clone() });
        Self { error_detail, error: message, ..Self::default() }
    }
}
