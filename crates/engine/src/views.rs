//! What can be seen of networks and image names without changing them.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::{Container, Engine, ListOptions};

/// One of the networks that every engine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkView {
    /// `bridge`, `host`, `none`.
    pub name: String,
    /// Its id.
    pub id: String,
    /// `bridge`, `host`, `null`.
    pub driver: String,
    /// Its subnets, each with its gateway.
    pub subnets: Vec<(String, String)>,
    /// Its options, by Docker's names.
    pub options: BTreeMap<String, String>,
}

impl Engine {
    /// The networks that every engine has. Never waits.
    pub fn networks(&self) -> Vec<NetworkView> {
        let inner = &self.inner;
        let view = |name: &str, driver: &str| NetworkView {
            name: name.to_owned(),
            id: inner.network_ids.id(name),
            driver: driver.to_owned(),
            ..NetworkView::default()
        };
        let mut networks = vec![view("none", "null"), view("host", "host")];
        if let Some(bridge) = inner.network.bridge() {
            let config = &inner.config.bridge;
            let v4 = (bridge.subnet.to_string(), bridge.gateway.to_string());
            let v6 = bridge.ipv6.map(|(subnet, address)| (subnet.to_string(), address.to_string()));
            let options = [
                ("default_bridge", true.to_string()),
                ("enable_icc", config.inter_container.to_string()),
                ("enable_ip_masquerade", config.masquerade.to_string()),
                ("host_binding_ipv4", config.default_address.to_string()),
                ("name", bridge.name),
            ];
            let named =
                options.into_iter().map(|(name, value)| (format!("com.docker.network.bridge.{name}"), value));
            let mtu = ("com.docker.network.driver.mtu".to_owned(), bridge.mtu.to_string());
            networks.push(NetworkView {
                subnets: [v4].into_iter().chain(v6).collect(),
                options: named.chain([mtu]).collect(),
                ..view("bridge", "bridge")
            });
        }
        networks
    }

    /// A network by name, id or prefix of an id. Never waits.
    ///
    /// Errors: `NotFound` with Docker's text.
    pub fn network(&self, network: &str) -> Result<NetworkView> {
        let networks = self.networks();
        let exact = networks.iter().find(|view| view.name == network || view.id == network);
        let found = exact
            .or_else(|| networks.iter().find(|view| !network.is_empty() && view.id.starts_with(network)));
        found.cloned().ok_or_else(|| Error::NotFound(format!("network {network} not found")))
    }

    /// The containers that have an end of a network now. Never waits.
    pub fn network_containers(&self, network: &str) -> Result<Vec<std::sync::Arc<Container>>> {
        let mut containers = self.container_list(&ListOptions::default())?;
        containers.retain(|container| container.state.network.endpoints.contains_key(network));
        Ok(containers)
    }

    /// The id of the image that a name stands for now. Never waits.
    pub fn image_id(&self, image: &str) -> Option<String> {
        self.inner.store.images().get(image).ok().map(|image| image.id.to_string())
    }

    /// Adds the image that is part of the program if it is missing. `true`: it was missing.
    ///
    /// Errors: `NotFound` if `image` is not its name.
    ///
    /// Blocking: writes a few small files.
    pub fn image_add_embedded(&self, image: &str) -> Result<bool> {
        let is_embedded = crate::embedded::hello_world().is_some_and(|embedded| {
            let asked = berth_oci::Reference::parse(image).map(berth_oci::Reference::or_latest);
            asked.is_ok_and(|asked| asked.to_string() == embedded.reference)
        });
        match self.inner.store.images().get(image) {
            Ok(_) if is_embedded => Ok(false),
            Ok(_) => Err(crate::Error::NotFound(format!("{image} is not part of the program"))),
            Err(missing) => self.inner.add_embedded(image, missing).map(|_| true),
        }
    }
}
