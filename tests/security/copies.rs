//! Copying out of and into a container whose files change meanwhile: nothing of the host is read or written.

use std::fs;
use std::process::Command;

use berth_tests::{Client, Engine, run};

/// A container that swaps a directory with links to places on the host as fast as it can.
fn swapping(engine: &Engine) {
    let script = "mkdir -p /inside/real/deep; echo inside > /inside/real/deep/secret; cd /inside; ln -s /outside link; \
                  ln -s /../../../../../../outside up; cp -r real spot; touch ready; \
                  while true; do mv spot away; ln -s /outside spot; rm spot; mv away spot; done";
    engine.run(Client::Docker, &["run", "-d", "--name", "box", "busybox", "sh", "-c", script]).ok();
    berth_tests::until("it swaps", 10, || engine.docker("exec box ls /inside/ready").code == 0);
}

#[test]
fn links_that_are_swapped_meanwhile_lead_nowhere_else() {
    let engine = Engine::with_images(&["busybox"]);
    let outside = std::path::Path::new("/outside");
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::write(outside.join("deep/secret"), "of the host").unwrap();
    swapping(&engine);
    let out = engine.dir.join("out");
    fs::write(engine.dir.join("new"), "written").unwrap();
    let new = engine.dir.join("new").display().to_string();
    let mut inside = 0;
    for _ in 0..40 {
        let _ = fs::remove_dir_all(&out);
        let target = out.display().to_string();
        if engine.run(Client::Docker, &["cp", "box:/inside/spot/deep", &target]).code == 0 {
            let read = fs::read_to_string(out.join("secret")).unwrap_or_default();
            assert!(read.is_empty() || read == "inside\n", "{read}");
            inside += 1;
        }
        engine.run(Client::Docker, &["cp", &new, "box:/inside/spot/deep/new"]);
    }
    let left: Vec<_> =
        fs::read_dir(outside.join("deep")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    run(Command::new("rm").args(["-r", "/outside"])).ok();
    assert_eq!(left, ["secret"], "something was written on the host");
    assert!(inside > 0, "nothing was ever copied: the test says nothing");
    for link in ["link", "up"] {
        let refused =
            engine.run(Client::Docker, &["cp", &format!("box:/inside/{link}/deep/secret"), "/dev/null"]);
        assert_ne!(refused.code, 0, "{link}");
    }
}

#[test]
fn archives_cannot_write_outside_of_their_directory() {
    let engine = Engine::with_images(&["busybox"]);
    engine.docker("create --name box busybox true").ok();
    let folder = engine.dir.join("evil");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("x"), "x").unwrap();
    for name in ["../x", "../../../../../../../tmp/berth-escaped", "a/../../x"] {
        let archive = engine.dir.join("evil.tar");
        let mut tar = Command::new("tar");
        tar.arg("-P").arg("-cf").arg(&archive).arg("--transform").arg(format!("s,^x$,{name},"));
        run(tar.arg("-C").arg(&folder).arg("x")).ok();
        let script = format!(
            "curl -s --unix-socket {} -X PUT --data-binary @{} 'http://d/containers/box/archive?path=/tmp'",
            engine.socket().display(),
            archive.display()
        );
        let said = run(Command::new("sh").args(["-c", &script]));
        assert_eq!(said.ok(), format!("{{\"message\":\"\\\"{name}\\\" is outside of \\\"/tmp\\\"\"}}"));
    }
    assert!(!std::path::Path::new("/tmp/berth-escaped").exists());
    // A link of the container's own is followed inside of it: the host's directory stays empty.
    let host = engine.dir.join("host");
    fs::create_dir_all(&host).unwrap();
    let link = engine.dir.join("ln");
    std::os::unix::fs::symlink(&host, &link).unwrap();
    engine.run(Client::Docker, &["cp", &link.display().to_string(), "box:/tmp/ln"]).ok();
    let into = engine.run(Client::Docker, &["cp", &folder.join("x").display().to_string(), "box:/tmp/ln/x"]);
    assert_ne!(into.code, 0);
    assert!(fs::read_dir(&host).unwrap().next().is_none());
}
