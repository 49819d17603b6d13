//! `cargo xtask conformance engine`: one corpus of commands and API calls, against the real Docker and against ours.
//!
//! A corpus file holds cases separated by blank lines. The first line of a case is `# its name`; every other line is a
//! step: an HTTP request (`GET /v1.45/containers/json`, with a JSON body behind the path where there is one) or a line
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
    let peer: Answers = if recorded {
        serde_json::from_str(&std::fs::read_to_string(&file)?)?
    } else {
        answers(&mut side::peer()?, &cases)?
    };
    if record {
        let mut kept: Answers = match std::fs::read_to_string(&file) {
            Ok(text) if !all => serde_json::from_str(&text)?,
            _ => Answers::new(),
        };
        kept.extend(peer);
        std::fs::write(&file, serde_json::to_string_pretty(&kept)? + "\n")?;
        eprintln!("recorded {} cases", kept.len());
        return Ok(());
    }
    let mut ours = match socket {
        Some(socket) => Side::at(&socket)?,
        None => side::ours()?,
    };
    let our_answers = answers(&mut ours, &cases)?;
    let known = compare::read_known(&folder.join("known.txt"))?;
    compare::report(&cases, &peer, &our_answers, &known)
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
