//! Images: names, removal by Docker's rules, archives in all their forms. Needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use berth_oci::image::Document;
use berth_oci::{Digest, Reference};
use berth_store::image::{Fetched, Import, Loaded, Present, Remove, Removed, User};
use berth_store::{Error, digest_of};
use common::{Fixture, config, directory, file, gzip, link, tar, tar_of, zstd};

const FORCE: Remove = Remove { force: true, prune: true };
const PRUNE: Remove = Remove { force: false, prune: true };

fn tag(fixture: &Fixture, id: &Digest, name: &str) {
    fixture.store.images().tag(id, &name.parse::<Reference>().unwrap()).unwrap();
}

fn remove(fixture: &Fixture, name: &str, how: Remove, users: &[(&str, bool)]) -> Result<Vec<String>, String> {
    let users = |_: &Digest| {
        users
            .iter()
            .map(|(container, running)| User { container: (*container).to_owned(), running: *running })
            .collect()
    };
    let removed = fixture.store.images().remove(name, how, &users).map_err(|error| error.to_string())?;
    Ok(removed
        .into_iter()
        .map(|one| match one {
            Removed::Untagged(name, _) => format!("Untagged: {name}"),
            Removed::Image(id) => format!("Deleted: {id}"),
            Removed::Layer(id) => format!("Deleted: {id}"),
        })
        .collect())
}

fn tags(fixture: &Fixture) -> Vec<Vec<String>> {
    fixture.store.images().list(true).into_iter().map(|listed| listed.tags).collect()
}

