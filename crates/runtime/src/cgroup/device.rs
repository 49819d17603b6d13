//! Device rules: what a list of them comes to, and how version 1 is told.
//!
//! A list is read from the front, the last rule that matches wins. The kernel's version 1 keeps a default and a set
//! of exceptions, so that is what a list is brought to first ([`Rules`]); version 2 gets a program made of the same.

use std::os::fd::AsFd;

use berth_oci::runtime::LinuxDeviceCgroup;
use berth_sys::bpf;
use rustix::fs::OFlags;

use super::device_program;
use super::error::Error;
use super::file::{self, Dir};
use super::group::Cgroup;
use super::hierarchy::{Controller, Version};

/// What is done with a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Access(u8);

impl Access {
    pub(super) const MKNOD: Self = Self(1);
    pub(super) const READ: Self = Self(2);
    pub(super) const WRITE: Self = Self(4);
    pub(super) const ALL: Self = Self(7);

    /// The bits, which are those of `BPF_DEVCG_ACC_*`.
    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        text.bytes().try_fold(Self(0), |access, byte| match byte {
            b'm' => Some(access.and(Self::MKNOD)),
            b'r' => Some(access.and(Self::READ)),
            b'w' => Some(access.and(Self::WRITE)),
            _ => None,
        })
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn text(self) -> String {
        let letters = [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::MKNOD, 'm')];
        letters.into_iter().filter(|(access, _)| self.0 & access.0 != 0).map(|(_, letter)| letter).collect()
    }
}

/// Devices that a rule speaks of. `None` is any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Devices {
    pub(super) block: bool,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
}

impl Devices {
    const fn character(major: Option<u32>, minor: Option<u32>) -> Self {
        Self { block: false, major, minor }
    }

    /// Is every device of `other` one of these?
    fn contain(self, other: Self) -> bool {
        self.block == other.block
            && self.major.is_none_or(|major| other.major == Some(major))
            && self.minor.is_none_or(|minor| other.minor == Some(minor))
    }

    /// Is some device in both?
    fn overlap(self, other: Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.block == other.block && meet(self.major, other.major) && meet(self.minor, other.minor)
    }

    fn text(self) -> String {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let kind = if self.block { 'b' } else { 'c' };
        format!("{kind} {}:{}", number(self.major), number(self.minor))
    }
}

/// One exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exception {
    pub(super) devices: Devices,
    pub(super) access: Access,
}

/// What a list of rules comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// What happens to devices that no exception names.
    pub(super) allow: bool,
    /// Those for which the contrary holds.
    pub(super) exceptions: Vec<Exception>,
}

const ALLOW: &str = "devices.allow";
const DENY: &str = "devices.deny";

/// What every container may do, as runc has it: make any node, use the usual ones.
const ALWAYS: [Exception; 10] = [
    exception(Devices::character(None, None), Access::MKNOD),
    exception(Devices { block: true, major: None, minor: None }, Access::MKNOD),
    // null, random, full, tty, zero, urandom
    exception(Devices::character(Some(1), Some(3)), Access::ALL),
    exception(Devices::character(Some(1), Some(8)), Access::ALL),
    exception(Devices::character(Some(1), Some(7)), Access::ALL),
    exception(Devices::character(Some(5), Some(0)), Access::ALL),
    exception(Devices::character(Some(1), Some(5)), Access::ALL),
    exception(Devices::character(Some(1), Some(9)), Access::ALL),
    // pseudo-terminals
    exception(Devices::character(Some(136), None), Access::ALL),
    exception(Devices::character(Some(5), Some(2)), Access::ALL),
];

const fn exception(devices: Devices, access: Access) -> Exception {
    Exception { devices, access }
}

impl Rules {
    /// Reads a list of the specification; what every container may do comes last.
    pub(super) fn new(list: &[LinuxDeviceCgroup]) -> Result<Self, Error> {
        let mut rules = Self::default();
        for rule in list {
            rules.add_rule(rule)?;
        }
        for Exception { devices, access } in ALWAYS {
            rules.allow(devices, access);
        }
        Ok(rules)
    }

