//! Published ports on both families: what is shown, who answers, and what is refused.

use std::net::{TcpListener, TcpStream};

use berth_tests::{CLIENTS, Client, Engine, run, until};

use crate::page;

/// Whether a connection is refused at once.
fn refused(address: &str) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn a_real_server_answers_on_both_families_while_the_engine_is_dead() {
    let mut engine = Engine::with_images(&["httpd"]);
    for client in CLIENTS {
        engine.run(client, &["run", "-d", "--name", "apa02", "-p", "28440:80", "httpd"]).ok();
        let shown = engine.docker("ps --format {{.Ports}}").ok().to_owned();
        assert_eq!(shown, "0.0.0.0:28440->80/tcp, [::]:28440->80/tcp");
        assert_eq!(engine.berth("ps --format {{.Ports}}").ok(), shown);
        for line in ["port apa02", "port apa02 80"] {
            let ports = engine.run(client, &line.split(' ').collect::<Vec<_>>());
            assert!(ports.ok().ends_with("0.0.0.0:28440\n80/tcp -> [::]:28440") || line.ends_with("80"));
        }
        assert_eq!(engine.run(client, &["port", "apa02", "80/tcp"]).ok(), "0.0.0.0:28440\n[::]:28440");
        let ports = engine.run(client, &["inspect", "-f", "{{json .NetworkSettings.Ports}}", "apa02"]);
        let both =
            r#"{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"28440"},{"HostIp":"::","HostPort":"28440"}]}"#;
        assert_eq!(ports.ok(), both);
        let all_answer =
            || ["127.0.0.1:28440", "[::1]:28440"].iter().all(|address| page(address).contains("It works!"));
        until("both answer", 20, all_answer);
        engine.kill9();
        assert!(all_answer(), "without the engine");
        engine.up();
        assert!(all_answer(), "with the next engine");
        assert_eq!(engine.docker("ps --format {{.Ports}}").ok(), shown);
        engine.run(client, &["rm", "-f", "apa02"]).ok();
        assert!(refused("127.0.0.1:28440") && refused("[::1]:28440"), "nobody has the port now");
    }
}

#[test]
fn an_address_means_its_own_family() {
    let engine = Engine::with_images(&["busybox"]);
    let serve = ["busybox", "httpd", "-f", "-p", "80", "-h", "/var/www"];
    let web = |port: &str| {
        engine.run(Client::Docker, &[&["run", "-d", "-p", port], &serve[..]].concat()).ok().to_owned()
    };
    for (publish, shown, answers, refuses) in [
        ("127.0.0.1:28441:80", "127.0.0.1:28441->80/tcp", "127.0.0.1:28441", "[::1]:28441"),
        ("0.0.0.0:28442:80", "0.0.0.0:28442->80/tcp", "127.0.0.1:28442", "[::1]:28442"),
        ("[::1]:28443:80", "[::1]:28443->80/tcp", "[::1]:28443", "127.0.0.1:28443"),
        ("[::]:28444:80", "[::]:28444->80/tcp", "[::1]:28444", "127.0.0.1:28444"),
    ] {
        let id = web(publish);
        let listed = engine.docker(&format!("ps --no-trunc --filter id={id} --format {{{{.Ports}}}}"));
        assert_eq!(listed.ok(), shown);
        until(publish, 10, || page(answers).contains("it works"));
        assert!(refused(refuses), "{publish}: {refuses}");
    }
    // Two containers share a number, each on a family of its own.
    web("[::1]:28442:80");
    until("the other family", 10, || page("[::1]:28442").contains("it works"));
}

#[test]
fn a_port_in_use_on_either_family_is_refused_and_leaves_nothing() {
    let engine = Engine::with_images(&["busybox"]);
    for (taken, other) in [("[::1]:28450", "0.0.0.0:28450"), ("127.0.0.1:28450", "[::]:28450")] {
        let program = TcpListener::bind(taken).unwrap();
        for client in CLIENTS {
            let outcome = engine.run(client, &["run", "--rm", "-p", "28450:80", "busybox", "true"]);
            let family = if taken.starts_with('[') { "[::]" } else { "0.0.0.0" };
            let text = format!("failed to bind host port for {family}:28450:");
            let said = outcome.fails(125);
            assert!(said.contains(&text) && said.contains("address already in use"), "{said}");
            let listener = std::process::Command::new("ss").args(["-Htnl", "sport = :28450"]).output();
            let listening = String::from_utf8(listener.unwrap().stdout).unwrap();
            assert_eq!(listening.lines().count(), 1, "{other}: {listening}");
        }
        drop(program);
    }
    engine.berth("run -d --name first -p 28450:80 busybox sleep 1000").ok();
    for address in ["", "[::]:", "[::1]:", "0.0.0.0:"] {
        let outcome = engine.berth(&format!("run --rm -p {address}28450:80 busybox true"));
        assert!(outcome.fails(125).contains(":28450 failed: port is already allocated"), "{outcome:?}");
    }
    engine.berth("rm -f first").ok();
    engine.berth("run --rm -p 28450:80 busybox true").ok();
}

