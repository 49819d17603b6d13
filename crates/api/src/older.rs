//! Requests of older clients in the newest shape: what a field meant at the time, and what it must not mean yet.

use berth_oci::container::{EndpointSettings, Mount, NetworkMode};

use crate::container::CreateRequest;
use crate::version::Version;

/// A container creation as the client of `version` means it. `mac` is the container-wide hardware address, which the
/// newest version no longer has.
///
/// Answers with what the user should know.
///
/// Errors: Docker's text where the old and the new way contradict each other.
pub fn create(
    request: &mut CreateRequest,
    version: Version,
    mac: Option<&str>,
) -> Result<Vec<String>, String> {
    let host = &mut request.host_config;
    // Unlimited is not a limit, in all versions.
    host.resources.pids_limit = host.resources.pids_limit.filter(|limit| *limit > 0);
    if version.is_before(25) {
        // The client removes the container.
        host.auto_remove = false;
    }
    if version.is_before(40) && host.ipc_mode.is_empty() {
        "shareable".clone_into(&mut host.ipc_mode);
    }
    if version.is_before(42) {
        host.console_size = [0, 0];
    }
    if version.is_before(43) {
        host.annotations = None;
    }
    if version.is_before(44)
        && let Some(check) = &mut request.config.healthcheck
    {
        check.start_interval = 0;
    }
    for mount in host.mounts.iter_mut().flatten() {
        mount_before(mount, version)?;
    }
    if version.is_before(44)
        && let Some(endpoints) = &request.networking_config.endpoints_config
        && endpoints.len() > 1
    {
        let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
        let names = names.join(", ");
        return Err(format!("Container cannot be created with multiple network endpoints: {names}"));
    }
    // Older versions pass over it.
    let nothing =
        request.networking_config.endpoints_config.iter().flatten().find(|(_, settings)| settings.is_none());
    if let Some((name, _)) = nothing.filter(|_| !version.is_before(44)) {
        return Err(format!("invalid config for network {name}: EndpointsConfig is nil"));
    }
    hardware_address(request, version, mac)
}

fn mount_before(mount: &mut Mount, version: Version) -> Result<(), String> {
    let read_only = mount.read_only;
    if let Some(bind) = &mut mount.bind_options {
        if version.is_before(40) {
            bind.non_recursive = false;
        }
        if version.is_before(42) {
            bind.create_mountpoint = false;
        }
        if version.is_before(44) {
            bind.read_only_force_recursive = false;
            // Read-only reached the mount itself only.
            bind.read_only_non_recursive = read_only;
        }
    } else if version.is_before(44) && read_only && mount.kind == "bind" {
        mount.bind_options.get_or_insert_default().read_only_non_recursive = true;
    }
    let subpath = mount.volume_options.as_ref().is_some_and(|options| !options.subpath.is_empty());
    if subpath && version.is_before(45) {
        return Err("VolumeOptions.Subpath needs API v1.45 or newer".to_owned());
    }
    if version.is_before(46)
        && let Some(tmpfs) = &mut mount.tmpfs_options
    {
        tmpfs.options = None;
    }
    Ok(())
}

