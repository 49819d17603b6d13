//! The real Docker's answers, read into our types and written again for the same version: nothing may change, not
//! even the order. `recorded/` has answers of Docker 26 (API 1.45, and older versions as it tells them), for two
//! containers made for the purpose.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use berth_api::version::{self, Change, Version};
use berth_api::{container, event, exec, image, network, stats, system, volume};
use berth_oci::json::{self, Node};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn recorded(name: &str) -> Vec<u8> {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(format!("{name}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim_ascii_end().to_vec()
}

/// Reads the answer `name`-`minor`, writes it for its version and compares the bytes.
fn same<T: Serialize + DeserializeOwned>(name: &str, minor: u16, changes: &[Change]) {
    same_but::<T>(name, minor, changes, |_| {});
}

/// As [`same`], after a change of what was recorded that stands for a difference that is meant.
fn same_but<T: Serialize + DeserializeOwned>(
    name: &str,
    minor: u16,
    changes: &[Change],
    meant: fn(&mut Node),
) {
    let text = recorded(&format!("{name}-1.{minor}"));
    let value: T = json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let ours = version::to_vec(&value, Version::new(minor), changes).unwrap();
    let mut theirs = Node::parse(&text).unwrap();
    meant(&mut theirs);
    let theirs = json::to_vec(&theirs).unwrap();
    assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap(), "{name} for 1.{minor}");
}

#[test]
fn containers() {
    for name in ["container-created", "container-running", "container-host"] {
        same::<container::Inspect>(name, 45, container::INSPECT_CHANGES);
    }
    same::<Vec<container::Summary>>("containers", 45, container::LIST_CHANGES);
    same::<Vec<container::Summary>>("containers", 24, container::LIST_CHANGES);
    same::<container::TopResponse>("top", 45, &[]);
}

#[test]
fn containers_for_old_clients() {
    for minor in [43, 24] {
        same::<container::Inspect>("container-running", minor, container::INSPECT_CHANGES);
    }
}

#[test]
fn images() {
    for minor in [45, 44, 43, 24] {
        let text = recorded(&format!("image-1.{minor}"));
        let mut image: image::Inspect = json::from_slice(&text).unwrap();
        // As the engine has it from the image's own document.
        let config =
            json::from_slice(&json::to_vec(&Node::parse(&text).unwrap().take("Config").unwrap()).unwrap());
        let of = |config| image::OfAContainer { config: Some(config), mac_address: String::new() };
        image.of_a_container = Some(of(config.unwrap()));
        let made_by = || image::MadeBy { container: String::new(), config: of(container::Config::default()) };
        image.made_by = (minor < 45).then(made_by);
        let ours = version::to_vec(&image, Version::new(minor), image::INSPECT_CHANGES).unwrap();
        assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(text).unwrap(), "image for 1.{minor}");
    }
    for minor in [45, 43, 24] {
        same::<Vec<image::Summary>>("images", minor, image::LIST_CHANGES);
    }
    same::<Vec<image::HistoryItem>>("history", 45, &[]);
}

#[test]
fn statistics() {
    for name in ["stats", "stats-not-running"] {
        same::<stats::Stats>(name, 45, stats::CHANGES);
    }
    same::<stats::Stats>("stats-one-shot", 45, stats::CHANGES);
}

#[test]
fn exec_instances_networks_and_volumes() {
    same::<exec::Inspect>("exec", 45, &[]);
    same::<Vec<network::Network>>("networks", 45, network::LIST_CHANGES);
    same::<network::Network>("network", 45, network::INSPECT_CHANGES);
    same::<volume::ListResponse>("volumes", 45, &[]);
}

#[test]
fn the_engine() {
    same::<system::VersionResponse>("version", 45, &[]);
    // Bridged packets never pass through our firewall, and limits of kernel memory are not offered.
    let meant = |info: &mut Node| {
        info.set("BridgeNfIptables", Node::Bool(false));
        info.set("BridgeNfIp6tables", Node::Bool(false));
        info.set("KernelMemoryTCP", Node::Bool(false));
    };
    for minor in [45, 43] {
        same_but::<system::Info>("info", minor, system::INFO_CHANGES, meant);
    }
    same::<system::DiskUsage>("df-volumes", 45, system::DISK_USAGE_CHANGES);
}

#[test]
fn events() {
    let text = recorded("event-1.45");
    let message: event::Message = json::from_slice(&text).unwrap();
    let ours = version::to_vec_html(&message, Version::new(45), event::CHANGES).unwrap();
    assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(text).unwrap());
    let newest = version::to_vec_html(&message, Version::NEWEST, event::CHANGES).unwrap();
    assert!(
        newest.starts_with(br#"{"Type":"container","Action":"start","#),
        "{}",
        String::from_utf8_lossy(&newest)
    );
}
