//! Mount options as runc and mount(8) name them, turned into what the kernel's mount calls take.

use berth_sys::mount::{
    MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
};

/// What the options of one mount say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountOptions<'a> {
    /// Attributes of this mount.
    pub(crate) attributes: Change,
    /// Attributes of this mount and all below it (`rro` and the like).
    pub(crate) recursive: Change,
    /// Propagation types, in order.
    pub(crate) propagation: Vec<Propagation>,
    /// Bind mount, of one mount or of a tree.
    pub(crate) bind: Option<Bind>,
    /// A change of what is mounted already.
    pub(crate) remount: bool,
    /// Flags of the superblock by the names that `fsconfig` takes.
    pub(crate) superblock: Vec<&'a str>,
    /// Everything else: the file system's own options.
    pub(crate) data: Vec<&'a str>,
    /// The new file system starts with a copy of what it covers.
    pub(crate) copy_up: bool,
    /// Ids are mapped; `Tree` maps all below as well.
    pub(crate) idmap: Option<Bind>,
}

/// Attributes to set and to clear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

/// How far a bind mount or an id mapping reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bind {
    One,
    Tree,
}

/// A propagation type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Propagation {
    /// `MS_SHARED` and so on.
    pub(crate) flag: u64,
    pub(crate) recursive: bool,
}

impl Change {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn set(&mut self, attribute: u64) {
        self.set |= attribute;
        self.clear &= !attribute;
    }

    fn clear(&mut self, attribute: u64) {
        self.clear |= attribute;
        self.set &= !attribute;
    }

    /// The access time is one field with several values: the old one has to be cleared.
    fn access_time(&mut self, value: u64) {
        self.set = (self.set & !MOUNT_ATTR_ATIME) | value;
        self.clear |= MOUNT_ATTR_ATIME;
    }

    /// Applies one option; false if it names no attribute.
    fn apply(&mut self, option: &str) -> bool {
        match option {
            "ro" => self.set(MOUNT_ATTR_RDONLY),
            "rw" => self.clear(MOUNT_ATTR_RDONLY),
            "nosuid" => self.set(MOUNT_ATTR_NOSUID),
            "suid" => self.clear(MOUNT_ATTR_NOSUID),
            "nodev" => self.set(MOUNT_ATTR_NODEV),
            "dev" => self.clear(MOUNT_ATTR_NODEV),
            "noexec" => self.set(MOUNT_ATTR_NOEXEC),
            "exec" => self.clear(MOUNT_ATTR_NOEXEC),
            "nodiratime" => self.set(MOUNT_ATTR_NODIRATIME),
            "diratime" => self.clear(MOUNT_ATTR_NODIRATIME),
            "nosymfollow" => self.set(MOUNT_ATTR_NOSYMFOLLOW),
            "symfollow" => self.clear(MOUNT_ATTR_NOSYMFOLLOW),
            "noatime" => self.access_time(MOUNT_ATTR_NOATIME),
            "strictatime" => self.access_time(MOUNT_ATTR_STRICTATIME),
            "relatime" | "atime" | "nostrictatime" => self.access_time(MOUNT_ATTR_RELATIME),
            "norelatime" => self.access_time(MOUNT_ATTR_STRICTATIME),
            _ => return false,
        }
        true
    }
}

impl<'a> MountOptions<'a> {
    /// Reads the options of a mount of this type.
    pub(crate) fn parse(kind: &str, options: &'a [String]) -> Self {
        let mut parsed = Self::default();
        for option in options {
            parsed.add(option);
        }
        if kind == "bind" && parsed.bind.is_none() {
            parsed.bind = Some(Bind::One);
        }
        // Of a bind mount, only the mount can be read-only; of a file system, both are, as with mount(8).
        if parsed.bind.is_none() && parsed.attributes.set & MOUNT_ATTR_RDONLY != 0 {
            parsed.superblock.push("ro");
        }
        parsed
    }

    fn add(&mut self, option: &'a str) {
        if self.attributes.apply(option) || self.add_recursive(option) || self.add_propagation(option) {
            return;
        }
        match option {
            "bind" => self.bind = Some(Bind::One),
            "rbind" => self.bind = Some(Bind::Tree),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(Bind::One),
            "ridmap" => self.idmap = Some(Bind::Tree),
            // mount(8) and others leave these in; they say nothing to the kernel.
            "defaults" | "loud" | "silent" | "notmpcopyup" | "iversion" | "noiversion" | "" => {}
            "sync" | "async" | "dirsync" | "lazytime" | "nolazytime" | "mand" | "nomand" => {
                self.superblock.push(option);
            }
            _ => self.data.push(option),
        }
    }

    /// `rro`, `rnosuid`, …: the same names with an `r` in front reach the whole tree.
    fn add_recursive(&mut self, option: &str) -> bool {
        // `relatime` is an attribute of its own and was tried before; `rw` too.
        option.strip_prefix('r').is_some_and(|attribute| self.recursive.apply(attribute))
    }

    fn add_propagation(&mut self, option: &str) -> bool {
        let Some(propagation) = propagation(option) else { return false };
        self.propagation.push(propagation);
        true
    }
}

/// The propagation type of this name.
pub(crate) fn propagation(name: &str) -> Option<Propagation> {
    let (kind, recursive) = match name.strip_prefix('r') {
        Some(kind) => (kind, true),
        None => (name, false),
    };
    let flag = match kind {
        "shared" => libc::MS_SHARED,
        "slave" => libc::MS_SLAVE,
        "private" => libc::MS_PRIVATE,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => return None,
    };
    Some(Propagation { flag, recursive })
}

/// Every option that [`MountOptions`] gives a meaning, for `features`.
pub(crate) const KNOWN: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, options: &[&str], expect: impl FnOnce(MountOptions<'_>)) {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        expect(MountOptions::parse(kind, &options));
    }

    #[test]
    fn attributes_of_a_file_system() {
        check("tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k", "ro"], |options| {
            let set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME | MOUNT_ATTR_RDONLY;
            assert_eq!(options.attributes, Change { set, clear: MOUNT_ATTR_ATIME });
            assert_eq!(options.data, ["mode=755", "size=65536k"]);
            assert_eq!(options.superblock, ["ro"]);
        });
    }

    #[test]
    fn a_bind_mount_has_no_superblock_flags() {
        check("bind", &["rbind", "ro", "rprivate"], |options| {
            assert_eq!(options.bind, Some(Bind::Tree));
            assert_eq!(options.superblock, [""; 0]);
            assert_eq!(options.propagation, [Propagation { flag: libc::MS_PRIVATE, recursive: true }]);
        });
        check("bind", &[], |options| assert_eq!(options.bind, Some(Bind::One)));
    }

    #[test]
    fn the_last_of_two_opposites_wins() {
        check("bind", &["ro", "rw"], |options| {
            assert_eq!(options.attributes, Change { set: 0, clear: MOUNT_ATTR_RDONLY });
        });
    }

    #[test]
    fn recursive_attributes() {
        check("bind", &["rbind", "rro", "rnoatime"], |options| {
            assert_eq!(
                options.recursive,
                Change { set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME, clear: MOUNT_ATTR_ATIME }
            );
            assert!(options.attributes.is_empty());
        });
        // relatime is no recursive `elatime`, and rw is no recursive `w`.
        check("bind", &["relatime"], |options| assert!(options.recursive.is_empty()));
        check("bind", &["rw"], |options| assert!(options.recursive.is_empty()));
    }

    #[test]
    fn every_known_option_is_understood() {
        for option in KNOWN {
            check("tmpfs", &[option], |options| assert_eq!(options.data, [""; 0], "{option}"));
        }
    }
}
