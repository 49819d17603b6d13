//! Hostile images: rows 20 and 21 of the list of lessons.

use berth_tests::{Client, Engine, run};
use std::path::PathBuf;
use std::process::Command;

/// Writes a tar by a few lines of Python, whose `tarfile` makes what GNU tar refuses to.
fn tar(engine: &Engine, name: &str, lines: &str) -> PathBuf {
    let path = engine.dir.join(name);
    let program = format!(
        "import tarfile, io\n\
         t = tarfile.open({:?}, 'w')\n\
         def entry(name, kind=tarfile.REGTYPE, data=b'', link='', **more):\n \
           i = tarfile.TarInfo(name); i.type = kind; i.size = len(data); i.linkname = link\n \
           [setattr(i, k, v) for k, v in more.items()]\n \
           t.addfile(i, io.BytesIO(data))\n\
         {lines}\n\
         t.close()\n",
        path.display().to_string()
    );
    run(Command::new("python3").args(["-c", &program])).ok();
    path
}

fn import(engine: &Engine, path: &std::path::Path) -> berth_tests::Outcome {
    engine.run(Client::Docker, &["import", &path.display().to_string(), "evil:latest"])
}

#[test]
fn a_layer_cannot_write_outside_its_folder() {
    let engine = Engine::start();
    let marker = "/tmp/berth-escaped";
    let _ = std::fs::remove_file(marker);
    for (name, lines) in [
        ("dots", "entry('../../../../../../../../tmp/berth-escaped', data=b'x')"),
        ("absolute", "entry('/tmp/berth-escaped', data=b'x')"),
        ("link", "entry('d', tarfile.SYMTYPE, link='/tmp')\nentry('d/berth-escaped', data=b'x')"),
        (
            "relative-link",
            "entry('d', tarfile.SYMTYPE, link='../../../../../../../tmp')\nentry('d/berth-escaped', data=b'x')",
        ),
        ("hard-link", "entry('h', tarfile.LNKTYPE, link='/etc/passwd')\nentry('h', data=b'x')"),
        (
            "hard-dots",
            "entry('h', tarfile.LNKTYPE, link='../../../../../../../../etc/hostname')\nentry('h', data=b'x')",
        ),
    ] {
        let before = std::fs::read("/etc/passwd").unwrap();
        let outcome = import(&engine, &tar(&engine, name, lines));
        // A leading slash means the root of the image. The directories that the other links name are not in the layer.
        let stays_inside = ["absolute", "hard-link"].contains(&name);
        assert_eq!(outcome.code, i32::from(!stays_inside), "{name}: {outcome:?}");
        assert!(!std::path::Path::new(marker).exists(), "{name} escaped");
        assert_eq!(std::fs::read("/etc/passwd").unwrap(), before, "{name}");
    }
    assert_eq!(engine.http("GET", "/_ping", None).0, 200);
}

#[test]
fn a_damaged_archive_leaves_no_image() {
    let engine = Engine::start();
    for (name, bytes) in [
        ("noise", vec![0x5a_u8; 4096]),
        ("cut", std::fs::read(berth_tests::images().join("busybox.tar")).unwrap()[..1_000_000].to_vec()),
    ] {
        let path = engine.dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        let outcome = import(&engine, &path);
        assert_eq!(outcome.code, 1, "{name}: {outcome:?}");
        let outcome = engine.run(Client::Docker, &["load", "-i", &path.display().to_string()]);
        assert_eq!(outcome.code, 1, "{name}: {outcome:?}");
    }
    assert_eq!(engine.docker("images -aq").ok(), "");
    let left =
        |folder: &str| std::fs::read_dir(engine.data_root().join("store").join(folder)).unwrap().count();
    berth_tests::until("nothing is left", 10, || left("layers") + left("ingest") + left("trash") == 0);
}
