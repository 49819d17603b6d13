//! The bridge, its addresses and its containers' lives.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::HashSet,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use berth_network::{Adopt, Error, Network, NetworkConfig, Request};
use common::*;

#[test]
fn a_container_has_its_address_and_reaches_everybody() {
    on_host(|host| {
        let network = host.network();
        let bridge = network.bridge().unwrap();
        assert_eq!((bridge.subnet.to_string().as_str(), bridge.name.as_str()), ("172.17.0.0/16", "berth0"));
        let first = Container::start(&network, "first", &[]).serve(80);
        let second = Container::start(&network, "second", &[]).serve(80);
        assert_eq!((first.ip().as_str(), second.ip().as_str()), ("172.17.0.2", "172.17.0.3"));
        assert_eq!(first.endpoint().mac.to_string(), "02:42:ac:11:00:02");
        inside(first.netns(), || {
            let links = ip("-o link");
            assert!(links.contains("lo: <LOOPBACK,UP,LOWER_UP>"), "{links}");
            let eth0 = ip("-o addr show dev eth0");
            assert!(eth0.contains("inet 172.17.0.2/16 brd 172.17.255.255 scope global eth0"), "{eth0}");
            assert!(!eth0.contains("inet6"), "{eth0}");
            assert!(ip("link show dev eth0").contains("02:42:ac:11:00:02"));
            assert_eq!(ip("-4 route").lines().next().unwrap().trim(), "default via 172.17.0.1 dev eth0");
            let ipv6 = |name: &str| {
                std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6")).unwrap()
            };
            assert_eq!((ipv6("eth0").trim(), ipv6("default").trim(), ipv6("lo").trim()), ("1", "0", "0"));
        });
        // To the host, to each other, and out, with the host's address.
        let _host = Server::tcp("host", 81);
        assert_eq!(inside(first.netns(), || ask("172.17.0.1:81")).unwrap(), "host 172.17.0.2");
        assert_eq!(inside(first.netns(), || ask("172.17.0.3:80")).unwrap(), "second 172.17.0.2");
        assert_eq!(inside(second.netns(), || ask("172.17.0.2:80")).unwrap(), "first 172.17.0.3");
        let _outside = inside(host.outside.as_fd(), || Server::tcp("outside", 82));
        assert_eq!(
            inside(first.netns(), || ask(&format!("{OUTSIDE}:82"))).unwrap(),
            format!("outside {HOST}")
        );
    });
}

#[test]
fn nothing_is_left_of_a_container_or_of_the_network() {
    on_host(|host| {
        let before = links();
        let network = host.network();
        let container = Container::start(&network, "one", &["8080:80"]).serve(80);
        assert_eq!(container_links(), [container.endpoint().link.clone()]);
        assert!(ask("127.0.0.1:8080").is_some());
        // None where the kernel does not show them.
        let tracked = || std::fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap_or_default();
        container.die(&network);
        eventually("its link goes", || container_links().is_empty());
        eventually("connections to it are forgotten", || !tracked().contains("src=172.17.0.2"));
        assert!(!nft("list table inet berth").contains("8080"));
        // Its address is the lowest again, and its port is free.
        eventually("its address is free", || {
            let again = Container::start(&network, "again", &["8080:80"]);
            let same = again.ip() == "172.17.0.2";
            again.die(&network);
            same
        });
        network.remove().unwrap();
        assert_eq!(links(), before);
        assert_eq!(nft("list ruleset"), "");
    });
}

