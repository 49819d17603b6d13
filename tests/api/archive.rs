//! Files of containers from outside: `docker cp`, `diff`, `export` and `commit`, in every state of a container.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use berth_tests::{Client, Engine, run};

/// A tar archive of what `script` makes in an empty directory.
fn tar(folder: &Path, script: &str) -> Vec<u8> {
    let made = folder.join(format!("made-{:?}", std::thread::current().id()));
    let _ = fs::remove_dir_all(&made);
    fs::create_dir_all(&made).unwrap();
    run(Command::new("sh").args(["-c", script]).current_dir(&made)).ok();
    let output = Command::new("tar").args(["-c", "."]).current_dir(&made).output().unwrap();
    fs::remove_dir_all(&made).unwrap();
    output.stdout
}

/// `PUT /containers/…/archive`; the status and the body.
fn put(engine: &Engine, container: &str, query: &str, body: &[u8]) -> (u16, String) {
    let mut stream = UnixStream::connect(engine.socket()).unwrap();
    let path = format!("/containers/{container}/archive?{query}");
    let length = body.len();
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.trim_end().to_owned())
}

fn names(archive: &Path) -> Vec<String> {
    let listed = run(Command::new("tar").arg("-tf").arg(archive));
    listed.ok().lines().map(str::to_owned).collect()
}

#[test]
fn files_are_copied_both_ways_in_every_state() {
    let engine = Engine::with_images(&["busybox"]);
    let local = |name: &str| engine.dir.join(name).display().to_string();
    fs::create_dir_all(local("tree/sub")).unwrap();
    fs::write(local("tree/sub/file"), "content").unwrap();
    std::os::unix::fs::symlink("sub/file", local("tree/link")).unwrap();
    let create = ["create", "--name", "box", "-v", "vol:/data", "busybox", "sleep", "300"];
    engine.run(Client::Docker, &create).ok();
    for (state, change) in [("created", ""), ("running", "start"), ("paused", "pause"), ("exited", "kill")] {
        if state == "exited" {
            engine.docker("unpause box").ok();
        }
        if !change.is_empty() {
            engine.run(Client::Docker, &[change, "box"]).ok();
        }
        let shown = engine.docker("inspect -f {{.State.Status}} box");
        assert_eq!(shown.ok(), state);
        for target in ["/", "/data", "/tmp"] {
            let inside = format!("box:{target}/{state}");
            engine.run(Client::Docker, &["cp", &local("tree"), &inside]).ok();
            let back = local(&format!("back-{state}{}", target.replace('/', "-")));
            engine.run(Client::Docker, &["cp", &inside, &back]).ok();
            let back = Path::new(&back);
            assert_eq!(fs::read_to_string(back.join("sub/file")).unwrap(), "content", "{inside}");
            assert_eq!(fs::read_link(back.join("link")).unwrap(), Path::new("sub/file"), "{inside}");
        }
        let followed = local(&format!("followed-{state}"));
        engine.run(Client::Docker, &["cp", "-L", &format!("box:/{state}/link"), &followed]).ok();
        assert_eq!(fs::read_to_string(&followed).unwrap(), "content");
    }
    // What was copied into the volume is in the volume, and what was copied while it ran is still there.
    let kept = engine.docker("run --rm -v vol:/v busybox ls /v");
    assert_eq!(kept.ok(), "created\nexited\npaused\nrunning");
    engine.docker("start box").ok();
    let read = engine.docker("exec box cat /created/sub/file /running/sub/file /exited/sub/file");
    assert_eq!(read.ok(), "contentcontentcontent");
    // What the container is given of the kernel is not copied.
    engine.run(Client::Docker, &["cp", "box:/", &local("whole")]).ok();
    assert!(fs::read_dir(local("whole/proc")).unwrap().next().is_none());
    assert!(!Path::new(&local("whole/dev/null")).exists());
}

