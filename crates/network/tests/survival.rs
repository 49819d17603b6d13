//! What outlives the engine, and what is repaired.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    os::fd::AsFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use berth_network::{Adopt, Endpoint, Network, NetworkConfig, Request};
use common::*;

#[test]
fn running_containers_are_taken_up_again() {
    on_host(|host| {
        let network = host.network();
        let web =
            Container::start(&network, "web", &["8080:80", "127.0.0.1:5300:53/udp"]).serve(80).serve_udp(53);
        let dead = Container::start(&network, "dead", &["8081:80"]).serve(80);
        let record = serde_json::to_string(web.endpoint()).unwrap();
        drop(network);
        // Nobody is there, and all goes on.
        assert!(ask("127.0.0.1:8080").is_some());
        assert!(ask("127.0.0.1:8081").is_some());
        // The second one dies while the engine is down, and its namespace hangs about.
        let network = Network::open(host.config()).unwrap();
        assert!(ask("127.0.0.1:8080").is_some(), "before it is taken up too");
        let endpoint: Endpoint = serde_json::from_str(&record).unwrap();
        let adopted = network.adopt(&[Adopt { endpoint: &endpoint, netns: None }]).unwrap();
        assert_eq!((adopted.repaired.len(), adopted.lost.len(), adopted.stale_links), (0, 0, 1));
        assert_eq!(container_links(), std::slice::from_ref(&endpoint.link));
        assert!(ask("127.0.0.1:8080").is_some() && ask_udp("127.0.0.1:5300").is_some());
        assert_eq!(try_ask("127.0.0.1:8081"), None);
        let ports = [port("8080:80")];
        let taken =
            network.start(Request { container_id: "new", ports: &ports, ..Request::default() }).unwrap_err();
        assert_eq!(taken.to_string(), "Bind for 0.0.0.0:8080 failed: port is already allocated");
        drop((dead.started.port_sockets, dead.started.relays));
        let new = Container::start(&network, "new", &["8081:80"]);
        assert_eq!(new.ip(), "172.17.0.3");
        web.die(&network);
        eventually("the adopted link goes", || container_links() == [new.endpoint().link.clone()]);
        assert!(!nft("list table inet berth").contains("8080"));
    });
}

#[test]
fn links_that_were_lost_meanwhile_are_made_again() {
    on_host(|host| {
        let network = host.network();
        let unplugged = Container::start(&network, "unplugged", &["8080:80"]).serve(80);
        let deleted = Container::start(&network, "deleted", &["8081:80"]).serve(80);
        let gone = Container::start(&network, "gone", &["8082:80"]);
        drop(network);
        ip(&format!("link set {} nomaster down", unplugged.endpoint().link));
        ip(&format!("link del {}", deleted.endpoint().link));
        ip(&format!("link del {}", gone.endpoint().link));
        nft("flush ruleset");
        assert_eq!(try_ask("127.0.0.1:8080"), None);

        let network = Network::open(host.config()).unwrap();
        let adopted = network
            .adopt(&[
                Adopt { endpoint: unplugged.endpoint(), netns: None },
                Adopt { endpoint: deleted.endpoint(), netns: Some(deleted.netns()) },
                Adopt { endpoint: gone.endpoint(), netns: None },
            ])
            .unwrap();
        assert_eq!(adopted.repaired, ["unplugged", "deleted"]);
        assert_eq!(adopted.lost, ["gone"]);
        assert!(ask("127.0.0.1:8080").is_some());
        assert!(ask("127.0.0.1:8081").is_some());
        // The record of the one whose link is a new one still stands for it.
        assert!(network.stats(deleted.endpoint()).unwrap().rx_packets > 0);
        deleted.die(&network);
        eventually("its link goes", || container_links() == [unplugged.endpoint().link.clone()]);
        assert!(!nft("list table inet berth").contains("8081"));
    });
}

