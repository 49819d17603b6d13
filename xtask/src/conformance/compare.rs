//! Two answers side by side, and the list of what may differ.

use std::path::Path;

use super::Answers;
use super::corpus::Case;
use super::json::Json;
use super::side::Answer;
use crate::Outcome;

/// A difference that is meant: part of a case's name, part of a place, and the reason.
pub(super) struct Known {
    case: String,
    place: String,
    reason: String,
}

/// Reads `known.txt`: `case | place | reason`, either of the first two may be a part or `*`.
pub(super) fn read_known(path: &Path) -> Result<Vec<Known>, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut known = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut cells = line.splitn(3, '|').map(|cell| cell.trim().to_owned());
        let (Some(case), Some(place), Some(reason)) = (cells.next(), cells.next(), cells.next()) else {
            return Err(format!("{}: no reason in {line:?}", path.display()).into());
        };
        known.push(Known { case, place, reason });
    }
    Ok(known)
}

/// Prints every difference; fails where one has no reason.
pub(super) fn report(cases: &[Case], peer: &Answers, ours: &Answers, known: &[Known]) -> Outcome {
    let (mut steps, mut unexplained, mut explained) = (0, 0, 0);
    for case in cases {
        let (Some(theirs), Some(ours)) = (peer.get(&case.name), ours.get(&case.name)) else {
            return Err(format!("{:?} is not recorded: run with --record", case.name).into());
        };
        for (index, step) in case.steps.iter().enumerate() {
            steps += 1;
            let mut differences = Vec::new();
            let pair = (to_value(theirs.get(index)), to_value(ours.get(index)));
            differ("", &pair.0, &pair.1, &mut differences);
            differences.retain(|(place, text)| {
                let fits = |part: &str, whole: &str| part == "*" || whole.contains(part);
                let reason = known.iter().find(|row| fits(&row.case, &case.name) && fits(&row.place, place));
                if let Some(row) = reason {
                    explained += 1;
                    let _ = (&row.reason, text);
                }
                reason.is_none()
            });
            if !differences.is_empty() {
                unexplained += 1;
                println!("== {} · {step}", case.name);
                for (place, text) in differences.iter().take(12) {
                    println!("   {place}: {text}");
                }
            }
        }
    }
    println!(
        "{steps} steps in {} cases: {unexplained} differ, {explained} differences are explained",
        cases.len()
    );
    if unexplained == 0 { Ok(()) } else { Err(format!("{unexplained} steps differ").into()) }
}

fn to_value(answer: Option<&Answer>) -> Json {
    let text = serde_json::to_string(&answer).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or(Json::Null)
}

/// Collects the places where two values differ: missing and added keys, order of keys, types, values.
fn differ(place: &str, theirs: &Json, ours: &Json, out: &mut Vec<(String, String)>) {
    match (theirs, ours) {
        (Json::Object(left), Json::Object(right)) => {
            let find = |fields: &[(String, Json)], key: &str| fields.iter().position(|field| field.0 == key);
            for (key, value) in left {
                match find(right, key) {
                    Some(at) => differ(&format!("{place}.{key}"), value, &right[at].1, out),
                    None => out.push((format!("{place}.{key}"), format!("missing, Docker has {value}"))),
                }
            }
            for (key, value) in right.iter().filter(|field| find(left, &field.0).is_none()) {
                out.push((format!("{place}.{key}"), format!("Docker has none, ours is {value}")));
            }
            let common = |one: &[(String, Json)], two: &[(String, Json)]| {
                one.iter()
                    .filter(|field| find(two, &field.0).is_some())
                    .map(|field| field.0.clone())
                    .collect::<Vec<_>>()
            };
            if common(left, right) != common(right, left) {
                let order = format!("{:?} / {:?}", common(left, right), common(right, left));
                out.push((format!("{place} order"), order));
            }
        }
        (Json::Array(left), Json::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differ(&format!("{place}[{index}]"), left, right, out);
            }
        }
        (left, right) if left == right => {}
        (left, right) => out.push((place.to_owned(), format!("\n      docker {left}\n      berth  {right}"))),
    }
}
