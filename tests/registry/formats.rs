//! Kinds of images: several platforms, layers in zstd, layers from elsewhere; and other programs that read what we push.

use std::fs;
use std::process::Command;

use berth_tests::{CLIENTS, Client, Engine, run};

use crate::debian::Registry;
use crate::lies::{Image, digest};
use crate::server::{Server, answer};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A manifest and a configuration.
type Pair = (Vec<u8>, Vec<u8>);

/// Images for these platforms, all with one layer, and the index that names them.
fn several(platforms: &[(&str, &str)]) -> (Image, Vec<Pair>, Vec<u8>) {
    let base = Image::new(1000);
    let config: serde_json::Value = serde_json::from_slice(&base.config).unwrap();
    let mut images = Vec::new();
    let mut entries = Vec::new();
    for (architecture, variant) in platforms {
        let mut config = config.clone();
        config["architecture"] = (*architecture).into();
        config["variant"] = (*variant).into();
        let config = config.to_string().into_bytes();
        let manifest = Image::manifest(&config, &base.layer);
        entries.push(
            serde_json::json!({"mediaType": MANIFEST, "digest": digest(&manifest), "size": manifest.len(),
            "platform": {"os": "linux", "architecture": architecture, "variant": variant}}),
        );
        images.push((manifest, config));
    }
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    (base, images, index.to_string().into_bytes())
}

#[test]
fn the_image_of_the_platform_is_pulled() {
    let host = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let (base, images, index) =
        several(&[("arm", "v6"), ("arm", "v7"), ("s390x", ""), (host, ""), ("riscv64", "")]);
    let served = images.clone();
    let server = Server::start("127.0.0.1", move |request, stream| {
        let known = served.iter().flat_map(|(manifest, config)| [(MANIFEST, manifest), ("", config)]);
        let found = known.into_iter().find(|(_, bytes)| request.path.ends_with(&digest(bytes)));
        match found {
            Some((kind, bytes)) => answer(stream, "200 OK", &[("Content-Type", kind)], bytes),
            None if request.path.ends_with("/tags/list") => {
                answer(stream, "200 OK", &[], br#"{"name":"x","tags":["one","two"]}"#);
            }
            None if request.path.contains("/manifests/") => {
                answer(stream, "200 OK", &[("Content-Type", INDEX)], &index);
            }
            None => base.serve(request, stream),
        }
    });
    let engine = Engine::start();
    let name = format!("{}/x:1", server.host);
    let id = |place: usize| digest(&images[place].1);
    for client in CLIENTS {
        for (flags, place) in [
            ("", 3),
            ("--platform linux/arm/v6", 0),
            ("--platform linux/arm", 1),
            // What is older runs there too.
            ("--platform linux/arm/v8", 1),
            ("--platform s390x", 2),
            ("--platform linux/riscv64", 4),
        ] {
            let quiet =
                engine.run(client, &format!("pull -q {flags} {name}").split_whitespace().collect::<Vec<_>>());
            assert_eq!(quiet.ok(), name, "{flags}");
            let found = engine.run(client, &["image", "inspect", "-f", "{{.Id}}", &name]);
            assert_eq!(found.ok(), id(place), "{flags}");
        }
        for (platform, expect) in [
            ("linux/mips64", "no matching manifest for linux/mips64 in the manifest list entries"),
            ("linux/x/y/z", "\"linux/x/y/z\": cannot parse platform specifier"),
            ("windows", "no matching manifest for windows/"),
        ] {
            let refused = engine.run(client, &["pull", "--platform", platform, &name]);
            assert!(refused.fails(1).contains(expect), "{platform}: {refused:?}");
        }
        // All tags, and what cannot be said with that.
        let repository = format!("{}/x", server.host);
        let all = engine.run(client, &["pull", "-a", &repository]);
        for tag in ["one", "two"] {
            assert!(all.ok().contains(&format!("{tag}: Pulling from x\n")), "{all:?}");
        }
        let refused = engine.run(client, &["pull", "-a", &name]);
        assert_eq!(refused.fails(1), "tag can't be used with --all-tags/-a");
        engine.run(client, &["rmi", "-f", &id(3), &id(4)]);
    }
}

#[test]
fn foreign_layers_come_from_where_the_manifest_says_and_are_not_pushed() {
    let image = Image::new(50_000);
    let bytes = image.layer.clone();
    let elsewhere = Server::start("127.0.0.2", move |request, stream| {
        assert!(!request.headers.contains_key("authorization"));
        match request.path.as_str() {
            "/files/layer" => answer(stream, "200 OK", &[], &bytes),
            _ => answer(stream, "404 Not Found", &[], b""),
        }
    });
    let url = |path: &str| format!("http://{}/files/{path}", elsewhere.host);
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest["layers"][0]["mediaType"] =
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip".into();
    manifest["layers"][0]["urls"] = serde_json::json!([url("gone"), url("layer")]);
    let served = Image { manifest: manifest.to_string().into_bytes(), ..image.clone() };
    let server = Server::start("127.0.0.1", move |request, stream| match served.is_layer(request) {
        true => answer(stream, "404 Not Found", &[], b"{}"),
        false => served.serve(request, stream),
    });
    let engine = Engine::start();
    engine.docker(&format!("pull {}/x:1", server.host)).ok();
    assert_eq!(elsewhere.seen().len(), 2);
    let registry = Registry::open();
    let name = format!("{}/x:1", registry.host);
    engine.docker(&format!("tag {}/x:1 {name}", server.host)).ok();
    let pushed = engine.docker(&format!("push {name}"));
    assert!(pushed.stdout.contains(": Skipped foreign layer\n"), "{pushed:?}");
}

#[test]
fn layers_in_zstd_keep_their_digests_on_all_sides() {
    let registry = Registry::open();
    let engine = Engine::with_images(&["busybox"]);
    let archive = engine.dir.join("b.tar").display().to_string();
    engine.berth(&format!("save -o {archive} busybox")).ok();
    let name = format!("{}/zstd:1", registry.host);
    let copy = ["copy", "--dest-tls-verify=false", "--format", "oci", "--dest-compress-format", "zstd"];
    let (from, to) = (format!("docker-archive:{archive}"), format!("docker://{name}"));
    run(Command::new("skopeo").args(copy).args(["--dest-compress", &from, &to])).ok();
    let raw = |name: &str| {
        let name = format!("docker://{name}");
        run(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &name])).ok().to_owned()
    };
    assert!(raw(&name).contains("tar+zstd"), "{}", raw(&name));
    let other = Engine::start();
    other.docker(&format!("pull {name}")).ok();
    assert_eq!(other.docker(&format!("run --rm {name} echo zstd")).ok(), "zstd");
    let second = Registry::open();
    let elsewhere = format!("{}/z:2", second.host);
    other.docker(&format!("tag {name} {elsewhere}")).ok();
    other.docker(&format!("push {elsewhere}")).ok();
    assert_eq!(raw(&elsewhere), raw(&name), "byte for byte what came");
}

