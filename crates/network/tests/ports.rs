//! Published ports, with real traffic from everywhere.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
};

use berth_network::{Error, NetworkConfig, Protocol, Relay, Request};
use common::*;

fn says(name: &str, from: &str) -> Option<String> {
    Some(format!("{name} {from}"))
}

#[test]
fn a_published_port_answers_from_everywhere() {
    for bridged_frames_pass_the_firewall in ["0", "1"] {
        on_host(|host| answers_from_everywhere(host, bridged_frames_pass_the_firewall));
    }
}

fn answers_from_everywhere(host: &Host, call_iptables: &str) {
    bridge_netfilter(call_iptables);
    // As many distributions have it.
    std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").unwrap();
    {
        let network = host.network();
        let web = Container::start(&network, "web", &["8080:80"]).serve(80);
        let other = Container::start(&network, "other", &[]);
        let gateway = network.bridge().unwrap().address.to_string();

        assert_eq!(ask("127.0.0.1:8080"), says("web", &gateway), "from the host's loopback");
        assert_eq!(ask(&format!("{HOST}:8080")), says("web", HOST), "from the host by its address");
        assert_eq!(
            ask(&format!("{gateway}:8080")),
            says("web", &gateway),
            "from the host by the bridge's address"
        );
        let outside = inside(host.outside.as_fd(), || ask(&format!("{HOST}:8080")));
        assert_eq!(outside, says("web", OUTSIDE), "from outside; the client's address is kept");
        for address in [HOST, &gateway] {
            let address = format!("{address}:8080");
            assert_eq!(
                inside(other.netns(), || ask(&address)),
                says("web", &gateway),
                "from another container"
            );
            assert_eq!(
                inside(web.netns(), || ask(&address)),
                says("web", &gateway),
                "from the container itself"
            );
        }
    }
}

#[test]
fn udp_too() {
    on_host(|host| {
        let network = host.network();
        let gateway = network.bridge().unwrap().address.to_string();
        let dns = Container::start(&network, "dns", &["5300:53/udp", "127.0.0.1:5301:53/udp"]).serve_udp(53);
        assert_eq!(ask_udp("127.0.0.1:5300"), says("dns", &gateway));
        assert_eq!(ask_udp(&format!("{HOST}:5300")), says("dns", HOST));
        assert_eq!(ask_udp("127.0.0.1:5301"), says("dns", &gateway));
        assert_eq!(inside(host.outside.as_fd(), || ask_udp(&format!("{HOST}:5300"))), says("dns", OUTSIDE));
        assert_eq!(inside(host.outside.as_fd(), || try_ask_udp(&format!("{HOST}:5301"))), None);
        assert_eq!(inside(dns.netns(), || ask_udp(&format!("{HOST}:5300"))), says("dns", &gateway));
    });
}

/// CVE-2025-54388 and moby#45610.
#[test]
fn a_port_published_on_loopback_is_for_this_host_only() {
    on_host(|host| {
        let network = host.network();
        let web = Container::start(&network, "web", &["127.0.0.1:8080:80"]).serve(80);
        let other = Container::start(&network, "other", &[]);
        let gateway = network.bridge().unwrap().address.to_string();
        assert_eq!(ask("127.0.0.1:8080"), says("web", &gateway));
        let to_loopback = || {
            use_loopback_addresses_for(HOST);
            try_ask("127.0.0.1:8080")
        };
        let direct = format!("{}:80", web.ip());
        let by_host = format!("{HOST}:8080");
        inside(host.outside.as_fd(), || {
            assert_eq!(try_ask(&by_host), None);
            assert_eq!(try_ask(&direct), None, "by the container's own address");
            assert_eq!(to_loopback(), None);
        });
        assert_eq!(inside(other.netns(), || try_ask(&format!("{gateway}:8080"))), None);
        // Even where somebody lets the kernel take packets for loopback from outside.
        std::fs::write("/proc/sys/net/ipv4/conf/out0/route_localnet", "1").unwrap();
        inside(host.outside.as_fd(), || assert_eq!(try_ask("127.0.0.1:8080"), None));
        let martian = format!("{gateway}:80");
        let server = Server::tcp("host", 80);
        assert_eq!(inside(other.netns(), || ask(&martian)), says("host", &other.ip()));
        drop(server);
    });
}

