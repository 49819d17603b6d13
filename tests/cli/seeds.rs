//! The pages from which people learn containers, command by command and in their order, with both clients: what they
//! show of columns and words is what they get. Searching, pulling and building are other tests' matter.

use berth_tests::terminal::Terminal;
use berth_tests::{CLIENTS, Client, Engine, Outcome};

const PS: [&str; 7] = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
const IMAGES: [&str; 5] = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
const HISTORY: [&str; 5] = ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"];

/// A table that was printed: its rows by the places where the titles of the columns stand.
#[track_caller]
fn table<const N: usize>(outcome: &Outcome, titles: [&str; N]) -> Vec<[String; N]> {
    let text = outcome.ok();
    let header = text.lines().next().unwrap_or_default();
    let mut from = 0;
    let starts = titles.map(|title| {
        let at = from + header[from..].find(title).unwrap_or_else(|| panic!("no {title} in {header:?}"));
        from = at + title.len();
        at
    });
    let words: Vec<&str> = header.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(words, titles, "the titles of the columns");
    let rows = text.lines().skip(1).map(|line| {
        let characters: Vec<char> = line.chars().collect();
        let mut cells = [const { String::new() }; N];
        for (index, cell) in cells.iter_mut().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(characters.len()).min(characters.len());
            *cell = characters[starts[index].min(end)..end].iter().collect::<String>().trim().to_owned();
        }
        cells
    });
    rows.collect()
}

fn runner(engine: &Engine, client: Client) -> impl Fn(&str) -> Outcome {
    move |line| engine.run(client, &line.split_whitespace().collect::<Vec<_>>())
}

/// `run`, `ps`, `stop`, `rm` of a web server, then of several, then the removal of the image.
#[test]
fn web_servers_come_and_go() {
    let engine = Engine::with_images(&["httpd"]);
    for (client, port) in [(Client::Docker, 27_080), (Client::Berth, 27_090)] {
        let run = runner(&engine, client);
        let version = run("--version");
        let name = if client == Client::Docker { "Docker version " } else { "Berth version " };
        assert!(version.ok().starts_with(name), "{version:?}");
        assert!(table(&run("ps -a"), PS).is_empty());

        let id = run(&format!("run --name apa02 -d -p {port}:80 httpd")).ok().to_owned();
        let rows = table(&run("ps"), PS);
        let [[short, image, command, created, status, ports, names]] = rows.as_slice() else {
            panic!("one row, not {rows:?}");
        };
        assert_eq!([short.as_str(), image, names], [&id[..12], "httpd", "apa02"]);
        assert!(command.starts_with('"') && command.ends_with('"'), "{command}");
        assert!(created.ends_with(" ago") && status.starts_with("Up "), "{created} {status}");
        assert!(ports.starts_with(&format!("0.0.0.0:{port}->80/tcp")), "{ports}");
        assert_eq!(run("stop apa02").ok(), "apa02");
        assert!(table(&run("ps"), PS).is_empty());
        assert!(table(&run("ps -a"), PS)[0][4].starts_with("Exited ("));
        assert_eq!(run("rm apa02").ok(), "apa02");
        assert!(table(&run("ps -a"), PS).is_empty());

        for (name, port) in [("apa03", port + 1), ("apa04", port + 2), ("apa05", port + 3)] {
            run(&format!("run --name {name} -d -p {port}:80 httpd")).ok();
        }
        // The newest is the first.
        let names: Vec<String> = table(&run("ps"), PS).into_iter().map(|row| row[6].clone()).collect();
        assert_eq!(names, ["apa05", "apa04", "apa03"]);
        let refused = run("rm apa03");
        assert!(refused.fails(1).contains("cannot remove container"), "{refused:?}");
        assert_eq!(run("stop apa03 apa04 apa05").ok(), "apa03\napa04\napa05");
        assert_eq!(run("rm apa03 apa04 apa05").ok(), "apa03\napa04\napa05");
        let images = table(&run("image ls"), IMAGES);
        assert_eq!(images[0][..2], ["httpd", "latest"]);
        assert_eq!(images[0][2].len(), 12);
    }
    let removed = engine.berth("image rm httpd");
    assert!(removed.ok().starts_with("Untagged: httpd:latest\nDeleted: sha256:"), "{removed:?}");
    assert!(table(&engine.berth("images"), IMAGES).is_empty());
}