#[test]
fn images_are_found_by_name_digest_id_and_prefix() {
    let fixture = Fixture::new();
    let id = fixture.add("repo/app:1", &[&tar_of("f", b"x")]).unwrap();
    let images = fixture.store.images();
    for name in ["repo/app:1", "docker.io/repo/app:1", id.as_str(), id.hex(), id.short(), &id.as_str()[..15]]
    {
        assert_eq!(images.get(name).unwrap().id, id, "{name}");
    }
    let missing = |name: &str| match images.get(name) {
        Err(Error::NotFound(text)) => text,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(missing("repo/app"), "No such image: repo/app:latest");
    assert_eq!(missing("nope"), "No such image: nope:latest");
    let unknown = "0".repeat(64);
    assert_eq!(missing(&unknown), format!("No such image: sha256:{unknown}"));
    let digest = format!("app@sha256:{unknown}");
    assert_eq!(missing(&digest), format!("No such image: {digest}"));
    for (name, text) in [
        ("", "invalid reference format"),
        ("UPPER", "invalid reference format: repository name (library/UPPER) must be lowercase"),
        ("a b", "invalid reference format"),
    ] {
        match images.get(name) {
            Err(Error::Invalid(got)) => assert_eq!(got, text),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_name_moves_and_leaves_a_dangling_image() {
    let fixture = Fixture::new();
    let old = fixture.add("app:1", &[&tar_of("f", b"old")]).unwrap();
    let new = fixture.add("other:1", &[&tar_of("f", b"new")]).unwrap();
    tag(&fixture, &new, "app:1");
    let images = fixture.store.images();
    assert_eq!(images.get("app:1").unwrap().id, new);
    assert!(images.listed(&old).unwrap().tags.is_empty());
    assert!(images.get("app:1").unwrap().last_tagged.is_some());
    let fixture = fixture.reopen();
    let images = fixture.store.images();
    assert_eq!(images.listed(&new).unwrap().tags, ["app:1", "other:1"]);
    let pruned = images.prune(false, &|_| vec![], &|_| false).unwrap();
    assert_eq!(pruned.removed.iter().filter(|one| matches!(one, Removed::Image(_))).count(), 1);
    assert_eq!(pruned.space_reclaimed, 3);
    assert!(images.listed(&old).is_none());
}

#[test]
fn removal_by_name() {
    let fixture = Fixture::new();
    let layer = tar_of("f", b"x");
    let (id, chain) = (fixture.add("app:1", &[&layer]).unwrap(), digest_of(&layer));
    tag(&fixture, &id, "app:2");
    // One of two names: only the name goes, whoever uses the image.
    assert_eq!(remove(&fixture, "app:2", PRUNE, &[("c1", true)]).unwrap(), ["Untagged: app:2"]);
    let conflict = format!(
        "conflict: unable to remove repository reference \"app:1\" (must force) - container 0123456789ab is \
         using its referenced image {}",
        id.short()
    );
    assert_eq!(remove(&fixture, "app:1", PRUNE, &[("0123456789abcdef", false)]), Err(conflict));
    // By force the name goes and the image stays, dangling.
    assert_eq!(remove(&fixture, "app:1", FORCE, &[("c1", true)]).unwrap(), ["Untagged: app:1"]);
    assert_eq!(tags(&fixture), [[""; 0]]);
    tag(&fixture, &id, "app");
    assert_eq!(
        remove(&fixture, "app", PRUNE, &[]).unwrap(),
        ["Untagged: app:latest".to_owned(), format!("Deleted: {id}"), format!("Deleted: {chain}")]
    );
    assert_eq!(remove(&fixture, "app", PRUNE, &[]), Err("No such image: app:latest".to_owned()));
    assert_eq!(fixture.leftovers(), [""; 0]);
    assert_eq!(common::names_in(&fixture.root().join("layers")), [""; 0]);
    assert_eq!(common::names_in(&fixture.root().join("blobs/sha256")), [""; 0]);
}

#[test]
fn removal_by_id() {
    let fixture = Fixture::new();
    let id = fixture.add("app:1", &[&tar_of("f", b"x")]).unwrap();
    let short = id.short();
    let running = format!(
        "conflict: unable to delete {short} (cannot be forced) - image is being used by running container c1"
    );
    assert_eq!(remove(&fixture, short, FORCE, &[("c1", true)]), Err(running));
    let stopped = format!(
        "conflict: unable to delete {short} (must be forced) - image is being used by stopped container c1"
    );
    assert_eq!(remove(&fixture, short, PRUNE, &[("c1", false)]), Err(stopped));
    tag(&fixture, &id, "b:1");
    let several = format!(
        "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    );
    assert_eq!(remove(&fixture, short, PRUNE, &[]), Err(several));
    assert_eq!(
        remove(&fixture, short, FORCE, &[("c1", false)]).unwrap()[..3],
        ["Untagged: app:1".to_owned(), "Untagged: b:1".to_owned(), format!("Deleted: {id}")]
    );
}

#[test]
fn a_removed_image_stays_under_its_snapshot() {
    let fixture = Fixture::new();
    let id = fixture.add("app:1", &[&tar_of("f", b"x")]).unwrap();
    fixture.store.snapshots().prepare("c1", &id).unwrap();
    let removed = remove(&fixture, id.short(), FORCE, &[("c1", false)]).unwrap();
    assert_eq!(removed, ["Untagged: app:1".to_owned(), format!("Deleted: {id}")]);
    assert!(fixture.store.images().get("app:1").is_err());
    assert!(fixture.store.images().list(true).is_empty());
    let fixture = fixture.reopen();
    let mounts = fixture.store.snapshots().mounts("c1").unwrap();
    assert!(mounts[0].options[0].starts_with("lowerdir="));
    assert_eq!(common::names_in(&fixture.root().join("layers")).len(), 1);
    assert!(fixture.store.images().by_id(&id).is_some());
    assert!(fixture.store.snapshots().prepare("c2", &id).is_err());
    fixture.store.snapshots().remove("c1").unwrap();
    assert_eq!(fixture.leftovers(), [""; 0]);
    assert_eq!(common::names_in(&fixture.root().join("layers")), [""; 0]);
    assert!(fixture.store.images().by_id(&id).is_none());
}

#[test]
fn shared_layers_outlive_one_of_their_images() {
    let fixture = Fixture::new();
    let (base, top) = (tar_of("base", &[1; 100]), tar_of("top", &[2; 10]));
    let one = fixture.add("one", &[&base]).unwrap();
    let two = fixture.add("two", &[&base, &top]).unwrap();
    let (mut shared, layers) = fixture.store.images().shared_sizes();
    shared.sort();
    let mut expect = vec![(one.clone(), 100), (two.clone(), 100)];
    expect.sort();
    assert_eq!((shared, layers), (expect, 110));
    let blob = |id: &Digest| fixture.store.images().config_bytes(id).unwrap().len() as u64;
    let mut expect = vec![(one.clone(), 100 + blob(&one), 100), (two.clone(), 110 + blob(&two), 100)];
    expect.sort();
    let mut usage = fixture.store.images().disk_usage();
    usage.images.sort();
    assert_eq!((usage.images, usage.total), (expect, 110 + blob(&one) + blob(&two)));
    let removed = remove(&fixture, "one", PRUNE, &[]).unwrap();
    assert_eq!(removed, ["Untagged: one:latest".to_owned(), format!("Deleted: {one}")]);
    assert_eq!(fixture.store.images().get("two").unwrap().layer_sizes, [100, 10]);
    assert_eq!(remove(&fixture, "two", PRUNE, &[]).unwrap().len(), 4);
}

/// A docker-archive of one image.
fn docker_archive(config: &[u8], layers: &[(&str, &[u8])], tags: &str) -> Vec<u8> {
    let names: Vec<String> = layers.iter().map(|(name, _)| format!("{name:?}")).collect();
    let manifest =
        format!(r#"[{{"Config":"config.json","RepoTags":{tags},"Layers":[{}]}}]"#, names.join(","));
    let mut entries = vec![(file("config.json"), config)];
    entries.extend(layers.iter().map(|(name, data)| (file(name), *data)));
    entries.push((file("manifest.json"), manifest.as_bytes()));
    tar(&entries)
}

#[test]
fn archives_are_loaded_plain_and_compressed() {
    let (one, two) = (tar_of("one", &[1; 3000]), tar_of("two", &[2; 100_000]));
    let config = config(&[&one, &two], "");
    let plain = docker_archive(&config, &[("a/layer.tar", &one), ("b/layer.tar", &two)], r#"["app:1"]"#);
    let packed = docker_archive(&config, &[("a.tgz", &gzip(&one)), ("b.zst", &zstd(&two))], r#"["app:1"]"#);
    for archive in [&plain, &gzip(&plain), &zstd(&plain), &packed, &gzip(&packed)] {
        let fixture = Fixture::new();
        let loaded = fixture.load(archive).unwrap();
        assert_eq!(loaded, [Loaded::Name("app:1".to_owned(), digest_of(&config))]);
        let lower = fixture.lower(&digest_of(&config));
        assert_eq!(std::fs::read(lower[0].join("two")).unwrap(), [2; 100_000]);
        // Once more: nothing new.
        assert_eq!(fixture.load(archive).unwrap(), loaded);
        assert_eq!(fixture.leftovers(), [""; 0]);
    }
}

#[test]
fn names_of_archives() {
    let layer = tar_of("f", b"x");
    let archive = |mark: &str, tags: &str| docker_archive(&config(&[&layer], mark), &[("l", &layer)], tags);
    let id = |mark: &str| digest_of(&config(&[&layer], mark));
    let fixture = Fixture::new();
    assert_eq!(fixture.load(&archive("a", "null")).unwrap(), [Loaded::Id(id("a"))]);
    let two = r#"["app:1","b.io:5000/x/y:2"]"#;
    assert_eq!(
        fixture.load(&archive("a", two)).unwrap(),
        [Loaded::Name("app:1".to_owned(), id("a")), Loaded::Name("b.io:5000/x/y:2".to_owned(), id("a"))]
    );
    assert_eq!(
        fixture.load(&archive("b", r#"["app:1"]"#)).unwrap(),
        [Loaded::Renamed("app:1".to_owned(), id("a")), Loaded::Name("app:1".to_owned(), id("b"))]
    );
    for (tags, text) in [
        (r#"["Upper:1"]"#, "must be lowercase"),
        (r#"["app"]"#, "invalid tag \"app\""),
        (r#"["a b"]"#, "invalid reference format"),
    ] {
        let error = fixture.load(&archive("c", tags)).unwrap_err().to_string();
        assert!(error.contains(text), "{tags}: {error}");
    }
    assert!(fixture.store.images().by_id(&id("c")).is_none());
}

#[test]
fn layers_may_be_links_and_shared_in_an_archive() {
    let layer = tar_of("f", b"x");
    let config = config(&[&layer, &layer], "");
    let manifest =
        br#"[{"Config":"config.json","RepoTags":["app:1"],"Layers":["b/layer.tar","c/layer.tar"]}]"#;
    let archive = tar(&[
        (directory("a/"), b""),
        (file("a/layer.tar"), &layer),
        (file("a/VERSION"), b"1.0"),
        (file("a/json"), b"{}"),
        (link(berth_store::tar::Kind::Symlink, "b/layer.tar", "../a/layer.tar"), b""),
        (link(berth_store::tar::Kind::HardLink, "c/layer.tar", "b/layer.tar"), b""),
        (file("config.json"), &config),
        (file("manifest.json"), manifest),
        (file("repositories"), b"{}"),
    ]);
    let fixture = Fixture::new();
    assert_eq!(fixture.load(&archive).unwrap(), [Loaded::Name("app:1".to_owned(), digest_of(&config))]);
}

#[test]
fn bad_archives_are_refused_and_leave_nothing() {
    let (one, two) = (tar_of("one", b"1"), tar_of("two", b"2"));
    let good = config(&[&one], "");
    let windows = String::from_utf8(good.clone()).unwrap().replace("linux", "windows").into_bytes();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "other layer",
            docker_archive(&good, &[("l", &two)], "null"),
            "invalid diffID for layer 0: expected",
        ),
        ("no layer", docker_archive(&good, &[], "null"), "layers length mismatch: expected 1, got 0"),
        ("no config", docker_archive(b"", &[("l", &one)], "null"), "no image configuration"),
        ("broken config", docker_archive(b"{", &[("l", &one)], "null"), "malformed"),
        ("windows", docker_archive(&windows, &[("l", &one)], "null"), "cannot load windows image on linux"),
        ("no manifest", tar(&[(file("config.json"), &good), (file("l"), &one)]), "no image found in archive"),
        ("a root filesystem", one.clone(), "no image found in archive"),
        ("empty", vec![0; 1024], "no image found in archive"),
        ("nothing", vec![], "no image found in archive"),
        ("not a tar", vec![b'x'; 2000], "invalid tar header"),
        ("a path outside", docker_archive(&good, &[("../l", &one)], "null"), "leaves it"),
        ("a layer cut short", docker_archive(&good, &[("l", &gzip(&one)[..30])], "null"), "unexpected EOF"),
        (
            "both at once",
            tar(&[(file("index.json"), br#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{}}"#)]),
            "manifest has both manifests and layers",
        ),
    ];
    for (name, archive, why) in cases {
        let fixture = Fixture::new();
        let error = fixture.load(&archive).err().unwrap_or_else(|| panic!("{name}: loaded"));
        assert!(error.to_string().contains(why), "{name}: {error}");
        assert_eq!(error.kind(), berth_store::Kind::Invalid, "{name}");
        assert_eq!(fixture.leftovers(), [""; 0], "{name}");
        assert_eq!(common::names_in(&fixture.root().join("layers")), [""; 0], "{name}");
    }
}

#[test]
fn saved_archives_are_stable_and_complete() {
    let fixture = Fixture::new();
    let (base, top) = (tar_of("base", &[1; 100_000]), tar_of("top", b"t"));
    let one = fixture.add("one:1", &[&base]).unwrap();
    fixture.add("two:1", &[&base, &top]).unwrap();
    tag(&fixture, &one, "one:2");
    let saved = fixture.save(&["one", "two:1"]).unwrap();
    assert_eq!(fixture.save(&["one", "two:1"]).unwrap(), saved, "the same twice");
    let other = Fixture::new();
    let loaded = other.load(&saved).unwrap();
    let names: Vec<String> = loaded
        .iter()
        .map(|one| match one {
            Loaded::Name(name, _) => name.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["one:1", "one:2", "two:1"]);
    assert_eq!(other.save(&["one", "two:1"]).unwrap(), saved, "the same after a round trip");
    assert_eq!(fixture.save(&["one:1", "two"]).unwrap(), fixture.save(&["one:1", "two:1"]).unwrap());
    // By ID there is no name.
    let saved = fixture.save(&[one.short()]).unwrap();
    let other = Fixture::new();
    assert_eq!(other.load(&saved).unwrap(), [Loaded::Id(one)]);
    assert!(matches!(fixture.save(&["nope"]), Err(Error::NotFound(_))));
}

#[test]
fn what_a_save_did_not_compress_is_compressed_for_a_registry() {
    let fixture = Fixture::new();
    let name: Reference = "one:1".parse().unwrap();
    let id = fixture.add("one:1", &[&tar_of("base", &[1; 100_000])]).unwrap();
    let leaves = |fixture: &Fixture| {
        let outgoing = fixture.store.images().outgoing(&name).unwrap();
        let layers: Vec<_> =
            (0..outgoing.diff_ids().len()).map(|place| outgoing.layer(place).unwrap()).collect();
        (digest_of(&outgoing.manifest().unwrap().0), layers)
    };
    let other = Fixture::new();
    other.load(&fixture.save(&["one:1"]).unwrap()).unwrap();
    let (manifest, layers) = leaves(&other);
    assert!(layers[0].size < 1000 && layers[0].media_type.contains("gzip"), "{layers:?}");
    // Once it has a manifest, it keeps that one wherever it goes.
    let third = Fixture::new();
    third.load(&other.save(&["one:1"]).unwrap()).unwrap();
    assert_eq!(leaves(&third), (manifest, layers));
    assert_eq!(third.store.images().get("one:1").unwrap().id, id);
}

#[test]
fn layers_leave_as_the_blobs_that_they_were_before() {
    let fixture = Fixture::new();
    let (base, top) = (tar_of("base", &[1; 100_000]), tar_of("top", &[2; 100_000]));
    fixture.add("one:1", &[&base]).unwrap();
    fixture.add("two:1", &[&base, &top, &base]).unwrap();
    let images = fixture.store.images();
    let one = images.outgoing(&"one:1".parse().unwrap()).unwrap();
    let known = one.layer(0).unwrap();
    one.manifest().unwrap();
    drop(one);
    let two = images.outgoing(&"two:1".parse().unwrap()).unwrap();
    // What was compressed is read before the manifest makes it part of the store, and after.
    let read = |place: usize| {
        let mut bytes = Vec::new();
        two.open(place, 0).unwrap().read_to_end(&mut bytes).unwrap();
        digest_of(&bytes)
    };
    let digests: Vec<_> = (0..3).map(|place| two.layer(place).unwrap().digest).collect();
    assert_eq!((&digests[0], &digests[2]), (&known.digest, &known.digest));
    assert_eq!((0..3).map(read).collect::<Vec<_>>(), digests);
    let (manifest, _) = two.manifest().unwrap();
    assert_eq!((0..3).map(read).collect::<Vec<_>>(), digests);
    for digest in &digests {
        assert!(String::from_utf8_lossy(&manifest).contains(digest.as_str()));
    }
    assert!(matches!(two.layer(3), Err(Error::NotFound(_))));
    // They stay with either image.
    images.remove("one:1", Remove { force: true, prune: true }, &|_| vec![]).unwrap();
    drop(two);
    let two = images.outgoing(&"two:1".parse().unwrap()).unwrap();
    assert_eq!(two.manifest().unwrap().0, manifest);
    let mut bytes = Vec::new();
    two.open(0, 0).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(digest_of(&bytes), known.digest);
}

/// A registry may serve an image whose manifest names any blob for a layer that is here.
#[test]
fn no_image_comes_in_that_calls_a_blob_another_layer() {
    let fixture = Fixture::new();
    let (base, top) = (tar_of("base", &[1; 100_000]), tar_of("top", &[2; 100_000]));
    fixture.add("one:1", &[&base]).unwrap();
    let images = fixture.store.images();
    let diff_id = digest_of(&base);
    let manifest = |config: &[u8], blobs: &[&[u8]]| {
        let one = |kind: &str, bytes: &[u8]| {
            let (digest, size) = (digest_of(bytes), bytes.len());
            format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}}}"#)
        };
        let layers: Vec<_> = blobs.iter().map(|blob| one("layer.v1.tar+gzip", blob)).collect();
        let config = one("config.v1+json", config);
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","))
    };
    let parsed = |text: &str| serde_json::from_str::<berth_oci::Manifest>(text).unwrap().layers;
    let publish = |fetch: berth_store::image::Fetch, manifest: String, config: &[u8]| {
        let (manifest, config) = (manifest.into_bytes(), config.to_vec());
        let names = vec!["new:1".parse().unwrap()];
        fetch.publish(Fetched { manifest, manifest_type: String::new(), config, names })
    };

    // The blob is not here yet: what comes is looked at.
    let lie = config(&[&base], "liar");
    let larger = gzip(&[&base[..], &vec![0; 1 << 20]].concat());
    for (blob, why) in [
        (gzip(&tar_of("evil", b"e")), "as the image's configuration says"),
        (b"no gzip".to_vec(), "as the image's configuration says"),
        (larger, "it unpacks to more than the layer"),
        (gzip(&base)[..100].to_vec(), "unexpected EOF"),
    ] {
        let layers = parsed(&manifest(&lie, &[&blob]));
        let fetch = images.fetch().unwrap();
        assert_eq!(fetch.present(&layers[0], &diff_id).unwrap(), Present::Unpacked);
        let error = fetch.blob(&layers[0], &diff_id, &blob[..]).unwrap_err();
        assert!(error.kind() == berth_store::Kind::Invalid && error.to_string().contains(why), "{error}");
    }

    // The blob is here, as another layer.
    let (own, other) = (gzip(&base), gzip(&top));
    let honest = config(&[&top], "honest");
    let text = manifest(&honest, &[&other]);
    let fetch = images.fetch().unwrap();
    fetch.layer(&parsed(&text)[0], &digest_of(&top), &other[..]).unwrap();
    publish(fetch, text, &honest).unwrap();
    let text = manifest(&lie, &[&other]);
    let fetch = images.fetch().unwrap();
    assert_eq!(fetch.present(&parsed(&text)[0], &diff_id).unwrap(), Present::Unpacked);
    let error = publish(fetch, text, &lie).unwrap_err().to_string();
    assert!(error.contains("as the image's configuration says"), "{error}");

    // One blob as two layers, of which one is seen to be true.
    let twice = config(&[&top, &base], "twice");
    let text = manifest(&twice, &[&other, &other]);
    let error = publish(images.fetch().unwrap(), text, &twice).unwrap_err().to_string();
    assert!(error.contains("as the image's configuration says"), "{error}");

    // What is true comes in, once, and is known from then on.
    let both = config(&[&base, &top], "both");
    let text = manifest(&both, &[&own, &other]);
    let fetch = images.fetch().unwrap();
    let layers = parsed(&text);
    assert_eq!(fetch.present(&layers[1], &digest_of(&top)).unwrap(), Present::Whole);
    assert_eq!(fetch.present(&layers[0], &diff_id).unwrap(), Present::Unpacked);
    fetch.blob(&layers[0], &diff_id, &own[..]).unwrap();
    assert_eq!(fetch.present(&layers[0], &diff_id).unwrap(), Present::Whole);
    publish(fetch, text, &both).unwrap();
    assert_eq!(images.fetch().unwrap().present(&layers[0], &diff_id).unwrap(), Present::Whole);
    assert_eq!(images.outgoing(&"one:1".parse().unwrap()).unwrap().layer(0).unwrap().digest, digest_of(&own));
    assert!(fixture.leftovers().is_empty());
}

/// A disk may damage a layer's files, or what is known of them.
#[test]
fn a_damaged_layer_does_not_leave_and_a_damaged_checksum_holds_up_nothing() {
    let fixture = Fixture::new();
    let id = fixture.add("one:1", &[&tar_of("base", &[1; 3_000_000])]).unwrap();
    let name: Reference = "one:1".parse().unwrap();
    let images = fixture.store.images();
    let files = fixture.lower(&id).swap_remove(0);
    let record = files.parent().unwrap().join("layer.json");
    let whole = std::fs::read_to_string(&record).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let checksum = parsed["checksum"].as_str().unwrap();
    let leaves = || images.outgoing(&name).unwrap().layer(0).map(|layer| layer.digest);
    let expect = leaves().unwrap();
    for record_now in [
        whole.replace(checksum, &"0".repeat(32)),
        // As former versions wrote it.
        whole.replace(&format!(r#""checksum":"{checksum}","#), ""),
    ] {
        assert_ne!(record_now, whole);
        std::fs::write(&record, &record_now).unwrap();
        assert_eq!(leaves().unwrap(), expect);
    }
    std::fs::write(files.join("base"), vec![2; 3_000_000]).unwrap();
    for record_now in [whole.replace(&format!(r#""checksum":"{checksum}","#), ""), whole] {
        std::fs::write(&record, record_now).unwrap();
        let error = leaves().unwrap_err().to_string();
        assert!(error.contains("its tar has digest"), "{error}");
    }
}

#[test]
fn what_came_without_compression_leaves_without() {
    let layer = tar_of("one", &[1; 5000]);
    let config = config(&[&layer], "plain");
    let blob = |bytes: &[u8]| format!(r#""digest":"{}","size":{}"#, digest_of(bytes), bytes.len());
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json",{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar",{}}}]}}"#,
        blob(&config),
        blob(&layer)
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",{},"annotations":{{"io.containerd.image.name":"docker.io/library/plain:1"}}}}]}}"#,
        blob(manifest.as_bytes())
    );
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", digest_of(bytes).hex());
    let archive = tar(&[
        (file("index.json"), index.as_bytes()),
        (file(&path(manifest.as_bytes())), manifest.as_bytes()),
        (file(&path(&config)), &config),
        (file(&path(&layer)), &layer),
    ]);
    let fixture = Fixture::new();
    fixture.load(&archive).unwrap();
    let name: Reference = "plain:1".parse().unwrap();
    assert_eq!(fixture.store.images().outgoing(&name).unwrap().manifest().unwrap().0, manifest.as_bytes());
    let other = Fixture::new();
    other.load(&fixture.save(&["plain:1"]).unwrap()).unwrap();
    assert_eq!(other.store.images().outgoing(&name).unwrap().manifest().unwrap().0, manifest.as_bytes());
}

/// An OCI layout as registries' tools write it: compressed layers, its own manifest, no manifest.json.
fn oci_layout(name: &str) -> (Vec<u8>, Digest) {
    let (one, two) = (tar_of("one", &[1; 5000]), tar_of("two", &[2; 5000]));
    let (packed_one, packed_two) = (gzip(&one), zstd(&two));
    let config = config(&[&one, &two], "oci");
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", digest_of(bytes).hex());
    let descriptor = |kind: &str, bytes: &[u8]| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{}","size":{}}}"#,
            digest_of(bytes),
            bytes.len()
        )
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,  "config":{},"layers":[{},{}],"future":[1, 2]}}"#,
        descriptor("config.v1+json", &config),
        descriptor("layer.v1.tar+gzip", &packed_one),
        descriptor("layer.v1.tar+zstd", &packed_two)
    );
    let mut first = descriptor("manifest.v1+json", manifest.as_bytes());
    if !name.is_empty() {
        first.pop();
        first += &format!(r#","annotations":{{"io.containerd.image.name":"{name}"}}}}"#);
    }
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{first}]}}"#);
    let archive = tar(&[
        (file("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#),
        (file(&path(&packed_one)), &packed_one),
        (file(&path(&packed_two)), &packed_two),
        (file(&path(&config)), &config),
        (file(&path(manifest.as_bytes())), manifest.as_bytes()),
        (file("index.json"), index.as_bytes()),
    ]);
    (archive, digest_of(manifest.as_bytes()))
}

#[test]
fn a_manifest_and_its_compressed_layers_survive() {
    let (archive, manifest) = oci_layout("docker.io/library/app:1");
    let fixture = Fixture::new();
    fixture.load(&archive).unwrap();
    let image = fixture.store.images().get("app:1").unwrap();
    assert_eq!(image.manifest.as_ref().unwrap().digest, manifest);
    let bytes = fixture.store.content().read(&manifest).unwrap();
    let Document::Manifest(document) = Document::parse(&bytes).unwrap() else { panic!() };
    for layer in &document.layers {
        assert_eq!(digest_of(&fixture.store.content().read(&layer.digest).unwrap()), layer.digest);
    }
    let saved = fixture.save(&["app:1"]).unwrap();
    let other = Fixture::new();
    other.load(&saved).unwrap();
    assert_eq!(other.store.images().get("app:1").unwrap().manifest.as_ref().unwrap().digest, manifest);
    remove(&fixture, "app:1", PRUNE, &[]).unwrap();
    assert_eq!(fixture.leftovers(), [""; 0]);
    assert_eq!(common::names_in(&fixture.root().join("blobs/sha256")), [""; 0]);
}

#[test]
fn lying_layouts_are_refused() {
    let (archive, _) = oci_layout("");
    let fixture = Fixture::new();
    assert!(matches!(fixture.load(&archive).unwrap()[..], [Loaded::Id(_)]));
    // The name of a blob is its digest: with another one's bytes it is refused.
    for (from, why) in [("future", "does not have its digest"), ("\"oci\"", "does not have its digest")] {
        let text = archive.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut lie = archive.clone();
        lie[text + 1] ^= 1;
        let fixture = Fixture::new();
        let error = fixture.load(&lie).unwrap_err().to_string();
        assert!(error.contains(why), "{from}: {error}");
        assert_eq!(fixture.leftovers(), [""; 0]);
    }
}

#[test]
fn imports_have_history_and_changes() {
    let fixture = Fixture::new();
    let import = Import {
        name: Some("imported".parse().unwrap()),
        message: "made by hand".to_owned(),
        changes: vec!["CMD [\"sh\"]".to_owned(), "EXPOSE 80".to_owned()],
        platform: Some("linux/arm64".parse().unwrap()),
        version: "1.2.3".to_owned(),
    };
    let tar = tar_of("f", b"12345");
    let id = fixture.store.images().import(&mut &tar[..], &import).unwrap();
    let image = fixture.store.images().get("imported").unwrap();
    assert_eq!(image.id, id);
    assert_eq!(image.config.architecture, "arm64");
    assert_eq!(image.config.docker_version, "1.2.3");
    assert_eq!(image.config.config.as_ref().unwrap().cmd.as_deref().unwrap(), ["sh"]);
    let history = fixture.store.images().history(&image);
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].comment.as_str(), history[0].size), ("made by hand", 5));
    assert_eq!(history[0].id.as_ref(), Some(&id));
    assert!(history[0].created > 1_700_000_000);
    let bad = Import { changes: vec!["RUN x".to_owned()], ..Import::default() };
    let error = fixture.store.images().import(&mut &tar[..], &bad).unwrap_err();
    assert_eq!(error.to_string(), "RUN is not a valid change command");
}