    fn add_rule(&mut self, rule: &LinuxDeviceCgroup) -> Result<(), Error> {
        let invalid = |reason: String| Error::Invalid { setting: "device rule", reason };
        let access = if rule.access.is_empty() { Some(Access::ALL) } else { Access::parse(&rule.access) };
        let access = access.ok_or_else(|| invalid(format!("unknown access {:?}", rule.access)))?;
        let number = |number: Option<i64>| match number {
            None | Some(-1) => Ok(None),
            Some(value) => {
                u32::try_from(value).map(Some).map_err(|_| invalid(format!("{value} is no device number")))
            }
        };
        let (major, minor) = (number(rule.major)?, number(rule.minor)?);
        let block = match rule.kind.as_str() {
            "" | "a" => {
                // Version 1 takes a rule for all kinds as one for everything, whatever else it says.
                *self = Self { allow: rule.allow, exceptions: Vec::new() };
                return Ok(());
            }
            "b" => true,
            "c" | "u" => false,
            other => return Err(invalid(format!("unknown device type {other:?}"))),
        };
        let devices = Devices { block, major, minor };
        if rule.allow {
            self.allow(devices, access);
            Ok(())
        } else {
            self.deny(devices, access)
        }
    }

    fn allow(&mut self, devices: Devices, access: Access) {
        if self.allow {
            self.take(devices, access);
        } else {
            self.put(devices, access);
        }
    }

    fn deny(&mut self, devices: Devices, access: Access) -> Result<(), Error> {
        if self.allow {
            self.put(devices, access);
            return Ok(());
        }
        // Neither version can cut a hole into an exception: an allowed `c 1:*` cannot lose its `c 1:3`.
        let holed = self.exceptions.iter().find(|known| {
            known.devices.overlap(devices)
                && !devices.contain(known.devices)
                && known.access.without(access) != known.access
        });
        if let Some(known) = holed {
            let reason = format!(
                "\"{} {}\" cannot be denied where \"{} {}\" is allowed",
                devices.text(),
                access.text(),
                known.devices.text(),
                known.access.text()
            );
            return Err(Error::Invalid { setting: "device rule", reason });
        }
        self.take(devices, access);
        Ok(())
    }

    fn put(&mut self, devices: Devices, access: Access) {
        match self.exceptions.iter_mut().find(|known| known.devices == devices) {
            Some(known) => known.access = known.access.and(access),
            None => self.exceptions.push(Exception { devices, access }),
        }
    }

    fn take(&mut self, devices: Devices, access: Access) {
        for known in self.exceptions.iter_mut().filter(|known| devices.contain(known.devices)) {
            known.access = known.access.without(access);
        }
        self.exceptions.retain(|known| !known.access.is_empty());
    }

    /// What version 1's `devices.list` shows, which for a default of allowing is the default alone.
    fn parse_list(text: &str) -> Self {
        let mut rules = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(kind), Some(numbers), Some(access)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if kind == "a" {
                rules.allow = true;
                continue;
            }
            let number = |text: &str| text.parse().ok();
            let (major, minor) = numbers.split_once(':').unwrap_or((numbers, "*"));
            let devices = Devices { block: kind == "b", major: number(major), minor: number(minor) };
            rules.put(devices, Access::parse(access).unwrap_or_default());
        }
        rules
    }

    /// The access that is in these rules and not in others, exception by exception.
    fn beyond<'a>(&'a self, others: &'a Self) -> impl Iterator<Item = Exception> + 'a {
        self.exceptions.iter().filter_map(|known| {
            let same = others.exceptions.iter().find(|other| other.devices == known.devices);
            let access = known.access.without(same.map_or(Access::default(), |other| other.access));
            (!access.is_empty()).then_some(Exception { devices: known.devices, access })
        })
    }
}

