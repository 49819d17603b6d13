//! Black-box tests of ports, names and modes of the network.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod families;

use berth_tests::{CLIENTS, Client, Engine, until};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

fn page(address: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let mut text = String::new();
    let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("run -d --name web -p 28400:80 busybox httpd -f -p 80 -h /var/www").ok();
    until("loopback", 10, || page("127.0.0.1:28400").contains("it works"));
    let host = engine.docker("run --rm busybox ip route").ok().to_owned();
    let gateway = host.split_whitespace().nth(2).unwrap().to_owned();
    assert!(page(&format!("{gateway}:28400")).contains("it works"), "the host's own address");
    let inside = format!("run --rm busybox wget -qO- http://{gateway}:28400/");
    assert_eq!(engine.docker(&inside).ok(), "it works", "from another container");
    let own = format!("exec web wget -qO- http://{gateway}:28400/");
    assert_eq!(engine.docker(&own).ok(), "it works", "from itself");
    assert_eq!(engine.docker("port web 80/tcp").ok().lines().next(), Some("0.0.0.0:28400"));
}

#[test]
fn a_taken_port_is_refused_and_leaves_nothing() {
    let engine = Engine::with_images(&["busybox"]);
    let listener = TcpListener::bind("127.0.0.1:28410").unwrap();
    engine.berth("run -d -p 28411:80 busybox sleep 60").ok();
    for client in CLIENTS {
        let outcome =
            engine.run(client, &["run", "-d", "-p", "127.0.0.1:28410:80", "busybox", "sleep", "60"]);
        assert!(outcome.fails(125).contains("address already in use"), "{outcome:?}");
        let outcome = engine.run(client, &["run", "-d", "-p", "28411:80", "busybox", "sleep", "60"]);
        assert!(outcome.fails(125).contains("port is already allocated"), "{outcome:?}");
    }
    drop(listener);
    assert_eq!(engine.docker("ps -q").ok().lines().count(), 1);
}

#[test]
fn ranges_random_ports_and_udp() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("run -d --name many -p 28420-28422:80-82 -p 53/udp -P --expose 99 busybox sleep 60").ok();
    let ports = engine.docker("port many").ok().to_owned();
    for line in [
        "80/tcp -> 0.0.0.0:28420",
        "81/tcp -> 0.0.0.0:28421",
        "82/tcp -> 0.0.0.0:28422",
        "53/udp -> ",
        "99/tcp -> ",
    ] {
        assert!(ports.contains(line), "{line}: {ports}");
    }
}

#[test]
fn modes_none_host_and_container() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("run -d --name base busybox sleep 60").ok();
    for client in CLIENTS {
        let run = |args: &[&str]| engine.run(client, &[&["run", "--rm"], args].concat());
        assert_eq!(run(&["--net", "none", "busybox", "ls", "/sys/class/net"]).ok(), "lo");
        let host = run(&["--net", "host", "busybox", "ls", "/sys/class/net"]);
        assert!(host.ok().contains(&engine.bridge), "{host:?}");
        let base = engine.docker("exec base ip -4 addr show eth0").ok().to_owned();
        assert_eq!(
            run(&["--net", "container:base", "busybox", "ip", "-4", "addr", "show", "eth0"]).ok(),
            base
        );
    }
}

#[test]
fn names_and_resolvers() {
    let engine = Engine::with_images(&["busybox"]);
    let run = |args: &[&str]| engine.run(Client::Docker, &[&["run", "--rm"], args].concat());
    let resolv =
        run(&["--dns", "10.9.8.7", "--dns-search", "example.test", "busybox", "cat", "/etc/resolv.conf"]);
    assert!(resolv.ok().contains("nameserver 10.9.8.7") && resolv.ok().contains("search example.test"));
    let hosts = run(&["--hostname", "h1", "busybox", "cat", "/etc/hosts"]);
    assert!(hosts.ok().contains("127.0.0.1\tlocalhost") && hosts.ok().contains("\th1"), "{hosts:?}");
    assert_eq!(run(&["busybox", "ping", "-c1", "-w3", "host.docker.internal"]).code, 0);
}
