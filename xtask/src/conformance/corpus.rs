//! The corpus: cases and their steps.

use std::path::Path;

/// Steps that build on each other; every case begins with an engine without containers.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
}

impl Case {
    /// Whether a port of the host is published, by a number that was chosen.
    pub(super) fn has_host_port(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Shell(line) => [" -p ", "--publish", "curl http"].iter().any(|word| line.contains(word)),
            Step::Http { body, .. } => body.as_ref().is_some_and(|body| body.contains("HostPort")),
        })
    }
}

/// One thing asked of an engine.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A line for `sh`, with the real `docker` addressed to the engine.
    Shell(String),
    /// A request on a connection of its own.
    Http { method: String, path: String, body: Option<String> },
}

impl Step {
    fn parse(line: &str) -> Step {
        let mut words = line.splitn(3, ' ');
        let (method, path, body) = (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next());
        if ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"].contains(&method)
            && path.starts_with('/')
        {
            return Step::Http { method: method.into(), path: path.into(), body: body.map(str::to_owned) };
        }
        Step::Shell(line.to_owned())
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Shell(line) => f.write_str(line),
            Step::Http { method, path, body } => {
                write!(f, "{method} {path} {}", body.as_deref().unwrap_or(""))
            }
        }
    }
}

/// The minor API versions that the peer speaks.
const VERSIONS: std::ops::RangeInclusive<u32> = 24..=45;

/// A line, or the lines that `EACH` makes of it.
fn each(line: &str) -> Vec<String> {
    let Some(request) = line.strip_prefix("EACH ") else { return vec![line.to_owned()] };
    VERSIONS.map(|version| request.replacen(" /", &format!(" /v1.{version}/"), 1)).collect()
}

/// All cases of the `*.corpus` files in a folder, by file name and place.
pub(super) fn read(folder: &Path) -> Result<Vec<Case>, Box<dyn std::error::Error>> {
    let mut files: Vec<_> = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "corpus"));
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for block in std::fs::read_to_string(&file)?.split("\n\n") {
            let mut lines = block.lines().filter(|line| !line.trim().is_empty());
            let Some(first) = lines.next() else { continue };
            let name = first.strip_prefix("# ").ok_or_else(|| format!("{stem}: no name before {first:?}"))?;
            let name = format!("{stem}: {name}");
            if cases.iter().any(|case| case.name == name) {
                return Err(format!("two cases are named {name:?}").into());
            }
            cases.push(Case { name, steps: lines.flat_map(each).map(|line| Step::parse(&line)).collect() });
        }
    }
    Ok(cases)
}
