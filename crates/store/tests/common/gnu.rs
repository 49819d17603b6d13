//! Comparison with what GNU tar unpacks.

use super::{Fixture, tree};

/// Unpacks with both and compares; the archive must be good.
pub(crate) fn check(name: &str, archive: &[u8]) {
    let fixture = Fixture::new();
    let ours = fixture.unpack(archive).unwrap_or_else(|error| panic!("{name}: {error}"));
    let theirs = gnu(archive).unwrap_or_else(|| panic!("{name}: GNU tar refuses it"));
    assert_eq!(tree(&ours), tree(theirs.path()), "{name}");
    save_gives_back(&fixture, archive, name);
}

/// Unpacks with both; ours may refuse, but must not see something else.
pub(crate) fn check_or_refuse(name: &str, archive: &[u8]) -> bool {
    let fixture = Fixture::new();
    match fixture.unpack(archive) {
        Ok(ours) => {
            let theirs = gnu(archive).unwrap_or_else(|| panic!("{name}: only GNU tar refuses it"));
            assert_eq!(tree(&ours), tree(theirs.path()), "{name}");
            save_gives_back(&fixture, archive, name);
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), berth_store::Kind::Invalid, "{name}: {error}");
            assert_eq!(fixture.leftovers(), [""; 0], "{name}");
            false
        }
    }
}

/// The layer's tar is written again byte for byte.
pub(crate) fn save_gives_back(fixture: &Fixture, archive: &[u8], name: &str) {
    let id = fixture.store.images().list(true)[0].image.id.to_string();
    let saved = fixture.save(&[&id]).unwrap();
    let found =
        saved.windows(512).step_by(512).position(|block| archive.starts_with(block) || block == archive);
    let start = found.unwrap_or_else(|| panic!("{name}: layer not found in the saved archive")) * 512;
    assert!(saved[start..].starts_with(archive), "{name}: layer changed");
}

fn gnu(archive: &[u8]) -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in.tar");
    let output = tempfile::tempdir().unwrap();
    std::fs::write(&input, archive).unwrap();
    let status = std::process::Command::new("tar")
        .args([
            "--warning=no-timestamp",
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "--same-owner",
            "-xpf",
        ])
        .arg(&input)
        .current_dir(output.path())
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&status.stderr).into_owned();
    // Warnings count: what GNU tar doubts is not good.
    (status.status.success() && error.is_empty()).then_some(output)
}