#[test]
fn archives_tell_what_is_at_a_path() {
    let engine = Engine::with_images(&["busybox"]);
    let script = "mkdir -p /d/sub; echo hi >/d/f; ln -s /d /l; ln -s ../../etc/passwd /d/p; ln -s /no/x /broken; sleep 300";
    engine.run(Client::Docker, &["run", "-d", "--name", "box", "busybox", "sh", "-c", script]).ok();
    berth_tests::until("the script is done", 10, || engine.docker("exec box test -L /broken").code == 0);
    let list = |path: &str| {
        let file = engine.dir.join("out.tar");
        let url = format!("http://d/containers/box/archive?path={path}");
        let mut curl = Command::new("curl");
        curl.args(["-s", "--unix-socket"])
            .arg(engine.socket())
            .arg("-o")
            .arg(&file)
            .arg("-w")
            .arg("%{http_code}");
        let status = run(curl.arg(url)).ok().to_owned();
        if status == "200" { names(&file) } else { vec![status, fs::read_to_string(&file).unwrap()] }
    };
    let message = |status: &str, text: &str| vec![status.to_owned(), format!("{{\"message\":\"{text}\"}}\n")];
    assert_eq!(list("/d"), ["d/", "d/f", "d/p", "d/sub/"]);
    assert_eq!(list("/d/"), ["d/", "d/f", "d/p", "d/sub/"]);
    assert_eq!(list("/d/."), ["./", "./f", "./p", "./sub/"]);
    assert_eq!(list("/l"), ["l"]);
    assert_eq!(list("/l/"), ["l/", "l/f", "l/p", "l/sub/"]);
    assert_eq!(list("../d/f"), ["f"]);
    assert_eq!(list("/broken"), ["broken"]);
    assert_eq!(list("/d/f/"), message("500", "lstat /d/f/: not a directory"));
    assert_eq!(list("/nosuch"), message("404", "Could not find the file /nosuch in container box"));
    assert_eq!(
        list("/proc/version"),
        message("404", "Could not find the file /proc/version in container box")
    );
    assert_eq!(list(""), message("400", "bad parameter: pathcannot be empty"));
    let stat = |path: &str| {
        let script = format!(
            "curl -sI --unix-socket {} 'http://d/containers/box/archive?path={path}' | tr -d '\\r' | \
             sed -n 's/^x-docker-container-path-stat: //Ip' | base64 -d",
            engine.socket().display()
        );
        let text = run(Command::new("sh").args(["-c", &script])).ok().to_owned();
        let mut value: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"));
        assert!(value["mtime"].as_str().unwrap().ends_with('Z'), "{value}");
        value.as_object_mut().unwrap().remove("mtime");
        value.to_string()
    };
    assert_eq!(stat("/d/f"), r#"{"linkTarget":"","mode":420,"name":"f","size":3}"#);
    assert_eq!(stat("/d/p"), r#"{"linkTarget":"/etc/passwd","mode":134218239,"name":"p","size":16}"#);
    assert_eq!(stat("/broken"), r#"{"linkTarget":"/no/x","mode":134218239,"name":"broken","size":5}"#);
    assert!(stat("/d/").contains(r#""mode":2147484141,"name":"d""#));
}

#[test]
fn unpacking_follows_dockers_rules() {
    let engine = Engine::with_images(&["busybox"]);
    let start = ["run", "-d", "--name", "box", "-u", "nobody", "busybox", "sleep", "300"];
    engine.run(Client::Docker, &start).ok();
    let root = |line: &str| {
        let words: Vec<&str> = ["exec", "-u", "0", "box", "sh", "-c", line].to_vec();
        engine.run(Client::Docker, &words)
    };
    let tree = tar(&engine.dir, "mkdir dir; echo y > dir/y; ln -s /etc/passwd ln; chown -hR 1234:4321 .");
    assert_eq!(put(&engine, "box", "path=/tmp", &tree), (200, String::new()));
    assert_eq!(root("stat -c %u:%g /tmp/dir/y /tmp/ln").ok(), "1234:4321\n1234:4321");
    assert_eq!(put(&engine, "box", "path=/tmp&copyUIDGID=1", &tree).0, 200);
    assert_eq!(root("stat -c %u:%g /tmp/dir/y").ok(), "65534:65534");
    let refused = |query: &str, body: &[u8], status: u16, text: &str| {
        let expect = (status, format!("{{\"message\":\"{text}\"}}"));
        assert_eq!(put(&engine, "box", query, body), expect, "{query}");
    };
    refused("path=/nosuch", &tree, 404, "Could not find the file /nosuch in container box");
    refused("path=/etc/passwd", &tree, 500, "extraction point is not a directory");
    refused("path=/tmp", b"garbage", 500, "unexpected EOF");
    refused("path=/tmp", &tree[..700], 500, "unexpected EOF");
    refused("path=", &tree, 400, "bad parameter: pathcannot be empty");
    assert_eq!(put(&engine, "box", "path=/tmp", b"").0, 200);
    // A file where a directory is, and the other way round.
    let file = tar(&engine.dir, "echo f > dir");
    let text = r#"cannot overwrite directory \"/tmp/dir\" with non-directory \"/tmp\""#;
    refused("path=/tmp&noOverwriteDirNonDir=1", &file, 500, text);
    assert_eq!(put(&engine, "box", "path=/tmp", &file).0, 200);
    assert_eq!(root("cat /tmp/dir").ok(), "f");
    let text = r#"cannot overwrite non-directory \"/tmp/dir\" with directory \"/tmp\""#;
    refused("path=/tmp&noOverwriteDirNonDir=1", &tree, 500, text);
    // What is compressed is unpacked, too.
    let mut gzip = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    gzip.stdin.take().unwrap().write_all(&tree).unwrap();
    assert_eq!(put(&engine, "box", "path=/tmp", &gzip.wait_with_output().unwrap().stdout).0, 200);
    assert_eq!(root("cat /tmp/dir/y").ok(), "y");
    // A root that cannot be written, and volumes that can or cannot.
    let read_only = "run -d --name ro --read-only -v /v -v vol:/r:ro --tmpfs /t busybox sleep 300";
    engine.docker(read_only).ok();
    for round in ["running", "stopped"] {
        let answer = |path: &str| put(&engine, "ro", &format!("path={path}"), &tree);
        let said = |text: &str| (500, format!("{{\"message\":\"{text}\"}}"));
        assert_eq!(answer("/"), said("container rootfs is marked read-only"), "{round}");
        assert_eq!(answer("/r"), said("mounted volume is marked read-only"), "{round}");
        assert_eq!(answer("/v").0, 200, "{round}");
        engine.docker("kill ro");
    }
}

#[test]
fn changes_export_and_commit_agree() {
    let engine = Engine::with_images(&["busybox"]);
    let script = "echo hi > /new; rm /bin/cat; mkdir -p /a/b; touch /usr/x; ln -s x /a/l; chmod 700 /home";
    let words = ["run", "--name", "box", "-e", "A=1", "--label", "x=y", "busybox", "sh", "-c", script];
    engine.run(Client::Docker, &words).ok();
    let changed = "A /a\nA /a/b\nA /a/l\nC /bin\nD /bin/cat\nC /home\nA /new\nC /usr\nA /usr/x";
    assert_eq!(engine.docker("diff box").ok(), changed);
    engine.docker("create --name idle busybox true").ok();
    assert_eq!(engine.http("GET", "/containers/idle/changes", None), (200, "null\n".to_owned()));

    let archive = engine.dir.join("box.tar");
    engine.run(Client::Docker, &["export", "-o", &archive.display().to_string(), "box"]).ok();
    let exported = names(&archive);
    for name in ["new", "a/b/", "a/l", "usr/x", "bin/sh", "etc/passwd"] {
        assert!(exported.iter().any(|other| other == name), "{name} is missing");
    }
    assert!(!exported.iter().any(|name| name == "bin/cat"));

    let commit = [
        "commit",
        "-a",
        "Me <m@x>",
        "-m",
        "msg",
        "-c",
        "ENV B=2 A=3",
        "-c",
        "CMD [\"cat\", \"/new\"]",
        "-c",
        "EXPOSE 80",
        "-c",
        "LABEL l=m",
        "box",
        "made:1",
    ];
    let id = engine.run(Client::Docker, &commit).ok().to_owned();
    let shown = engine.docker("image inspect made:1");
    let shown: serde_json::Value = serde_json::from_str(shown.ok()).unwrap();
    let shown = &shown[0];
    assert_eq!(shown["Id"], id.as_str());
    assert_eq!((&shown["Author"], &shown["Comment"]), (&"Me <m@x>".into(), &"msg".into()));
    let config = &shown["Config"];
    assert_eq!(config["Env"], serde_json::json!(["A=3", "B=2"]));
    assert_eq!(config["Cmd"], serde_json::json!(["cat", "/new"]));
    assert_eq!(config["ExposedPorts"], serde_json::json!({"80/tcp": {}}));
    assert_eq!(config["Labels"], serde_json::json!({"l": "m", "x": "y"}));
    assert_eq!(shown["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    let history = engine.docker("history --no-trunc --format {{.CreatedBy}}|{{.Comment}} made:1");
    assert_eq!(history.ok().lines().next().unwrap(), format!("sh -c {script}|msg"));
    let listed = ["run", "--rm", "made:1", "sh", "-c", "ls -d /new /usr/x /a/b /bin/cat; ls -ld /home"];
    let listed = engine.run(Client::Docker, &listed);
    assert!(listed.stdout.starts_with("/a/b\n/new\n/usr/x\ndrwx------"), "{listed:?}");
    // Nothing changed: no further layer, and the running container is held meanwhile but goes on.
    engine.docker("run -d --name runs busybox sleep 300").ok();
    engine.docker("commit runs made:2").ok();
    let layers = engine.docker("image inspect -f {{len(.RootFS.Layers)}} made:2");
    assert!(layers.code != 0 || layers.ok() == "1");
    assert_eq!(engine.docker("inspect -f {{.State.Status}} runs").ok(), "running");
    let (status, answer) = engine.json("POST", "/commit?container=nosuch", None);
    assert_eq!((status, &answer["message"]), (404, &"No such container: nosuch".into()));
    let (status, answer) = engine.json("POST", "/commit?container=box&changes=FOO%20x", None);
    assert_eq!((status, &answer["message"]), (400, &"FOO is not a valid change command".into()));
}