#[test]
fn the_traffic_of_a_container_is_counted() {
    on_host(|host| {
        let network = host.network();
        let container = Container::start(&network, "one", &[]).serve(80);
        let before = network.stats(container.endpoint()).unwrap();
        assert!(ask("172.17.0.2:80").is_some());
        let after = network.stats(container.endpoint()).unwrap();
        assert!(after.rx_packets > before.rx_packets && after.tx_packets > before.tx_packets, "{after:?}");
        // Other frames may pass between the two looks.
        eventually("the same is seen from inside", || {
            let text =
                inside(container.netns(), || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
            let now = network.stats(container.endpoint()).unwrap();
            (now.rx_bytes, now.tx_bytes) == (counter(&text, 0), counter(&text, 8))
        });
        let endpoint = container.endpoint().clone();
        container.die(&network);
        eventually("counters go with the link", || network.stats(&endpoint).is_err());
    });
}

/// A column of `eth0` in /proc/net/dev.
fn counter(text: &str, column: usize) -> u64 {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("eth0 is there");
    let number = line.split_whitespace().nth(column).and_then(|number| number.parse().ok());
    number.expect("a number in each column")
}

#[test]
fn fifty_at_once_are_all_different_and_all_reachable() {
    on_host(|host| {
        let network = host.network();
        let started = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for number in 0..50 {
                let (network, started) = (&network, &started);
                scope.spawn(move || {
                    let published = format!("{}:80", 10_000 + number);
                    let container =
                        Container::start(network, &format!("c{number}"), &[&published, "0:81"]).serve(80);
                    started.lock().unwrap().push(container);
                });
            }
        });
        let started = started.into_inner().unwrap();
        let addresses: HashSet<String> = started.iter().map(Container::ip).collect();
        assert_eq!(addresses.len(), 50);
        for container in &started {
            let endpoint = container.endpoint();
            let answer = ask(&format!("127.0.0.1:{}", endpoint.ports[0].host_port)).unwrap();
            assert!(answer.starts_with(&format!("{} ", endpoint.container_id)), "{answer}");
        }
        thread::scope(|scope| {
            for container in started {
                let network = &network;
                scope.spawn(move || container.die(network));
            }
        });
        eventually("all links go", || container_links().is_empty());
        let table = nft("list table inet berth");
        assert!(!table.contains("172.17.0.2"), "{table}");
    });
}

/// Starts and ends that overlap must never give an address to two, nor lead a port to a dead container.
#[test]
fn starts_and_ends_that_overlap_do_not_mix() {
    on_host(|host| {
        let network = host.network();
        let held: Mutex<HashSet<String>> = Mutex::default();
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for worker in 0..4 {
                let (network, held, next) = (&network, &held, &next);
                scope.spawn(move || {
                    while next.fetch_add(1, Ordering::Relaxed) < 80 {
                        let (id, published) = (format!("worker{worker}"), format!("{}:80", 7000 + worker));
                        let container = Container::start(network, &id, &[&published]).serve(80);
                        assert!(held.lock().unwrap().insert(container.ip()), "an address of two containers");
                        let answer = ask(&format!("127.0.0.1:{}", 7000 + worker));
                        assert_eq!(answer, Some(format!("{id} 172.17.0.1")));
                        held.lock().unwrap().remove(&container.ip());
                        container.die(network);
                    }
                });
            }
        });
    });
}

#[test]
fn fixed_addresses_are_given_or_refused() {
    on_host(|host| {
        let network = host.network();
        let request = |id: &'static str, address: &str| Request {
            container_id: id,
            ipv4: Some(address.parse().unwrap()),
            mac: Some("02:00:00:00:00:05".parse().unwrap()),
            ..Request::default()
        };
        let fixed = network.start(request("fixed", "172.17.9.9")).unwrap();
        assert_eq!(
            (fixed.endpoint.ipv4.to_string(), fixed.endpoint.mac.to_string()),
            ("172.17.9.9".to_owned(), "02:00:00:00:00:05".to_owned())
        );
        assert!(matches!(network.start(request("twice", "172.17.9.9")), Err(Error::AddressInUse(_))));
        assert!(matches!(network.start(request("far", "10.0.0.1")), Err(Error::AddressOutside(_))));
        let group = Request {
            container_id: "mac",
            mac: Some("01:00:00:00:00:05".parse().unwrap()),
            ..Request::default()
        };
        assert!(matches!(network.start(group), Err(Error::InvalidRequest(_))));
        assert_eq!(container_links().len(), 1);
    });
}

#[test]
fn a_container_is_plugged_in_once() {
    on_host(|host| {
        let network = host.network();
        let first = Container::start(&network, "one", &["8080:80"]).serve(80);
        let again =
            network.start(Request { container_id: "one", ports: &[port("8081:80")], ..Request::default() });
        assert!(matches!(again, Err(Error::InvalidRequest(_))));
        eventually("the refused link goes", || container_links().len() == 1);
        assert!(ask("127.0.0.1:8080").is_some());
        drop(first);
    });
}

