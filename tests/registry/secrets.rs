//! Credentials: sealed in our file, shared with the real `docker` through its helper protocol, lost by nothing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use berth_tests::{Client, Engine, Outcome, berth_bin};

use crate::debian::Registry;
use crate::lies::Image;
use crate::mend::{damage, only};
use crate::server::{Server, answer};

/// An engine, and the credential helper in a folder of its own.
struct Place {
    engine: Engine,
    path: PathBuf,
}

impl Place {
    fn new(engine: Engine) -> Self {
        let path = engine.dir.join("bin");
        fs::create_dir_all(&path).unwrap();
        symlink(fs::canonicalize(berth_bin()).unwrap(), path.join("docker-credential-berth")).unwrap();
        Self { engine, path }
    }

    fn command(&self, client: Client, line: &str) -> Command {
        let mut command = self.engine.command(client, &line.split_whitespace().collect::<Vec<_>>());
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.path.display()));
        command
    }

    fn file(&self, name: &str) -> PathBuf {
        self.engine.dir.join("config").join(name)
    }

    fn key(&self) -> PathBuf {
        self.engine.dir.join("share/berth/credentials.key")
    }

    /// A call of the helper, not waited for.
    fn helper(&self, verb: &str, input: &str) -> Child {
        let mut command = Command::new(self.path.join("docker-credential-berth"));
        command.arg(verb).env("DOCKER_CONFIG", self.engine.dir.join("config"));
        command.env("XDG_DATA_HOME", self.engine.dir.join("share"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // One that refuses at once does not read.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child
    }

    fn ask(&self, verb: &str, input: &str) -> (bool, String) {
        let output = self.helper(verb, input).wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

fn with_input(mut command: Command, input: &str) -> Outcome {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn message(server: &str, secret: &str) -> String {
    serde_json::json!({"ServerURL": server, "Username": "u", "Secret": secret}).to_string()
}

#[test]
fn both_command_lines_read_what_either_has_kept() {
    let registry = Registry::closed();
    let host = &registry.host;
    let place = Place::new(Engine::with_images(&["busybox"]));
    place.engine.docker(&format!("tag busybox {host}/b:1")).ok();
    let [berth, docker] = [Client::Berth, Client::Docker];
    for (one, other) in [(berth, docker), (docker, berth)] {
        if one == docker {
            // What makes docker use the helper is what we have written; the secret is gone.
            fs::write(
                place.file("config.json"),
                serde_json::json!({"credHelpers": {host: "berth"}}).to_string(),
            )
            .unwrap();
        }
        let line = format!("login -u u --password-stdin {host}");
        let said = with_input(place.command(one, &line), "secret");
        assert!(said.ok().ends_with("Login Succeeded") && !said.stderr.contains("unencrypted"), "{said:?}");
        let config = fs::read_to_string(place.file("config.json")).unwrap();
        assert!(
            config.contains(&format!("\"{host}\": \"berth\"")) && !config.contains("dTpzZWNyZXQ"),
            "{config}"
        );
        let sealed = fs::read_to_string(place.file("berth-credentials.json")).unwrap();
        assert!(!sealed.contains("secret") && sealed.contains(host.as_str()), "{sealed}");
        for client in [one, other] {
            let pushed = berth_tests::run(&mut place.command(client, &format!("push {host}/b:1")));
            pushed.ok();
        }
        let out = berth_tests::run(&mut place.command(other, &format!("logout {host}")));
        assert!(out.ok().contains("Removing login credentials"), "{out:?}");
        assert_eq!(berth_tests::run(&mut place.command(one, &format!("push {host}/b:1"))).code, 1);
    }
    // Where docker would not find the helper, the user is told.
    let told =
        with_input(place.engine.command(berth, &["login", "-u", "u", "--password-stdin", host]), "secret");
    assert!(told.ok().ends_with("Login Succeeded") && told.stderr.contains("not in the PATH"), "{told:?}");
    // In clear only if asked: then as docker has it, and our file has nothing.
    let plain = with_input(
        place.command(berth, &format!("login --plain-text -u u --password-stdin {host}")),
        "secret",
    );
    assert!(
        plain.ok().ends_with("Login Succeeded") && plain.stderr.contains("stored unencrypted"),
        "{plain:?}"
    );
    let config = fs::read_to_string(place.file("config.json")).unwrap();
    assert!(config.contains("\"auth\": \"dTpzZWNyZXQ=\"") && !config.contains("credHelpers"), "{config}");
    assert_eq!(place.ask("list", "").1, "{}");
    berth_tests::run(&mut place.command(docker, &format!("push {host}/b:1"))).ok();
}

#[test]
fn log_ins_at_once_and_killed_ones_lose_nothing() {
    let place = Place::new(Engine::start());
    // Each writer has a registry of its own; all are there afterwards.
    let all: Vec<Child> =
        (0..12).map(|number| place.helper("store", &message(&format!("r{number}"), "s"))).collect();
    for child in all {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let users: serde_json::Value = serde_json::from_str(&place.ask("list", "").1).unwrap();
    assert_eq!(users.as_object().unwrap().len(), 12, "{users}");
    // Writers are killed at many moments; the file is whole each time and keeps what it had.
    for round in 0..25_u64 {
        let mut child = place.helper("store", &message("killed", &"x".repeat(20_000)));
        std::thread::sleep(std::time::Duration::from_micros(round * 200));
        child.kill().unwrap();
        child.wait().unwrap();
        let (found, text) = place.ask("get", "r3");
        assert!(found && text.contains("\"Secret\":\"s\""), "round {round}: {text}");
    }
    assert!(place.ask("store", &message("after", "s")).0);
}

#[test]
fn what_is_damaged_or_open_to_others_is_told_of() {
    let place = Place::new(Engine::start());
    assert!(place.ask("store", &message("one", "1")).0);
    assert!(place.ask("store", &message("two", "2")).0);
    assert_eq!(place.ask("get", "none"), (false, "credentials not found in native keychain".to_owned()));
    assert_eq!(
        fs::metadata(place.file("berth-credentials.json")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(fs::metadata(place.key()).unwrap().permissions().mode() & 0o777, 0o600);

    let path = place.file("berth-credentials.json");
    let mut kept: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    kept["entries"]["one"]["sealed"] = "AAAA".into();
    fs::write(&path, kept.to_string()).unwrap();
    let (found, text) = place.ask("get", "one");
    assert!(!found && text.contains("the credentials for one are damaged"), "{text}");
    assert!(place.ask("get", "two").0);
    assert!(place.ask("store", &message("one", "new")).0 && place.ask("get", "one").0);

    fs::set_permissions(place.key(), fs::Permissions::from_mode(0o640)).unwrap();
    let (found, text) = place.ask("get", "two");
    assert!(!found && text.contains("others may read this key (mode 0640"), "{text}");
    fs::set_permissions(place.key(), fs::Permissions::from_mode(0o600)).unwrap();

    fs::write(&path, "{").unwrap();
    let failed = berth_tests::run(&mut place.command(Client::Berth, "pull 127.0.0.1:1/x"));
    assert_eq!(failed.code, 1);
    let (found, text) = place.ask("store", &message("three", "3"));
    assert!(!found && text.contains("no file of credentials"), "{text}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{", "it is left for whoever mends it");
}

#[test]
fn a_token_that_stands_for_the_password_is_kept_instead_of_it() {
    let image = Image::new(1000);
    let server = Server::start("127.0.0.1", move |request, stream| {
        let host = request.headers["host"].clone();
        let authorization = request.headers.get("authorization").map(String::as_str);
        if let Some(query) = request.path.strip_prefix("/token?") {
            assert!(query.contains("account=u") && query.contains("offline_token=true"), "{query}");
            assert_eq!(authorization, Some("Basic dTpzZWNyZXQ="));
            return answer(stream, "200 OK", &[], br#"{"token":"t0ken","refresh_token":"refre5h"}"#);
        }
        if request.path == "/token" {
            assert_eq!(authorization, None, "the form says who asks");
            return answer(stream, "200 OK", &[], br#"{"access_token":"t0ken"}"#);
        }
        if authorization != Some("Bearer t0ken") {
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
            return answer(stream, "401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"{}");
        }
        image.serve(request, stream);
    });
    let place = Place::new(Engine::start());
    let host = &server.host;
    let said =
        with_input(place.command(Client::Berth, &format!("login -u u --password-stdin {host}")), "secret");
    assert!(said.ok().ends_with("Login Succeeded"), "{said:?}");
    let kept: serde_json::Value = serde_json::from_str(&place.ask("get", host).1).unwrap();
    assert_eq!((&kept["Username"], &kept["Secret"]), (&"<token>".into(), &"refre5h".into()));
    for client in [Client::Berth, Client::Docker] {
        berth_tests::run(&mut place.command(client, &format!("pull {host}/x:1"))).ok();
    }
    assert_eq!(server.seen().iter().filter(|request| request.path == "/token").count(), 2);
}

#[test]
fn what_is_damaged_is_fetched_anew_by_who_logged_in() {
    let registry = Registry::closed();
    let host = &registry.host;
    let place = Place::new(Engine::with_images(&["busybox"]));
    let berth = |line: &str| berth_tests::run(&mut place.command(Client::Berth, line));
    berth(&format!("tag busybox {host}/b:1")).ok();
    let log_in = place.command(Client::Berth, &format!("login -u u --password-stdin {host}"));
    with_input(log_in, "secret").ok();
    berth(&format!("push {host}/b:1")).ok();
    berth(&format!("rmi busybox {host}/b:1")).ok();
    berth(&format!("pull {host}/b:1")).ok();

    let store = place.engine.data_root().join("store");
    damage(&only(&store.join("layers")).join("diff/bin/busybox"));
    let blobs = fs::read_dir(store.join("blobs/sha256")).unwrap().flatten().map(|entry| entry.path());
    damage(&blobs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap());
    // Who asks without a name gets nothing, and is told why.
    let (_, told) = place.engine.http("POST", "/berth/fsck?repair=1", None);
    assert!(told.contains("no basic auth credentials"), "{told}");
    let mended = berth("system fsck --repair");
    assert!(mended.ok().contains(&format!("fetched anew from {host}/b@sha256:")), "{mended:?}");
    assert!(mended.ok().ends_with("all whole"), "{mended:?}");
    assert_eq!(berth(&format!("run --rm {host}/b:1 echo whole")).ok(), "whole");
}
