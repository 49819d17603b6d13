//! Completion through the scripts, in the shells they are for.

use std::process::Command;

use berth_tests::terminal::Terminal;
use berth_tests::{Client, Engine, berth_bin, run};

/// An engine with names to complete, and the folder in which a shell finds `berth`.
fn with_names() -> Engine {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("create --name webserver busybox true").ok();
    engine.berth("create --name waiting busybox true").ok();
    let bin = engine.dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(berth_bin(), bin.join("berth")).unwrap();
    engine
}

/// A shell whose `berth` talks to the engine, and which reads no files of whoever runs the tests.
fn shell(engine: &Engine, program: &str, arguments: &[&str]) -> Command {
    let berth = engine.command(Client::Berth, &[] as &[&str]);
    let mut shell = Command::new(program);
    shell.args(arguments);
    shell.envs(berth.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let path = std::env::var("PATH").unwrap_or_default();
    shell.env("PATH", format!("{}:{path}", engine.dir.join("bin").display()));
    shell.env("HOME", &engine.dir).env("TERM", "dumb").current_dir(&engine.dir);
    shell
}

#[test]
fn bash_completes() {
    let engine = with_names();
    let script = "source <(berth completion bash)
        ask() { COMP_LINE=$1 COMP_POINT=${#1} COMPREPLY=(); _berth 2>/dev/null; echo \"${COMPREPLY[*]}\"; }
        ask 'berth rest'; ask 'berth logs w'; ask 'berth run busybox:'; ask 'berth run --pull=a'";
    let outcome = run(&mut shell(&engine, "bash", &["-c", script]));
    assert_eq!(outcome.ok(), "restart\nwaiting webserver\nlatest\nalways");
}

#[test]
fn fish_completes() {
    let engine = with_names();
    std::fs::write(engine.dir.join("file"), "").unwrap();
    let script = "berth completion fish | source
        complete -C 'berth rest'; complete -C 'berth logs w'
        complete -C 'berth run busybox:'; complete -C 'berth run --pull=a'; complete -C 'berth load -i fi'";
    let outcome = run(&mut shell(&engine, "fish", &["--no-config", "-c", script]));
    let names: Vec<&str> =
        outcome.ok().lines().map(|line| line.split('\t').next().unwrap_or_default()).collect();
    assert_eq!(names, ["restart", "waiting", "webserver", "busybox:latest", "--pull=always", "file"]);
}

#[test]
fn zsh_completes() {
    let engine = with_names();
    let mut terminal = Terminal::spawn(&shell(&engine, "zsh", &["-f", "-i"]), 40, 120);
    terminal.send(
        "PROMPT='> '; autoload -U compinit; compinit -u -D; source <(berth completion zsh); echo rea''dy\r",
    );
    terminal.expect("ready");
    for (typed, completed) in [
        ("berth resta\t", "berth restart"),
        ("berth logs web\t", "berth logs webserver"),
        ("berth run busybox:\t", "berth run busybox:latest"),
        ("berth run --pull=al\t", "berth run --pull=always"),
    ] {
        terminal.send(typed);
        terminal.expect(completed);
        terminal.send("\x15");
    }
    terminal.send("exit 0\r");
    assert_eq!(terminal.wait(), 0);
}
