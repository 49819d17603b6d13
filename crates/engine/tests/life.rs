//! The life of containers, from outside the engine. As root.

#![allow(clippy::unwrap_used)]

mod common;

use berth_engine::{
    AttachOptions, Class, EventsRequest, ExecConfig, ExecStart, ListOptions, LogsOptions, RemoveOptions,
    Status, StopOptions, WaitCondition,
};
use common::{Place, eventually, frames, patient, request, text};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn force() -> RemoveOptions {
    RemoveOptions { force: true, ..RemoveOptions::default() }
}

#[tokio::test]
async fn a_container_runs_says_something_and_ends() {
    let place = Place::new().await;
    let (said, code) = place.output(&["sh", "-c", "echo hello; echo oops >&2; exit 7"], |_| {}).await;
    assert_eq!((said.as_str(), code), ("hello\noops\n", 7));
    place.end().await;
}

#[tokio::test]
async fn states_and_refusals_follow_docker() {
    let place = Place::new().await;
    let engine = &place.engine;
    let id = place.create(&["sleep", "1000"], |request| request.name = Some("one".to_owned())).await;
    let status = || engine.container(&id).unwrap().state.status;
    assert_eq!(status(), Status::Created);
    let refused = |result: berth_engine::Result<()>| {
        let error = result.unwrap_err();
        (error.class(), error.to_string())
    };
    assert_eq!(
        refused(engine.container_kill("one", None).await),
        (Class::Conflict, format!("cannot kill container: one: container {id} is not running"))
    );
    assert_eq!(refused(engine.container_stop("one", StopOptions::default()).await).0, Class::NotModified);
    engine.container_start("one").await.unwrap();
    assert_eq!(status(), Status::Running);
    assert_eq!(refused(engine.container_start("one").await).0, Class::NotModified);
    engine.container_pause("one").await.unwrap();
    assert_eq!(status(), Status::Paused);
    assert_eq!(
        refused(engine.container_start("one").await),
        (Class::Conflict, "cannot start a paused container, try unpause instead".to_owned())
    );
    assert_eq!(
        refused(engine.container_remove("one", RemoveOptions::default()).await).1,
        "cannot remove container \"/one\": container is paused and must be unpaused first"
    );
    engine.container_unpause("one").await.unwrap();
    assert_eq!(
        refused(engine.container_remove("one", RemoveOptions::default()).await).1,
        "cannot remove container \"/one\": container is running: stop the container before removing or force remove"
    );
    engine.container_kill("one", None).await.unwrap();
    assert_eq!((status(), engine.container(&id).unwrap().state.exit_code), (Status::Exited, 137));
    engine.container_start("one").await.unwrap();
    engine.container_pause("one").await.unwrap();
    engine.container_remove("one", force()).await.unwrap();
    assert_eq!(refused(engine.container_start("one").await).1, "No such container: one");
    place.end().await;
}

#[tokio::test]
async fn stop_asks_first_and_kills_then() {
    let place = Place::new().await;
    let engine = &place.engine;
    let polite =
        place.run(&["sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done"], |_| {}).await;
    let deaf = place.run(&["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done"], |_| {}).await;
    for id in [&polite, &deaf] {
        while place.log(id).await != "up\n" {
            tokio::task::yield_now().await;
        }
    }
    engine.container_stop(&polite, StopOptions::default()).await.unwrap();
    engine.container_stop(&deaf, StopOptions { timeout: Some(0), ..StopOptions::default() }).await.unwrap();
    assert_eq!(engine.container(&polite).unwrap().state.exit_code, 3);
    assert_eq!(engine.container(&deaf).unwrap().state.exit_code, 137);
    place.end().await;
}

#[tokio::test]
async fn waits_and_automatic_removal() {
    let place = Place::new().await;
    let engine = &place.engine;
    let id = place.create(&["sh", "-c", "exit 5"], |request| request.host_config.auto_remove = true).await;
    let next = engine.container_wait(&id, WaitCondition::NextExit).unwrap();
    let removed = engine.container_wait(&id, WaitCondition::Removed).unwrap();
    engine.container_start(&id).await.unwrap();
    assert_eq!(patient(next.result()).await.status_code, 5);
    assert_eq!(patient(removed.result()).await.status_code, 5);
    assert!(engine.container(&id).is_err());
    place.end().await;
}

