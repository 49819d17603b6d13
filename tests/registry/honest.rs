//! A real registry, the real `docker` and `skopeo` on the other side.

use std::io::Write as _;
use std::process::{Command, Stdio};

use berth_tests::{CLIENTS, Client, Engine, Outcome, run};

use crate::debian::Registry;

fn skopeo_digest(name: &str) -> String {
    let found =
        run(Command::new("skopeo").args(["inspect", "--tls-verify=false", &format!("docker://{name}")]));
    let value: serde_json::Value = serde_json::from_str(found.ok()).unwrap();
    value["Digest"].as_str().unwrap().to_owned()
}

fn digest_of(engine: &Engine, name: &str) -> String {
    let digests =
        engine.run(Client::Docker, &["image", "inspect", "--format", "{{json .RepoDigests}}", name]);
    let text = digests.stdout.clone();
    let value: Vec<String> = serde_json::from_str(text.trim()).unwrap_or_else(|_| panic!("{digests:?}"));
    let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
    let found = value.iter().find_map(|digest| digest.strip_prefix(&format!("{repository}@")));
    found.unwrap_or_else(|| panic!("{name} has no digest: {value:?}")).to_owned()
}

fn log_in(engine: &Engine, client: Client, host: &str, password: &str) -> Outcome {
    let mut command = engine.command(client, &["login", "-u", "u", "--password-stdin", host]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn an_image_travels_and_keeps_its_digest() {
    let registry = Registry::open();
    let host = &registry.host;
    let engine = Engine::with_images(&["busybox"]);
    let name = format!("{host}/team/busybox:1");
    engine.docker(&format!("tag busybox {name}")).ok();
    let pushed = engine.docker(&format!("push {name}"));
    assert!(
        pushed.ok().starts_with(&format!("The push refers to repository [{host}/team/busybox]\n")),
        "{pushed:?}"
    );
    assert!(pushed.stdout.contains(": Preparing\n") && pushed.stdout.contains(": Pushed\n"), "{pushed:?}");
    let digest = skopeo_digest(&name);
    assert!(pushed.stdout.contains(&format!("\n1: digest: {digest} size: ")), "{pushed:?}");
    assert_eq!(digest_of(&engine, &name), digest);
    // Again: nothing is sent.
    assert!(engine.docker(&format!("push {name}")).ok().contains(": Layer already exists"));

    let other = Engine::start();
    let pulled = other.docker(&format!("pull {name}"));
    let lines: Vec<&str> = pulled.ok().lines().collect();
    assert_eq!(lines.first(), Some(&"1: Pulling from team/busybox"));
    assert!(lines[1].ends_with(": Pulling fs layer"), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with(": Pull complete")), "{lines:?}");
    let last =
        [format!("Digest: {digest}"), format!("Status: Downloaded newer image for {name}"), name.clone()];
    assert_eq!(lines[lines.len() - 3..], last);
    assert_eq!(other.docker(&format!("run --rm {name} echo here")).ok(), "here");
    assert_eq!(digest_of(&other, &name), digest);
    let again = other.docker(&format!("pull {name}"));
    assert!(again.ok().contains(&format!("Status: Image is up to date for {name}")), "{again:?}");
    assert!(!again.stdout.contains(": Already exists"), "of what is here nothing is told: {again:?}");

    // Saved, loaded into a third engine and pushed to another registry it is still the same.
    let second = Registry::open();
    let third = Engine::start();
    let archive = other.dir.join("saved.tar").display().to_string();
    other.docker(&format!("save -o {archive} {name}")).ok();
    third.docker(&format!("load -i {archive}")).ok();
    let elsewhere = format!("{}/x/y:2", second.host);
    third.docker(&format!("tag {name} {elsewhere}")).ok();
    third.docker(&format!("push {elsewhere}")).ok();
    assert_eq!(skopeo_digest(&elsewhere), digest);
    // By digest.
    let by_digest = format!("{host}/team/busybox@{digest}");
    other.docker(&format!("rmi -f {name}")).ok();
    other.docker(&format!("pull {by_digest}")).ok();
    assert_eq!(other.docker(&format!("run --rm {by_digest} echo digest")).ok(), "digest");
}

/// The layers of what was pulled are known to the registry by the digests that they came with.
#[test]
fn an_image_made_of_a_pulled_one_sends_only_what_is_new() {
    let registry = Registry::open();
    let host = &registry.host;
    let maker = Engine::with_images(&["busybox"]);
    let archive = maker.dir.join("b.tar").display().to_string();
    maker.berth(&format!("save -o {archive} busybox")).ok();
    // Not compressed as we do it.
    let base = format!("{host}/library/base:1");
    let copy = ["copy", "--dest-tls-verify=false", "--dest-compress", "--dest-compress-level", "9"];
    let from = format!("docker-archive:{archive}");
    run(Command::new("skopeo").args(copy).args([&from, &format!("docker://{base}")])).ok();
    let layers = |name: &str| {
        let all = ["inspect", "--tls-verify=false", "--raw", &format!("docker://{name}")];
        let text = run(Command::new("skopeo").args(all)).ok().to_owned();
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    let engine = Engine::start();
    engine.docker(&format!("pull -q {base}")).ok();
    engine.docker(&format!("run --name it {base} touch /new")).ok();
    let made = format!("{host}/team/made:1");
    engine.docker(&format!("commit it {made}")).ok();
    let pushed = engine.docker(&format!("push {made}"));
    assert!(pushed.ok().contains(": Mounted from library/base\n"), "{pushed:?}");
    assert_eq!(pushed.stdout.matches(": Pushed\n").count(), 1, "{pushed:?}");
    let sent = layers(&made);
    assert_eq!((&sent[..1], sent.len()), (&layers(&base)[..], 2));
    // In the same repository it is there already; elsewhere it is the same.
    engine.docker(&format!("tag {made} {host}/library/base:2")).ok();
    let pushed = engine.docker(&format!("push {host}/library/base:2"));
    assert!(pushed.ok().contains(": Layer already exists\n"), "{pushed:?}");
    let second = Registry::open();
    let elsewhere = format!("{}/made:1", second.host);
    engine.docker(&format!("tag {made} {elsewhere}")).ok();
    engine.docker(&format!("rmi -f {base}")).ok();
    engine.docker(&format!("push {elsewhere}")).ok();
    assert_eq!(layers(&elsewhere), sent);
}

#[test]
fn what_skopeo_pushed_is_pulled() {
    let registry = Registry::open();
    let engine = Engine::with_images(&["busybox"]);
    let archive = engine.dir.join("b.tar").display().to_string();
    engine.berth(&format!("save -o {archive} busybox")).ok();
    for (kind, format) in [("oci", "oci"), ("v2s2", "v2s2")] {
        let name = format!("{}/{kind}:latest", registry.host);
        let copy = ["copy", "--dest-tls-verify=false", "--format", format, "--dest-compress"];
        let from = format!("docker-archive:{archive}");
        run(Command::new("skopeo").args(copy).args([&from, &format!("docker://{name}")])).ok();
        engine.docker(&format!("pull -q {name}")).ok();
        assert_eq!(digest_of(&engine, &name), skopeo_digest(&name));
        assert_eq!(engine.docker(&format!("run --rm {name} echo {kind}")).ok(), kind);
    }
}

#[test]
fn a_closed_registry_wants_the_right_password() {
    let registry = Registry::closed();
    let host = &registry.host;
    let engine = Engine::with_images(&["busybox"]);
    let name = format!("{host}/b:1");
    engine.docker(&format!("tag busybox {name}")).ok();
    let refused = engine.docker(&format!("push {name}"));
    assert!(refused.fails(1).contains("no basic auth credentials"), "{refused:?}");
    let refused = engine.docker(&format!("pull {name}"));
    assert!(refused.fails(1).contains("no basic auth credentials"), "{refused:?}");
    for client in CLIENTS {
        let wrong = log_in(&engine, client, host, "wrong");
        let expect = format!(
            "Error response from daemon: login attempt to http://{host}/v2/ failed with status: 401 Unauthorized"
        );
        assert!(wrong.fails(1).ends_with(&expect), "{wrong:?}");
        let right = log_in(&engine, client, host, "secret");
        assert!(right.ok().ends_with("Login Succeeded"), "{right:?}");
        engine.run(client, &["push", &name]).ok();
        engine.run(client, &["pull", &name]).ok();
        engine.run(client, &["logout", host]).ok();
        assert_eq!(engine.run(client, &["pull", &name]).code, 1);
    }
}

#[test]
fn a_registry_with_an_authority_of_its_own() {
    let (registry, authority) = Registry::with_tls();
    let host = &registry.host;
    let engine = Engine::with_images(&["busybox"]);
    let name = format!("{host}/b:1");
    engine.docker(&format!("tag busybox {name}")).ok();
    let folder = std::path::Path::new("/etc/berth/certs.d").join(host);
    std::fs::create_dir_all(&folder).unwrap();
    let certificate = folder.join("ca.crt");
    // An authority that is there is asked, though the address is one that may be insecure.
    let other = Registry::with_tls().1;
    std::fs::write(&certificate, other).unwrap();
    let refused = engine.docker(&format!("push {name}"));
    std::fs::write(&certificate, authority).unwrap();
    let pushed = engine.docker(&format!("push {name}"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(refused.fails(1).contains("certificate signed by unknown authority"), "{refused:?}");
    pushed.ok();
}

#[test]
fn a_mirror_stands_in_for_docker_hub() {
    let registry = Registry::open();
    let mirror = format!("http://{}", registry.host);
    let engine = Engine::start_with(&["--registry-mirror", &mirror]);
    engine.import("busybox");
    let name = format!("{}/library/ubuntu:14.04", registry.host);
    engine.docker(&format!("tag busybox {name}")).ok();
    engine.docker(&format!("push {name}")).ok();
    engine.docker(&format!("rmi {name} busybox")).ok();
    for client in CLIENTS {
        let ran = engine.run(client, &["run", "--rm", "ubuntu:14.04", "echo", "from the mirror"]);
        assert_eq!(ran.ok(), "from the mirror");
        assert!(ran.stderr.starts_with("Unable to find image 'ubuntu:14.04' locally\n"), "{ran:?}");
        assert!(ran.stderr.contains("14.04: Pulling from library/ubuntu\n"), "{ran:?}");
        assert!(ran.stderr.contains("Status: Downloaded newer image for ubuntu:14.04\n"), "{ran:?}");
        engine.docker("rmi ubuntu:14.04").ok();
    }
}

#[test]
fn what_is_not_there_is_told_in_dockers_words() {
    let registry = Registry::open();
    let host = &registry.host;
    let engine = Engine::start();
    for (line, expect) in [
        (
            format!("pull {host}/no:1"),
            format!("manifest for {host}/no:1 not found: manifest unknown: manifest unknown"),
        ),
        (
            format!("push {host}/no:1"),
            "An image does not exist locally with the tag: HOST/no".replace("HOST", host),
        ),
        ("pull 127.0.0.1:1/x".to_owned(), "dial tcp 127.0.0.1:1: connect: connection refused".to_owned()),
        (format!("pull {host}/UPPER"), "repository name (UPPER) must be lowercase".to_owned()),
    ] {
        let failed = engine.docker(&line);
        assert!(failed.fails(1).contains(&expect), "{line}: {failed:?}");
    }
}

#[test]
fn our_command_line_sends_fetches_and_searches() {
    let registry = Registry::open();
    let host = &registry.host;
    let engine = Engine::with_images(&["busybox"]);
    engine.berth(&format!("tag busybox {host}/team/one:1")).ok();
    let pushed = engine.berth(&format!("push {host}/team/one:1"));
    assert!(
        pushed.ok().lines().last().is_some_and(|line| line.starts_with("1: digest: sha256:")),
        "{pushed:?}"
    );
    assert_eq!(engine.berth(&format!("push -q {host}/team/one:1")).ok(), format!("{host}/team/one:1"));
    let found = engine.run(Client::Berth, &["search", &format!("{host}/one")]);
    let lines: Vec<&str> = found.ok().lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]);
    assert!(lines[1].starts_with("team/one "), "{lines:?}");
    engine.berth("rmi busybox").ok();
    engine.berth(&format!("rmi {host}/team/one:1")).ok();
    engine.berth(&format!("pull {host}/team/one:1")).ok();
    let checked = engine.berth("system fsck");
    assert!(
        checked.ok().starts_with("1 images, 1 layers, ") && checked.ok().ends_with(": all whole"),
        "{checked:?}"
    );
}

#[test]
fn all_tags_go_and_come() {
    let registry = Registry::open();
    let engine = Engine::with_images(&["busybox"]);
    let repository = format!("{}/many", registry.host);
    for tag in ["1", "2", "x-y_z"] {
        engine.docker(&format!("tag busybox {repository}:{tag}")).ok();
    }
    engine.docker(&format!("push -a {repository}")).ok();
    let other = Engine::start();
    other.docker(&format!("pull -a {repository}")).ok();
    let tags = other.docker(&format!("images --format {{{{.Tag}}}} {repository}"));
    let mut tags: Vec<&str> = tags.ok().lines().collect();
    tags.sort_unstable();
    assert_eq!(tags, ["1", "2", "x-y_z"]);
}

#[test]
fn a_registry_that_wants_to_see_a_certificate_sees_it() {
    let (registry, [authority, certificate, key]) = Registry::with_client_certificates();
    let host = &registry.host;
    let engine = Engine::with_images(&["busybox"]);
    let name = format!("{host}/b:1");
    engine.docker(&format!("tag busybox {name}")).ok();
    let folder = std::path::Path::new("/etc/berth/certs.d").join(host);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("ca.crt"), authority).unwrap();
    let without = engine.docker(&format!("push {name}"));
    std::fs::write(folder.join("client.cert"), certificate).unwrap();
    let keyless = engine.docker(&format!("push {name}"));
    std::fs::write(folder.join("client.key"), key).unwrap();
    let pushed = engine.docker(&format!("push {name}"));
    let pulled = engine.docker(&format!("pull {name}"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(without.fails(1).contains("remote error: tls: "), "{without:?}");
    assert!(keyless.fails(1).contains("missing or unusable key"), "{keyless:?}");
    pushed.ok();
    pulled.ok();
}

#[test]
fn a_registry_that_hands_on_is_a_mirror() {
    let registry = Registry::open();
    let mirror = Registry::mirror_of(&registry.host);
    let name = format!("{}/team/b:1", registry.host);
    let digest = {
        let engine = Engine::with_images(&["busybox"]);
        engine.docker(&format!("tag busybox {name}")).ok();
        engine.docker(&format!("push {name}")).ok();
        skopeo_digest(&name)
    };
    let config = std::env::temp_dir().join(format!("berth-hands-on-{}.json", std::process::id()));
    let registries = serde_json::json!({&registry.host: {"mirrors": [format!("http://{}", mirror.host)]}});
    std::fs::write(&config, serde_json::json!({"registries": registries}).to_string()).unwrap();
    let engine = Engine::start_with(&["--config-file", &config.display().to_string()]);
    engine.docker(&format!("pull {name}")).ok();
    assert_eq!(digest_of(&engine, &name), digest);
    engine.docker(&format!("rmi {name}")).ok();
    // The mirror has all of it now: nobody misses the registry.
    drop(registry);
    engine.docker(&format!("pull {name}")).ok();
    assert_eq!(digest_of(&engine, &name), digest);
    std::fs::remove_file(config).unwrap();
}

#[test]
fn a_certificate_that_is_its_own_authority_will_do() {
    let (registry, certificate) = Registry::self_signed();
    let host = &registry.host;
    let engine = Engine::with_images(&["busybox"]);
    let name = format!("{host}/b:1");
    engine.docker(&format!("tag busybox {name}")).ok();
    let folder = std::path::Path::new("/etc/berth/certs.d").join(host);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("ca.crt"), certificate).unwrap();
    let pushed = engine.docker(&format!("push {name}"));
    std::fs::remove_dir_all(&folder).unwrap();
    pushed.ok();
}
