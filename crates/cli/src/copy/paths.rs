//! Which path becomes which.

use std::fs;
use std::os::unix::fs::FileTypeExt;

use crate::outcome::io_text;

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Info {
    /// Where it is. A `/.` or `/` at its end has a meaning.
    pub(crate) path: String,
    /// Whether it is there.
    pub(crate) exists: bool,
    /// Whether it is a directory.
    pub(crate) is_dir: bool,
    /// The name that it has in the archive instead of its own; empty for its own.
    pub(crate) rebase: String,
}

/// How the archive is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// The directory to unpack into.
    pub(crate) directory: String,
    /// A name in the archive and what becomes of it.
    pub(crate) rename: Option<(String, String)>,
}

impl Prepared {
    /// The name of an entry after the renaming.
    pub(crate) fn name(&self, name: &str) -> String {
        match &self.rename {
            Some((old, new)) => match name.strip_prefix(old.as_str()) {
                Some(rest) => format!("{new}{rest}"),
                None => name.to_owned(),
            },
            None => name.to_owned(),
        }
    }
}

/// Decides where to unpack and under which name.
///
/// # Errors
/// Docker's text for two ends that do not fit.
pub(crate) fn prepare(from: &Info, to: &Info) -> Result<Prepared, String> {
    let (directory, name) = split(&to.path);
    let own = split(&from.path).1;
    let renamed = |directory: String| {
        let old = if from.rebase.is_empty() { own.clone() } else { from.rebase.clone() };
        // The root has no name; everything in the archive is below it.
        let old = if old == "/" { String::new() } else { old };
        Prepared { directory, rename: Some((old, name.clone())) }
    };
    match (to.exists, to.is_dir, from.is_dir) {
        (true, true, _) => Ok(Prepared { directory: to.path.clone(), rename: None }),
        (true, false, true) => Err("cannot copy directory".to_owned()),
        (false, _, false) if asserts_directory(&to.path) => Err("no such directory".to_owned()),
        _ => Ok(renamed(directory)),
    }
}

/// The source on the host.
///
/// # Errors
/// Docker's text for a path that is not there.
pub(crate) fn source(path: &str, follow: bool) -> Result<Info, String> {
    let (resolved, rebase) = if follow {
        let real = real_path(path)?;
        rebase_name(path, &real)
    } else {
        // The links on the way are followed, the last one is what is copied.
        let at = path.rfind('/').map_or(0, |at| at + 1);
        let (parent, last) = path.split_at(at);
        let resolved = format!("{}/{last}", real_path(parent)?.trim_end_matches('/'));
        let is_renamed = path.ends_with('/') && base(path) != base(&resolved);
        let rebase = if is_renamed { base(path) } else { String::new() };
        (resolved, rebase)
    };
    let metadata =
        fs::symlink_metadata(&resolved).map_err(|error| format!("lstat {resolved}: {}", io_text(&error)))?;
    Ok(Info { path: resolved, exists: true, is_dir: metadata.is_dir(), rebase })
}

fn real_path(path: &str) -> Result<String, String> {
    let real = fs::canonicalize(if path.is_empty() { "." } else { path })
        .map_err(|error| format!("lstat {}: {}", clean(path), io_text(&error)))?;
    Ok(real.to_string_lossy().into_owned())
}

/// The destination on the host: links are followed, the last part may be missing.
///
/// # Errors
/// Docker's text for a destination whose directory is missing.
pub(crate) fn destination(path: &str) -> Result<Info, String> {
    const LINKS: usize = 10;
    let original = path;
    let mut path = path.to_owned();
    for _ in 0..=LINKS {
        // What ends in a slash is looked at behind its last link, as the kernel does.
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => {
                let target =
                    fs::read_link(&path).map_err(|error| format!("readlink {path}: {}", io_text(&error)))?;
                path = join_link(&path, &target.to_string_lossy());
            }
            Ok(metadata) => {
                return Ok(Info { path, exists: true, is_dir: metadata.is_dir(), rebase: String::new() });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let parent = split(&path).0;
                let metadata =
                    fs::metadata(&parent).map_err(|error| format!("stat {parent}: {}", io_text(&error)))?;
                if !metadata.is_dir() {
                    return Err("not a directory".to_owned());
                }
                return Ok(Info { path, ..Info::default() });
            }
            Err(error) => return Err(format!("lstat {path}: {}", io_text(&error))),
        }
    }
    Err(format!("too many symlinks in {original}"))
}

