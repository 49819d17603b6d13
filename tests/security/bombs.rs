//! Archives that would fill the disk, the memory or the time: rows 13, 18 and 20 of the list of lessons, over every way
//! by which an archive comes in.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_tests::hostile::{self, HOSTILE};
use berth_tests::{Client, Engine, run, until};
use sha2::Digest as _;

fn digest(bytes: &[u8]) -> String {
    let hex: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Writes a tar of these files.
fn pack(engine: &Engine, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let folder = engine.dir.join(format!("{name}.d"));
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let archive = engine.dir.join(format!("{name}.tar"));
    run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&folder).arg(".")).ok();
    archive
}

/// The files of a docker-archive with one layer. Its diff ID is a lie, for nobody can say what a bomb unpacks to.
fn docker_archive(engine: &Engine, name: &str, layer: &[u8]) -> PathBuf {
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    });
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": ["evil:1"], "Layers": ["layer.tar"]}]);
    pack(
        engine,
        name,
        &[
            ("config.json", config.to_string().as_bytes()),
            ("manifest.json", manifest.to_string().as_bytes()),
            ("layer.tar", layer),
        ],
    )
}

#[track_caller]
fn nothing_is_left(engine: &Engine) {
    assert_eq!(engine.docker("images -aq").ok(), "");
    until("nothing is left in the store", 10, || {
        ["ingest", "layers", "trash", "fixups", "blobs/sha256"].iter().all(|name| {
            let folder = engine.data_root().join("store").join(name);
            fs::read_dir(folder).unwrap().next().is_none()
        })
    });
}

#[test]
fn hostile_layers_are_refused_by_import_and_load_and_leave_nothing() {
    let engine = Engine::start();
    hostile::layers(&engine.dir);
    for (name, why) in HOSTILE {
        let path = engine.dir.join(format!("{name}.tar.gz"));
        let imported = engine.run(Client::Docker, &["import", &path.display().to_string(), "evil:1"]);
        assert!(imported.fails(1).contains(why), "import {name}: {imported:?}");
        nothing_is_left(&engine);
        let archive = docker_archive(&engine, name, &fs::read(&path).unwrap());
        let loaded = engine.run(Client::Docker, &["load", "-i", &archive.display().to_string()]);
        assert!(loaded.fails(1).contains(why), "load {name}: {loaded:?}");
        nothing_is_left(&engine);
    }
    assert!(!Path::new("/tmp/berth-escaped").exists());
}

/// CVE-2021-41190: a document that is an index to one reader and an image to another.
#[test]
fn a_layout_with_a_document_of_two_kinds_is_refused() {
    let engine = Engine::start();
    let layer = vec![0; 1024];
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    })
    .to_string();
    let mut manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                   "digest": digest(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": digest(&layer), "size": layer.len()}],
    });
    for (both, refused) in [(false, false), (true, true)] {
        if both {
            manifest["manifests"] = serde_json::json!([]);
        }
        let manifest = manifest.to_string();
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(manifest.as_bytes()), "size": manifest.len(),
            "annotations": {"io.containerd.image.name": "docker.io/library/two:1"},
        }]});
        let blob = |bytes: &[u8]| format!("blobs/sha256/{}", digest(bytes).trim_start_matches("sha256:"));
        let archive = pack(
            &engine,
            &format!("layout-{both}"),
            &[
                ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
                ("index.json", index.to_string().as_bytes()),
                (&blob(manifest.as_bytes()), manifest.as_bytes()),
                (&blob(config.as_bytes()), config.as_bytes()),
                (&blob(&layer), &layer),
            ],
        );
        let loaded = engine.run(Client::Docker, &["load", "-i", &archive.display().to_string()]);
        if refused {
            assert!(loaded.fails(1).contains("has both manifests and layers"), "{loaded:?}");
            nothing_is_left(&engine);
        } else {
            loaded.ok();
            engine.docker("rmi two:1").ok();
        }
    }
}

/// CVE-2021-20291: a stream that is cut fails at once, and one that hangs holds up nobody.
#[test]
fn a_stream_that_is_cut_or_hangs_holds_up_nobody() {
    let engine = Engine::with_images(&["busybox"]);
    let archive = engine.dir.join("busybox.tar");
    engine.docker(&format!("save -o {} busybox", archive.display())).ok();
    engine.docker("rmi busybox").ok();
    let plain = fs::read(&archive).unwrap();
    for tool in ["gzip -1", "zstd -1", "cat"] {
        let packed = engine.dir.join("packed");
        let script = format!("{tool} <{} >{}", archive.display(), packed.display());
        run(Command::new("sh").args(["-c", &script])).ok();
        let bytes = fs::read(&packed).unwrap();
        fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
        for verb in ["load -i", "import"] {
            let done = std::sync::atomic::AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let line = format!("{verb} {}", packed.display());
                    let cut = engine.docker(&line);
                    assert_eq!(cut.code, 1, "{tool} {verb}: {cut:?}");
                    done.store(true, std::sync::atomic::Ordering::Relaxed);
                });
                until("a cut stream fails", 5, || done.load(std::sync::atomic::Ordering::Relaxed));
            });
        }
    }
    nothing_is_left(&engine);

    // One that sends half and then nothing, while others load, look, run and remove.
    let mut hanging = UnixStream::connect(engine.socket()).unwrap();
    let head = format!("POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", plain.len());
    hanging.write_all(head.as_bytes()).unwrap();
    hanging.write_all(&plain[..plain.len() / 2]).unwrap();
    let ingest = engine.data_root().join("store/ingest");
    until("it is under way", 10, || fs::read_dir(&ingest).unwrap().next().is_some());
    engine.docker(&format!("load -i {}", archive.display())).ok();
    assert_eq!(engine.docker("run --rm busybox echo in").ok(), "in");
    engine.docker("rmi busybox").ok();
    hanging.shutdown(std::net::Shutdown::Both).unwrap();
    let _ = hanging.read(&mut [0]);
    nothing_is_left(&engine);
}
