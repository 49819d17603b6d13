//! Help that only we give: the nearest names, completion with live names, plug-ins, other machines.

use std::fs;
use std::process::Command;

use berth_tests::{Client, Engine, berth_bin, run, script};

#[test]
fn mistyped_words_are_answered_with_the_nearest() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("create --name webserver busybox true").ok();
    let check = |line: &str, code: i32, expect: &str| {
        let outcome = engine.berth(line);
        assert!(outcome.fails(code).contains(expect), "{line}: {outcome:?}");
    };
    check("rnu busybox", 1, "Did you mean 'berth run'?");
    check("container prnue", 1, "Did you mean 'berth container prune'?");
    check("ps --no-trnc", 125, "Did you mean --no-trunc?");
    check("logs websrever", 1, "Did you mean webserver?");
    check("history busybx", 1, "Did you mean busybox?");
    // Nothing is near.
    assert!(!engine.berth("logs zzzzzz").fails(1).contains("Did you mean"));
    // Under Docker's name the words are Docker's.
    let docker = engine.dir.join("docker");
    std::os::unix::fs::symlink(berth_bin(), &docker).unwrap();
    let mut command = engine.command(Client::Berth, &["logs", "websrever"]);
    let environment: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command = Command::new(docker);
    let outcome = run(command.args(["logs", "websrever"]).envs(environment));
    assert_eq!(outcome.fails(1), "Error response from daemon: No such container: websrever");
}

#[test]
fn completion_knows_what_there_is() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("run -d --name webserver busybox sleep 600").ok();
    engine.berth("create --name waiting busybox true").ok();
    let complete = |line: &str| {
        let words: Vec<&str> = std::iter::once("__complete").chain(line.split(' ')).collect();
        let text = engine.run(Client::Berth, &words).ok().to_owned();
        let names: Vec<String> =
            text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect();
        names.join(" ")
    };
    assert_eq!(complete("stop "), "webserver :4");
    assert_eq!(complete("start w"), "waiting :4");
    assert_eq!(complete("rm w"), "waiting webserver :4");
    assert_eq!(complete("rm waiting w"), "webserver :4");
    assert_eq!(complete("run --rm busy"), "busybox busybox:latest :4");
    assert_eq!(complete("load -i "), ":0");
}

#[test]
fn plugins_and_aliases_take_the_command_line() {
    let engine = Engine::start();
    let plugins = engine.dir.join("config/cli-plugins");
    fs::create_dir_all(&plugins).unwrap();
    script(
        &plugins.join("docker-hello"),
        "if [ \"$1\" = docker-cli-plugin-metadata ]; then\n\
         echo '{\"SchemaVersion\":\"0.1.0\",\"Vendor\":\"us\",\"ShortDescription\":\"Says hello\"}'; exit; fi\n\
         echo \"$@\"; echo \"$DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND\"; exit 5",
    );
    let outcome = engine.berth("hello --there -x");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (5, "hello --there -x\nberth\n"), "{outcome:?}");
    assert!(engine.berth("--help").ok().contains("  hello*      Says hello\n"));
    fs::write(engine.dir.join("config/config.json"), r#"{"aliases":{"lsa":"ps --all --quiet"}}"#).unwrap();
    assert_eq!(engine.berth("lsa").ok(), "");
    assert!(engine.berth("lsa --frobnicate").fails(125).starts_with("unknown flag: --frobnicate"));
}

