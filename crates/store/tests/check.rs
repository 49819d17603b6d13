//! What the store holds is checked byte for byte, and mended from where it came. Needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::Write as _;

use berth_store::check::Finding;
use berth_store::image::User;
use berth_store::{Content, Store};
use common::{Fixture, config, file, gzip, tar};

fn nobody(_: &berth_oci::Digest) -> Vec<User> {
    Vec::new()
}

fn findings(store: &Store) -> Vec<Finding> {
    store.check(&|_| {}).unwrap().findings
}

/// An image with one compressed layer, and the archive it came in.
fn loaded() -> (Fixture, berth_oci::Digest, Vec<u8>) {
    let fixture = Fixture::new();
    let layer = tar(&[(file("a/large"), &[7; 200_000]), (file("b"), b"small")]);
    let compressed = gzip(&layer);
    let manifest = br#"[{"Config":"c.json","RepoTags":["first:1"],"Layers":["layer"]}]"#;
    let archive = tar(&[
        (file("layer"), &compressed),
        (file("c.json"), &config(&[&layer], "")),
        (file("manifest.json"), manifest),
    ]);
    fixture.store.images().load(&archive[..], &|_| {}).unwrap();
    let id = fixture.store.images().get("first:1").unwrap().id.clone();
    (fixture, id, layer)
}

#[test]
fn a_whole_store_has_no_findings() {
    let (fixture, _, _) = loaded();
    let checked = fixture.store.check(&|_| {}).unwrap();
    assert_eq!(checked.findings, []);
    assert_eq!((checked.images, checked.layers), (1, 1));
    assert!(checked.blobs >= 1 && checked.bytes > 200_000, "{checked:?}");
}

#[test]
fn a_damaged_layer_is_found_and_unpacked_anew() {
    let (fixture, id, layer) = loaded();
    let diff_id = fixture.store.images().by_id(&id).unwrap().config.rootfs.diff_ids[0].clone();
    let path = fixture.lower(&id).swap_remove(0).join("a/large");
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[100_000] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let found = findings(&fixture.store);
    assert!(
        matches!(&found[..], [Finding::Layer { diff_id: found, images, .. }] if *found == diff_id && images[..] == [id.clone()]),
        "{found:?}"
    );
    // Not with other bytes, and not under a running container.
    let other = tar(&[(file("c"), b"other")]);
    assert!(fixture.store.mend_layer(&diff_id, Box::new(&other[..]), &nobody).is_err());
    let running = |_: &berth_oci::Digest| vec![User { container: "c".to_owned(), running: true }];
    assert!(fixture.store.mend_layer(&diff_id, Box::new(&layer[..]), &running).is_err());
    assert_eq!(findings(&fixture.store).len(), 1);
    fixture.store.mend_layer(&diff_id, Box::new(&layer[..]), &nobody).unwrap();
    assert_eq!(findings(&fixture.store), []);
    assert_eq!(std::fs::read(&path).unwrap(), [7; 200_000]);
    let fixture = fixture.reopen();
    assert_eq!(findings(&fixture.store), []);
    // One that is gone altogether.
    std::fs::remove_dir_all(fixture.lower(&id).swap_remove(0).parent().unwrap()).unwrap();
    assert_eq!(findings(&fixture.store).len(), 1);
    fixture.store.mend_layer(&diff_id, Box::new(&layer[..]), &nobody).unwrap();
    assert_eq!(findings(&fixture.store), []);
}

#[test]
fn a_damaged_blob_is_found_and_written_anew() {
    let (fixture, id, _) = loaded();
    let content: &Content = fixture.store.content();
    let good = content.read(&id).unwrap();
    let path = fixture.root().join("blobs/sha256").join(id.hex());
    let mut damaged = good.clone();
    damaged[5] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let found = findings(&fixture.store);
    assert!(matches!(&found[..], [Finding::Blob { digest, .. }] if *digest == id), "{found:?}");
    assert!(fixture.store.mend_blob(&id, &mut &damaged[..]).is_err());
    assert_eq!(findings(&fixture.store).len(), 1);
    fixture.store.mend_blob(&id, &mut &good[..]).unwrap();
    assert_eq!(findings(&fixture.store), []);
}

#[test]
fn what_nothing_needs_is_named_and_discarded() {
    let (fixture, _, _) = loaded();
    std::fs::create_dir(fixture.root().join("layers/0123456789abcdef01234567")).unwrap();
    let mut blob = std::fs::File::create(fixture.root().join("blobs/sha256").join("ab".repeat(32))).unwrap();
    blob.write_all(b"orphan").unwrap();
    let found = findings(&fixture.store);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|finding| matches!(finding, Finding::Orphan { .. })), "{found:?}");
    assert_eq!(fixture.store.discard_orphans().unwrap(), 2);
    assert_eq!(findings(&fixture.store), []);
}

#[test]
fn a_damaged_database_and_an_unreadable_image_are_found() {
    let (Fixture { store, dir }, id, _) = loaded();
    drop(store);
    let root = dir.path().join("data");
    let database = root.join("database.redb");
    let bytes = std::fs::read(&database).unwrap();
    let key = b"\"layer_sizes\":[";
    let mut damaged = bytes.clone();
    for at in (0..bytes.len() - key.len()).filter(|at| bytes[*at..].starts_with(key)) {
        damaged[at + key.len()] ^= 1;
    }
    assert_ne!(damaged, bytes);
    std::fs::write(&database, damaged).unwrap();
    let store = Store::open(&berth_store::Options::new(&root)).unwrap();
    let found = findings(&store);
    assert!(matches!(&found[..], [Finding::Database { .. }]), "{found:?}");
    drop(store);

    std::fs::write(&database, bytes).unwrap();
    let config = root.join("blobs/sha256").join(id.hex());
    std::fs::write(&config, b"{}").unwrap();
    let store = Store::open(&berth_store::Options::new(&root)).unwrap();
    let found = findings(&store);
    assert!(
        matches!(&found[..], [Finding::Image { image, names, .. }] if *image == id.as_str() && names[..] == ["first:1"]),
        "{found:?}"
    );
    assert!(store.images().get("first:1").is_err());
}
