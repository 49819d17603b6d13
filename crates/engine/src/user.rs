//! Users and groups by name, from the container's own `/etc/passwd` and `/etc/group`.
//!
//! The files come from the image: they are read as bytes, bounded, and nothing in them is trusted but the fields.

use crate::error::{Error, Result};
use crate::rootfs::RootFs;
use crate::spec::Identity;

/// No more of a file is read.
const FILE_MAX: u64 = 4 << 20;

/// Who `user` (`name`, `uid`, `name:group`, `uid:gid`; empty: root) is in this root file system, with further groups.
///
/// Errors: `Internal` with Docker's text (which Docker answers with status 500).
pub(crate) fn resolve(rootfs: &RootFs, user: &str, group_add: &[String]) -> Result<Identity> {
    let read = |path: &str| {
        let content = rootfs.read(path, FILE_MAX);
        content
            .map(Option::unwrap_or_default)
            .map_err(|error| Error::Internal(format!("cannot read {path}: {error}")))
    };
    identify(&read("/etc/passwd")?, &read("/etc/group")?, user, group_add)
}

struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

fn identify(passwd: &[u8], group: &[u8], user: &str, group_add: &[String]) -> Result<Identity> {
    let (user, group_name) = user.split_once(':').unwrap_or((user, ""));
    let numeric: Option<u32> = number(user)?;
    let wanted = if user.is_empty() { Some(0) } else { numeric };
    let fits = |account: &Account<'_>| match wanted {
        // A number is always an id, never a name.
        Some(uid) => account.uid == uid,
        None => account.name == user.as_bytes(),
    };
    let account = accounts(passwd).find(fits);
    let mut identity = match (&account, wanted) {
        (Some(account), _) => Identity {
            uid: account.uid,
            gid: account.gid,
            groups: Vec::new(),
            home: String::from_utf8_lossy(account.home).into_owned(),
        },
        (None, Some(uid)) => Identity { uid, ..Identity::default() },
        (None, None) => {
            return Err(Error::Refused(format!(
                "unable to find user {user}: no matching entries in passwd file"
            )));
        }
    };
    if identity.home.is_empty() {
        identity.home = "/".to_owned();
    }
    if group_name.is_empty() {
        // Member of what the group file says; with an explicit group, of that one only.
        let name = account.map_or(&b""[..], |account| account.name);
        let member =
            |group: &Group<'_>| group.members.split(|byte| *byte == b',').any(|member| member == name);
        if !name.is_empty() {
            identity.groups.extend(groups(group).filter(member).map(|group| group.gid));
        }
    } else {
        identity.gid = match number(group_name)? {
            Some(gid) => gid,
            None => gid_of(group, group_name, "unable")?,
        };
    }
    // The primary group is among the further ones, too, as Docker lists it: else a
    // process that changes its primary group would keep less than it was given.
    identity.groups.retain(|gid| *gid != identity.gid);
    identity.groups.insert(0, identity.gid);
    for add in group_add {
        let gid = gid_of(group, add, "Unable")?;
        if !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    Ok(identity)
}

/// A group by name or number.
fn gid_of(group: &[u8], wanted: &str, unable: &str) -> Result<u32> {
    if let Some(found) = groups(group).find(|group| group.name == wanted.as_bytes()) {
        return Ok(found.gid);
    }
    let missing =
        || Error::Refused(format!("{unable} to find group {wanted}: no matching entries in group file"));
    number(wanted)?.ok_or_else(missing)
}

/// The number that a text is, if it is one.
///
/// Errors: Docker's text for a number that no user or group can have.
fn number(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<i32>() {
        Ok(number) if number >= 0 => Ok(Some(number.unsigned_abs())),
        _ => Err(Error::Refused("uids and gids must be in range 0-2147483647".to_owned())),
    }
}

/// The lines of `passwd`: `name:password:uid:gid:comment:home:shell`. Others are passed over.
fn accounts(passwd: &[u8]) -> impl Iterator<Item = Account<'_>> {
    fields(passwd).filter_map(|fields| match fields[..] {
        [name, _, uid, gid, ref rest @ ..] => {
            let home = rest.get(1).copied().unwrap_or_default();
            Some(Account { name, uid: digits(uid)?, gid: digits(gid)?, home })
        }
        _ => None,
    })
}

/// The lines of `group`: `name:password:gid:members`.
fn groups(group: &[u8]) -> impl Iterator<Item = Group<'_>> {
    fields(group).filter_map(|fields| match fields[..] {
        [name, _, gid, ref rest @ ..] => {
            Some(Group { name, gid: digits(gid)?, members: rest.first().copied().unwrap_or_default() })
        }
        _ => None,
    })
}

fn fields(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines
        .filter(|line| !line.is_empty() && line[0] != b'#')
        .map(|line| line.split(|byte| *byte == b':').collect())
}

fn digits(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nweb:x:33:34:web:/var/www:/bin/false\n\
                            7:x:70:71::/seven:/bin/sh\nnohome:x:50:50\n";
    const GROUP: &[u8] = b"root:x:0:\nwww:x:34:\naudio:x:29:web,root\nvideo:x:44:web\n8:x:80:\n";

    fn check(user: &str, add: &[&str], expect: &str) {
        let add: Vec<String> = add.iter().map(|group| (*group).to_owned()).collect();
        let shown = identify(PASSWD, GROUP, user, &add).map_or_else(
            |error| error.to_string(),
            |Identity { uid, gid, groups, home }| format!("{uid}:{gid} {groups:?} {home}"),
        );
        assert_eq!(shown, expect, "{user}");
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        check("", &[], "0:0 [0, 29] /root");
        check("root", &[], "0:0 [0, 29] /root");
        check("web", &[], "33:34 [34, 29, 44] /var/www");
        check("33", &[], "33:34 [34, 29, 44] /var/www");
        check("7", &[], "7:0 [0] /");
        check("nohome", &[], "50:50 [50] /");
        check("1234", &[], "1234:0 [0] /");
        check("web:audio", &[], "33:29 [29] /var/www");
        check("web:77", &[], "33:77 [77] /var/www");
        check("web:8", &[], "33:8 [8] /var/www");
        check("1234:5678", &["video", "8", "9"], "1234:5678 [5678, 44, 80, 9] /");
    }

    #[test]
    fn refusals_are_dockers() {
        check("foo", &[], "unable to find user foo: no matching entries in passwd file");
        check("0:foo", &[], "unable to find group foo: no matching entries in group file");
        check("0", &["foo"], "Unable to find group foo: no matching entries in group file");
        check("99999999999", &[], "uids and gids must be in range 0-2147483647");
    }
}
