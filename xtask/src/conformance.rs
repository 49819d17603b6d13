//! `cargo xtask conformance engine`: one corpus of commands and API calls, against the real Docker and against ours.
//!
//! A corpus file holds cases separated by blank lines. The first line of a case is `# its name`; every other line is a
//! step: `EACH` and a request without a version, which stands for the request in every version that the peer has, an HTTP
//! request (`GET /v1.45/containers/json`, with a JSON body behind the path where there is one) or a line
//! for `sh` with the real `docker` on its `PATH`. What a step answers is normalised (ids, times, addresses, versions,
//! see [`normalise`]) and compared: status and content type, JSON by presence, type, value and order of keys, text,
//! exit code. `known.txt` lists the differences that are meant, each with its reason.
//!
//! `--record` writes the peer's normalised answers to `recorded.json`, against which the tests hold our side when no
//! peer is there.

mod compare;
mod corpus;
mod json;
mod normalise;
mod side;

use std::collections::BTreeMap;
use std::path::Path;

use crate::{Outcome, setup};
use corpus::Case;
use side::{Answer, Side};

/// The normalised answers of one side: by case name, one a step.
type Answers = BTreeMap<String, Vec<Answer>>;

/// Runs the corpus; `words` are flags (`--record`, `--recorded`, `--socket PATH`) and parts of case names to keep.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let (mut record, mut recorded, mut socket, mut filters) = (false, false, None, Vec::new());
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match *word {
            "--record" => record = true,
            "--recorded" => recorded = true,
            "--socket" => socket = Some((*rest.next().ok_or("--socket needs a path")?).to_owned()),
            flag if flag.starts_with("--") => return Err(format!("conformance: unknown flag {flag}").into()),
            filter => filters.push(filter.to_owned()),
        }
    }
    let folder = setup::root().join("tests/conformance");
    let mut cases = corpus::read(&folder)?;
    let all = filters.is_empty();
    cases.retain(|case| all || filters.iter().any(|filter| case.name.contains(filter.as_str())));
    let file = folder.join("recorded.json");
    let peer: Answers = if recorded { read_answers(&file)? } else { answers(&mut side::peer()?, &cases)? };
    if record {
        let mut kept = if all { Answers::new() } else { read_answers(&file)? };
        kept.extend(peer);
        write_answers(&file, &kept)?;
        eprintln!("recorded {} cases", kept.len());
        return Ok(());
    }
    let our_answers = match socket {
        Some(socket) => answers(&mut Side::at(&socket)?, &cases)?,
        None => our_answers(&cases)?,
    };
    let known = compare::read_known(&folder.join("known.txt"))?;
    compare::report(&cases, &peer, &our_answers, &known)
}

/// Reads recorded answers; `null` is the answer of the step before.
fn read_answers(file: &Path) -> Result<Answers, Box<dyn std::error::Error>> {
    let recorded: BTreeMap<String, Vec<Option<Answer>>> =
        serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let whole = |steps: Vec<Option<Answer>>| {
        let mut whole: Vec<Answer> = Vec::new();
        for step in steps {
            whole.extend(step.or_else(|| whole.last().cloned()));
        }
        whole
    };
    Ok(recorded.into_iter().map(|(name, steps)| (name, whole(steps))).collect())
}

fn write_answers(file: &Path, answers: &Answers) -> Outcome {
    let short = |steps: &[Answer]| -> Vec<Option<Answer>> {
        let before = std::iter::once(None).chain(steps.iter().map(Some));
        steps.iter().zip(before).map(|(step, before)| (before != Some(step)).then(|| step.clone())).collect()
    };
    let short: BTreeMap<_, _> = answers.iter().map(|(name, steps)| (name, short(steps))).collect();
    Ok(std::fs::write(file, serde_json::to_string_pretty(&short)? + "\n")?)
}

/// What our side answers: several engines of our own, each with its part of the cases, for most of the time is waited.
fn our_answers(cases: &[Case]) -> Result<Answers, Box<dyn std::error::Error>> {
    const ENGINES: usize = 3;
    let binary = side::binary()?;
    let mut parts: [Vec<Case>; ENGINES] = Default::default();
    for (number, case) in cases.iter().enumerate() {
        // Ports of the host are there once.
        let part = if case.has_host_port() { 0 } else { number % ENGINES };
        parts[part].push(case.clone());
    }
    let ask = |(number, cases): (usize, &Vec<Case>)| -> Result<Answers, String> {
        let mut side = side::ours(number, &binary).map_err(|error| error.to_string())?;
        answers(&mut side, cases).map_err(|error| error.to_string())
    };
    let all: Vec<Result<Answers, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = parts
            .iter()
            .enumerate()
            .filter(|part| !part.1.is_empty())
            .map(|part| scope.spawn(move || ask(part)))
            .collect();
        let failed = |_| Err("an engine's questions ended in a panic".to_owned());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(failed)).collect()
    });
    let mut answers = Answers::new();
    for part in all {
        answers.extend(part?);
    }
    Ok(answers)
}

fn answers(side: &mut Side, cases: &[Case]) -> Result<Answers, Box<dyn std::error::Error>> {
    let mut answers = Answers::new();
    for case in cases {
        let steps = case.steps.iter().map(|step| side.answer(step)).collect();
        answers.insert(case.name.clone(), steps);
        side.clean();
    }
    Ok(answers)
}
