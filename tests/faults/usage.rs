//! `system df` adds up: what it tells is what the disk holds, to the byte, whatever was done before.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use berth_tests::registry::Registry;
use berth_tests::{Client, Engine, until};

/// The bytes of all files and links below, each file once.
fn bytes(folder: &Path, seen: &mut HashSet<u64>) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            sum += bytes(&entry.path(), seen);
        } else if seen.insert(metadata.ino()) {
            sum += metadata.len();
        }
    }
    sum
}

/// What lies in this part of each entry of a folder.
fn each(folder: &Path, part: &str) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| bytes(&entry.path().join(part), &mut HashSet::new())).sum()
}

/// Images (layers and blobs), containers and volumes, as they are on the disk.
fn on_disk(engine: &Engine) -> [u64; 3] {
    let store = engine.data_root().join("store");
    let blobs = bytes(&store.join("blobs"), &mut HashSet::new());
    [
        blobs + each(&store.join("layers"), "diff"),
        each(&store.join("snapshots"), "upper"),
        each(&engine.data_root().join("volumes"), "_data"),
    ]
}

/// The same, as the engine tells them.
fn told(engine: &Engine) -> [u64; 3] {
    let (status, usage) = engine.json("GET", "/v1.45/system/df", None);
    assert_eq!(status, 200, "{usage}");
    let sum = |list: &str, value: &dyn Fn(&serde_json::Value) -> i64| -> u64 {
        let list = usage[list].as_array().unwrap();
        list.iter().map(|item| u64::try_from(value(item)).unwrap()).sum()
    };
    // What images share is counted once: the whole is what each has alone, and some of what they share.
    let alone =
        sum("Images", &|image| image["Size"].as_i64().unwrap() - image["SharedSize"].as_i64().unwrap());
    let each = sum("Images", &|image| image["Size"].as_i64().unwrap());
    let whole = usage["LayersSize"].as_u64().unwrap();
    assert!(alone <= whole && (whole <= each || usage["Containers"] != serde_json::json!([])), "{usage}");
    [
        whole,
        sum("Containers", &|container| container["SizeRw"].as_i64().unwrap_or(0)),
        sum("Volumes", &|volume| volume["UsageData"]["Size"].as_i64().unwrap()),
    ]
}

#[track_caller]
fn adds_up(engine: &Engine, after: &str) -> [u64; 3] {
    let trash = engine.data_root().join("store/trash");
    // Once it answers, its directories are there.
    told(engine);
    until("the trash is out", 10, || fs::read_dir(&trash).unwrap().next().is_none());
    let (disk, told) = (on_disk(engine), told(engine));
    assert_eq!(told, disk, "images, containers and volumes after {after}: told and on the disk");
    told
}