/// Before API 1.44 the address stood in the configuration; from 1.44 to 1.51 it could stand in both places; since then
/// only with the network.
fn hardware_address(
    request: &mut CreateRequest,
    version: Version,
    mac: Option<&str>,
) -> Result<Vec<String>, String> {
    let Some(mac) = mac.filter(|mac| !mac.is_empty() && version.is_before(52)) else {
        return Ok(Vec::new());
    };
    let mode = NetworkMode::parse(&request.host_config.network_mode);
    let name = match mode {
        NetworkMode::Default => ["bridge", "default"].as_slice(),
        NetworkMode::Named(name) => &[name],
        _ => return Err("conflicting options: mac-address and the network mode".to_owned()),
    };
    let endpoints = request.networking_config.endpoints_config.get_or_insert_default();
    let key = name
        .iter()
        .find(|name| endpoints.contains_key(**name))
        .or(name.first())
        .map(|name| (*name).to_owned());
    let endpoint: &mut EndpointSettings =
        endpoints.entry(key.unwrap_or_default()).or_default().get_or_insert_default();
    if version.is_before(44) {
        mac.clone_into(&mut endpoint.mac_address);
        return Ok(Vec::new());
    }
    if !endpoint.mac_address.is_empty() && endpoint.mac_address != mac {
        return Err("the container-wide MAC address must match the endpoint-specific MAC address for the main network, \
                    or be left empty"
            .to_owned());
    }
    mac.clone_into(&mut endpoint.mac_address);
    Ok(vec![
        "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.".to_owned(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> CreateRequest {
        berth_oci::json::from_slice(text.as_bytes()).unwrap()
    }

    fn read(text: &str, minor: u16) -> CreateRequest {
        let mut request = request(text);
        create(&mut request, Version::new(minor), None).unwrap();
        request
    }

    #[test]
    fn fields_mean_what_they_meant() {
        let text = r#"{"Image":"a","Healthcheck":{"StartInterval":5},"HostConfig":{"AutoRemove":true,"PidsLimit":-1,"ConsoleSize":[1,2],
            "Annotations":{"a":"b"},"Mounts":[{"Type":"bind","ReadOnly":true,"BindOptions":{"NonRecursive":true}}]}}"#;
        let newest = read(text, 52);
        assert!(newest.host_config.auto_remove);
        assert_eq!(newest.host_config.resources.pids_limit, None);
        assert_eq!(newest.host_config.console_size, [1, 2]);
        let bind = |request: &CreateRequest| {
            request.host_config.mounts.as_ref().unwrap()[0].bind_options.clone().unwrap()
        };
        assert!(bind(&newest).non_recursive && !bind(&newest).read_only_non_recursive);
        let oldest = read(text, 24);
        assert!(!oldest.host_config.auto_remove);
        assert_eq!(oldest.host_config.ipc_mode, "shareable");
        assert_eq!(oldest.host_config.console_size, [0, 0]);
        assert_eq!(oldest.host_config.annotations, None);
        assert_eq!(oldest.config.healthcheck.as_ref().unwrap().start_interval, 0);
        assert!(!bind(&oldest).non_recursive && bind(&oldest).read_only_non_recursive);
    }

    #[test]
    fn one_network_was_all_that_a_container_could_be_created_with() {
        let text = r#"{"NetworkingConfig":{"EndpointsConfig":{"bridge":{},"host":{}}}}"#;
        let refused = create(&mut request(text), Version::new(43), None).unwrap_err();
        assert_eq!(refused, "Container cannot be created with multiple network endpoints: bridge, host");
        assert!(create(&mut request(text), Version::new(44), None).is_ok());
    }

    #[test]
    fn a_part_of_a_volume_needs_a_client_that_knows_of_it() {
        let text = r#"{"HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"Subpath":"x"}}]}}"#;
        assert!(create(&mut request(text), Version::new(44), None).is_err());
        assert!(create(&mut request(text), Version::new(45), None).is_ok());
    }

    #[test]
    fn the_hardware_address_moves_to_the_network() {
        let mac = Some("02:00:00:00:00:01");
        let address = |text: &str, minor: u16| {
            let mut request = request(text);
            let warnings = create(&mut request, Version::new(minor), mac)?;
            let endpoints = request.networking_config.endpoints_config.unwrap_or_default();
            let list: Vec<_> = endpoints
                .into_iter()
                .map(|(name, end)| (name, end.unwrap_or_default().mac_address))
                .collect();
            Ok::<_, String>((list, warnings.len()))
        };
        let at = |name: &str| vec![(name.to_owned(), "02:00:00:00:00:01".to_owned())];
        assert_eq!(address("{}", 43), Ok((at("bridge"), 0)));
        assert_eq!(address("{}", 44), Ok((at("bridge"), 1)));
        assert_eq!(address("{}", 52), Ok((Vec::new(), 0)));
        assert_eq!(address(r#"{"HostConfig":{"NetworkMode":"web"}}"#, 44), Ok((at("web"), 1)));
        let both =
            r#"{"NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:00:00:00:00:02"}}}}"#;
        assert!(address(both, 44).is_err());
        assert!(address(r#"{"HostConfig":{"NetworkMode":"host"}}"#, 44).is_err());
    }
}