/// Refuses destinations on the host that are neither files nor directories, or whose directory is missing.
///
/// # Errors
/// Docker's text.
pub(crate) fn check_output(path: &str) -> Result<(), String> {
    let parent = directory(&clean(path));
    if fs::metadata(&parent).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Err(format!("invalid output path: directory \"{parent}\" does not exist"));
    }
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    let kind = metadata.file_type();
    if metadata.is_dir() || metadata.is_file() {
        return Ok(());
    }
    let what = if kind.is_block_device() || kind.is_char_device() {
        "got a device"
    } else {
        "got an irregular file"
    };
    Err(format!("invalid output path: \"{path}\" must be a directory or a regular file: {what}"))
}

/// Where the link at `path` leads.
pub(crate) fn join_link(path: &str, target: &str) -> String {
    if target.starts_with('/') { target.to_owned() } else { clean(&format!("{}/{target}", split(path).0)) }
}

/// The path that is copied in place of a link that is followed, and the name that was asked for if it is another.
pub(crate) fn rebase_name(path: &str, resolved: &str) -> (String, String) {
    let mut resolved = resolved.to_owned();
    if base(path) == "." && base(&resolved) != "." {
        resolved.push_str("/.");
    }
    if path.ends_with('/') && !resolved.ends_with('/') {
        resolved.push('/');
    }
    let name = if base(path) == base(&resolved) { String::new() } else { base(path) };
    (resolved, name)
}

/// The path from the root on; what stands at its end keeps its meaning.
pub(crate) fn absolute(path: &str) -> String {
    let mut absolute = if path.starts_with('/') {
        clean(path)
    } else {
        let here = std::env::current_dir().unwrap_or_default();
        clean(&format!("{}/{path}", here.display()))
    };
    if base(path) == "." && base(&absolute) != "." {
        if !absolute.ends_with('/') {
            absolute.push('/');
        }
        absolute.push('.');
    }
    if path.ends_with('/') && !absolute.ends_with('/') {
        absolute.push('/');
    }
    absolute
}

fn asserts_directory(path: &str) -> bool {
    path.ends_with('/') || base(path) == "."
}

/// The directory and the name in it; `/.` at the end is the name `.`.
fn split(path: &str) -> (String, String) {
    let mut cleaned = clean(path);
    if base(path) == "." {
        cleaned.push_str("/.");
    }
    (directory(&cleaned), base(&cleaned))
}

fn directory(path: &str) -> String {
    match path.rfind('/') {
        Some(at) => clean(&path[..=at]),
        None => ".".to_owned(),
    }
}

fn base(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    match (path, trimmed) {
        ("", _) => ".".to_owned(),
        (_, "") => "/".to_owned(),
        (_, trimmed) => trimmed.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

/// The path without `.`, `..` and slashes that say nothing, by its text alone.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => _ = parts.pop(),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        let check = |path: &str, expect: &str| assert_eq!(clean(path), expect, "{path}");
        check("/a//b/./../c/", "/a/c");
        check("/../a", "/a");
        check("a/../..", "..");
        check("", ".");
        check("/", "/");
        assert_eq!(split("/a/b/."), ("/a/b".to_owned(), ".".to_owned()));
        assert_eq!(split("/a/b/"), ("/a".to_owned(), "b".to_owned()));
        assert_eq!(split("/"), ("/".to_owned(), "/".to_owned()));
        assert_eq!(absolute("/a/b/."), "/a/b/.");
        assert_eq!(absolute("/a/b/../"), "/a/");
        assert_eq!(join_link("/a/l", "b"), "/a/b");
    }

    #[test]
    fn every_kind_of_copy() {
        let info = |path: &str, exists, is_dir| Info { path: path.into(), exists, is_dir, ..Info::default() };
        let check = |from: Info, to: Info, entry: &str, expect: &str| {
            let got = match prepare(&from, &to) {
                Ok(prepared) => format!("{} {}", prepared.directory, prepared.name(entry)),
                Err(error) => error,
            };
            assert_eq!(got, expect, "{from:?} {to:?}");
        };
        let (file, dir) = (|| info("/s/f", true, false), || info("/s/d", true, true));
        check(file(), info("/t", true, true), "f", "/t f");
        check(file(), info("/t/x", true, false), "f", "/t x");
        check(file(), info("/t/x", false, false), "f", "/t x");
        check(file(), info("/t/x/", false, false), "f", "no such directory");
        check(dir(), info("/t", true, true), "d/y", "/t d/y");
        check(dir(), info("/t/x", true, false), "d/y", "cannot copy directory");
        check(dir(), info("/t/x", false, false), "d/y", "/t x/y");
        check(info("/s/d/.", true, true), info("/t/x", false, false), "./y", "/t x/y");
        check(info("/s/d/.", true, true), info("/t", true, true), "./y", "/t ./y");
        check(info("/", true, true), info("/t/x", false, false), "/y", "/t x/y");
    }
}
