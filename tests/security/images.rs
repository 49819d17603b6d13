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
        import(&engine, &tar(&engine, name, lines));
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
    let left = |folder: &str| std::fs::read_dir(engine.data_root().join(folder)).map_or(0, Iterator::count);
    assert_eq!(left("layers") + left("ingest"), 0);
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let engine = Engine::start();
    let path = engine.dir.join("bomb.tar.gz");
    let make = "import tarfile, gzip, sys\n\
        class Zeros:\n \
          def read(self, n): return bytes(n)\n\
        g = gzip.open(sys.argv[1], 'wb', compresslevel=9)\n\
        t = tarfile.open(fileobj=g, mode='w|')\n\
        i = tarfile.TarInfo('bomb'); i.size = 3 << 30\n\
        t.addfile(i, Zeros()); t.close(); g.close()\n";
    run(Command::new("python3").args(["-c", make, &path.display().to_string()])).ok();
    let outcome = import(&engine, &path);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("times as large"), "{outcome:?}");
    assert_eq!(engine.docker("images -aq").ok(), "");
}
