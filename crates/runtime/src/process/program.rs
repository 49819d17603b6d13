//! Which file is executed: found inside the container's root with the process's own `PATH`.

use std::ffi::CString;

use berth_oci::runtime::Process;
use berth_sys::process::{StringList, execve};
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;

use crate::Error;
use crate::error::ExecFailure;

/// A program that was found.
#[derive(Debug)]
pub(super) struct Program {
    /// As the configuration names it.
    name: String,
    path: CString,
    arguments: StringList,
}

impl Program {
    /// Looks for the program as a shell does.
    pub(super) fn find(process: &Process) -> Result<Self, Error> {
        let name = process.args.first().cloned().unwrap_or_default();
        let path = match find(&name, search_path(&process.env)) {
            Ok(path) => path,
            Err(failure) => return Err(Error::Exec { program: name, failure }),
        };
        let invalid = || Error::InvalidSpec("an argument contains a NUL byte".to_owned());
        Ok(Self {
            path: CString::new(path).map_err(|_| invalid())?,
            arguments: StringList::new(process.args.iter().map(String::as_str)).map_err(|_| invalid())?,
            name,
        })
    }

    /// Comes back with the error only.
    pub(super) fn execute(&self, environment: &StringList) -> Error {
        let errno = execve(&self.path, &self.arguments, environment);
        Error::Exec { program: self.name.clone(), failure: ExecFailure::System(errno) }
    }
}

fn search_path(env: &[String]) -> &str {
    env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default()
}

fn find(name: &str, search: &str) -> Result<String, ExecFailure> {
    if name.contains('/') {
        return check(name).map(|()| name.to_owned());
    }
    if name.is_empty() {
        return Err(ExecFailure::NotInPath);
    }
    for dir in search.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        let path = format!("{dir}/{name}");
        if check(&path).is_ok() {
            return Ok(path);
        }
    }
    Err(ExecFailure::NotInPath)
}

/// Whether it is a file that may be executed.
fn check(path: &str) -> Result<(), ExecFailure> {
    let found = stat(path).map_err(ExecFailure::Stat)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return Err(ExecFailure::System(Errno::ISDIR));
    }
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        // A kernel or a filter without the call; the mode has to do.
        Err(Errno::NOSYS | Errno::PERM) if found.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => Err(ExecFailure::System(Errno::ACCESS)),
        Err(errno) => Err(ExecFailure::System(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_search_passes_over_what_cannot_be_executed() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("1"), dir.path().join("2"));
        for (dir, mode) in [(&first, 0o644), (&second, 0o755)] {
            std::fs::create_dir(dir).unwrap();
            std::fs::write(dir.join("tool"), "").unwrap();
            std::fs::set_permissions(dir.join("tool"), PermissionsExt::from_mode(mode)).unwrap();
        }
        let search = format!("{}:/nowhere:{}", first.display(), second.display());
        assert_eq!(find("tool", &search).unwrap(), second.join("tool").to_str().unwrap());
        assert_eq!(find("no-tool", &search), Err(ExecFailure::NotInPath));
        assert_eq!(find("", &search), Err(ExecFailure::NotInPath));
        let plain = first.join("tool").to_str().unwrap().to_owned();
        assert_eq!(find(&plain, ""), Err(ExecFailure::System(Errno::ACCESS)));
        assert_eq!(find(dir.path().to_str().unwrap(), ""), Err(ExecFailure::System(Errno::ISDIR)));
        assert_eq!(find("/no/where", ""), Err(ExecFailure::Stat(Errno::NOENT)));
    }

    #[test]
    fn the_last_path_counts() {
        let env = ["PATH=/a".to_owned(), "PATH=/b".to_owned()];
        assert_eq!(search_path(&env), "/b");
        assert_eq!(search_path(&[]), "");
    }
}