impl Cgroup {
    /// Sets the device rules of the group, whatever they were. A group that is `new` has those of its parent, and
    /// neither processes nor groups in it.
    pub(super) fn set_devices(&self, list: &[LinuxDeviceCgroup], new: bool) -> Result<(), Error> {
        let rules = Rules::new(list)?;
        if self.version() == Version::V2 {
            return self.set_devices_v2(&rules);
        }
        // Without the controller every device may be used; that is how such a host is, and as runc sees it no error.
        let Some(dir) = self.dir(Controller::Devices) else { return Ok(()) };
        self.set_devices_v1(dir, &rules, new)
    }

    /// Where only some devices are allowed, before and after, at no moment is more allowed than before and after
    /// together, nor less than is in both: a running process keeps the devices that it may keep.
    fn set_devices_v1(&self, dir: Dir<'_>, rules: &Rules, new: bool) -> Result<(), Error> {
        if new && !rules.allow {
            self.write_devices(dir, DENY, [b"a".to_vec()])?;
            return self.write_devices(dir, ALLOW, rules.exceptions.iter().map(line));
        }
        let failed = |errno| Error::io("read devices.list of", format!("/{}", self.path), errno);
        let before = Rules::parse_list(&dir.read("devices.list").map_err(failed)?);
        match (before.allow, rules.allow) {
            (false, false) => {
                self.write_devices(dir, DENY, before.beyond(rules).map(|gone| line(&gone)))?;
                self.write_devices(dir, ALLOW, rules.beyond(&before).map(|more| line(&more)))
            }
            (true, false) => {
                self.write_devices(dir, DENY, [b"a".to_vec()])?;
                self.write_devices(dir, ALLOW, rules.exceptions.iter().map(line))
            }
            // The list does not tell what a group that allows by default denies: start anew, unless it is nothing.
            (true, true) if new && rules.exceptions.is_empty() => Ok(()),
            (_, true) => {
                self.write_devices(dir, ALLOW, [b"a".to_vec()])?;
                self.write_devices(dir, DENY, rules.exceptions.iter().map(line))
            }
        }
    }

    fn write_devices(
        &self,
        dir: Dir<'_>,
        file: &str,
        lines: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<(), Error> {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_none() {
            return Ok(());
        }
        let fd = dir.open(file, OFlags::WRONLY);
        let fd =
            fd.map_err(|errno| Error::io(format!("open {file} of"), format!("/{}", self.path), errno))?;
        for line in lines {
            file::write_open(&fd, &line).map_err(|errno| self.refused(file, &line, errno))?;
        }
        Ok(())
    }

    /// The new program takes the place of the old one in one step; the kernel keeps it as long as the group is there.
    fn set_devices_v2(&self, rules: &Rules) -> Result<(), Error> {
        let Some(dir) = &self.unified else { return Ok(()) };
        let failed = |operation: &str, source| Error::Io {
            operation: operation.to_owned(),
            path: format!("/{}", self.path),
            source,
        };
        let attached = bpf::device_programs(dir.as_fd());
        let attached = attached.map_err(|error| failed("list the device programs of cgroup", error))?;
        if rules.allow && rules.exceptions.is_empty() && attached.is_empty() {
            return Ok(());
        }
        let program = bpf::load_device_program(&device_program::compile(rules));
        let program = program.map_err(|error| failed("load the device program of cgroup", error))?;
        // Programs that others attached stay: what one of them forbids is forbidden. Ours is the first.
        let old = attached.first().map(AsFd::as_fd);
        bpf::attach_device_program(dir.as_fd(), program.as_fd(), old)
            .map_err(|error| failed("attach the device program to cgroup", error))
    }
}

fn line(exception: &Exception) -> Vec<u8> {
    format!("{} {}", exception.devices.text(), exception.access.text()).into_bytes()
}