#[tokio::test]
async fn a_program_that_cannot_run_is_dockers_error() {
    let place = Place::new().await;
    let engine = &place.engine;
    let exec = "failed to create task for container: failed to create shim task: OCI runtime create failed: runc \
                create failed: unable to start container process: ";
    for (program, code, expect) in [
        ("nope", 127, "exec: \"nope\": executable file not found in $PATH: unknown"),
        ("/plain", 126, "exec: \"/plain\": permission denied: unknown"),
    ] {
        let id = place.create(&[program], |_| {}).await;
        let error = engine.container_start(&id).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{exec}{expect}"));
        assert_eq!(error.class(), Class::InvalidParameter);
        let state = engine.container(&id).unwrap().state.clone();
        assert_eq!((state.status, state.exit_code, state.error), (Status::Created, code, error.to_string()));
    }
    let id = place.create(&["true"], |request| request.config.user = "nobody-here".to_owned()).await;
    let error = engine.container_start(&id).await.unwrap_err();
    assert_eq!(error.to_string(), "unable to find user nobody-here: no matching entries in passwd file");
    let id = place.create(&["nope"], |request| request.host_config.auto_remove = true).await;
    engine.container_start(&id).await.unwrap_err();
    assert!(engine.container(&id).is_err(), "what was to be removed is removed");
    place.end().await;
}

#[tokio::test]
async fn who_where_and_with_what_it_runs() {
    let place = Place::new().await;
    let run = |command: &'static [&'static str], change: fn(&mut berth_engine::CreateContainer)| {
        let place = &place;
        async move { place.output(command, change).await.0.trim_end().to_owned() }
    };
    assert_eq!(run(&["id"], |_| {}).await, "uid=0(root) gid=0(root) groups=0(root),10(wheel)");
    assert_eq!(
        run(&["id"], |request| request.config.user = "web".to_owned()).await,
        "uid=33(web) gid=34(www) groups=29(audio),34(www)"
    );
    let pwd = run(&["pwd"], |request| request.config.working_dir = "/made/by/runtime".to_owned()).await;
    assert_eq!(pwd, "/made/by/runtime");
    let env = run(&["env"], |request| request.config.env = Some(vec!["A=1".to_owned()])).await;
    assert!(env.contains("A=1") && env.contains("HOME=/root") && env.contains("PATH="), "{env}");
    assert_eq!(
        run(&["cat", "/etc/hostname"], |request| request.config.hostname = "box".to_owned()).await,
        "box"
    );
    assert_eq!(run(&["sh", "-c", "echo $$"], |_| {}).await, "1");
    let init = run(&["sh", "-c", "cat /proc/1/comm"], |request| request.host_config.init = Some(true)).await;
    assert_eq!(init, "docker-init");
    place.end().await;
}

#[tokio::test]
async fn volumes_are_filled_kept_and_removed() {
    let place = Place::new().await;
    let engine = &place.engine;
    let bind = |text: &str| Some(vec![text.to_owned()]);
    let (said, _) =
        place.output(&["cat", "/data/file"], |request| request.host_config.binds = bind("keep:/data")).await;
    assert_eq!(said, "from the image");
    place
        .output(&["sh", "-c", "echo changed > /data/file"], |request| {
            request.host_config.binds = bind("keep:/data");
        })
        .await;
    let (said, _) = place
        .output(&["cat", "/other/file"], |request| request.host_config.binds = bind("keep:/other"))
        .await;
    assert_eq!(said, "changed\n");
    let id = place.create(&["true"], |request| {
        request.config.volumes = Some([("/anon".to_owned(), Default::default())].into());
    });
    let id = id.await;
    let point = engine.container(&id).unwrap().record.mounts[0].clone();
    assert!(std::path::Path::new(&point.source).is_dir());
    let options = RemoveOptions { volumes: true, ..RemoveOptions::default() };
    engine.container_remove(&id, options).await.unwrap();
    assert!(!std::path::Path::new(&point.source).exists());
    let readonly =
        request(&["true"], |request| request.host_config.binds = bind("/nonexistent-dir-x:/a:ro,rw"));
    assert_eq!(engine.container_create(readonly).await.unwrap_err().to_string(), "invalid mode: ro,rw");
    place.end().await;
}

