//! Volumes and what is mounted as them, as the host sees it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_tests::{Client, Engine, run, until};
use serde_json::json;

/// How many mounts there are at a volume's directory.
fn mounts(engine: &Engine, name: &str) -> usize {
    let at = format!(" {} ", data(engine, name).display());
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().filter(|line| line.contains(&at)).count()
}

fn data(engine: &Engine, name: &str) -> PathBuf {
    engine.data_root().join("volumes").join(name).join("_data")
}

fn create(engine: &Engine, name: &str, options: &serde_json::Value) {
    let body = json!({ "Name": name, "DriverOpts": options }).to_string();
    let (status, answer) = engine.json("POST", "/volumes/create", Some(&body));
    assert_eq!(status, 201, "{answer}");
}

fn in_memory(engine: &Engine, name: &str) {
    create(engine, name, &json!({ "type": "tmpfs", "device": "tmpfs", "o": "size=1m" }));
}

fn sleeper(engine: &Engine, name: &str, volume: &str) {
    let script = "echo $$ >> /v/who; trap 'exit 0' TERM; while true; do sleep 0.05; done";
    let args = ["run", "-d", "--name", name, "-v", volume, "busybox", "sh", "-c", script];
    engine.run(Client::Berth, &args).ok();
    until("it wrote", 10, || !engine.berth(&format!("exec {name} cat /v/who")).stdout.is_empty());
}

#[test]
fn a_volume_is_mounted_for_as_long_as_somebody_uses_it() {
    let engine = Engine::with_images(&["busybox"]);
    in_memory(&engine, "mem");
    engine.berth("create --name waits -v mem:/v busybox true").ok();
    assert_eq!(mounts(&engine, "mem"), 0, "nobody runs");
    sleeper(&engine, "one", "mem:/v");
    assert_eq!(mounts(&engine, "mem"), 1);
    sleeper(&engine, "two", "mem:/v");
    assert_eq!(mounts(&engine, "mem"), 1, "it is one for both");
    assert_eq!(engine.berth("exec one wc -l /v/who").ok(), "2 /v/who");
    // In two places of one container it is one as well.
    engine.berth("run --rm -v mem:/a -v mem:/b busybox cmp /a/who /b/who").ok();
    assert_eq!(engine.berth("rm -f one").code, 0);
    assert_eq!(mounts(&engine, "mem"), 1);
    engine.berth("stop two").ok();
    assert_eq!(mounts(&engine, "mem"), 0, "the last one is gone");
    // A stopped container can be looked into, which is a use of its own.
    assert_ne!(engine.berth("cp two:/v/who -").code, 0, "what was in memory is gone");
    engine.berth("restart two").ok();
    assert_eq!(mounts(&engine, "mem"), 1);
    engine.berth("rm -f two").ok();
    assert_eq!(mounts(&engine, "mem"), 0);
    assert_eq!(engine.http("DELETE", "/volumes/mem", None).0, 409, "it is in use");
    engine.berth("rm waits").ok();
    assert_eq!(engine.http("DELETE", "/volumes/mem", None).0, 204);
    assert!(!data(&engine, "mem").exists());
}

#[test]
fn a_mount_outlives_its_engine_as_containers_do() {
    let mut engine = Engine::with_images(&["busybox"]);
    in_memory(&engine, "mem");
    in_memory(&engine, "other");
    sleeper(&engine, "one", "mem:/v");
    sleeper(&engine, "ends", "other:/v");
    let pid = engine.berth("inspect -f {{.State.Pid}} ends").ok().to_owned();
    engine.kill9();
    run(Command::new("kill").args(["-9", &pid])).ok();
    until("it is gone", 10, || !Path::new("/proc").join(&pid).exists());
    engine.up();
    assert_eq!(engine.berth("inspect -f {{.State.Running}} ends").ok(), "false");
    assert_eq!(
        (mounts(&engine, "mem"), mounts(&engine, "other")),
        (1, 0),
        "what ended meanwhile is counted off"
    );
    sleeper(&engine, "two", "mem:/v");
    assert_eq!(engine.berth("exec one wc -l /v/who").ok(), "2 /v/who", "the next engine shares it");
    engine.stop();
    assert_eq!(mounts(&engine, "mem"), 1);
    engine.up();
    engine.berth("rm -f one").ok();
    assert_eq!(mounts(&engine, "mem"), 1);
    engine.berth("rm -f two").ok();
    assert_eq!(mounts(&engine, "mem"), 0);
}