#[test]
fn podman_and_skopeo_read_what_was_pushed() {
    let registry = Registry::open();
    let engine = Engine::with_images(&["busybox"]);
    let name = format!("{}/team/b:1", registry.host);
    engine.docker(&format!("tag busybox {name}")).ok();
    let pushed = engine.docker(&format!("push {name}"));
    let digest = pushed.ok().split("digest: ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let root = engine.dir.join("podman");
    let podman = |args: &[&str]| {
        let mut command = Command::new("podman");
        let folder = |name: &str| root.join(name).display().to_string();
        command.args(["--root", &folder("root"), "--runroot", &folder("run"), "--storage-driver", "vfs"]);
        run(command.args(args))
    };
    podman(&["pull", "-q", "--tls-verify=false", &name]).ok();
    assert_eq!(podman(&["image", "inspect", "--format", "{{.Digest}}", &name]).ok(), digest);
    let id = podman(&["image", "inspect", "--format", "{{.Id}}", &name]);
    let ours = engine.run(Client::Docker, &["image", "inspect", "--format", "{{.Id}}", &name]);
    assert_eq!(format!("sha256:{}", id.ok()), ours.ok());
    podman(&["rmi", "-f", &name]).ok();
    // A layout on disk has the same digests, and comes back by `load` as it was.
    let layout = engine.dir.join("layout").display().to_string();
    let from = format!("docker://{name}");
    let copy = [
        "copy",
        "-q",
        "--src-tls-verify=false",
        "--preserve-digests",
        &from,
        &format!("oci:{layout}:{name}"),
    ];
    run(Command::new("skopeo").args(copy)).ok();
    assert!(fs::read_to_string(format!("{layout}/index.json")).unwrap().contains(&digest));
    let tar = engine.dir.join("layout.tar").display().to_string();
    run(Command::new("tar").args(["-C", &layout, "-cf", &tar, "."])).ok();
    let other = Engine::start();
    other.docker(&format!("load -i {tar}")).ok();
    let second = Registry::open();
    let elsewhere = format!("{}/again:1", second.host);
    other.docker(&format!("tag {name} {elsewhere}")).ok();
    let pushed = other.docker(&format!("push {elsewhere}"));
    assert!(pushed.ok().contains(&digest), "{pushed:?}, not {digest}");
}

#[test]
fn a_push_for_a_platform_sends_no_other() {
    let registry = Registry::open();
    let engine = Engine::with_images(&["busybox"]);
    let name = format!("{}/b:1", registry.host);
    engine.docker(&format!("tag busybox {name}")).ok();
    let (own, other) = if cfg!(target_arch = "aarch64") { ("arm64", "amd64") } else { ("amd64", "arm64") };
    for client in CLIENTS {
        let refused = engine.run(client, &["push", "--platform", &format!("linux/{other}"), &name]);
        let expect =
            format!("does not match the specified platform: wanted linux/{other}, actual: linux/{own}");
        assert!(refused.fails(1).contains(&expect), "{refused:?}");
        assert_eq!(engine.run(client, &["pull", &name]).code, 1, "nothing was sent");
    }
    for client in CLIENTS {
        engine.run(client, &["push", "--platform", &format!("linux/{own}"), &name]).ok();
    }
}
