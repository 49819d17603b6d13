//! What Docker's command line answers, word for word: sessions that were recorded with it (28.2) are gone through with
//! ours under the name `docker`, against an engine of ours.
//!
//! A transcript has a command behind `$ `, then what it wrote (`! ` before what went to standard error) and its exit
//! code behind `-> `. Commands run in a shell, in a folder of their own. To record one anew, remove what stands between
//! the commands and run this test with `BERTH_RECORD=1` and the real client as `BERTH_DOCKER`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_tests::{Engine, berth_bin, docker_bin, run};

/// One command and what came of it.
#[derive(Debug, PartialEq)]
struct Step {
    command: String,
    answer: String,
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), answer: String::new() }),
            (None, Some(step)) => step.answer.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    steps
}

/// What differs from one time to the next, as expressions of `sed`. Ages have other widths from one second to the next,
/// and columns follow them.
const DIFFERENT: [&str; 6] = [
    r"s/\b[0-9a-f]{64}\b/<id>/g",
    r"s/\b[0-9a-f]{12}\b/<short id>/g",
    r"s/[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{8}(\.[0-9]+)?( ?[+-][0-9]{4} [A-Z]+|Z)?/<time>/g",
    r"s/(Less than a second|About an? [a-z]+|[0-9]+ (second|minute|hour)s?) ago/<ago>/g",
    r"s/Up (Less than a second|About an? [a-z]+|[0-9]+ (second|minute|hour)s?)/Up <long>/g",
    r"s/ {2,}/  /g",
];

fn normal(text: &str, folder: &Path) -> String {
    let file = folder.with_file_name("answer");
    let text = text.replace(&folder.display().to_string(), "FOLDER");
    let around = folder.parent().unwrap_or(folder).display().to_string();
    fs::write(&file, text.replace(&around, "ENGINE")).unwrap();
    let mut sed = Command::new("sed");
    sed.arg("-E").args(DIFFERENT.iter().flat_map(|expression| ["-e", expression])).arg(&file);
    run(&mut sed).stdout
}

fn go_through(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cli/transcripts").join(format!("{name}.txt"));
    let recording = std::env::var_os("BERTH_RECORD").is_some();
    let engine = Engine::with_images(&["busybox"]);
    let folder = engine.dir.join("work");
    let programs = engine.dir.join("programs");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(&programs).unwrap();
    let program = if recording { docker_bin() } else { berth_bin() };
    let program = if program.components().count() > 1 {
        program
    } else {
        PathBuf::from(run(Command::new("which").arg(program)).ok())
    };
    std::os::unix::fs::symlink(program, programs.join("docker")).unwrap();
    let mut shell_path = programs.into_os_string();
    shell_path.push(":");
    shell_path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut steps = parse(&fs::read_to_string(&path).unwrap());
    assert!(!steps.is_empty(), "{} has no commands", path.display());
    let mut differing = Vec::new();
    for step in &mut steps {
        let mut command = engine.command(berth_tests::Client::Docker, &[] as &[&str]);
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = Command::new("bash");
        command.arg("-c").arg(&step.command).envs(environment).env("PATH", &shell_path);
        command.env("DOCKER_CONFIG", folder.join("config")).env("LC_ALL", "C").current_dir(&folder);
        let outcome = run(command.stdin(std::process::Stdio::null()));
        let mut answer = outcome.stdout.clone();
        if !answer.is_empty() && !answer.ends_with('\n') {
            answer.push('\n');
        }
        outcome.stderr.lines().for_each(|line| answer.push_str(&format!("! {line}\n")));
        answer.push_str(&format!("-> {}\n", outcome.code));
        let answer = normal(&answer, &folder);
        if recording {
            step.answer = answer;
        } else if step.answer != answer {
            differing.push(format!("$ {}\n--- Docker:\n{}--- ours:\n{answer}", step.command, step.answer));
        }
    }
    if recording {
        let text: String = steps.iter().map(|step| format!("$ {}\n{}", step.command, step.answer)).collect();
        fs::write(&path, text).unwrap();
        return;
    }
    assert!(differing.is_empty(), "{} of {} differ:\n{}", differing.len(), steps.len(), differing.join("\n"));
}

#[test]
fn contexts() {
    go_through("contexts");
}

#[test]
fn copies() {
    go_through("copies");
}

#[test]
fn lists_and_prunes() {
    go_through("lists");
}

#[test]
fn volumes() {
    go_through("volumes");
}

#[test]
fn words_that_are_wrong() {
    go_through("errors");
}
