//! `state`, `list` and `ps`.

use std::process::{Command, ExitCode};

use super::arguments::{Flag, Parsed};
use super::container::{Container, Shown};
use super::control::no_cgroup;
use super::{About, Failure, Global, Outcome, print};

pub(super) const LIST: &[Flag] = &[Flag::value("format").or('f'), Flag::switch("quiet").or('q')];
pub(super) const PS: &[Flag] = &[Flag::value("format").or('f')];

pub(super) fn state(global: &Global, arguments: &Parsed) -> Outcome {
    let shown = Container::load(global, arguments.id()?)?.show();
    let text = serde_json::to_string_pretty(&shown).map_err(|error| Failure::new(error.to_string()))?;
    print(&format!("{text}\n"))
}

pub(super) fn list(global: &Global, arguments: &Parsed) -> Outcome {
    let mut containers = find(global)?;
    containers.sort_by(|one, other| one.id.cmp(&other.id));
    if arguments.has("quiet") {
        return print(&containers.iter().map(|shown| format!("{}\n", shown.id)).collect::<String>());
    }
    match arguments.value("format").unwrap_or("table") {
        "table" => print(&table(&containers)),
        "json" => {
            let text = serde_json::to_string(&containers).map_err(|error| Failure::new(error.to_string()))?;
            print(&format!("{text}\n"))
        }
        _ => Err(Failure::new("invalid format option")),
    }
}

/// All containers; one that goes away meanwhile, or is not finished yet, is none.
fn find(global: &Global) -> Result<Vec<Shown>, Failure> {
    let entries = match std::fs::read_dir(&global.root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).about(format_args!("read {}", global.root.display())),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter_map(|id| Container::load(global, &id).ok()).map(Container::show).collect())
}

fn table(containers: &[Shown]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    for shown in containers {
        let status = serde_json::to_value(shown.status).unwrap_or_default();
        rows.push([
            shown.id.clone(),
            shown.pid.to_string(),
            status.as_str().unwrap_or_default().to_owned(),
            shown.bundle.display().to_string(),
            shown.created.clone(),
            shown.owner.clone(),
        ]);
    }
    // As Go's tabwriter does it for runc: at least 12 wide, one space between.
    let width = |column: usize| rows.iter().map(|row| row[column].len() + 1).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[5]);
        text.push('\n');
    }
    text
}

pub(super) fn ps(global: &Global, arguments: &Parsed) -> Outcome {
    let Some((id, options)) = arguments.positional.split_first() else {
        return Err(Failure::new("ps needs the id of a container"));
    };
    let container = Container::load(global, id)?;
    let cgroup = container.cgroup().ok_or_else(no_cgroup)?;
    let pids: Vec<i32> = cgroup.pids()?.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    match arguments.value("format").unwrap_or("table") {
        "json" => {
            let text = serde_json::to_string(&pids).map_err(|error| Failure::new(error.to_string()))?;
            print(&format!("{text}\n"))
        }
        "table" => ps_table(&pids, options),
        _ => Err(Failure::new("invalid format option")),
    }
}

/// The columns are those of the host's own `ps`, with whatever options are given to it.
fn ps_table(pids: &[i32], options: &[String]) -> Outcome {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default[..] } else { options };
    let output = Command::new("ps").args(options).output().about("run ps")?;
    if !output.status.success() {
        return Err(Failure::new(format!("ps: {}", String::from_utf8_lossy(&output.stderr).trim_end())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Failure::new("couldn't find PID field in ps output"))?;
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    let shown = std::iter::once(header).chain(lines.filter(is_ours));
    print(&shown.map(|line| format!("{line}\n")).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}
