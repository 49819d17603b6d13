//! The walks of a first day with containers, with both clients.

use berth_tests::{CLIENTS, Client, Engine, until};

fn page(port: u16) -> String {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    let mut text = String::new();
    let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn hello_world_runs_from_the_binary() {
    let engine = Engine::start();
    for client in CLIENTS {
        let outcome = engine.run(client, &["run", "--rm", "hello-world"]);
        assert!(outcome.ok().contains("Hello from Berth!"), "{outcome:?}");
    }
    assert_eq!(engine.berth("ps -aq").ok(), "");
}

#[test]
fn one_apache_three_apaches_and_an_nginx() {
    let engine = Engine::with_images(&["httpd", "nginx"]);
    for (client, base) in [(Client::Docker, 28_080), (Client::Berth, 28_180)] {
        let run = |line: &str| engine.run(client, &line.split_whitespace().collect::<Vec<_>>());
        let id = run(&format!("run --name apa02 -d -p {base}:80 httpd")).ok().to_owned();
        assert_eq!(id.len(), 64);
        let table = run("ps");
        assert!(table.ok().contains(&id[..12]) && table.ok().contains("apa02"), "{table:?}");
        assert!(table.ok().contains(&format!("0.0.0.0:{base}->80/tcp")), "{table:?}");
        until("the page of apa02", 20, || page(base).contains("It works!"));
        assert_eq!(run("stop apa02").ok(), "apa02");
        assert!(run("ps -a").ok().contains("Exited ("));
        assert_eq!(run("rm apa02").ok(), "apa02");
        assert_eq!(run("ps -a").ok().lines().count(), 1);

        for (number, name) in (1..).zip(["apa03", "apa04", "apa05"]) {
            run(&format!("run --name {name} -d -p {}:80 httpd", base + number)).ok();
        }
        run(&format!("run --name nginx01 -d -p {}:80 nginx", base + 4)).ok();
        for number in 1..4 {
            until("a page", 20, || page(base + number).contains("It works!"));
        }
        until("nginx's page", 20, || page(base + 4).contains("nginx"));
        let refused = run("image rm httpd");
        assert!(refused.fails(1).contains("conflict"), "{refused:?}");
        let ids = run("container ls -q").ok().to_owned();
        assert_eq!(ids.lines().count(), 4);
        run(&format!("stop {}", ids.replace('\n', " "))).ok();
        let ids = run("ps -aq").ok().to_owned();
        run(&format!("rm -f {}", ids.replace('\n', " "))).ok();
        assert_eq!(run("ps -aq").ok(), "");
    }
    let removed = engine.docker("image rm httpd");
    assert!(removed.ok().contains("Untagged: httpd:latest") && removed.ok().contains("Deleted: sha256:"));
}

#[test]
fn exit_codes_are_dockers() {
    let engine = Engine::with_images(&["busybox"]);
    for client in CLIENTS {
        let code = |line: &str| engine.run(client, &line.split_whitespace().collect::<Vec<_>>()).code;
        assert_eq!(code("run --rm busybox true"), 0);
        assert_eq!(code("run --rm busybox false"), 1);
        assert_eq!(engine.run(client, &["run", "--rm", "busybox", "sh", "-c", "exit 42"]).code, 42);
        assert_eq!(
            engine.run(client, &["run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code,
            137
        );
        assert_eq!(code("run --rm busybox /no/such/program"), 127);
        assert_eq!(code("run --rm busybox no-such-program"), 127);
        assert_eq!(code("run --rm busybox /etc"), 126);
        assert_eq!(code("run --rm -u nobody-here busybox true"), 125);
        assert_eq!(code("run --no-such-flag busybox"), 125);
        assert_eq!(code("stop no-such-container"), 1);
    }
    assert_eq!(engine.berth("ps -aq").ok(), "");
}