/// A shell in a container, an image made of it, and a look at both.
#[test]
fn an_image_is_made_of_a_container() {
    let engine = Engine::with_images(&["debian"]);
    engine.berth("tag debian ubuntu:14.04").ok();
    engine.berth("rmi debian").ok();
    for client in CLIENTS {
        let run = runner(&engine, client);
        let command = engine.command(client, &["run", "-i", "-t", "--name", "commit_test", "ubuntu:14.04"]);
        let mut shell = Terminal::spawn(&command, 24, 120);
        shell.expect("# ");
        shell.send("touch /first; ls /\r");
        shell.expect("first");
        shell.send("exit\r");
        assert_eq!(shell.wait(), 0);

        // Lists are in the order of the seconds in which images were made.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let made = engine.run(
            client,
            &["commit", "-a", "pkeugine", "-m", "my first commit", "commit_test", "commit_test:1.0.0"],
        );
        assert!(made.ok().starts_with("sha256:") && made.ok().len() == 71, "{made:?}");
        let rows = table(&run("images"), IMAGES);
        let names: Vec<String> = rows.iter().map(|row| format!("{}:{}", row[0], row[1])).collect();
        assert_eq!(names, ["commit_test:1.0.0", "ubuntu:14.04"], "the newest is the first");

        let inspect: serde_json::Value = serde_json::from_str(run("inspect ubuntu:14.04").ok()).unwrap();
        assert_eq!(inspect[0]["RepoTags"], serde_json::json!(["ubuntu:14.04"]));
        assert_eq!(inspect[0]["Os"], "linux");
        assert_eq!(inspect[0]["RootFS"]["Type"], "layers");
        let layers = |name: &str| {
            let line =
                engine.run(client, &["inspect", "--type", "image", "-f", "{{json .RootFS.Layers}}", name]);
            let json = line.stdout.trim().to_owned();
            serde_json::from_str::<Vec<String>>(&json).unwrap_or_else(|error| panic!("{error}: {line:?}"))
        };
        let (below, above) = (layers("ubuntu:14.04"), layers("commit_test:1.0.0"));
        assert_eq!(above[..below.len()], below, "the image's own layers, and one more");
        assert_eq!(above.len(), below.len() + 1);

        let history = table(&run("history commit_test:1.0.0"), HISTORY);
        assert_eq!(history[0][4], "my first commit");
        assert_eq!(history.len(), above.len(), "{history:?}");

        // An image that a container uses stays, unless somebody insists: then it is left without a name.
        let refused = run("rmi ubuntu:14.04");
        assert!(refused.fails(1).contains("conflict"), "{refused:?}");
        assert!(table(&run("images -f dangling=true"), IMAGES).is_empty());
        run("rm commit_test").ok();
        assert!(run("rmi commit_test:1.0.0").ok().starts_with("Untagged: commit_test:1.0.0"));
    }
}

/// Everything is stopped and removed at once, by what other commands print.
#[test]
fn everything_is_stopped_and_removed() {
    let engine = Engine::with_images(&["busybox"]);
    for client in CLIENTS {
        let run = runner(&engine, client);
        for name in ["one", "two"] {
            run(&format!("run -d --name {name} busybox sleep 600")).ok();
        }
        assert_eq!(run("exec one echo inside").ok(), "inside");
        let ids = run("container ls -q").ok().replace('\n', " ");
        run(&format!("stop -t 1 {ids}")).ok();
        assert_eq!(run("container ls -q").ok(), "");
        let ids = run("ps -aq").ok().replace('\n', " ");
        run(&format!("rm -f {ids}")).ok();
        assert!(table(&run("ps -a"), PS).is_empty());
    }
}