#[test]
fn random_ports_are_the_same_on_both_families() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("run -d --name random -p 80 -p 53/udp -P --expose 81 busybox sleep 1000").ok();
    let ports = engine.docker("port random").ok().to_owned();
    for container_port in ["80/tcp", "53/udp", "81/tcp"] {
        let hosts: Vec<&str> = ports.lines().filter_map(|line| line.strip_prefix(container_port)).collect();
        assert_eq!(hosts.len(), 2, "{ports}");
        assert_eq!(hosts[0].replace(" -> 0.0.0.0:", ""), hosts[1].replace(" -> [::]:", ""), "{ports}");
    }
}

#[test]
fn a_thousand_ports_of_one_container() {
    let engine = Engine::with_images(&["busybox"]);
    let range = "29000-29999:29000-29999";
    let server = "httpd -p 29000 -h /var/www; exec httpd -f -p 29999 -h /var/www";
    for client in CLIENTS {
        let args = ["run", "-d", "--name", "many", "-p", range, "busybox", "sh", "-c", server];
        engine.run(client, &args).ok();
        assert_eq!(engine.docker("port many").ok().lines().count(), 2000);
        for address in ["127.0.0.1:29000", "[::1]:29000", "127.0.0.1:29999", "[::1]:29999"] {
            until(address, 10, || page(address).contains("it works"));
        }
        engine.run(client, &["rm", "-f", "many"]).ok();
    }
}

#[test]
fn datagrams_are_answered_on_both_families() {
    let engine = Engine::with_images(&["debian"]);
    let echo = "use Socket; socket(S, PF_INET, SOCK_DGRAM, 0); bind(S, sockaddr_in(53, INADDR_ANY)); \
                while (my $from = recv(S, my $data, 65535, 0)) { send(S, $data, 0, $from) }";
    engine.run(Client::Docker, &["run", "-d", "-p", "28460:53/udp", "debian", "perl", "-e", echo]).ok();
    for (own, address) in [("127.0.0.1:0", "127.0.0.1:28460"), ("[::1]:0", "[::1]:28460")] {
        let socket = std::net::UdpSocket::bind(own).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        socket.connect(address).unwrap();
        let mut buffer = [0; 64];
        until(address, 20, || {
            let sent = socket.send(b"question");
            sent.is_ok() && socket.recv(&mut buffer).is_ok_and(|length| &buffer[..length] == b"question")
        });
    }
}

#[test]
fn a_firewall_that_is_loaded_anew_takes_nothing_away() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("run -d --name web -p 28470:80 busybox httpd -f -p 80 -h /var/www").ok();
    until("the page", 10, || page("127.0.0.1:28470").contains("it works"));
    let table = format!("berth-{}", engine.bridge);
    let nft = |args: &[&str]| run(std::process::Command::new("nft").args(args));
    // Where the kernel lets us own the table nobody else can touch it; else it is made again.
    for verb in ["delete", "flush"] {
        let outcome = nft(&[verb, "table", "inet", &table]);
        assert!(outcome.code == 0 || outcome.stderr.contains("Operation not permitted"), "{outcome:?}");
        until("the port is open again", 10, || page("127.0.0.1:28470").contains("it works"));
        until("the rules are there again", 10, || {
            nft(&["list", "table", "inet", &table]).ok().contains("masquerade")
        });
    }
    run(std::process::Command::new("ip").args(["link", "del", &engine.bridge])).ok();
    until("the bridge is there again", 10, || page("127.0.0.1:28470").contains("it works"));
    assert!(engine.log().contains("another program changed our network"), "it says so");
}

#[test]
fn an_engine_that_ends_with_nothing_to_keep_leaves_no_table_and_no_lock() {
    let mut engine = Engine::with_images(&["busybox"]);
    let table = format!("berth-{}", engine.bridge);
    let has_table = || run(std::process::Command::new("nft").args(["list", "tables"])).ok().contains(&table);
    let lock = format!("-{}.lock", engine.bridge);
    let has_lock = || {
        let locks = std::fs::read_dir("/run/berth-network").unwrap().flatten();
        locks.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().ends_with(&lock))
    };
    engine.berth("run -d --name web -p 28480:80 busybox httpd -f -p 80 -h /var/www").ok();
    until("the page", 10, || page("127.0.0.1:28480").contains("it works"));
    assert_eq!(engine.stop(), 0);
    assert!(has_table() && has_lock(), "the port needs its table");
    assert!(page("127.0.0.1:28480").contains("it works") && page("[::1]:28480").contains("it works"));
    engine.up();
    assert!(page("127.0.0.1:28480").contains("it works"));
    engine.berth("rm -f web").ok();
    assert_eq!(engine.stop(), 0);
    // Where the engine turned on forwarding, the table keeps the host from being a router.
    let guards = run(std::process::Command::new("nft").args(["list", "table", "inet", &table]));
    assert!(guards.code != 0 || guards.stdout.contains("chain guard"), "{guards:?}");
    assert!(!has_lock());
    engine.up();
    engine.berth("run -d --name web -p 28480:80 busybox httpd -f -p 80 -h /var/www").ok();
    until("the page", 10, || page("127.0.0.1:28480").contains("it works"));
}
