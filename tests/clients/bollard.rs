//! bollard, the SDK of Rust: the calls of its own examples, on this engine.

use std::collections::HashMap;
use std::pin::pin;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::exec::StartExecResults;
use bollard::models::{ContainerCreateBody, ExecConfig};
use bollard::query_parameters as query;
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::io::AsyncWriteExt as _;

use super::Target;

type Outcome = Result<(), bollard::errors::Error>;

fn words(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(ToString::to_string).collect())
}

/// A container that is started, with standard input; its id.
async fn start(docker: &Docker, name: &str, command: &[&str]) -> Result<String, bollard::errors::Error> {
    let body = ContainerCreateBody {
        image: Some("busybox".to_owned()),
        cmd: words(command),
        open_stdin: Some(true),
        labels: Some(HashMap::from([("of".to_owned(), "bollard".to_owned())])),
        ..ContainerCreateBody::default()
    };
    let options = query::CreateContainerOptionsBuilder::default().name(name).build();
    let id = docker.create_container(Some(options), body).await?.id;
    docker.start_container(&id, None::<query::StartContainerOptions>).await?;
    Ok(id)
}

async fn remove(docker: &Docker, id: &str) -> Outcome {
    let options = query::RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(id, Some(options)).await
}

async fn engine_and_images(docker: &Docker) -> Outcome {
    assert_eq!(docker.ping().await?, "OK");
    assert!(docker.version().await?.api_version.is_some());
    assert!(docker.info().await?.ncpu.is_some_and(|count| count > 0));
    let images = docker.list_images(None::<query::ListImagesOptions>).await?;
    assert!(images.iter().any(|image| image.repo_tags.contains(&"busybox:latest".to_owned())));
    let image = docker.inspect_image("busybox").await?;
    assert_eq!(image.os.as_deref(), Some("linux"));
    let options = query::TagImageOptionsBuilder::default().repo("bollard").tag("1").build();
    docker.tag_image("busybox", Some(options)).await?;
    let removed = docker.remove_image("bollard:1", None::<query::RemoveImageOptions>, None).await?;
    assert!(removed.iter().any(|item| item.untagged.as_deref() == Some("bollard:1")), "{removed:?}");
    let missing = docker.inspect_image("nosuch").await.unwrap_err();
    let text = "No such image: nosuch:latest";
    assert!(
        matches!(&missing, bollard::errors::Error::DockerResponseServerError { status_code: 404, message } if message == text),
        "{missing:?}"
    );
    Ok(())
}

async fn life_and_logs(docker: &Docker) -> Outcome {
    let id = start(docker, "bollard-logs", &["sh", "-c", "echo out; echo err >&2; exit 3"]).await?;
    let ended = docker.wait_container(&id, None::<query::WaitContainerOptions>).next().await;
    assert!(
        matches!(&ended, Some(Err(bollard::errors::Error::DockerContainerWaitError { code: 3, .. }))),
        "{ended:?}"
    );
    let options = query::LogsOptionsBuilder::default().stdout(true).stderr(true).build();
    let logs: Vec<LogOutput> = docker.logs(&id, Some(options)).try_collect().await?;
    let out = logs.iter().any(|part| matches!(part, LogOutput::StdOut { message } if message == "out\n"));
    let err = logs.iter().any(|part| matches!(part, LogOutput::StdErr { message } if message == "err\n"));
    assert!(out && err, "{logs:?}");
    let state = docker.inspect_container(&id, None::<query::InspectContainerOptions>).await?.state;
    assert_eq!(state.and_then(|state| state.exit_code), Some(3));
    let filters = HashMap::from([("label".to_owned(), vec!["of=bollard".to_owned()])]);
    let options = query::ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    assert_eq!(docker.list_containers(Some(options)).await?.len(), 1);
    remove(docker, &id).await
}

async fn exec_top_and_stats(docker: &Docker) -> Outcome {
    let id = start(docker, "bollard-exec", &["sleep", "600"]).await?;
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: words(&["sh", "-c", "echo inside; exit 5"]),
        ..ExecConfig::default()
    };
    let exec = docker.create_exec(&id, config).await?.id;
    let StartExecResults::Attached { output, .. } = docker.start_exec(&exec, None).await? else {
        panic!("an exec that was not detached has no streams");
    };
    let said: Vec<String> = output.map_ok(|part| part.to_string()).try_collect().await?;
    assert_eq!(said.concat(), "inside\n");
    assert_eq!(docker.inspect_exec(&exec).await?.exit_code, Some(5));
    let top = docker.top_processes(&id, None::<query::TopOptions>).await?;
    assert_eq!(top.processes.map(|list| list.len()), Some(1));
    let options = query::StatsOptionsBuilder::default().stream(true).build();
    let stats: Vec<_> = docker.stats(&id, Some(options)).take(2).try_collect().await?;
    assert!(stats.iter().all(|sample| sample.id.as_deref() == Some(id.as_str())), "{stats:?}");
    docker.pause_container(&id).await?;
    docker.unpause_container(&id).await?;
    remove(docker, &id).await
}

async fn attach(docker: &Docker) -> Outcome {
    let id = start(docker, "bollard-attach", &["sh", "-c", "read line; echo got $line"]).await?;
    let options = query::AttachContainerOptionsBuilder::default()
        .stdin(true)
        .stdout(true)
        .stderr(true)
        .stream(true)
        .build();
    let AttachContainerResults { output, mut input } = docker.attach_container(&id, Some(options)).await?;
    input.write_all(b"word\n").await.unwrap();
    input.flush().await.unwrap();
    let said: Vec<String> = output.map_ok(|part| part.to_string()).try_collect().await?;
    assert_eq!(said.concat(), "got word\n");
    remove(docker, &id).await
}

async fn events(docker: &Docker) -> Outcome {
    let filters = HashMap::from([("container".to_owned(), vec!["bollard-events".to_owned()])]);
    let options = query::EventsOptionsBuilder::default().since("0").filters(&filters).build();
    let mut events = pin!(docker.events(Some(options)));
    let id = start(docker, "bollard-events", &["true"]).await?;
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("die") {
        let event = events.next().await.expect("the stream goes on")?;
        assert_eq!(event.actor.and_then(|actor| actor.id).as_deref(), Some(id.as_str()));
        seen.extend(event.action);
    }
    assert_eq!(seen, ["create", "start", "die"]);
    remove(docker, &id).await
}

#[test]
fn sdk_of_rust() {
    let target = Target::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = async {
        let docker = Docker::connect_with_unix(&target.host, 60, API_DEFAULT_VERSION)?;
        let docker = docker.negotiate_version().await?;
        engine_and_images(&docker).await?;
        life_and_logs(&docker).await?;
        exec_top_and_stats(&docker).await?;
        attach(&docker).await?;
        events(&docker).await
    };
    runtime.block_on(all).unwrap();
}
