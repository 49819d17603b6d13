//! Layers on top of each other, as overlay shows them. Needs root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use berth_oci::Digest;
use berth_store::tar::{Entry, Kind};
use common::{Fixture, directory, file, link, tar, tar_of};

/// The merged view of an image, mounted while it is looked at.
struct Mounted {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mounted {
    fn new(fixture: &Fixture, id: &Digest) -> Self {
        let mount = fixture.store.snapshots().view(id).unwrap().swap_remove(0);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        if mount.is_bind() {
            rustix::mount::mount_bind(&mount.source, &path).unwrap();
        } else {
            let data = std::ffi::CString::new(mount.options.join(",")).unwrap();
            let flags = rustix::mount::MountFlags::RDONLY;
            rustix::mount::mount("overlay", &path, "overlay", flags, data.as_c_str()).unwrap();
        }
        Self { path, _dir: dir }
    }

    fn mode(&self, path: &str) -> String {
        let stat = self.path.join(path).symlink_metadata().unwrap();
        format!("{:o} {}:{}", stat.mode() & 0o7777, stat.uid(), stat.gid())
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.path.join(path)).ok()
    }

    fn names(&self, path: &str) -> Vec<String> {
        common::names_in(&self.path.join(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

fn base() -> Vec<u8> {
    tar(&[
        (Entry { mode: 0o555, ..directory("./") }, b""),
        (Entry { mode: 0o1777, ..directory("tmp") }, b""),
        (Entry { mode: 0o700, uid: 5, gid: 6, ..directory("home") }, b""),
        (Entry { mode: 0o711, uid: 7, ..directory("home/user") }, b""),
        (file("home/user/old"), b"old"),
        (file("bin"), b"a file"),
        (directory("gone"), b""),
        (file("gone/file"), b"x"),
        (directory("fresh"), b""),
        (file("fresh/old"), b"x"),
    ])
}

#[test]
fn whiteouts_hide_and_opaque_directories_start_afresh() {
    let fixture = Fixture::new();
    let upper = tar(&[
        (file(".wh.gone"), b""),
        (file("home/user/.wh.old"), b""),
        (file("fresh/.wh..wh..opq"), b""),
        (file("fresh/new"), b"y"),
        (file(".wh.bin"), b""),
        (file(".wh.never-was"), b""),
    ]);
    let (base, top) = (base(), tar_of("fresh/top", b"z"));
    let id = fixture.add("x", &[&base, &upper, &top]).unwrap();
    let mounted = Mounted::new(&fixture, &id);
    assert_eq!(mounted.names(""), ["fresh", "home", "tmp"]);
    assert_eq!(mounted.names("fresh"), ["new", "top"]);
    assert_eq!(mounted.names("home/user"), [""; 0]);
}

#[test]
fn what_one_layer_hides_and_has_at_once() {
    let fixture = Fixture::new();
    let upper = tar(&[
        (file(".wh.gone"), b""),
        (directory("gone"), b""),
        (file("gone/other"), b"1"),
        (directory("fresh"), b""),
        (file("fresh/other"), b"2"),
        (file(".wh.fresh"), b""),
        (file("bin"), b"new"),
        (file(".wh.bin"), b""),
        (Entry { kind: Kind::Character, ..file("tmp") }, b""),
    ]);
    let base = base();
    let id = fixture.add("x", &[&base, &upper]).unwrap();
    let mounted = Mounted::new(&fixture, &id);
    assert_eq!(mounted.names("gone"), ["other"]);
    assert_eq!(mounted.names("fresh"), ["other"]);
    assert_eq!(mounted.read("bin").unwrap(), "new");
    assert!(!mounted.path.join("tmp").exists(), "a device 0:0 is a whiteout");
}

#[test]
fn directories_without_entries_keep_the_attributes_of_lower_layers() {
    let fixture = Fixture::new();
    let (base, upper) = (base(), tar(&[(file("tmp/f"), b"1"), (file("home/user/new/dir/f"), b"2")]));
    let id = fixture.add("x", &[&base, &upper]).unwrap();
    let mounted = Mounted::new(&fixture, &id);
    assert_eq!(mounted.mode("tmp"), "1777 0:0");
    assert_eq!(mounted.mode("home"), "700 5:6");
    assert_eq!(mounted.mode("home/user"), "711 7:0");
    assert_eq!(mounted.mode("home/user/new"), "755 0:0");
    assert_eq!(mounted.read("tmp/f").unwrap(), "1");
    assert_eq!(mounted.read("home/user/old").unwrap(), "old");
    assert_eq!(mounted.read("home/user/new/dir/f").unwrap(), "2");
    drop(mounted);
    // The same layer over another base has the attributes of that one; an entry of its own would win.
    let other = tar(&[(Entry { mode: 0o750, ..directory("tmp") }, b"")]);
    let id = fixture.add("y", &[&other, &upper]).unwrap();
    assert_eq!(Mounted::new(&fixture, &id).mode("tmp"), "750 0:0");
    let explicit = tar(&[(Entry { mode: 0o701, ..directory("tmp") }, b"")]);
    let id = fixture.add("z", &[&base, &upper, &explicit]).unwrap();
    let mounted = Mounted::new(&fixture, &id);
    assert_eq!(mounted.mode("tmp"), "701 0:0");
    assert_eq!(mounted.mode("home"), "700 5:6");
}

#[test]
fn attributes_do_not_shine_through_what_hides_them() {
    let fixture = Fixture::new();
    let base = base();
    let hide = tar(&[(file(".wh.home"), b"")]);
    let again = tar(&[(file("home/user/f"), b"1")]);
    let id = fixture.add("x", &[&base, &hide, &again]).unwrap();
    let mounted = Mounted::new(&fixture, &id);
    assert_eq!(mounted.mode("home"), "755 0:0");
    assert_eq!(mounted.names("home/user"), ["f"]);
}

#[test]
fn hard_links_to_lower_layers_are_made() {
    let fixture = Fixture::new();
    let base = base();
    let upper = tar(&[
        (link(Kind::HardLink, "home/user/again", "home/user/old"), b""),
        (link(Kind::HardLink, "deep/er/link", "home/user/old"), b""),
        (link(Kind::HardLink, "covered", "home/user/old"), b""),
    ]);
    let top = tar_of("covered", b"by a file");
    let id = fixture.add("x", &[&base, &upper, &top]).unwrap();
    let mounted = Mounted::new(&fixture, &id);
    assert_eq!(mounted.read("home/user/again").unwrap(), "old");
    assert_eq!(mounted.read("deep/er/link").unwrap(), "old");
    assert_eq!(mounted.read("covered").unwrap(), "by a file");
    assert_eq!(mounted.mode("home/user"), "711 7:0");
    drop(mounted);
    let nowhere = tar(&[(link(Kind::HardLink, "l", "not/here"), b"")]);
    let error = fixture.add("y", &[&base, &nowhere]).unwrap_err();
    assert_eq!(error.to_string(), "hard link l to not/here, which is nowhere");
    // The image goes away, and with it all that was made for it.
    let images = fixture.store.images();
    images.remove("x", Default::default(), &|_| vec![]).unwrap();
    assert_eq!(fixture.leftovers(), [""; 0]);
    for dir in ["layers", "fixups", "blobs/sha256"] {
        assert_eq!(common::names_in(&fixture.root().join(dir)), [""; 0], "{dir}");
    }
}

#[test]
fn a_whiteout_of_the_whole_root_drops_what_is_below() {
    let fixture = Fixture::new();
    let (base, upper) = (base(), tar(&[(file(".wh..wh..opq"), b""), (file("only"), b"1")]));
    let id = fixture.add("x", &[&base, &upper]).unwrap();
    assert_eq!(Mounted::new(&fixture, &id).names(""), ["only"]);
}

#[test]
fn the_root_of_a_snapshot_is_everyones_to_enter_whatever_the_layers_say() {
    let fixture = Fixture::new();
    let (base, upper) = (base(), tar_of("f", b"1"));
    let id = fixture.add("x", &[&base, &upper]).unwrap();
    fixture.store.snapshots().prepare("c1", &id).unwrap();
    let stat = fixture.store.snapshots().upper("c1").unwrap().metadata().unwrap();
    assert_eq!(stat.mode() & 0o7777, 0o755);
}

#[test]
fn a_hundred_and_twenty_eight_layers_and_repeated_ones() {
    let fixture = Fixture::new();
    let layers: Vec<Vec<u8>> = (0..127).map(|n| tar_of(&format!("f{n:03}"), b"x")).collect();
    let mut all: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    all.push(&layers[3]);
    let id = fixture.add("x", &all).unwrap();
    let mounts = fixture.store.snapshots().prepare("c", &id).unwrap();
    let lower = mounts[0].options[0].strip_prefix("lowerdir=").unwrap();
    let names: Vec<&str> = lower.split(':').collect();
    assert_eq!(names.len(), 127, "a directory is given to overlay once");
    assert!(names[0].contains(&common_name(&layers[3])));
    let common = Path::new(names[0]).ancestors().nth(2).unwrap().to_str().unwrap();
    let short: usize = names.iter().map(|name| name.len() - common.len()).sum();
    assert!(short < 4096, "relative to {common} the option must fit into a page: {short}");
}

fn common_name(layer: &[u8]) -> String {
    berth_store::digest_of(layer).hex()[..24].to_owned()
}