/// The bridge has `route_localnet`, so only our rules stop this.
#[test]
fn a_container_cannot_reach_the_hosts_loopback() {
    for bridged_frames_pass_the_firewall in ["0", "1"] {
        on_host(|host| {
            bridge_netfilter(bridged_frames_pass_the_firewall);
            let network = host.network();
            let evil = Container::start(&network, "evil", &[]);
            let gateway = network.bridge().unwrap().address.to_string();
            let _server = Server::tcp("host", 9000);
            let datagrams = UdpSocket::bind("127.0.0.1:9001").unwrap();
            datagrams.set_nonblocking(true).unwrap();
            let spoofed = UdpSocket::bind("0.0.0.0:9002").unwrap();
            spoofed.set_nonblocking(true).unwrap();
            inside(evil.netns(), || {
                use_loopback_addresses_for(&gateway);
                assert_eq!(try_ask("127.0.0.1:9000"), None, "to the host's loopback");
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.send_to(b"from a container", "127.0.0.1:9001").unwrap();
                ip("addr add 127.0.0.99/32 dev eth0");
                let socket = UdpSocket::bind("127.0.0.99:0").unwrap();
                socket.send_to(b"as if from loopback", format!("{gateway}:9002")).unwrap();
            });
            assert_eq!(ask("127.0.0.1:9000"), says("host", "127.0.0.1"));
            assert!(datagrams.recv(&mut [0; 64]).is_err());
            assert!(spoofed.recv(&mut [0; 64]).is_err(), "from a loopback address");
        });
    }
}

/// Lets the namespace of the calling thread send packets for loopback addresses to a neighbour.
fn use_loopback_addresses_for(neighbour: &str) {
    ip("addr del 127.0.0.1/8 dev lo");
    ip("route flush table local root 127.0.0.0/8");
    ip(&format!("route add 127.0.0.0/8 via {neighbour} dev eth0"));
    std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
}

#[test]
fn an_unpublished_container_is_not_reached_from_outside() {
    on_host(|host| {
        let network = host.network();
        let hidden = Container::start(&network, "hidden", &["8080:81"]).serve(80);
        let direct = format!("{}:80", hidden.ip());
        assert_eq!(
            ask(&direct),
            says("hidden", &network.bridge().unwrap().address.to_string()),
            "the host may"
        );
        assert_eq!(inside(host.outside.as_fd(), || try_ask(&direct)), None);
        let published_by_its_own_address = format!("{}:81", hidden.ip());
        let hidden = hidden.serve(81);
        assert_eq!(inside(host.outside.as_fd(), || try_ask(&published_by_its_own_address)), None);
        assert!(inside(host.outside.as_fd(), || ask(&format!("{HOST}:8080"))).is_some());
        drop(hidden);
    });
}

