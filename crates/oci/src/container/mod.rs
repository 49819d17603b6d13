//! What a container is asked to be, in the words of the newest Docker Engine API.
//!
//! The types here are what a client sends to `POST /containers/create`, what the engine keeps and what `inspect`
//! shows. They are written in the order of Docker's own structs, so that the JSON comes out in the same order.
//!
//! `Option` is used where Docker tells `null`, `[]` and absence apart: `Option<Vec<_>>` without a
//! `skip_serializing_if` is `null` when it is not set. Read requests of clients with [`crate::json::from_slice`]: it
//! knows Go's rules (keys without case, `null` as zero). The types read their own output with plain `serde_json` too.
//!
//! WHEN ADDING A FIELD: put it where Docker's struct has it, with the default that its absence means, and extend the
//! recorded answer in `tests.rs`.

mod config;
mod host;
mod mount;
mod network;
mod resources;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

pub use config::{Config, Healthcheck};
pub use host::{HostConfig, LogConfig, NetworkMode, RestartPolicy, RestartPolicyName};
pub use mount::{BindOptions, ImageOptions, Mount, MountKind, TmpfsOptions, VolumeDriver, VolumeOptions};
pub use network::{
    EndpointIpamConfig, EndpointSettings, NetworkingConfig, ParsePortError, Port, PortBinding, PortMap,
    PortSet, Protocol,
};
pub use resources::{DeviceMapping, DeviceRequest, Resources, ThrottleDevice, Ulimit, WeightDevice};

use crate::json::Node;

/// Go's `struct{}`: the value of a map that is used as a set, `{}` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Empty {}

/// A map in the order of its keys, as Go writes maps.
pub type Map<V> = BTreeMap<String, V>;

/// Says whether a value is the zero of its type, which Go's `omitempty` leaves out.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Says whether an optional list is unset or empty, which Go's `omitempty` leaves out.
pub(crate) fn is_empty_list<T>(value: &Option<Vec<T>>) -> bool {
    value.as_ref().is_none_or(Vec::is_empty)
}

/// Says whether an optional map is unset or empty, which Go's `omitempty` leaves out.
pub(crate) fn is_empty_map<V>(value: &Option<Map<V>>) -> bool {
    value.as_ref().is_none_or(BTreeMap::is_empty)
}

/// Reads a list of strings, or one string as the list of it: Docker's `StrSlice`.
pub(crate) fn string_or_list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    use serde::de::Error;
    match Node::deserialize(deserializer)? {
        Node::Null => Ok(None),
        Node::String(one) => Ok(Some(vec![one])),
        Node::Array(list) if list.iter().all(|item| matches!(item, Node::String(_) | Node::Null)) => {
            Option::<Vec<String>>::deserialize(&Node::Array(list)).map_err(D::Error::custom)
        }
        other => Err(D::Error::custom(
            String::deserialize(&other).err().map_or_else(String::new, |e| e.to_string()),
        )),
    }
}

#[cfg(test)]
mod tests;
