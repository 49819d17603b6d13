//! A new file system as a detached mount: `fsopen`, `fsconfig`, `fsmount`, with the classic `mount` as fall-back.
//!
//! The overlay of a root filesystem comes through here as well. Its layers are handed over one by one (`lowerdir+`,
//! Linux 6.7), so that neither their number nor the length of their paths meets a limit of the kernel; older kernels
//! take them in one string of a page.

use std::borrow::Cow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use berth_sys::mount::{
    MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME,
};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount,
};

use crate::options::MountOptions;

/// Longest string that `fsconfig` takes, without its NUL.
const STRING_MAX: usize = 255;
/// What a classic mount takes in all, with its NUL.
const PAGE: usize = 4096;

/// A file system to mount.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileSystem<'a> {
    pub(crate) kind: &'a str,
    pub(crate) source: &'a str,
    pub(crate) options: &'a MountOptions<'a>,
    /// `SELinux` label of its files.
    pub(crate) label: &'a str,
}

/// A file system that is mounted nowhere yet, or, where only the classic call could do it, there already.
#[derive(Debug)]
pub(crate) enum Mounted {
    Detached(OwnedFd),
    /// Mounted over the target, which has to be opened anew to get at it.
    Attached,
}

impl FileSystem<'_> {
    /// Mounts it; `target` is only used by the classic call.
    pub(crate) fn mount(&self, target: &OwnedFd) -> Result<Mounted, Errno> {
        match self.detached() {
            Ok(detached) => Ok(Mounted::Detached(detached)),
            Err(Refused::ByCall) => self.classic(target).map(|()| Mounted::Attached),
            Err(Refused::BySystem(errno)) => Err(errno),
        }
    }

    /// Mounts it detached.
    pub(crate) fn detached(&self) -> Result<OwnedFd, Refused> {
        let context = fsopen(self.kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| match errno {
            Errno::NOSYS => Refused::ByCall,
            errno => Refused::BySystem(errno),
        })?;
        let source = if self.source.is_empty() { "none" } else { self.source };
        set_string(&context, "source", source)?;
        for flag in &self.options.superblock {
            fsconfig_set_flag(context.as_fd(), *flag).map_err(Refused::BySystem)?;
        }
        if !self.label.is_empty() {
            set_string(&context, "context", self.label)?;
        }
        for option in self.data() {
            if self.kind == "overlay" {
                set_overlay_option(&context, option)?;
            } else {
                set_option(&context, option)?;
            }
        }
        fsconfig_create(context.as_fd()).map_err(|errno| match errno {
            // An overlayfs that takes the options of these calls as text refuses what it does not know only here.
            Errno::INVAL if self.kind == "overlay" => Refused::ByCall,
            errno => Refused::BySystem(errno),
        })?;
        let attributes = MountAttrFlags::from_bits_retain(self.options.attributes.set as u32);
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(Refused::BySystem)
    }

    /// Options may be given several in one, with commas, as `mount -o` takes them.
    fn data(&self) -> impl Iterator<Item = &str> {
        let overlay = self.kind == "overlay";
        self.options.data.iter().flat_map(move |option| {
            // The paths of an overlay may contain commas of their own.
            let whole = overlay.then_some(*option);
            let parts = (!overlay).then(|| option.split(','));
            whole.into_iter().chain(parts.into_iter().flatten())
        })
    }

    fn classic(&self, target: &OwnedFd) -> Result<(), Errno> {
        let target = format!("/proc/self/fd/{}", target.as_raw_fd());
        let mut data = self.options.data.join(",");
        if !self.label.is_empty() {
            if !data.is_empty() {
                data.push(',');
            }
            data.push_str("context=\"");
            data.push_str(self.label);
            data.push('"');
        }
        if data.len() >= PAGE && self.kind == "overlay" {
            let (short, base) = shorten(&data).ok_or(Errno::NAMETOOLONG)?;
            // The process is on its way into the container: its working directory is of no use to it any more.
            rustix::process::chdir(base)?;
            data = short;
        }
        let data = std::ffi::CString::new(data).map_err(|_| Errno::INVAL)?;
        let source = if self.source.is_empty() { "none" } else { self.source };
        mount(source, target.as_str(), self.kind, self.classic_flags(), data.as_c_str())
    }

    fn classic_flags(&self) -> MountFlags {
        const TABLE: [(u64, MountFlags); 7] = [
            (MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
            (MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
            (MOUNT_ATTR_NODEV, MountFlags::NODEV),
            (MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC),
            (MOUNT_ATTR_NOATIME, MountFlags::NOATIME),
            (MOUNT_ATTR_STRICTATIME, MountFlags::STRICTATIME),
            (MOUNT_ATTR_NODIRATIME, MountFlags::NODIRATIME),
        ];
        let set = self.options.attributes.set;
        let mut flags = TABLE
            .iter()
            .filter(|(attribute, _)| set & attribute != 0)
            .fold(MountFlags::empty(), |flags, (_, flag)| flags | *flag);
        if self.options.attributes.clear & MOUNT_ATTR_ATIME != 0 && !flags.contains(MountFlags::STRICTATIME) {
            flags |= MountFlags::RELATIME;
        }
        for flag in &self.options.superblock {
            flags |= match *flag {
                "sync" => MountFlags::SYNCHRONOUS,
                "dirsync" => MountFlags::DIRSYNC,
                "lazytime" => MountFlags::LAZYTIME,
                "mand" => MountFlags::PERMIT_MANDATORY_FILE_LOCKING,
                _ => MountFlags::empty(),
            };
        }
        flags
    }
}

/// Why there is no detached mount.
#[derive(Debug)]
pub(crate) enum Refused {
    /// These calls cannot express it here; the classic one may.
    ByCall,
    /// The kernel says no.
    BySystem(Errno),
}

fn set_option(context: &OwnedFd, option: &str) -> Result<(), Refused> {
    match option.split_once('=') {
        Some((key, value)) => set_string(context, key, value),
        None if option.is_empty() => Ok(()),
        None => fsconfig_set_flag(context.as_fd(), option).map_err(Refused::BySystem),
    }
}

fn set_string(context: &OwnedFd, key: &str, value: &str) -> Result<(), Refused> {
    if value.len() > STRING_MAX {
        return Err(Refused::ByCall);
    }
    fsconfig_set_string(context.as_fd(), key, value).map_err(Refused::BySystem)
}

/// Source: `Documentation/filesystems/overlayfs.rst`, "Multiple lower layers".
fn set_overlay_option(context: &OwnedFd, option: &str) -> Result<(), Refused> {
    match option.split_once('=') {
        Some(("lowerdir", layers)) => {
            // Layers that hold only data have no place in this form of the option before Linux 6.7's `datadir+`.
            let layers = split_layers(layers).filter(|_| takes_layers_one_by_one()).ok_or(Refused::ByCall)?;
            layers.iter().try_for_each(|layer| set_layer(context, "lowerdir+", layer))
        }
        Some((key @ ("upperdir" | "workdir"), path)) if path.len() > STRING_MAX => {
            set_layer(context, key, path)
        }
        _ => set_option(context, option),
    }
}

/// Older kernels refuse it too, but not without a line in the kernel's log for every container.
fn takes_layers_one_by_one() -> bool {
    at_least(&rustix::system::uname().release().to_string_lossy(), (6, 7))
}

/// Whether the release of a kernel is this one or newer.
fn at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

fn set_layer(context: &OwnedFd, key: &str, path: &str) -> Result<(), Refused> {
    let result = if path.len() > STRING_MAX {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let layer = open(path, flags, Mode::empty()).map_err(Refused::BySystem)?;
        fsconfig_set_fd(context.as_fd(), key, layer.as_fd())
    } else {
        fsconfig_set_string(context.as_fd(), key, path)
    };
    result.map_err(|errno| match errno {
        // A kernel that does not know the key, or does not take it as a descriptor.
        Errno::INVAL => Refused::ByCall,
        errno => Refused::BySystem(errno),
    })
}

/// The layers of a `lowerdir`, uppermost first, with `\:` and `\\` resolved; `None` if it has data-only layers.
fn split_layers(layers: &str) -> Option<Vec<Cow<'_, str>>> {
    if layers.contains("::") {
        return None;
    }
    if !layers.contains('\\') {
        return Some(layers.split(':').map(Cow::Borrowed).collect());
    }
    let mut found = Vec::new();
    let mut layer = String::new();
    let mut letters = layers.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => layer.extend(letters.next()),
            ':' => found.push(Cow::Owned(std::mem::take(&mut layer))),
            other => layer.push(other),
        }
    }
    found.push(Cow::Owned(layer));
    Some(found)
}