#[test]
fn taken_ports_are_named_as_docker_does() {
    on_host(|host| {
        let network = host.network();
        let first = Container::start(&network, "first", &["8080:80"]);
        let refuse = |id: &str, text: &str| {
            let ports = [port(text)];
            network
                .start(Request { container_id: id, ports: &ports, ..Request::default() })
                .unwrap_err()
                .to_string()
        };
        let allocated = "Bind for 0.0.0.0:8080 failed: port is already allocated";
        assert_eq!(refuse("second", "8080:80"), allocated);
        assert_eq!(
            refuse("second", "127.0.0.1:8080:80"),
            "Bind for 127.0.0.1:8080 failed: port is already allocated"
        );
        let program = TcpListener::bind("0.0.0.0:8081").unwrap();
        assert_eq!(
            refuse("second", "8081:80"),
            "failed to bind host port for 0.0.0.0:8081:172.17.0.3:80/tcp: address already in use"
        );
        assert_eq!(
            refuse("second", "198.51.100.7:8082:80"),
            "failed to bind host port for 198.51.100.7:8082:172.17.0.3:80/tcp: cannot assign requested address"
        );
        assert_eq!(
            refuse("second", "[::1]:8082:80/sctp"),
            "cannot publish port 80/sctp on ::1: the container has no IPv6 address, and sctp is not relayed to IPv4"
        );
        let program6 = TcpListener::bind("[::1]:8084").unwrap();
        assert_eq!(
            refuse("second", "8084:80"),
            "failed to bind host port for [::]:8084:172.17.0.3:80/tcp: address already in use"
        );
        TcpListener::bind("0.0.0.0:8084").expect("the other family's port is given back");
        drop(program6);
        assert!(matches!(
            network.start(Request { container_id: "second", ports: &[port("8083:0")], ..Request::default() }),
            Err(Error::InvalidRequest(_))
        ));
        // The same number of another protocol is another port, and nothing of the refused ones is left.
        let second = Container::start(&network, "second", &["8080:80/udp"]);
        assert_eq!(second.ip(), "172.17.0.3");
        drop(program);
        let third = Container::start(&network, "third", &["8081:80"]);
        assert_eq!(container_links().len(), 3);
        // A program of the host cannot take a published port, whatever its options.
        assert!(TcpListener::bind("0.0.0.0:8080").is_err(), "std sets SO_REUSEADDR");
        assert!(TcpListener::bind("127.0.0.1:8081").is_err());
        // Free again as soon as it is released, while its namespace may still live.
        drop((first.started.port_sockets, first.started.relays));
        network.release(&first.started.endpoint, None);
        let fourth = Container::start(&network, "fourth", &["8080:80"]);
        drop((third, fourth));
    });
}

#[test]
fn all_or_nothing_of_several_ports() {
    on_host(|host| {
        let network = host.network();
        let _first = Container::start(&network, "first", &["8081:80"]);
        let ports = [port("8080:80"), port("8081:81"), port("8082:82")];
        let request = Request { container_id: "second", ports: &ports, ..Request::default() };
        assert!(matches!(network.start(request), Err(Error::PortAllocated { port: 8081, .. })));
        TcpListener::bind("0.0.0.0:8080").unwrap();
        let third = Container::start(&network, "third", &["8080:80", "8082:82"]);
        assert_eq!(third.ip(), "172.17.0.3");
    });
}

#[test]
fn random_ports_and_ranges() {
    on_host(|host| {
        let network = host.network();
        let ports = ["0:80", "0:80/udp", "127.0.0.1:0:81"];
        let random = Container::start(&network, "random", &ports).serve(80).serve_udp(80);
        let bindings = &random.endpoint().ports;
        assert_eq!(bindings.len(), 5, "two of both families, one of an address: {bindings:?}");
        assert!(bindings.iter().all(|binding| binding.host_port >= 1024), "{bindings:?}");
        assert_eq!(bindings[0].host_port, bindings[1].host_port);
        assert_eq!(bindings[2].host_port, bindings[3].host_port);
        let relayed: Vec<_> =
            random.started.relays.iter().map(|relay| (relay.protocol, relay.target)).collect();
        let target = std::net::SocketAddr::new(random.endpoint().ipv4.into(), 80);
        assert_eq!(relayed, [(Protocol::Tcp, target), (Protocol::Udp, target)]);
        assert!(ask(&format!("127.0.0.1:{}", bindings[0].host_port)).is_some());
        assert!(ask_udp(&format!("127.0.0.1:{}", bindings[2].host_port)).is_some());

        let _program = TcpListener::bind("0.0.0.0:9000").unwrap();
        let host_port = |container: &Container| container.endpoint().ports[0].host_port;
        let one = Container::start(&network, "one", &["9000-9002:80"]);
        let two = Container::start(&network, "two", &["9000-9002:80"]);
        assert_eq!((host_port(&one), host_port(&two)), (9001, 9002));
        let ports = [port("9000-9002:80")];
        let full = network.start(Request { container_id: "full", ports: &ports, ..Request::default() });
        assert!(matches!(full, Err(Error::PortAllocated { port: 9002, .. })), "{full:?}");
    });
}

