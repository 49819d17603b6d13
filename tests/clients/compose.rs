//! Both docker-compose, with projects that build nothing and have no network of their own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Target, clients};
use berth_tests::{Outcome, run};

const PROJECT: &str = r#"
version: "2.4"
services:
  web:
    image: busybox
    command: sh -c 'echo "web $$WORD"; exec httpd -f -p 80 -h /www'
    network_mode: bridge
    ports: ["80"]
    environment: {WORD: "is up"}
    labels: {part: front}
    volumes: ["./www:/www:ro", "kept:/kept"]
    healthcheck: {test: "test -e /www/index.html", interval: 200ms, retries: 20}
    stop_grace_period: 0s
  alone:
    image: busybox
    command: ["sleep", "300"]
    network_mode: none
    volumes: ["kept:/kept", "memory:/memory", "/nameless"]
    depends_on: {web: {condition: service_healthy}}
    init: true
    tmpfs: ["/scratch"]
    cap_drop: [ALL]
    mem_limit: 32m
    restart: unless-stopped
    stop_grace_period: 0s
  host:
    image: busybox
    command: ["sh", "-c", "ls /sys/class/net | wc -l; sleep 300"]
    network_mode: host
    stop_grace_period: 0s
volumes:
  kept: {labels: {part: data}}
  memory: {driver: local, driver_opts: {type: tmpfs, device: tmpfs, o: size=1m}}
"#;

struct Project<'a> {
    target: &'a Target,
    program: PathBuf,
    folder: PathBuf,
}

impl Project<'_> {
    fn new<'a>(target: &'a Target, program: &str) -> Project<'a> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = std::env::var_os("ENGINE_ROOT").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let folder =
            root.join(format!("tmp/compose{}-{}", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id()));
        fs::create_dir_all(folder.join("www")).unwrap();
        fs::write(folder.join("www/index.html"), "served\n").unwrap();
        let inside = folder.join("www").display().to_string().replace(&*root.to_string_lossy(), "/");
        let text = PROJECT.replace("./www", &inside.replace("//", "/"));
        fs::write(folder.join("docker-compose.yml"), text).unwrap();
        Project { target, program: clients().join(program), folder }
    }

    fn run(&self, line: &str) -> Outcome {
        let mut command: Command = self.target.command(60, &self.program);
        // From version 1.45 on, 1.29 looks for a field of images that engines no longer have.
        command.env("COMPOSE_API_VERSION", "1.38");
        command.args(["-p", "project"]).args(line.split_whitespace()).current_dir(&self.folder);
        let outcome = run(&mut command);
        eprintln!("{command:?}: {outcome:?}");
        outcome
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        // A second panic would end the whole program, and leave its engine behind.
        if self.folder.is_dir() {
            self.run("down -t 0");
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What both versions must do alike, with the separator of names that is theirs.
fn walk(project: &Project<'_>, separator: char) {
    project.run("config -q").ok();
    project.run("up -d").ok();
    let name = |service: &str| format!("project{separator}{service}{separator}1");
    let inspect = |service: &str, format: &str| {
        let line = format!("inspect -f {format} {}", name(service));
        project.target.docker(&line).ok().to_owned()
    };
    assert_eq!(inspect("web", "{{.State.Health.Status}}"), "healthy");
    assert_eq!(
        inspect("alone", "{{.HostConfig.NetworkMode}},{{.HostConfig.Memory}},{{.HostConfig.Init}}"),
        "none,33554432,true"
    );
    assert_eq!(project.run("ps -q").ok().lines().count(), 3);
    assert!(project.run("logs web").ok().contains("web is up"));
    assert_eq!(project.run("exec -T web cat /www/index.html").ok(), "served");
    project.run("exec -T web sh -c exit${IFS}7").fails(7);
    assert_eq!(project.run("exec -T alone ls /sys/class/net").ok(), "lo");
    assert_eq!(project.run("run --rm -T --no-deps alone echo once").ok(), "once");
    let port = project.run("port web 80").ok().to_owned();
    assert!(port.starts_with("0.0.0.0:"), "{port}");
    assert!(project.run("top alone").ok().contains("sleep 300"));
    project.run("exec -T web touch /kept/by-web").ok();
    assert_eq!(project.run("exec -T alone ls /kept").ok(), "by-web");
    assert!(project.run("exec -T alone df /memory").ok().contains("tmpfs"));
    let volumes = |format: &str| {
        let line = format!("volume ls --filter label=com.docker.compose.project=project --format {format}");
        project.target.docker(&line).ok().to_owned()
    };
    assert_eq!(volumes("{{.Name}}"), "project_kept\nproject_memory");
    assert_eq!(project.target.docker("volume inspect -f {{.Labels.part}} project_kept").ok(), "data");
    // nothing changes when nothing has changed
    let before = inspect("web", "{{.Id}}");
    project.run("up -d").ok();
    assert_eq!(inspect("web", "{{.Id}}"), before);
    // what has changed is made anew
    let file = project.folder.join("docker-compose.yml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("part: front", "part: changed")).unwrap();
    project.run("up -d").ok();
    assert_ne!(inspect("web", "{{.Id}}"), before);
    project.run("pause host").ok();
    assert_eq!(inspect("host", "{{.State.Status}}"), "paused");
    project.run("unpause host").ok();
    project.run("restart -t 0 host").ok();
    project.run("stop -t 0").ok();
    assert_eq!(inspect("alone", "{{.State.Status}}"), "exited");
    project.run("start").ok();
    project.run("kill -s KILL host").ok();
    project.run("rm -f -s web").ok();
    assert_eq!(project.target.docker("ps -aq --filter label=com.docker.compose.service=web").ok(), "");
    project.run("up -d").ok();
    project.run("up -d --scale host=2 host").ok();
    assert_eq!(project.run("ps -q host").ok().lines().count(), 2);
    project.run("down -t 0").ok();
    assert_eq!(project.target.docker("ps -aq --filter label=com.docker.compose.project=project").ok(), "");
    assert_eq!(volumes("{{.Driver}}"), "local\nlocal", "down leaves volumes");
    project.run("up -d alone").ok();
    assert_eq!(project.run("exec -T alone ls /kept").ok(), "by-web");
    project.run("down -t 0 -v").ok();
    assert_eq!(volumes("{{.Name}}"), "");
}

#[test]
fn version_1() {
    let target = Target::start();
    walk(&Project::new(&target, "compose1/bin/docker-compose"), '_');
}

#[test]
fn version_2() {
    let target = Target::start();
    walk(&Project::new(&target, "compose2/usr/libexec/docker/cli-plugins/docker-compose"), '-');
}

#[test]
fn output_of_a_project_in_the_foreground() {
    let target = Target::start();
    for (program, separator) in [
        ("compose1/bin/docker-compose", '_'),
        ("compose2/usr/libexec/docker/cli-plugins/docker-compose", '-'),
    ] {
        let project = Project::new(&target, program);
        let text = "services:\n  one:\n    image: busybox\n    command: sh -c 'echo said; exit 6'\n    network_mode: none\n";
        fs::write(project.folder.join("docker-compose.yml"), format!("version: '2.4'\n{text}")).unwrap();
        let outcome = project.run("up --no-color --exit-code-from one");
        assert_eq!(outcome.code, 6, "{outcome:?}");
        let said = outcome.stdout.lines().any(|line| line.contains("one") && line.ends_with("| said"));
        assert!(said, "{outcome:?}");
        let status = format!("inspect -f {{{{.State.ExitCode}}}} project{separator}one{separator}1");
        assert_eq!(target.docker(&status).ok(), "6");
    }
}
