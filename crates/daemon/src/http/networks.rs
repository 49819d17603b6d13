//! `/networks`: the networks that every engine has.

use std::sync::Arc;

use berth_api::container::Map;
use berth_api::network::{Endpoint, INSPECT_CHANGES, Ipam, IpamConfig, LIST_CHANGES, Network, Status};
use berth_engine::{Container, NetworkView, Time};

use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use super::server::Server;

/// `GET /networks`
pub(crate) async fn list(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    const KEYS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];
    let filters = call.query.filters()?;
    filters.validate(&KEYS)?;
    let dangling = filters.contains("dangling") && filters.boolean("dangling", false)?;
    if let Some(kind) = filters.get("type").iter().find(|kind| !matches!(kind.as_str(), "builtin" | "custom"))
    {
        return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
    }
    let part = |key: &str, text: &str| {
        let wanted = filters.get(key);
        wanted.is_empty() || wanted.iter().any(|wanted| text.contains(wanted.as_str()))
    };
    let fits = |view: &NetworkView| {
        part("name", &view.name)
            && part("id", &view.id)
            && filters.exact("driver", &view.driver)
            && filters.exact("scope", "local")
            && filters.exact("type", "builtin")
            && filters.get("label").is_empty()
            && !dangling
    };
    let list: Vec<_> = server.engine.networks().into_iter().filter(fits).map(render).collect();
    Answer::json_for(&list, call.version, LIST_CHANGES)
}

/// `GET /networks/{id}`
pub(crate) async fn inspect(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let view = server.engine.network(&call.name)?;
    if call.query.some("scope").is_some_and(|scope| scope != "local") {
        return Err(Error::not_found(format!("network {} not found", call.name)));
    }
    let containers = server.engine.network_containers(&view.name)?;
    let ends = containers.iter().filter_map(|container| endpoint(container, &view.name));
    let containers: Map<Endpoint> = ends.collect();
    let network = Network { containers: Some(containers), status: Some(Status::default()), ..render(view) };
    Answer::json_for(&network, call.version, INSPECT_CHANGES)
}

/// `DELETE /networks/{id}`
pub(crate) async fn remove(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let view = server.engine.network(&call.name)?;
    let message = format!("{} is a pre-defined network and cannot be removed", view.name);
    Err(Error::new(hyper::StatusCode::FORBIDDEN, message))
}

fn render(view: NetworkView) -> Network {
    let subnet = |(subnet, gateway)| IpamConfig { subnet, gateway, ..IpamConfig::default() };
    Network {
        enable_ipv4: true,
        enable_ipv6: view.subnets.len() > 1,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: None,
            config: (!view.subnets.is_empty()).then(|| view.subnets.into_iter().map(subnet).collect()),
        },
        name: view.name,
        id: view.id,
        created: Time::NEVER.to_string(),
        scope: "local".to_owned(),
        driver: view.driver,
        options: view.options,
        ..Network::default()
    }
}

/// A container's end of a network.
fn endpoint(container: &Container, network: &str) -> Option<(String, Endpoint)> {
    let settings = container.state.network.endpoints.get(network)?;
    let with_length = |address: &str, length: i32| {
        if address.is_empty() { String::new() } else { format!("{address}/{length}") }
    };
    let endpoint = Endpoint {
        name: container.record.name.clone(),
        endpoint_id: settings.endpoint_id.clone(),
        mac_address: settings.mac_address.clone(),
        ipv4_address: with_length(&settings.ip_address, settings.ip_prefix_len),
        ipv6_address: with_length(&settings.global_ipv6_address, settings.global_ipv6_prefix_len),
    };
    Some((container.record.id.clone(), endpoint))
}
