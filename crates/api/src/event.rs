//! Events: what `GET /events` answers, one a line.

use std::collections::BTreeMap;

use berth_oci::json::Node;
use serde::{Deserialize, Serialize};

use crate::version::Change;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// `container`, `image`, `network`, `volume`, `daemon`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened.
    #[serde(rename = "Action")]
    pub action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// `local`, or `swarm`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Seconds since 1970.
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// What an event happened to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Actor {
    /// The id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Labels and particulars.
    pub attributes: BTreeMap<String, String>,
}

/// Differences of `GET /events`.
pub const CHANGES: &[Change] = &[Change { before: 52, apply: before_1_52 }];

/// Events of containers and images have three fields of API 1.21 in front.
fn before_1_52(event: &mut Node) {
    let text = |node: Option<&Node>| match node {
        Some(Node::String(text)) => text.clone(),
        _ => String::new(),
    };
    let kind = text(event.get("Type"));
    if kind != "container" && kind != "image" {
        return;
    }
    let actor = event.get("Actor");
    let from =
        text(actor.and_then(|actor| actor.get("Attributes")).and_then(|attributes| attributes.get("image")));
    let (id, action) = (text(actor.and_then(|actor| actor.get("ID"))), text(event.get("Action")));
    if kind == "container" {
        event.insert_first("from", Node::String(from));
    }
    event.insert_first("id", Node::String(id));
    event.insert_first("status", Node::String(action));
}
