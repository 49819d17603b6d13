//! What the client's own files and flags say of an engine: keys that detach, headers of requests, TLS without authorities.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;

use berth_tests::terminal::Terminal;
use berth_tests::{CLIENTS, Client, Engine, Outcome, run};

/// Gives the clients of an engine this `config.json`.
fn configure(engine: &Engine, config: &serde_json::Value) {
    let folder = engine.dir.join("config");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

#[test]
fn the_keys_of_the_configuration_detach() {
    let engine = Engine::with_images(&["busybox"]);
    configure(&engine, &serde_json::json!({"detachKeys": "ctrl-x,x"}));
    for client in CLIENTS {
        let command = engine.command(client, &["run", "-it", "--name", "box", "busybox", "sh"]);
        let mut shell = Terminal::spawn(&command, 24, 80);
        shell.expect("# ");
        // Docker's own keys mean nothing now; a key that begins the sequence and does not end it is passed on.
        shell.send("\x10\x11");
        shell.send("echo still-$((40+2))\r");
        shell.expect("still-42");
        shell.send("\x18x");
        assert_eq!(shell.wait(), 0, "detached");
        // A flag overrules the file.
        let attach = engine.command(client, &["attach", "--detach-keys", "ctrl-a", "box"]);
        let mut again = Terminal::spawn(&attach, 24, 80);
        again.send("\recho back-$((40+3))\r");
        again.expect("back-43");
        again.send("\x01");
        assert!(again.wait() < 2);
        assert_eq!(engine.run(client, &["ps", "-q"]).ok().lines().count(), 1, "it goes on");
        engine.berth("rm -f box").ok();
    }
}

#[test]
fn headers_of_the_configuration_are_said() {
    let engine = Engine::start();
    configure(&engine, &serde_json::json!({"HttpHeaders": {"X-Team": "ships", "User-Agent": "mine"}}));
    for client in CLIENTS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = format!("tcp://{}", listener.local_addr().unwrap());
        let heard = std::thread::spawn(move || {
            let mut heard = Vec::new();
            // Whatever is asked first, `_ping` or more: no answer is worth a second question.
            let (mut stream, _) = listener.accept().unwrap();
            let reader = BufReader::new(stream.try_clone().unwrap());
            for line in reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                heard.push(line);
            }
            let _ = stream.write_all(b"HTTP/1.1 500 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            heard
        });
        let mut command = engine.command(client, &["version"]);
        assert_ne!(run(command.env("DOCKER_HOST", &host)).code, 0);
        let heard = heard.join().unwrap();
        assert!(heard.iter().any(|line| line.eq_ignore_ascii_case("x-team: ships")), "{client:?}: {heard:?}");
    }
}

#[test]
fn tls_without_an_authority_speaks_to_whoever_answers() {
    let folder = tempfile::tempdir().unwrap();
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=engine -addext \
        subjectAltName=IP:127.0.0.1 -keyout \"$1/key\" -out \"$1/cert\"";
    let made = Command::new("sh").args(["-c", script, "sh"]).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("tcp://127.0.0.1:{port}");
    let (certificate, key) = (file("cert"), file("key"));
    let flags = ["-H", &host, "--tls", "--tlsverify=false", "--tlscert", &certificate, "--tlskey", &key];
    let engine = Engine::start_with(&flags);
    let say = |client: Client, flags: &[&str]| -> Outcome {
        let words: Vec<&str> = ["-H", &host].iter().chain(flags).copied().chain(["ps", "-q"]).collect();
        run(engine.command(client, &words).env_remove("DOCKER_HOST"))
    };
    for client in CLIENTS {
        assert_eq!(say(client, &["--tls", "--tlscacert", &certificate]).ok(), "");
        assert_eq!(say(client, &["--tlsverify", "--tlscacert", &certificate]).ok(), "", "its own authority");
        // Who wants to know needs somebody to ask.
        let without = say(client, &["--tlsverify"]);
        assert_ne!(without.code, 0);
        assert!(without.stderr.contains("ca.pem"), "{without:?}");
        assert_ne!(say(client, &[]).code, 0, "in clear");
    }
    // Docker's wants the authority's file even where it does not look at it; ours does not.
    assert_eq!(say(Client::Berth, &["--tls"]).ok(), "");
}