/// The options of an overlay with paths relative to a directory that all layers share, and that directory.
fn shorten(data: &str) -> Option<(String, &str)> {
    let lower = data.split(',').find_map(|option| option.strip_prefix("lowerdir="))?;
    let mut common = lower.split(':').next()?.rsplit_once('/')?.0;
    let shared = |common: &str| {
        lower.split(':').all(|layer| layer.strip_prefix(common).is_some_and(|rest| rest.starts_with('/')))
    };
    while !shared(common) {
        common = common.rsplit_once('/')?.0;
    }
    let short = data.replace(&format!("{common}/"), "");
    (!common.is_empty() && short.len() < PAGE).then_some((short, common))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_split_at_colons_that_are_not_escaped() {
        assert_eq!(split_layers("/a:/b").unwrap(), ["/a", "/b"]);
        assert_eq!(split_layers(r"/a\:1:/b\\2").unwrap(), ["/a:1", r"/b\2"]);
        assert!(split_layers("/a::/data").is_none());
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert!(at_least("6.18.44-fc", (6, 7)) && at_least("6.7", (6, 7)) && at_least("10.0-rc1", (6, 7)));
        assert!(!at_least("6.1.0-56-cloud-amd64", (6, 7)) && !at_least("5.10", (6, 7)));
    }

    #[test]
    fn long_options_are_shortened_by_what_all_layers_share() {
        let layers: Vec<String> = (0..200).map(|index| format!("/var/lib/layers/{index}/fs")).collect();
        let data = format!("lowerdir={},upperdir=/var/lib/u,workdir=/var/lib/layers/w", layers.join(":"));
        assert!(data.len() > PAGE);
        let (short, base) = shorten(&data).unwrap();
        assert_eq!(base, "/var/lib/layers");
        assert!(short.starts_with("lowerdir=0/fs:1/fs:"));
        assert!(short.ends_with(",upperdir=/var/lib/u,workdir=w"));
        assert!(shorten("lowerdir=/a:/b").is_none(), "nothing is shared");
    }
}