#[test]
fn a_record_of_an_earlier_life_gives_nothing_back() {
    on_host(|host| {
        let network = host.network();
        let old = Container::start(&network, "web", &["8080:80"]);
        let record = old.endpoint().clone();
        old.die(&network);
        let new = Container::start(&network, "web", &["8080:80"]).serve(80);
        network.release(&record, None);
        assert!(ask("127.0.0.1:8080").is_some());
        network.release(new.endpoint(), None);
        network.release(new.endpoint(), None);
        drop(new);
    });
}

/// Killed at any step of a start or an end, an engine leaves nothing that the next one does not find.
#[test]
fn a_killed_engine_leaves_nothing_that_stays() {
    if let Ok(locks) = std::env::var("BERTH_TEST_ENGINE") {
        return start_and_end_containers(PathBuf::from(locks));
    }
    on_host(|host| {
        let locks = host.config().lock_dir;
        for after in [0, 3, 8, 15, 40] {
            let engine = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_killed_engine_leaves_nothing_that_stays"])
                .env("BERTH_TEST_ENGINE", &locks)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let engine = Killed(engine);
            eventually("the engine has started a container", || !container_links().is_empty());
            std::thread::sleep(Duration::from_millis(after));
            drop(engine);
            let network = host.network();
            eventually("its links are gone", || container_links().is_empty());
            assert!(!nft("list table inet berth").contains("172.17.0.2"));
            let container = Container::start(&network, "one", &["8080:80"]).serve(80);
            assert!(ask("127.0.0.1:8080").is_some());
            container.die(&network);
            eventually("the link is gone", || container_links().is_empty());
        }
    });
}

/// A process that is killed when this is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the killed engine does, in the namespace of the thread that started its process.
fn start_and_end_containers(lock_dir: PathBuf) {
    let network = Network::open(NetworkConfig { lock_dir, ..NetworkConfig::default() }).unwrap();
    network.adopt(&[]).unwrap();
    let mut kept = Vec::new();
    for number in 0_u16.. {
        let (id, published) = (format!("c{number}"), format!("{}:80", 8080 + number));
        let container = Container::start(&network, &id, &[&published]);
        if number % 3 == 0 || number > 100 {
            container.die(&network);
        } else {
            kept.push(container);
        }
    }
}

/// CVE-2025-54388, moby#12294: isolation and ports after somebody flushed the firewall.
#[test]
fn a_flush_from_outside_is_noticed_and_repaired() {
    on_host(|host| {
        let network = host.open(NetworkConfig { own_table: false, ..host.config() });
        let web = Container::start(&network, "web", &["8080:80", "127.0.0.1:8081:80"]).serve(80);
        let mut watch = network.watch().unwrap().unwrap();
        // Our own changes are no harm.
        let other = Container::start(&network, "other", &["8082:80"]);
        other.die(&network);
        network.repair().unwrap();
        assert!(!watch.harmed().unwrap());
        for flush in ["flush ruleset", "flush table inet berth", "delete chain inet berth prerouting"] {
            if flush.starts_with("delete") {
                nft("flush chain inet berth prerouting");
            }
            nft(flush);
            assert!(readable(watch.as_fd(), PATIENCE), "{flush}");
            assert!(watch.harmed().unwrap(), "{flush}");
            assert!(network.repair().unwrap().table, "{flush}");
            assert!(!watch.harmed().unwrap());
            assert!(ask("127.0.0.1:8080").is_some(), "{flush}");
            inside(host.outside.as_fd(), || {
                assert!(ask(&format!("{HOST}:8080")).is_some(), "{flush}");
                assert_eq!(try_ask(&format!("{HOST}:8081")), None, "{flush}");
                assert_eq!(try_ask(&format!("{}:80", web.ip())), None, "{flush}");
            });
        }
        // Between a flush and its repair a start finds no table and writes it.
        nft("flush ruleset");
        let third = Container::start(&network, "third", &["8083:80"]).serve(80);
        assert!(ask("127.0.0.1:8083").is_some() && ask("127.0.0.1:8080").is_some());
        drop(third);
        assert!(!readable(watch.as_fd(), Duration::ZERO) || watch.harmed().is_ok());
    });
}