#[test]
fn what_system_df_tells_is_what_the_disk_holds() {
    let registry = Registry::open();
    let name = format!("{}/b:1", registry.host);
    let engine = Engine::start();
    assert_eq!(adds_up(&engine, "nothing"), [0, 0, 0]);
    engine.import("busybox");
    let [base, ..] = adds_up(&engine, "import");
    assert!(base > 1 << 20);
    engine.docker("tag busybox again").ok();
    assert_eq!(adds_up(&engine, "tag")[0], base);
    let write =
        "dd if=/dev/urandom of=/new bs=1000 count=300; dd if=/dev/urandom of=/v/kept bs=1000 count=200";
    engine
        .run(Client::Docker, &["run", "--name", "box", "-v", "named:/v", "busybox", "sh", "-c", write])
        .ok();
    assert_eq!(adds_up(&engine, "run")[1..], [300_000, 200_000]);
    engine.docker("commit box made").ok();
    let [both, ..] = adds_up(&engine, "commit");
    assert!((base + 300_000..base + 320_000).contains(&both), "the layer below is shared: {base} {both}");
    // Compressed layers are made for a registry, and come from it.
    engine.docker(&format!("tag made {name}")).ok();
    engine.docker(&format!("push {name}")).ok();
    assert!(adds_up(&engine, "push")[0] > both + 300_000);
    let archive = engine.dir.join("made.tar");
    engine.docker(&format!("save -o {} made", archive.display())).ok();
    engine.docker(&format!("rmi made {name}")).ok();
    assert_eq!(adds_up(&engine, "rmi")[0], base);
    engine.docker(&format!("load -i {}", archive.display())).ok();
    adds_up(&engine, "load");
    engine.docker("rmi made").ok();
    engine.docker(&format!("pull {name}")).ok();
    let [pulled, ..] = adds_up(&engine, "pull");
    assert!(pulled > both + 300_000, "compressed layers of a pulled image are kept: {pulled}");
    // An image that only a container still needs is on the disk, though no list has it.
    engine.docker(&format!("create --name last {name} true")).ok();
    engine.docker(&format!("rmi -f {name}")).ok();
    adds_up(&engine, "rmi -f");
    // The words of the command line come from the same figures.
    let shown = engine.berth("system df --format {{.Type}}={{.TotalCount}}/{{.Active}}/{{.Size}}");
    assert!(
        shown.ok().contains("Containers=2/0/300kB") && shown.ok().contains("Local Volumes=1/1/200kB"),
        "{shown:?}"
    );
    engine.docker("rm last").ok();
    assert_eq!(adds_up(&engine, "rm")[0], base);
    engine.docker("rm box").ok();
    engine.docker("system prune -af").ok();
    assert_eq!(adds_up(&engine, "prune"), [0, 0, 200_000]);
}

#[test]
fn images_without_a_name_are_collected_by_age_and_budget() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("daemon.json");
    let path = file.display().to_string();
    let write =
        |keep: &str| fs::write(&file, format!("{{\"image-gc\":{{\"enabled\":true,{keep}}}}}")).unwrap();
    write(r#""keepStorage":"1MB","keepDuration":"0s""#);
    let mut engine = Engine::start_with(&["--config-file", &path]);
    engine.import("busybox");
    let commit = |engine: &Engine| {
        let write = "dd if=/dev/urandom of=/new bs=1000 count=600";
        engine.run(Client::Docker, &["run", "--name", "box", "busybox", "sh", "-c", write]).ok();
        let id = engine.docker("commit box").ok().to_owned();
        engine.docker("rm box").ok();
        id
    };
    let nameless = |engine: &Engine| -> HashSet<String> {
        let ids = engine.docker("images -q --no-trunc -f dangling=true");
        ids.ok().lines().map(str::to_owned).collect()
    };
    // One fits, and one that a container has is nobody's to take.
    let used = commit(&engine);
    engine.docker(&format!("create --name user {used} true")).ok();
    let (old, new) = (commit(&engine), commit(&engine));
    until("the budget holds", 10, || !nameless(&engine).contains(&old));
    assert_eq!(nameless(&engine), HashSet::from([used.clone(), new.clone()]));
    let log = engine.log();
    assert!(log.contains("images without a name are collected"), "{log}");
    adds_up(&engine, "collection");

    // Without a budget all go that are old enough; these are not.
    write(r#""keepDuration":"1h""#);
    engine.stop();
    engine.up();
    let another = commit(&engine);
    engine.docker("tag busybox more").ok();
    assert_eq!(nameless(&engine), HashSet::from([used, new, another]));

    // What is wrong is told.
    for (keep, why) in [
        (r#""keepStorage":5"#, "image-gc: invalid value of keepStorage: number"),
        (r#""keepDuration":"soon""#, "image-gc: keepDuration: invalid duration \"soon\""),
        (r#""keep":"1h""#, "image-gc: unknown key keep"),
    ] {
        write(keep);
        let wrong = engine.berth(&format!("daemon --validate --config-file {path}"));
        assert!(wrong.code == 1 && wrong.stderr.contains(why), "{wrong:?}");
    }
}
