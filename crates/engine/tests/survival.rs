//! What an engine leaves behind when it is killed, and when it is used a great deal. As root.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::Stdio;

use berth_engine::{Engine, RemoveOptions, Status, StopOptions, WaitCondition};
use common::{HOST, Place, config, eventually, open_when_free, patient};
use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// An engine in a process of its own, killed with containers running.
async fn killed_engine(place: Place, count: usize) -> Place {
    let Place { directory, cgroup_parent, engine } = place;
    engine.close().await;
    drop(engine);
    // The roots are free when the process that holds them is gone or has let go; the first engine has closed.
    drop(open_when_free(config(&directory, &cgroup_parent)).await);
    let mut child = tokio::process::Command::new(HOST)
        .arg("serve")
        .arg(&directory)
        .args([&cgroup_parent, &count.to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(patient(lines.next_line()).await.unwrap().as_deref(), Some("ready"));
    child.kill().await.unwrap();
    let engine = open_when_free(config(&directory, &cgroup_parent)).await;
    Place { directory, cgroup_parent, engine }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_containers_outlive_a_killed_engine() {
    let place = killed_engine(Place::new().await, 10).await;
    let engine: &Engine = &place.engine;
    for number in 0..10 {
        let name = format!("survivor-{number}");
        let container = engine.container(&name).unwrap();
        assert_eq!(container.state.status, Status::Running, "{name}");
        assert!(std::path::Path::new(&format!("/proc/{}", container.state.pid)).exists());
        let before = place.log(&name).await.lines().count();
        eventually("it goes on to speak", || {
            let log = container.record.directory.join(format!("{}-json.log", container.record.id));
            std::fs::read_to_string(log).unwrap().lines().count() > before
        })
        .await;
        let wait = engine.container_wait(&name, WaitCondition::NotRunning).unwrap();
        engine.container_stop(&name, StopOptions::default()).await.unwrap();
        assert_eq!(patient(wait.result()).await.status_code, number, "{name}");
    }
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_leave_nothing() {
    let place = Place::new().await;
    let runs = (0..50).map(|number: i64| {
        let place = &place;
        async move {
            let script = format!("exit {number}");
            let (_, code) = place.output(&["sh", "-c", &script], |_| {}).await;
            assert_eq!(code, number);
        }
    });
    join_all(runs).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_in_a_row_leave_nothing() {
    let place = Place::new().await;
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut before = 0;
    for number in 0..1000 {
        let id = place.create(&["true"], |request| request.host_config.auto_remove = true).await;
        let removed = place.engine.container_wait(&id, WaitCondition::Removed).unwrap();
        place.engine.container_start(&id).await.unwrap();
        assert_eq!(patient(removed.result()).await.status_code, 0);
        if number == 10 {
            before = open_files();
        }
    }
    eventually("descriptors are closed", || open_files() <= before + 8).await;
    place.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_half_done_is_put_right() {
    let place = Place::new().await;
    let kept = place.create(&["sh", "-c", "exit 4"], |_| {}).await;
    let auto = place.create(&["sleep", "1000"], |request| request.host_config.auto_remove = true).await;
    place.engine.container_start(&auto).await.unwrap();
    let Place { directory, cgroup_parent, engine } = place;
    // A creation that was cut off has a directory and no record.
    std::fs::create_dir(directory.join("data/containers").join("f".repeat(64))).unwrap();
    std::fs::create_dir(directory.join("data/volumes/half")).unwrap();
    let pid = engine.container(&auto).unwrap().state.pid;
    // A run that the engine never wrote down, and of which the supervisor too is gone.
    let unheard = engine.container(&kept).unwrap().record.directory.join("exit.json");
    let exit = r#"{"code":9,"signal":null,"oom_killed":false,"finished_at_nanos":1700000000000000000}"#;
    std::fs::write(unheard, exit).unwrap();
    engine.close().await;
    drop(engine);
    // It ends while nobody watches.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let engine = open_when_free(config(&directory, &cgroup_parent)).await;
    let place = Place { directory, cgroup_parent, engine };
    eventually("the one with --rm is removed", || place.engine.container(&auto).is_err()).await;
    assert_eq!(place.ids(), std::slice::from_ref(&kept));
    let state = place.engine.container(&kept).unwrap().state.clone();
    assert_eq!((state.status, state.exit_code), (Status::Exited, 9), "the exit file is believed");
    eventually("the half-made are gone", || {
        !place.directory.join("data/volumes/half").exists()
            && !place.directory.join("data/containers").join("f".repeat(64)).exists()
    })
    .await;
    place.engine.container_start(&kept).await.unwrap();
    let wait = place.engine.container_wait(&kept, WaitCondition::NotRunning).unwrap();
    assert_eq!(patient(wait.result()).await.status_code, 4);
    place.engine.container_remove(&kept, RemoveOptions::default()).await.unwrap();
    place.end().await;
}
