//! Every path and schema of the contract: each operation is called, answers with a status that the contract knows, and
//! what it answers fits the schema of that status.

mod schema;

use std::collections::BTreeSet;

use berth_tests::Engine;
use schema::Contract;

/// A line of `calls.txt`.
struct Call<'t> {
    line: usize,
    method: &'t str,
    path: &'t str,
    statuses: Vec<u16>,
    subject: Option<&'t str>,
    query: &'t str,
    body: Option<&'t str>,
}

fn calls(text: &str) -> impl Iterator<Item = Call<'_>> {
    text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(
        |(at, line)| {
            let (line, body) = match line.find(" {").or_else(|| line.find(" [")) {
                Some(at) => (&line[..at], Some(&line[at + 1..])),
                None => (line, None),
            };
            let mut words = line.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().expect("a path"));
            let statuses = words.next().expect("a status").split(',');
            let statuses = statuses.map(|status| status.parse().expect("a status")).collect();
            let mut words = words.peekable();
            let subject = words.next_if(|word| word.starts_with('=')).map(|word| &word[1..]);
            Call { line: at + 1, method, path, statuses, subject, query: words.next().unwrap_or(""), body }
        },
    )
}

#[test]
fn every_path_of_the_contract_is_answered_as_it_says() {
    let contract = Contract::new(include_str!("engine-api-v1.52.json"));
    let engine = Engine::with_images(&["busybox"]);
    let mut exec = String::new();
    let mut open: BTreeSet<(String, String)> = contract.operations().collect();
    let mut wrong = Vec::new();
    for call in calls(include_str!("calls.txt")) {
        let subject = call.subject.unwrap_or(match call.path.split('/').nth(1) {
            Some("containers") => "walk",
            Some("exec") => &exec,
            Some("networks") => "bridge",
            _ => "busybox",
        });
        let target = call.path.replace("{id}", subject).replace("{name}", subject);
        let target = format!("/v1.52{target}?{}", call.query);
        let body = call.body.or((call.method == "POST" && call.path.ends_with("/start")).then_some("{}"));
        let (status, text) = engine.http(call.method, &target, body);
        let mut complain = |why: String| {
            wrong.push(format!("calls.txt:{}: {} {target}: {why}", call.line, call.method));
        };
        if !call.statuses.contains(&status) {
            complain(format!("{status}, not {:?}: {text}", call.statuses));
            continue;
        }
        open.remove(&(call.method.to_owned(), call.path.to_owned()));
        if status == 501 {
            let error: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let message = error["message"].as_str().unwrap_or_default();
            if !message.ends_with("is not built yet") {
                complain(format!("501 does not say what is missing: {text}"));
            }
            continue;
        }
        // As Docker: whoever attaches is told in plain text.
        if call.path.ends_with("/attach") && status >= 400 {
            continue;
        }
        if let Err(why) = contract.check(call.method, call.path, status, &text) {
            complain(format!("{status}: {why}\n    {text}"));
        }
        if call.path == "/containers/{id}/exec" && status == 201 {
            let created: serde_json::Value = serde_json::from_str(&text).unwrap();
            exec = created["Id"].as_str().unwrap().to_owned();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(open.is_empty(), "operations of the contract that calls.txt does not call: {open:#?}");
}
