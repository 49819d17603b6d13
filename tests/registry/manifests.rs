//! `manifest` beside the real `docker manifest`, artifacts, and who refers to an image.

use std::fs;
use std::process::Command;

use berth_tests::{CLIENTS, Client, Engine, Outcome, run};

use crate::debian::Registry;
use crate::server::{Server, answer};

/// A registry with one image twice: as `d:1` in Docker's formats, as `o:1` in OCI's.
fn filled() -> (Registry, Engine) {
    let registry = Registry::open();
    let engine = Engine::with_images(&["busybox"]);
    let archive = engine.dir.join("b.tar").display().to_string();
    engine.berth(&format!("save -o {archive} busybox")).ok();
    for (name, format) in [("o", "oci"), ("d", "v2s2")] {
        let to = format!("docker://{}/{name}:1", registry.host);
        let copy = ["copy", "--dest-tls-verify=false", "--format", format, "--dest-compress"];
        run(Command::new("skopeo").args(copy).args([&format!("docker-archive:{archive}"), &to])).ok();
    }
    (registry, engine)
}

fn by(engine: &Engine, client: Client, line: &str) -> Outcome {
    engine.run(client, &line.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn manifests_are_shown_and_listed_as_docker_does() {
    let (registry, engine) = filled();
    let host = &registry.host;
    let mut digests = Vec::new();
    for (number, client) in CLIENTS.into_iter().enumerate() {
        let list = format!("{host}/d:list{number}");
        let created =
            by(&engine, client, &format!("manifest create --insecure {list} {host}/d:1 {host}/o:1"));
        assert_eq!(created.ok(), format!("Created manifest list {list}"));
        // Lists are shared: each annotates, shows and refuses what the other has begun.
        let other = CLIENTS[1 - number];
        by(&engine, other, &format!("manifest annotate {list} {host}/d:1 --arch arm64 --variant v8")).ok();
        let shown: Vec<String> = CLIENTS
            .iter()
            .flat_map(|client| [(client, ""), (client, "-v"), (client, "-v ONE"), (client, "ONE")])
            .map(|(client, more)| {
                let line = match more.strip_suffix("ONE") {
                    Some(flags) => format!("manifest inspect {flags} {list} {host}/d:1"),
                    None => format!("manifest inspect {more} {list}"),
                };
                by(&engine, *client, &line).ok().to_owned()
            })
            .collect();
        assert_eq!(shown[..4], shown[4..]);
        assert!(shown[0].contains("\"variant\": \"v8\""), "{shown:?}");
        for (line, code) in [
            (format!("manifest create {list} {host}/d:1"), 1),
            (format!("manifest annotate {list} {host}/d:9 --os linux"), 1),
            (format!("manifest annotate {list} {host}/d:1 --arch nope"), 1),
            (format!("manifest rm {host}/none:1"), 1),
            (format!("manifest push {host}/none:1"), 1),
        ] {
            let [ours, theirs] = CLIENTS.map(|client| by(&engine, client, &line));
            assert_eq!(ours.fails(code), theirs.fails(code), "{line}");
        }
        let pushed = by(&engine, client, &format!("manifest push --purge --insecure {list}"));
        let lines: Vec<&str> = pushed.ok().lines().collect();
        assert!(lines[0].starts_with(&format!("Pushed ref {host}/d@sha256:")), "{lines:?}");
        digests.push(lines[1].to_owned());
        assert!(by(&engine, other, &format!("manifest rm {list}")).code != 0, "the list is purged");
    }
    assert_eq!(digests[0], digests[1], "both make the same document");
    for name in ["d:1", "o:1", "d:list0", "d:list1"] {
        for flags in ["", "-v"] {
            let line = format!("manifest inspect --insecure {flags} {host}/{name}");
            let [ours, theirs] = CLIENTS.map(|client| by(&engine, client, &line));
            assert_eq!(ours.ok(), theirs.ok(), "{line}");
        }
    }
    let missing =
        CLIENTS.map(|client| by(&engine, client, &format!("manifest inspect --insecure {host}/no:1")));
    assert_eq!(missing[0].fails(1), missing[1].fails(1));
    assert_eq!(missing[0].fails(1), format!("no such manifest: {host}/no:1"));

    // The list is pulled by platform; what it does not have is not.
    engine.docker(&format!("pull -q {host}/d:list0")).ok();
    engine.docker(&format!("rmi {host}/d:list0")).ok();
    let none = engine.docker(&format!("pull --platform linux/s390x {host}/d:list0"));
    assert!(none.fails(1).contains("no matching manifest for linux/s390x in the manifest list"), "{none:?}");
    // It says arm64, but what it holds is not that.
    let wrong = engine.docker(&format!("pull --platform linux/arm64 {host}/d:list0"));
    let expect = "does not match the specified platform: wanted linux/arm64, actual: linux/";
    assert!(wrong.fails(1).contains(expect), "{wrong:?}");
}

#[test]
fn artifacts_go_and_come_and_are_found_by_their_subject() {
    let (registry, engine) = filled();
    let host = &registry.host;
    let files = engine.dir.join("files");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("sbom.json"), "{\"packages\":[]}").unwrap();
    fs::write(files.join("large"), vec![7; 3 << 20]).unwrap();
    let (sbom, large) = (files.join("sbom.json"), files.join("large"));
    let kind = "application/spdx+json";
    let pushed = engine.berth(&format!(
        "artifact push --artifact-type {kind} --annotation a=b --subject {host}/d:1 {host}/d {}:{kind} {}",
        sbom.display(),
        large.display()
    ));
    let name = pushed.ok().to_owned();
    assert!(name.starts_with(&format!("{host}/d@sha256:")), "{pushed:?}");
    // The same once more is one referrer still; another one of another type is a second.
    fs::write(files.join("signature"), "x").unwrap();
    let signature = files.join("signature").display().to_string();
    for _ in 0..2 {
        engine.berth(&format!("artifact push --subject {host}/d:1 {host}/d:signature {signature}")).ok();
    }
    let all = engine.berth(&format!("artifact ls --format {{{{.Digest}}}} {host}/d:1"));
    assert_eq!(all.ok().lines().count(), 2, "{all:?}");
    let only = engine.berth(&format!("artifact ls --artifact-type {kind} {host}/d:1"));
    let lines: Vec<&str> = only.ok().lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("DIGEST ") && lines[1].starts_with(name.split_once('@').unwrap().1),
        "{lines:?}"
    );
    assert_eq!(engine.berth(&format!("artifact ls --format {{{{.Digest}}}} {host}/o:1")).ok(), "");

    // What other tools see is the same.
    let raw = run(Command::new("skopeo").args([
        "inspect",
        "--raw",
        "--tls-verify=false",
        &format!("docker://{name}"),
    ]));
    let manifest: serde_json::Value = serde_json::from_str(raw.ok()).unwrap();
    assert_eq!(manifest["artifactType"], kind);
    assert_eq!(manifest["layers"][0]["annotations"]["org.opencontainers.image.title"], "sbom.json");

    let to = engine.dir.join("fetched");
    let fetched = engine.berth(&format!("artifact pull -o {} {name}", to.display()));
    assert!(fetched.ok().ends_with(&name.replace(&format!("{host}/d@"), "Digest: ")), "{fetched:?}");
    for file in ["sbom.json", "large"] {
        assert_eq!(fs::read(to.join(file)).unwrap(), fs::read(files.join(file)).unwrap(), "{file}");
    }
    assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
    // As an image it is refused with a word about what it is, and an image is no artifact.
    for client in CLIENTS {
        let refused = engine.run(client, &["pull", &name]);
        assert!(
            refused.fails(1).contains(&format!("is no image but an artifact: unsupported media type {kind}")),
            "{refused:?}"
        );
    }
    let image = engine.berth(&format!("artifact pull {host}/d:1"));
    assert!(image.fails(1).contains("it is an image and no artifact"), "{image:?}");
    assert!(engine.berth(&format!("artifact push --subject {host}/o:1 {host}/d {signature}")).code == 1);
}