#[test]
fn many_ports_are_elements_not_rules() {
    on_host(|host| {
        let network = host.network();
        let rules = || nft("list table inet berth").lines().filter(|line| line.contains("dnat")).count();
        let before = rules();
        let ports: Vec<String> = (20_000..21_000).map(|port| format!("{port}:{port}")).collect();
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        let many = Container::start(&network, "many", &ports).serve(20_999);
        assert_eq!(rules(), before);
        assert!(ask("127.0.0.1:20999").is_some());
        drop((many.started.port_sockets, many.started.relays));
        network.release(&many.started.endpoint, Some(many.started.netns));
        assert!(!nft("list table inet berth").contains("20999"));
    });
}

#[test]
fn the_hosts_own_firewall_has_the_last_word() {
    on_host(|host| {
        let network = host.network();
        let _web = Container::start(&network, "web", &["8080:80"]).serve(80);
        nft("add table inet admin");
        nft("add chain inet admin forward { type filter hook forward priority 10 ; policy drop ; }");
        let address = format!("{HOST}:8080");
        assert_eq!(inside(host.outside.as_fd(), || try_ask(&address)), None);
        assert!(ask("127.0.0.1:8080").is_some());
        let warnings = network.warnings();
        assert!(warnings.iter().any(|warning| warning.contains("admin forward")), "{warnings:?}");
        nft("delete table inet admin");
        assert!(inside(host.outside.as_fd(), || ask(&address)).is_some());
        assert!(network.warnings().is_empty());
    });
}

#[test]
fn ipv6_is_published_where_the_container_has_it() {
    for bridged_frames_pass_the_firewall in ["0", "1"] {
        on_host(|host| published_on_ipv6(host, bridged_frames_pass_the_firewall));
    }
}

fn published_on_ipv6(host: &Host, call_iptables: &str) {
    bridge_netfilter(call_iptables);
    {
        let network = host.open(NetworkConfig { ipv6: true, ..host.config() });
        let web = Container::start(&network, "web", &["8080:80", "[::1]:8081:80"]).serve(80);
        let (_, gateway) = network.bridge().unwrap().ipv6.unwrap();
        let own = web.endpoint().ipv6.unwrap();
        assert_eq!(web.endpoint().ports.len(), 3, "one on 0.0.0.0, one on ::, one on ::1");
        assert_eq!(ask(&format!("[{own}]:80")), says("web", &gateway.to_string()), "directly");
        for address in ["[::1]:8080", "[::1]:8081"] {
            if call_iptables == "0" {
                assert_eq!(ask(address), says("web", &gateway.to_string()), "from the host's loopback");
            } else {
                // The kernel cannot: the connection comes to the socket that is to be relayed.
                let _client = TcpStream::connect_timeout(&address.parse().unwrap(), PATIENCE).unwrap();
                let accepts = |relay: &Relay| rustix::net::accept(&relay.socket).is_ok();
                assert!(web.started.relays.iter().any(accepts), "{address}");
            }
        }
        assert_eq!(ask("[2001:db8::1]:8080"), says("web", "2001:db8::1"));
        assert_eq!(ask("127.0.0.1:8080"), says("web", &network.bridge().unwrap().address.to_string()));
        inside(host.outside.as_fd(), || {
            assert_eq!(ask("[2001:db8::1]:8080"), says("web", "2001:db8::2"));
            assert_eq!(try_ask("[2001:db8::1]:8081"), None);
            ip(&format!("route add {own}/128 via 2001:db8::1"));
            assert_eq!(try_ask(&format!("[{own}]:80")), None, "not published by its own address");
        });
        assert_eq!(
            inside(web.netns(), || ask("[2001:db8::1]:8080")),
            says("web", &gateway.to_string()),
            "hairpin"
        );
        let server = inside(host.outside.as_fd(), || Server::tcp("outside", 7000));
        assert_eq!(
            inside(web.netns(), || ask("[2001:db8::2]:7000")),
            says("outside", "2001:db8::1"),
            "masquerade"
        );
        drop(server);
    }
}
