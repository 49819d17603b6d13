//! `-v`, `--volume`, `--tmpfs`, `--volumes-from`.

use std::collections::BTreeMap;
use std::path::Path;

use berth_api::container::Empty;

/// What `-v` values say: binds and named volumes, and anonymous volumes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Volumes {
    /// `source:target[:options]`.
    pub(crate) binds: Vec<String>,
    /// Paths that get an anonymous volume.
    pub(crate) anonymous: BTreeMap<String, Empty>,
}

/// Reads all `-v` values. `directory` is what `.` means.
///
/// # Errors
/// Docker's text for the first value that is wrong.
pub(crate) fn parse(specs: &[String], directory: &Path) -> Result<Volumes, String> {
    let mut volumes = Volumes::default();
    for spec in specs {
        if has_source(spec)? {
            let bind = absolute(spec, directory);
            if !volumes.binds.contains(&bind) {
                volumes.binds.push(bind);
            }
        } else {
            volumes.anonymous.insert(spec.clone(), Empty {});
        }
    }
    Ok(volumes)
}

/// Whether the value has a source; an error if it is no volume at all.
fn has_source(spec: &str) -> Result<bool, String> {
    match spec.len() {
        0 => return Err("invalid empty volume spec".to_owned()),
        1 | 2 => return Ok(false),
        _ => {}
    }
    let wrong = |reason: &str| Err(format!("invalid spec: {spec}: {reason}"));
    // One letter and a colon are taken for a drive of Windows, with what follows as its path.
    let mut sections: Vec<String> = Vec::new();
    for section in spec.split(':') {
        match sections.last_mut() {
            Some(last) if last.len() == 1 && last.as_bytes()[0].is_ascii_alphabetic() => {
                last.push(':');
                last.push_str(section);
            }
            _ => sections.push(section.to_owned()),
        }
    }
    for (index, section) in sections.iter().enumerate() {
        if section.is_empty() {
            return wrong("empty section between colons");
        }
        if index == 2 && sections.len() > 3 {
            return wrong("too many colons");
        }
    }
    Ok(sections.len() > 1)
}

/// The value with a source that starts with a dot made absolute.
fn absolute(spec: &str, directory: &Path) -> String {
    match spec.split_once(':') {
        Some((source, rest)) if source.starts_with('.') => {
            format!("{}:{rest}", clean(&directory.join(source).to_string_lossy()))
        }
        _ => spec.to_owned(),
    }
}

/// The shortest path that means the same, by its text alone (Go's `filepath.Clean`).
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if rooted || parts.last().is_some_and(|last| *last != "..") => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Reads all `--tmpfs` values: path, then options after a colon.
pub(crate) fn parse_tmpfs(specs: &[String]) -> BTreeMap<String, String> {
    specs
        .iter()
        .map(|spec| spec.split_once(':').unwrap_or((spec, "")))
        .map(|(path, options)| (path.to_owned(), options.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, expect: &str) {
        let got = match parse(&[spec.to_owned()], Path::new("/home/me")) {
            Err(error) => error,
            Ok(Volumes { binds, anonymous }) => match anonymous.keys().next() {
                Some(path) => format!("anonymous {path}"),
                None => binds.join(" "),
            },
        };
        assert_eq!(got, expect, "{spec}");
    }

    #[test]
    fn every_form_of_volume() {
        check("/data", "anonymous /data");
        check("/a", "anonymous /a");
        check("/host:/data", "/host:/data");
        check("/host:/data:ro,z", "/host:/data:ro,z");
        check("name:/data", "name:/data");
        // The engine says what is wrong with this one.
        check("/a:/b:c:d", "/a:/b:c:d");
        check("./x/../y:/data", "/home/me/y:/data");
        check(".:/data", "/home/me:/data");
        check("../x:/data:ro", "/home/x:/data:ro");
        check("::::", "invalid spec: ::::: empty section between colons");
        check("/a:/b:ro:x", "invalid spec: /a:/b:ro:x: too many colons");
        check("/a::ro", "invalid spec: /a::ro: empty section between colons");
        check("", "invalid empty volume spec");
        check("a:/b", "anonymous a:/b");
        check("a:/b:/c:ro", "a:/b:/c:ro");
    }

    #[test]
    fn tmpfs_and_paths() {
        let specs = ["/run:size=1m,mode=0755".to_owned(), "/tmp".to_owned()];
        let tmpfs = parse_tmpfs(&specs);
        assert_eq!(tmpfs["/run"], "size=1m,mode=0755");
        assert_eq!(tmpfs["/tmp"], "");
        assert_eq!(clean("/a/./b/../../c//"), "/c");
        assert_eq!(clean("../a/.."), "..");
        assert_eq!(clean(""), ".");
    }
}
