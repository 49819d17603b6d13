//! The page on images, command by command and in its order, where a mirror stands in for Docker Hub: a search, a shell in
//! an image that is not here yet, a commit, what it looks like, its removal, and what is left without a name.

use berth_tests::terminal::Terminal;
use berth_tests::{CLIENTS, Client, Engine, run};

use crate::debian::Registry;
use crate::server::{Server, answer};

/// A registry that has `library/ubuntu:14.04` in three layers, as a mirror of Docker Hub has it; its digest.
fn mirror() -> (Registry, String) {
    let registry = Registry::open();
    let engine = Engine::with_images(&["debian"]);
    for (name, below, script) in [
        ("one", "debian", "mkdir -p /run/systemd && echo docker >/run/systemd/container"),
        ("two", "debian:one", "echo first >/first"),
    ] {
        engine.run(Client::Docker, &["run", "--name", name, below, "sh", "-c", script]).ok();
        let change = "CMD [\"/bin/bash\"]";
        engine.run(Client::Docker, &["commit", "-c", change, name, &format!("debian:{name}")]).ok();
    }
    let name = format!("{}/library/ubuntu:14.04", registry.host);
    engine.docker(&format!("tag debian:two {name}")).ok();
    let pushed = engine.docker(&format!("push {name}"));
    let digest = pushed.ok().split("digest: ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    (registry, digest)
}

/// The words of a line, ids and times left aside.
fn words(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect()
}

#[test]
fn the_page_on_images_holds_where_a_mirror_has_ubuntu() {
    let (registry, digest) = mirror();
    let flag = ["--registry-mirror", &format!("http://{}", registry.host)];
    for client in CLIENTS {
        let engine = Engine::start_with(&flag);
        let say = |line: &str| engine.run(client, &line.split_whitespace().collect::<Vec<_>>());
        let command = engine.command(client, &["run", "-i", "-t", "--name", "commit_test", "ubuntu:14.04"]);
        let mut shell = Terminal::spawn(&command, 24, 120);
        for text in ["Unable to find image 'ubuntu:14.04' locally", "14.04: Pulling from library/ubuntu"] {
            shell.expect(text);
        }
        for _ in 0..3 {
            shell.expect(": Pull complete");
        }
        shell.expect(&format!("Digest: {digest}"));
        shell.expect("Status: Downloaded newer image for ubuntu:14.04");
        shell.expect(":/# ");
        shell.send("ls\r");
        shell.expect("first");
        shell.send("touch second; exit\r");
        assert_eq!(shell.wait(), 0);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let commit =
            ["commit", "-a", "pkeugine", "-m", "my first commit", "commit_test", "commit_test:1.0.0"];
        let id = engine.run(client, &commit).ok().to_owned();

        let inspect: serde_json::Value = serde_json::from_str(say("inspect ubuntu:14.04").ok()).unwrap();
        assert_eq!(inspect[0]["RepoTags"], serde_json::json!(["ubuntu:14.04"]));
        assert_eq!(inspect[0]["RepoDigests"], serde_json::json!([format!("ubuntu@{digest}")]));
        assert_eq!(inspect[0]["Config"]["Cmd"], serde_json::json!(["/bin/bash"]));
        assert_eq!(inspect[0]["GraphDriver"]["Name"], "overlay2");
        let below = inspect[0]["RootFS"]["Layers"].as_array().unwrap().clone();
        assert_eq!(below.len(), 3);
        let made: serde_json::Value = serde_json::from_str(say("inspect commit_test:1.0.0").ok()).unwrap();
        assert_eq!(
            (&made[0]["Author"], &made[0]["Comment"]),
            (&"pkeugine".into(), &"my first commit".into())
        );
        let above = made[0]["RootFS"]["Layers"].as_array().unwrap();
        assert_eq!(
            (above.len(), &above[..3]),
            (4, below.as_slice()),
            "one more layer, and the same below it"
        );

        let history = say("history commit_test:1.0.0");
        let lines: Vec<&str> = history.ok().lines().collect();
        assert_eq!(words(lines[0]), ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
        assert!(
            lines[1].starts_with(&id["sha256:".len()..][..12])
                && lines[1].trim_end().ends_with("my first commit")
        );
        assert_eq!(lines.len(), 5, "{lines:?}");

        it_goes_in_pieces(&engine, client, &id["sha256:".len()..][..12], &digest);
    }
}

/// An image that a container uses stays, or loses its name by force; what is left is shown and removed.
fn it_goes_in_pieces(engine: &Engine, client: Client, short: &str, digest: &str) {
    let say = |line: &str| engine.run(client, &line.split_whitespace().collect::<Vec<_>>());
    // An image that a container uses: not removed, or by force of its name alone.
    run(&mut engine.command(client, &["run", "-d", "--name", "using", "commit_test:1.0.0", "sleep", "600"]))
        .ok();
    let refused = say("rmi commit_test:1.0.0");
    let expect =
        "conflict: unable to remove repository reference \"commit_test:1.0.0\" (must force) - container ";
    assert!(refused.fails(1).contains(expect), "{refused:?}");
    assert_eq!(say("rmi -f commit_test:1.0.0").ok(), "Untagged: commit_test:1.0.0");
    for line in ["images", "images -f dangling=true"] {
        let images = say(line);
        let mut lines = images.ok().lines();
        assert_eq!(words(lines.next().unwrap()), ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
        let found = words(lines.next().unwrap());
        assert_eq!(found[..3], ["<none>", "<none>", short], "{line}");
        assert_eq!(lines.next().is_some(), line == "images");
    }
    say("rm -f using").ok();
    assert_eq!(say("rmi ubuntu:14.04").code, 1, "commit_test uses it");
    say("rm commit_test").ok();
    assert!(
        say("rmi ubuntu:14.04")
            .ok()
            .starts_with(&format!("Untagged: ubuntu:14.04\nUntagged: ubuntu@{digest}"))
    );
    assert_eq!(
        say(&format!("rmi {short}")).ok().lines().filter(|line| line.starts_with("Deleted: ")).count(),
        // Its own layer, and what it was made from: an image and three layers.
        6
    );
    assert_eq!(say("images -aq").ok(), "");
}

#[test]
fn a_search_shows_what_the_index_has() {
    let long = "Ubuntu is a Debian-based Linux operating system based on free software.";
    let results = serde_json::json!({"num_results": 2, "query": "ubuntu", "results": [
        {"name": "dorowu/ubuntu-desktop-lxde-vnc", "description": "Docker image", "star_count": 543,
         "is_official": false, "is_automated": true},
        {"name": "ubuntu", "description": long, "star_count": 12423, "is_official": true, "is_automated": false},
    ]});
    let index = Server::start("127.0.0.1", move |request, stream| match request.path.as_str() {
        path if path.starts_with("/v1/search?q=ubuntu&") => {
            answer(stream, "200 OK", &[("Content-Type", "application/json")], results.to_string().as_bytes());
        }
        _ => answer(stream, "404 Not Found", &[], b"{}"),
    });
    let engine = Engine::start();
    let term = format!("{}/ubuntu", index.host);
    let lines = [
        vec!["search", term.as_str()],
        vec!["search", "--no-trunc", &term],
        vec!["search", "--limit", "1", &term],
        vec!["search", "-f", "is-official=true", &term],
        vec!["search", "-f", "stars=1000", &term],
        vec!["search", "--format", "{{.Name}}: {{.StarCount}} {{.IsOfficial}}", &term],
    ];
    for line in lines {
        let [ours, theirs] = CLIENTS.map(|client| engine.run(client, &line));
        assert_eq!(ours.ok(), theirs.ok(), "{line:?}");
    }
    let found = engine.berth(&format!("search {term}"));
    let lines: Vec<&str> = found.ok().lines().collect();
    assert_eq!(words(lines[0]), ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]);
    // As the page has it.
    assert_eq!(words(lines[2]), ["ubuntu", "Ubuntu is a Debian-based Linux operating sys…", "12423", "[OK]"]);
    assert_eq!(words(lines[1]), ["dorowu/ubuntu-desktop-lxde-vnc", "Docker image", "543"]);
}