#[test]
fn subnets_keep_clear_of_the_hosts_routes() {
    on_host(|host| {
        ip("addr add 172.17.0.1/16 dev out0");
        ip(&format!("route add 172.18.4.0/24 via {OUTSIDE}"));
        ip(&format!("route add 172.19.0.1/32 via {OUTSIDE} table 77"));
        let network = host.network();
        assert_eq!(network.bridge().unwrap().subnet.to_string(), "172.20.0.0/16");
        assert_eq!(Container::start(&network, "one", &[]).ip(), "172.20.0.2");
    });
}

#[test]
fn configured_and_existing_bridges() {
    on_host(|host| {
        let config = NetworkConfig {
            bridge: Some("br.7".to_owned()),
            bip: Some("10.7.0.1/24".parse().unwrap()),
            fixed_cidr: Some("10.7.0.128/25".parse().unwrap()),
            mtu: Some(1300),
            ..host.config()
        };
        let network = host.open(config.clone());
        let one = Container::start(&network, "one", &[]);
        assert_eq!((one.ip().as_str(), one.endpoint().prefix_len), ("10.7.0.128", 24));
        assert!(inside(one.netns(), || ip("link show dev eth0")).contains("mtu 1300"));
        assert!(ip("link show dev br.7").contains("mtu 1300"));
        drop(network);
        // The address that is there counts where none is asked for.
        let network = host.open(NetworkConfig { bip: None, fixed_cidr: None, ..config.clone() });
        assert_eq!(network.bridge().unwrap().subnet.to_string(), "10.7.0.0/24");
        drop(network);
        let network = host.open(NetworkConfig {
            bip: Some("10.8.0.1/24".parse().unwrap()),
            fixed_cidr: None,
            ..config.clone()
        });
        assert!(!ip("addr show dev br.7").contains("10.7.0.1"));
        drop(network);
        let outside = NetworkConfig { fixed_cidr: Some("10.9.0.0/24".parse().unwrap()), ..config.clone() };
        assert!(matches!(Network::open(outside), Err(Error::InvalidConfig(_))));
        for name in ["", "a/b", "a-name-too-long-for-linux", "out0"] {
            let bad = NetworkConfig { bridge: Some(name.to_owned()), ..host.config() };
            assert!(matches!(Network::open(bad), Err(Error::InvalidConfig(_))), "{name:?}");
        }
    });
}

#[test]
fn a_bridge_has_one_engine_and_engines_their_own_bridges() {
    on_host(|host| {
        let network = host.network();
        let refused = Network::open(host.config()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "bridge berth0 is in use by another engine: give this one its own with --bridge"
        );
        let second = host.open(NetworkConfig { bridge: Some("berth1".to_owned()), ..host.config() });
        assert_eq!(second.bridge().unwrap().subnet.to_string(), "172.18.0.0/16");
        let web = Container::start(&network, "web", &["8080:80"]).serve(80);
        let other = Container::start(&second, "web", &["8081:80"]).serve(80);
        assert!(ask("127.0.0.1:8080").is_some() && ask("127.0.0.1:8081").is_some());
        let ports = [port("8080:80")];
        let taken =
            second.start(Request { container_id: "third", ports: &ports, ..Request::default() }).unwrap_err();
        assert!(taken.to_string().ends_with("address already in use"), "{taken}");
        // Across the engines by published ports only.
        assert_eq!(inside(other.netns(), || ask("172.17.0.1:8080")), Some("web 172.17.0.1".to_owned()));
        assert_eq!(inside(other.netns(), || try_ask(&format!("{}:80", web.ip()))), None);
        second.remove().unwrap();
        assert!(ask("127.0.0.1:8080").is_some());
        drop(network);
        host.network();
    });
}

#[test]
fn without_icc_only_published_ports_lead_from_one_to_another() {
    for bridged_frames_pass_the_firewall in ["0", "1"] {
        on_host(|host| without_icc(host, bridged_frames_pass_the_firewall));
    }
}