#[tokio::test]
async fn attached_before_the_start_nothing_is_missed() {
    let place = Place::new().await;
    let engine = &place.engine;
    let id = place.create(&["cat"], |request| {
        request.config.open_stdin = true;
        request.config.stdin_once = true;
    });
    let id = id.await;
    let options =
        AttachOptions { stdin: true, stdout: true, stderr: true, stream: true, ..AttachOptions::default() };
    let attached = engine.container_attach(&id, options).await.unwrap();
    engine.container_start(&id).await.unwrap();
    let mut stream = attached.stream.unwrap();
    stream.write_all(b"to and fro").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    patient(stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(frames(&bytes), [(1, "to and fro".to_owned())]);
    let wait = engine.container_wait(&id, WaitCondition::NotRunning).unwrap();
    assert_eq!(patient(wait.result()).await.status_code, 0);
    place.end().await;
}

#[tokio::test]
async fn further_processes_run_inside() {
    let place = Place::new().await;
    let engine = &place.engine;
    let id = place.run(&["sleep", "1000"], |_| {}).await;
    let exec = |command: &[&str]| ExecConfig {
        attach_stdout: true,
        attach_stderr: true,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecConfig::default()
    };
    let exec_id =
        engine.exec_create(&id, ExecConfig { user: "web".to_owned(), ..exec(&["id", "-un"]) }).await.unwrap();
    assert_eq!(engine.container(&id).unwrap().exec_ids, std::slice::from_ref(&exec_id));
    let attached = engine.exec_start(&exec_id, ExecStart::default()).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    patient(attached.stream.unwrap().read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(frames(&bytes), [(1, "web\n".to_owned())]);
    eventually("the exec has ended", || engine.exec(&exec_id).unwrap().exit_code == Some(0)).await;
    let missing = engine.exec_create(&id, exec(&["nope"])).await.unwrap();
    let error = engine.exec_start(&missing, ExecStart::default()).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nope\": executable file \
         not found in $PATH: unknown"
    );
    assert_eq!(engine.exec(&missing).unwrap().exit_code, Some(126));
    place.end().await;
}

#[tokio::test]
async fn logs_follow_to_the_end() {
    let place = Place::new().await;
    let engine = &place.engine;
    let script = "for i in $(seq 1 200); do echo line $i; done; sleep 0.2; echo last";
    let id = place.run(&["sh", "-c", script], |_| {}).await;
    let options = LogsOptions { stdout: true, stderr: true, follow: true, ..LogsOptions::default() };
    let logs = engine.container_logs(&id, options).await.unwrap();
    let expect: String =
        (1..=200).map(|number| format!("line {number}\n")).chain(["last\n".to_owned()]).collect();
    assert_eq!(text(logs).await, expect);
    let tail = LogsOptions { tail: Some(2), follow: false, ..options };
    assert_eq!(text(engine.container_logs(&id, tail).await.unwrap()).await, "line 200\nlast\n");
    place.end().await;
}

#[tokio::test]
async fn policies_start_containers_again() {
    let place = Place::new().await;
    let engine = &place.engine;
    let id = place.run(&["false"], |request| {
        request.host_config.restart_policy.name = "on-failure".to_owned();
        request.host_config.restart_policy.maximum_retry_count = 2;
    });
    let id = id.await;
    eventually("it gave up", || engine.container(&id).unwrap().state.status == Status::Exited).await;
    assert_eq!(engine.container(&id).unwrap().state.restart_count, 2);
    let always =
        place.run(&["true"], |request| request.host_config.restart_policy.name = "always".to_owned()).await;
    eventually("it came back", || engine.container(&always).unwrap().state.restart_count >= 2).await;
    engine.container_stop(&always, StopOptions::default()).await.unwrap();
    assert_eq!(engine.container(&always).unwrap().state.status, Status::Exited);
    place.end().await;
}

#[tokio::test]
async fn events_tell_the_life_of_a_container() {
    let place = Place::new().await;
    let engine = &place.engine;
    let mut events = engine.events(EventsRequest::default()).unwrap();
    let id = place.create(&["true"], |request| request.host_config.auto_remove = true).await;
    engine.container_start(&id).await.unwrap();
    let mut actions = Vec::new();
    loop {
        let event = patient(events.next()).await.unwrap();
        if event.kind == "container" {
            assert_eq!(event.actor, id);
            actions.push(event.action.clone());
        }
        if event.action == "destroy" {
            break;
        }
    }
    assert_eq!(actions, ["create", "start", "die", "destroy"]);
    place.end().await;
}

#[tokio::test]
async fn names_are_unique_and_lists_are_filtered() {
    let place = Place::new().await;
    let engine = &place.engine;
    let named = |name: &'static str| {
        move |request: &mut berth_engine::CreateContainer| request.name = Some(name.to_owned())
    };
    let web = place.create(&["true"], named("web")).await;
    let error = engine.container_create(request(&["true"], named("web"))).await.unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    assert!(error.to_string().contains(&format!("already in use by container \"{web}\"")), "{error}");
    place.create(&["true"], named("db")).await;
    engine.container_rename("db", "store").await.unwrap();
    place.create(&["true"], named("db")).await;
    let mut options = ListOptions { all: true, ..ListOptions::default() };
    options.filters.add("name", "^(web|store)$");
    let list = engine.container_list(&options).unwrap();
    let names: Vec<&str> = list.iter().map(|container| container.record.name.as_str()).collect();
    assert_eq!(names, ["store", "web"]);
    assert_eq!(engine.container(&web[..10]).unwrap().record.id, web);
    place.end().await;
}