#[test]
fn what_cannot_be_mounted_starts_nothing_and_leaves_nothing() {
    let engine = Engine::with_images(&["busybox"]);
    create(&engine, "bad", &json!({ "type": "none", "device": "/nonexist", "o": "bind" }));
    in_memory(&engine, "good");
    let at = data(&engine, "bad").display().to_string();
    let why = format!(
        "error while mounting volume '{at}': failed to mount local volume: mount /nonexist:{at}, flags: 0x1000: no \
         such file or directory"
    );
    engine.berth("create --name user -v good:/a -v bad:/v busybox true").ok();
    let (status, error) = engine.json("POST", "/containers/user/start", None);
    assert_eq!((status, error["message"].as_str()), (500, Some(why.as_str())));
    let (_, state) = engine.json("GET", "/containers/user/json", None);
    let state = &state["State"];
    assert_eq!(
        (&state["Status"], &state["ExitCode"], &state["Error"]),
        (&"created".into(), &128.into(), &why.into())
    );
    assert_eq!(mounts(&engine, "good"), 0, "what was mounted before is unmounted");
    // An image's content cannot be put where nothing can be mounted: the container is not even made.
    let body =
        json!({ "Image": "busybox", "HostConfig": { "Binds": ["good:/tmp", "bad:/bin"] } }).to_string();
    let (status, error) = engine.json("POST", "/containers/create", Some(&body));
    let text = error["message"].as_str().unwrap();
    assert!(status == 500 && text.starts_with("failed to populate volume: error while mounting"), "{error}");
    assert_eq!(mounts(&engine, "good"), 0);
    assert_eq!(engine.berth("ps -aq").ok().lines().count(), 1);
    // What is refused leaves no directory.
    let before = fs::read_dir(engine.data_root().join("volumes")).unwrap().count();
    for options in [json!({ "foo": "1" }), json!({ "type": "tmpfs" }), json!({ "size": "1m" })] {
        let body = json!({ "Name": "refused", "DriverOpts": options }).to_string();
        assert_eq!(engine.http("POST", "/volumes/create", Some(&body)).0, 400);
    }
    assert_eq!(fs::read_dir(engine.data_root().join("volumes")).unwrap().count(), before);
    assert_eq!(engine.http("GET", "/volumes/refused", None).0, 404);
}

#[test]
fn removing_a_volume_touches_nothing_that_is_mounted_as_it() {
    let mut engine = Engine::with_images(&["busybox"]);
    let folder = engine.dir.join("precious");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), "kept").unwrap();
    create(&engine, "bound", &json!({ "type": "none", "device": folder, "o": "bind,ro" }));
    engine.berth("run --rm -v bound:/v busybox cat /v/file").ok();
    let written = engine.berth("run --rm -v bound:/v busybox touch /v/x");
    assert!(written.fails(1).contains("Read-only file system"), "{written:?}");
    assert_eq!(engine.http("DELETE", "/volumes/bound", None).0, 204);
    // The same where somebody mounted by hand, and where an engine was killed before it could unmount.
    let bind =
        |name: &str| run(Command::new("mount").arg("--bind").arg(&folder).arg(data(&engine, name))).code;
    create(&engine, "byhand", &json!(null));
    assert_eq!(bind("byhand"), 0);
    assert_eq!(engine.http("DELETE", "/volumes/byhand", None).0, 204);
    fs::create_dir_all(data(&engine, "half")).unwrap();
    assert_eq!(bind("half"), 0);
    engine.kill9();
    engine.up();
    assert!(!data(&engine, "half").parent().unwrap().exists(), "what no record speaks of is discarded");
    let trash = engine.data_root().join("trash");
    until("the trash is out", 10, || fs::read_dir(&trash).unwrap().next().is_none());
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "kept");
}

#[test]
fn a_record_without_a_directory_gets_one_again() {
    let mut engine = Engine::with_images(&["busybox"]);
    create(&engine, "lost", &json!(null));
    engine.kill9();
    fs::remove_dir_all(data(&engine, "lost").parent().unwrap()).unwrap();
    engine.up();
    engine.berth("run --rm -v lost:/v busybox touch /v/file").ok();
    assert!(data(&engine, "lost").join("file").exists());
}

#[test]
fn anonymous_volumes_go_with_their_containers_where_asked() {
    let engine = Engine::with_images(&["busybox"]);
    let volumes = || engine.berth("volume ls -q").ok().lines().count();
    engine.berth("run --rm -v /a -v named:/b busybox true").ok();
    assert_eq!(volumes(), 1, "--rm takes those without a name");
    engine.berth("create --name user -v /a -v named:/b busybox true").ok();
    engine.berth("rm user").ok();
    assert_eq!(volumes(), 2, "rm alone leaves them");
    engine.berth("create --name user -v /a -v named:/b busybox true").ok();
    engine.berth("create --name other --volumes-from user busybox true").ok();
    engine.berth("rm -v user").ok();
    assert_eq!(volumes(), 3, "somebody else has it");
    engine.berth("container prune -f").ok();
    assert_eq!(volumes(), 3, "a prune of containers leaves volumes");
    let pruned = engine.berth("volume prune -f");
    assert_eq!(pruned.ok().lines().count(), 5, "two without a name: {pruned:?}");
    assert_eq!(engine.berth("volume ls -q").ok(), "named");
}

#[test]
fn volumes_on_a_file_system_of_their_own_can_be_removed() {
    let mut engine = Engine::with_images(&["busybox"]);
    engine.stop();
    let root = engine.data_root().join("volumes");
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=710", "elsewhere"]).arg(&root)).ok();
    engine.up();
    let files = || fs::read_dir(&root).unwrap().count();
    engine.berth("run --rm -v named:/v -v /nameless busybox mkdir -p /v/a/b").ok();
    assert_eq!(engine.berth("volume ls -q").ok(), "named");
    assert_eq!(engine.http("DELETE", "/volumes/named", None).0, 204);
    until("nothing is left", 10, || files() == 0);
    create(&engine, "named", &json!(null));
    fs::create_dir_all(root.join("half/_data/x")).unwrap();
    engine.kill9();
    engine.up();
    until("what no record speaks of is gone", 10, || files() == 1);
    engine.stop();
    run(Command::new("umount").arg(&root)).ok();
    engine.up();
}
