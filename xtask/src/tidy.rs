//! `cargo xtask tidy`: the house rules that no compiler knows.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::{Outcome, setup};

/// A crate may use only what stands behind it (see DESIGN: "Crates and arrows").
const ARROWS: [(&str, &[&str]); 15] = [
    ("oci", &[]),
    ("sys", &[]),
    ("dns", &["sys"]),
    ("tls", &[]),
    ("store", &["oci", "sys"]),
    ("distribution", &["oci", "sys", "dns", "store", "tls"]),
    ("logging", &["dns", "tls"]),
    ("network", &["oci", "sys"]),
    ("runtime", &["oci", "sys"]),
    ("shim", &["oci", "sys", "runtime"]),
    ("engine", &["oci", "dns", "store", "distribution", "logging", "network", "shim"]),
    ("api", &["oci", "tls"]),
    ("daemon", &["oci", "sys", "api", "engine"]),
    ("cli", &["oci", "api"]),
    ("berth", &["cli", "daemon", "shim", "runtime", "sys"]),
];

/// The longest a source file may be, tests not counted.
const LINES_MAX: usize = 800;

/// Checks all rules and tells every breach.
pub(crate) fn run() -> Outcome {
    let mut breaches = arrows()?;
    let files = setup::output(Command::new("git").args(["ls-files"]).current_dir(setup::root()))?;
    for file in files.lines() {
        breaches.extend(check_file(file));
    }
    let map = std::fs::read_to_string(setup::root().join("ARCHITECTURE.md"))?;
    for (name, _) in ARROWS {
        if !map.contains(&format!("`{name}`")) {
            breaches.push(format!("ARCHITECTURE.md does not name the crate `{name}`"));
        }
    }
    for breach in &breaches {
        eprintln!("{breach}");
    }
    if breaches.is_empty() {
        Ok(())
    } else {
        Err(format!("{} breaches of the house rules", breaches.len()).into())
    }
}

/// Dependencies between our crates that DESIGN does not have.
fn arrows() -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut command = setup::cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(setup::root());
    let metadata: serde_json::Value = serde_json::from_str(&setup::output(&mut command)?)?;
    let mut breaches = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let name = name.strip_prefix("berth-").unwrap_or(name);
        let Some((_, allowed)) = ARROWS.iter().find(|row| row.0 == name) else {
            if !["xtask", "tests", "fuzz"].contains(&name) {
                breaches.push(format!("the crate {name} has no row in the arrows of xtask/src/tidy.rs"));
            }
            continue;
        };
        let normal =
            package["dependencies"].as_array().into_iter().flatten().filter(|row| row["kind"].is_null());
        let used: BTreeSet<&str> =
            normal.filter_map(|row| row["name"].as_str()?.strip_prefix("berth-")).collect();
        for user in used.iter().filter(|user| !allowed.contains(user)) {
            breaches.push(format!("{name} must not use {user}"));
        }
    }
    Ok(breaches)
}

fn check_file(file: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    if file.starts_with("xtask/src/tidy.rs") {
        return breaches;
    }
    let Ok(text) = std::fs::read_to_string(setup::root().join(file)) else { return breaches };
    for (number, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", number + 1);
        if line.contains("/work/") || line.contains("bash_jobs") {
            breaches.push(format!("{place}: a path of one machine"));
        }
        if line.contains("#[ignore") {
            breaches.push(format!("{place}: an ignored test: assert what holds now"));
        }
    }
    if Path::new(file).extension().is_some_and(|end| end == "rs") {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
        if code > LINES_MAX && !file.contains("tests/") {
            breaches.push(format!("{file}: {code} lines: split it by noun or verb"));
        }
        let may = ["crates/sys/", "crates/runtime/"].iter().any(|folder| file.starts_with(folder));
        if !may && ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|word| text.contains(word)) {
            breaches.push(format!("{file}: unsafe belongs in sys and runtime"));
        }
        if file.ends_with("src/lib.rs") && !text.starts_with("//!") {
            breaches.push(format!("{file}: a crate opens with what it owns"));
        }
    }
    breaches
}