#[test]
fn a_registry_that_knows_referrers_is_asked_for_them() {
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let entry = |letter: &str, kind: &str| {
        serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2,
            "digest": format!("sha256:{}", letter.repeat(64)), "artifactType": kind})
    };
    let page =
        |entry| serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string();
    let pages = [page(entry("a", "x/one")), page(entry("b", "x/two"))];
    let server = Server::start("127.0.0.1", move |request, stream| {
        if !request.path.contains("/referrers/sha256:") {
            return answer(stream, "404 Not Found", &[], b"{}");
        }
        if request.path.contains("last=") {
            return answer(stream, "200 OK", &[("Content-Type", INDEX)], pages[1].as_bytes());
        }
        let next = format!(
            "<{}{}last=a>; rel=\"next\"",
            request.path,
            if request.path.contains('?') { '&' } else { '?' }
        );
        answer(stream, "200 OK", &[("Content-Type", INDEX), ("Link", &next)], pages[0].as_bytes());
    });
    let engine = Engine::start();
    let subject = format!("{}/x@sha256:{}", server.host, "c".repeat(64));
    let all = engine.berth(&format!("artifact ls --format {{{{.ArtifactType}}}} {subject}"));
    assert_eq!(all.ok(), "x/one\nx/two");
    // It does not filter, so we do.
    let one =
        engine.berth(&format!("artifact ls --artifact-type x/two --format {{{{.ArtifactType}}}} {subject}"));
    assert_eq!(one.ok(), "x/two");
}
