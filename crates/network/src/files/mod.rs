//! The text of a container's `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`. Pure functions.

mod hosts;
mod resolv;

pub use hosts::{HostEntry, HostsFile, hostname, hosts, parse_add_host};
pub use resolv::{DnsOptions, host_resolv_conf_path, name_servers, resolv_conf};