fn without_icc(host: &Host, call_iptables: &str) {
    bridge_netfilter(call_iptables);
    {
        let network = host.open(NetworkConfig { icc: false, ..host.config() });
        let web = Container::start(&network, "web", &["8080:80"]).serve(80);
        let other = Container::start(&network, "other", &[]);
        inside(other.netns(), || {
            assert_eq!(try_ask("172.17.0.2:80"), None);
            assert!(ask("172.17.0.1:8080").is_some());
            // Not by way of the gateway either.
            ip("route add 172.17.0.2/32 via 172.17.0.1");
            assert_eq!(try_ask("172.17.0.2:80"), None);
        });
        assert!(ask("172.17.0.2:80").is_some());
        drop(web);
    }
}

#[test]
fn without_a_bridge_there_are_only_lonely_sandboxes() {
    on_host(|host| {
        let before = links();
        let network = host.open(NetworkConfig { bridge: None, ..host.config() });
        assert!(network.bridge().is_none() && network.host_gateway().is_none());
        assert!(matches!(
            network.start(Request { container_id: "a", ..Request::default() }),
            Err(Error::Disabled)
        ));
        let sandboxes: Vec<OwnedFd> = (0..10).map(|_| network.sandbox_none().unwrap()).collect();
        for sandbox in &sandboxes {
            inside(sandbox.as_fd(), || {
                assert_eq!(links(), ["lo"]);
                assert!(ip("-o addr").contains("127.0.0.1/8"));
            });
        }
        sandboxes.into_iter().for_each(|sandbox| network.discard(sandbox));
        assert_eq!(links(), before);
        assert_eq!(nft("list ruleset"), "");
    });
}

#[test]
fn forwarding_does_not_make_the_host_a_router() {
    for (forwarding, guarded) in [("0", true), ("1", false)] {
        on_host(|host| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", forwarding).unwrap();
            let guard = || nft("list table inet berth").contains("chain guard");
            let network = host.network();
            assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "1");
            assert_eq!(guard(), guarded);
            check_routing(host, &network, guarded);
            // Also when the engine starts again and finds forwarding on.
            drop(network);
            drop(host.network());
            assert_eq!(guard(), guarded);
        });
    }
}

/// Sends through the host from one network to another, both behind VLANs as a stand-in for hardware.
fn check_routing(host: &Host, network: &Network, guarded: bool) {
    let far = namespace();
    ip("link add far0 type veth peer name eth0");
    move_link("eth0", far.as_fd());
    if !try_ip("link add link far0 name v2 type vlan id 5") {
        // A kernel without VLANs.
        return;
    }
    ip("link add link out0 name v1 type vlan id 5");
    for (link, vlan, address) in [("out0", "v1", "10.1.0.1/24"), ("far0", "v2", "10.2.0.1/24")] {
        ip(&format!("link set {link} up"));
        ip(&format!("addr add {address} dev {vlan}"));
        ip(&format!("link set {vlan} up"));
    }
    let ends = [(&host.outside, "10.1.0.2/24", "10.1.0.1"), (&far, "10.2.0.2/24", "10.2.0.1")];
    for (netns, address, gateway) in ends {
        inside(netns.as_fd(), || {
            ip("link set lo up");
            ip("link set eth0 up");
            ip("link add link eth0 name v type vlan id 5");
            ip(&format!("addr add {address} dev v"));
            ip("link set v up");
            ip(&format!("route add 10.0.0.0/8 via {gateway}"));
        });
    }
    let _server = inside(far.as_fd(), || Server::tcp("far", 80));
    let through =
        inside(host.outside.as_fd(), || if guarded { try_ask("10.2.0.2:80") } else { ask("10.2.0.2:80") });
    assert_eq!(through.is_none(), guarded);
    // Containers get out all the same.
    let container = Container::start(network, "one", &[]);
    assert!(inside(container.netns(), || ask("10.2.0.2:80")).is_some());
    container.die(network);
}

#[test]
fn nothing_starts_before_running_containers_are_taken_up() {
    on_host(|host| {
        let network = Network::open(host.config()).unwrap();
        let early = network.start(Request { container_id: "early", ..Request::default() });
        assert!(matches!(early, Err(Error::InvalidRequest(_))));
        let nothing: [Adopt<'_>; 0] = [];
        network.adopt(&nothing).unwrap();
        Container::start(&network, "now", &[]);
    });
}