/// `ssh` is a program that runs the rest of its words here, as the real one would run them there.
#[test]
fn engines_on_other_machines_are_reached_by_ssh() {
    let engine = Engine::with_images(&["busybox"]);
    let bin = engine.dir.join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(berth_bin(), bin.join("docker")).unwrap();
    let seen = engine.dir.join("seen");
    script(
        &bin.join("ssh"),
        &format!(
            "echo \"$@\" >> {}\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\nunset DOCKER_HOST\nexec \"$@\"",
            seen.display()
        ),
    );
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let host = format!("ssh://me@there:2222{}", engine.socket().display());
    for client in berth_tests::CLIENTS {
        let far = |line: &str| {
            let mut command = engine.command(client, &line.split(' ').collect::<Vec<_>>());
            run(command.env("DOCKER_HOST", &host).env("PATH", &path))
        };
        assert_eq!(far("run --rm busybox echo far away").ok(), "far away");
        assert_eq!(far("images --format {{.Repository}}").ok(), "busybox");
    }
    let words = fs::read_to_string(&seen).unwrap();
    let socket = engine.socket().display().to_string();
    let expect = format!(
        "-o ConnectTimeout=30 -T -l me -p 2222 -- there docker --host unix://{socket} system dial-stdio"
    );
    assert!(words.lines().any(|line| line == expect), "{words}");

    // What ssh could not do is said, with the command that could not do it.
    // Whether it is gone before the request is written or after.
    let expect =
        "command [ssh -o ConnectTimeout=30 -T -- there docker system dial-stdio] has exited with exit status";
    for end in ["exec 0<&-; echo no route >&2; exit 255", "read line; echo no route >&2; exit 255"] {
        script(&bin.join("ssh"), end);
        let mut command = engine.command(Client::Berth, &["ps"]);
        let outcome = run(command.env("DOCKER_HOST", "ssh://there").env("PATH", &path));
        assert!(outcome.fails(1).contains(expect) && outcome.stderr.contains("no route"), "{outcome:?}");
    }
}

/// Word for word what the real command line says where the API version that is asked for lacks a flag or a command.
#[test]
fn what_an_old_engine_lacks_is_refused_as_dockers_client_does() {
    let engine = Engine::with_images(&["busybox"]);
    for (version, line) in [
        ("1.24", "run --init --platform linux/amd64 --cpus 1 busybox true"),
        ("1.31", "create --platform linux/amd64 busybox"),
        ("1.40", "run --cgroupns host --annotation a=b busybox true"),
        ("1.24", "exec -e A=1 -w / nobody true"),
        ("1.24", "system df"),
        ("1.24", "container prune -f"),
        ("1.27", "system prune -f --filter label=a"),
        ("1.34", "logs --until 1s nobody"),
        ("1.41", "volume create --scope single --group a nobody"),
        ("1.41", "volume create --topology-required a=b nobody"),
        ("1.41", "volume update --availability active nobody"),
        ("1.41", "volume ls --cluster"),
        ("1.41", "volume prune -a -f"),
        ("1.39", "update --pids-limit 5 nobody"),
        ("1.46", "images --tree"),
        ("1.47", "save --platform linux/amd64 busybox"),
        ("1.48", "image inspect --platform linux/amd64 busybox"),
        ("1.49", "rmi --platform linux/amd64 busybox"),
    ] {
        let [ours, theirs] = berth_tests::CLIENTS.map(|client| {
            let mut command = engine.command(client, &line.split(' ').collect::<Vec<_>>());
            let outcome = run(command.env("DOCKER_API_VERSION", version));
            let said = outcome.fails(1).to_lowercase().replace("berth", "docker");
            assert!(said.contains("requires api version"), "{line}: {outcome:?}");
            said
        });
        assert_eq!(ours, theirs, "{line}");
    }
    for group in ["container", "image", "volume", "system", "context", "manifest"] {
        let [ours, theirs] = berth_tests::CLIENTS.map(|client| {
            engine.run(client, &[group, "nosuch"]).fails(1).to_lowercase().replace("berth", "docker")
        });
        assert_eq!(ours, theirs, "{group}");
    }
    for line in ["checkpoint ls x", "checkpoint create x y", "checkpoint rm x y", "start --checkpoint y x"] {
        let [ours, theirs] = berth_tests::CLIENTS.map(|client| {
            let outcome = engine.run(client, &line.split(' ').collect::<Vec<_>>());
            outcome.fails(1).to_lowercase().replace("berth", "docker")
        });
        assert_eq!(ours, theirs, "{line}");
    }
    assert_eq!(engine.berth("ps -aq").ok(), "");
}