#[test]
fn a_flush_does_not_touch_a_table_that_is_owned() {
    on_host(|host| {
        let network = host.network();
        let web = Container::start(&network, "web", &["8080:80"]).serve(80);
        if !nft("list table inet berth").contains("owner") {
            // A kernel before 6.9: the other test is the one that counts.
            return;
        }
        nft("flush ruleset");
        assert!(!try_nft("delete table inet berth"));
        assert!(!try_nft("flush table inet berth"));
        assert!(ask("127.0.0.1:8080").is_some());
        // Without an engine it is anybody's, and the next engine takes it.
        drop(network);
        assert!(ask("127.0.0.1:8080").is_some());
        let network = host.open(host.config());
        assert!(!try_nft("delete table inet berth"));
        drop((network, web));
        nft("flush ruleset");
        assert_eq!(nft("list ruleset"), "");
    });
}

#[test]
fn a_removed_bridge_comes_back_with_its_containers() {
    on_host(|host| {
        let network = host.network();
        // The kernel forgets connections that were masqueraded with an address when it goes, some time later.
        let answers = |address: &str| eventually(address, || try_ask(address).is_some());
        let mut watch = network.watch().unwrap().unwrap();
        let web = Container::start(&network, "web", &["8080:80"]).serve(80);
        let other = Container::start(&network, "other", &[]);
        assert!(!watch.harmed().unwrap());
        ip("link del berth0");
        assert!(readable(watch.as_fd(), PATIENCE));
        assert!(watch.harmed().unwrap());
        assert!(network.repair().unwrap().bridge);
        assert_eq!(network.bridge().unwrap().address.to_string(), "172.17.0.1");
        answers("127.0.0.1:8080");
        inside(other.netns(), || answers("172.17.0.2:80"));
        inside(other.netns(), || answers(&format!("{HOST}:8080")));
        // Not noticed yet: a start finds out by itself.
        ip("link del berth0");
        let third = Container::start(&network, "third", &["8081:80"]).serve(80);
        answers("127.0.0.1:8081");
        answers("127.0.0.1:8080");
        ip("addr del 172.17.0.1/16 dev berth0");
        assert!(network.repair().unwrap().bridge);
        answers("127.0.0.1:8080");
        drop((web, third));
    });
}

#[test]
fn forwarding_that_was_turned_off_is_turned_on_again() {
    on_host(|host| {
        let network = host.network();
        let web = Container::start(&network, "web", &["8080:80"]).serve(80);
        let mut watch = network.watch().unwrap().unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        assert_eq!(network.warnings(), ["WARNING: IPv4 forwarding is disabled"]);
        assert!(readable(watch.as_fd(), PATIENCE));
        assert!(watch.harmed().unwrap());
        assert!(network.repair().unwrap().forwarding);
        assert!(inside(host.outside.as_fd(), || ask(&format!("{HOST}:8080"))).is_some());
        assert_eq!(network.repair().unwrap(), berth_network::Repaired::default());
        drop(web);
    });
}

/// A client that goes on sending to a UDP port must reach the container that is published there now.
#[test]
fn udp_flows_follow_the_container() {
    on_host(|host| {
        let network = host.network();
        inside(host.outside.as_fd(), || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:40000").unwrap();
            socket.connect(format!("{HOST}:5300")).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut hear = |expect: &str| {
                eventually(expect, || {
                    let _ = socket.send(b"?");
                    let mut answer = [0; 64];
                    socket.recv(&mut answer).is_ok_and(|len| answer[..len].starts_with(expect.as_bytes()))
                });
            };
            for _ in 0..5 {
                let _ = socket.send(b"nobody is there yet");
            }
            thread_in_host(host, &network, "one", &mut hear);
            thread_in_host(host, &network, "two", &mut hear);
        });
    });
}

/// Starts a container from a thread of the client, and waits until the client hears it.
fn thread_in_host(host: &Host, network: &Network, id: &str, hear: &mut dyn FnMut(&str)) {
    let container =
        inside(host.netns.as_fd(), || Container::start(network, id, &["5300:53/udp"]).serve_udp(53));
    hear(id);
    container.die(network);
}
