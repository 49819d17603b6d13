//! The environment of a process, and its home directory.

use std::io::Read;

use berth_oci::runtime::Process;
use berth_sys::process::StringList;
use rustix::fs::OFlags;

use crate::Error;
use crate::path::RootDir;

/// Longest `/etc/passwd` that is searched.
const PASSWD_MAX: u64 = 1 << 20;

/// The variables as they are passed on: of several of one name the last, and `HOME` where it is missing.
pub(super) fn environment(process: &Process, root: RootDir<'_>) -> Result<StringList, Error> {
    let home = match process.env.iter().rev().find_map(|variable| variable.strip_prefix("HOME=")) {
        Some(home) if !home.is_empty() => None,
        _ => Some(format!("HOME={}", home_of(process.user.uid, root).as_deref().unwrap_or("/"))),
    };
    let mut variables: Vec<&str> = Vec::with_capacity(process.env.len() + 1);
    for (index, variable) in process.env.iter().enumerate() {
        let name = name_of(variable);
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(Error::InvalidSpec(format!("invalid environment variable: {variable:?}")));
        };
        let again = process.env[index + 1..].iter().any(|later| name_of(later) == Some(name));
        if !again && !(home.is_some() && name == "HOME") {
            variables.push(variable);
        }
    }
    variables.extend(home.as_deref());
    StringList::new(variables)
        .map_err(|_| Error::InvalidSpec("an environment variable contains a NUL byte".to_owned()))
}

fn name_of(variable: &str) -> Option<&str> {
    variable.split_once('=').map(|(name, _)| name)
}

/// Reads the container's own `/etc/passwd`.
fn home_of(uid: u32, root: RootDir<'_>) -> Option<String> {
    let file = root.open("/etc/passwd", OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
    let mut text = Vec::new();
    std::fs::File::from(file).take(PASSWD_MAX).read_to_end(&mut text).ok()?;
    find_home(uid, &String::from_utf8_lossy(&text))
}

fn find_home(uid: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let id = fields.nth(2)?;
        let home = fields.nth(2)?;
        (id.parse() == Ok(uid) && !home.is_empty()).then(|| home.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, open};
    use std::os::fd::AsFd;

    #[test]
    fn home_comes_from_the_containers_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\n# no user\nbroken\nwww:x:33:33::/var/www:/bin/false\n";
        assert_eq!(find_home(0, passwd).as_deref(), Some("/root"));
        assert_eq!(find_home(33, passwd).as_deref(), Some("/var/www"));
        assert_eq!(find_home(34, passwd), None);
    }

    fn check(env: &[&str], expected: &[&str]) {
        let root = open("/var/empty-or-not", OFlags::PATH, Mode::empty())
            .or_else(|_| open("/proc", OFlags::PATH, Mode::empty()))
            .unwrap();
        let env = env.iter().map(|&variable| variable.to_owned()).collect();
        let list = environment(&Process { env, ..Process::default() }, RootDir(root.as_fd())).unwrap();
        let strings: Vec<_> = list.strings().iter().map(|string| string.to_str().unwrap()).collect();
        assert_eq!(strings, expected);
    }

    #[test]
    fn the_last_of_a_name_wins() {
        check(&["A=1", "B=2", "A=3"], &["B=2", "A=3", "HOME=/"]);
        check(&["HOME=/x"], &["HOME=/x"]);
        check(&["HOME=", "A="], &["A=", "HOME=/"]);
    }
}
