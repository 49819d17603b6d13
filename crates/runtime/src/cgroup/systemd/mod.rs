//! Groups that systemd makes: a scope a container, started over D-Bus, stopped when the group is removed.
//!
//! systemd's manager owns the tree; what it delegates is the container's to shape. A limit is told to it as a property
//! of the unit and written into the group besides: it knows not all of them, and what it knows it would reset to its
//! own idea whenever it is reloaded.
//!
//! Source: `org.freedesktop.systemd1(5)`, `systemd.resource-control(5)`, <https://systemd.io/CGROUP_DELEGATION>.

mod bus;
mod message;
mod properties;

use std::sync::Arc;

use berth_oci::Spec;
use berth_oci::runtime::LinuxResources;

use self::bus::{Bus, Failure};
use self::message::Value;
use super::error::Error;
use super::group::Cgroup;
use super::hierarchy::{Hierarchies, Version};

/// Where units are that name no slice.
const DEFAULT_SLICE: &str = "system.slice";

/// A unit, as `cgroupsPath` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    name: String,
    slice: String,
}

/// Whether systemd is the init of this host.
pub(crate) fn is_running() -> bool {
    rustix::fs::statx(
        rustix::fs::CWD,
        "/run/systemd/system",
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        rustix::fs::StatxFlags::TYPE,
    )
    .is_ok_and(|stat| u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFDIR)
}

impl Unit {
    /// Reads `slice:prefix:name`; nothing at all means a scope with the container's id.
    pub(crate) fn parse(cgroups_path: &str, id: &str) -> Result<Self, String> {
        if cgroups_path.is_empty() {
            return Ok(Self { name: format!("runc-{id}.scope"), slice: DEFAULT_SLICE.to_owned() });
        }
        let parts: Vec<&str> = cgroups_path.split(':').collect();
        let &[slice, prefix, name] = &parts[..] else {
            return Err(format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {cgroups_path:?} instead"
            ));
        };
        let slice = if slice.is_empty() { DEFAULT_SLICE } else { slice };
        expand_slice(slice)?;
        let name = match (prefix, name) {
            (_, name) if name.ends_with(".slice") => name.to_owned(),
            ("", name) => format!("{name}.scope"),
            (prefix, name) => format!("{prefix}-{name}.scope"),
        };
        if name.contains('/') {
            return Err(format!("invalid unit name: {name}"));
        }
        Ok(Self { name, slice: slice.to_owned() })
    }

    /// The group's path.
    pub(crate) fn path(&self) -> String {
        let slice = expand_slice(&self.slice).unwrap_or_default();
        format!("{}/{}", slice.trim_end_matches('/'), self.name)
    }

    /// The unit whose group this is, if its name says so.
    fn of(path: &str) -> Option<Self> {
        let (slice, name) = path.trim_end_matches('/').rsplit_once('/')?;
        let slice = slice.rsplit('/').next().filter(|slice| slice.ends_with(".slice")).unwrap_or("-.slice");
        let unit = Self { name: name.to_owned(), slice: slice.to_owned() };
        (name.ends_with(".scope") && unit.path().trim_start_matches('/') == path.trim_start_matches('/'))
            .then_some(unit)
    }
}

/// `a-b.slice` lies in `a.slice`: `/a.slice/a-b.slice`.
fn expand_slice(slice: &str) -> Result<String, String> {
    let invalid = || format!("invalid slice name: {slice}");
    let name = slice.strip_suffix(".slice").filter(|name| !name.is_empty()).ok_or_else(invalid)?;
    if slice.contains('/') {
        return Err(invalid());
    }
    if name == "-" {
        return Ok("/".to_owned());
    }
    let (mut path, mut prefix) = (String::new(), String::new());
    for part in name.split('-') {
        if part.is_empty() {
            return Err(invalid());
        }
        prefix.push_str(part);
        path.push_str(&format!("/{prefix}.slice"));
        prefix.push('-');
    }
    Ok(path)
}

/// Has systemd make the group with a process in it, and sets the limits.
///
/// # Errors
/// [`Error::Systemd`]; everything that [`Cgroup::apply`] refuses. Nothing is left behind.
pub(crate) fn create(
    hierarchies: &Arc<Hierarchies>,
    unit: &Unit,
    pid: i32,
    spec: &Spec,
    resources: &LinuxResources,
) -> Result<Cgroup, Error> {
    let failed = |failure: Failure| Error::systemd("start unit", &unit.name, &failure);
    let mut properties = vec![
        text("Description", &format!("berth container {}", unit.name)),
        (if unit.is_slice() { "Wants" } else { "Slice" }.to_owned(), unit.parent()),
    ];
    if !unit.is_slice() {
        properties.push(flag("Delegate", true));
        properties.push(("PIDs".to_owned(), Value::Numbers(vec![pid.unsigned_abs()])));
    }
    let io = if hierarchies.version() == Version::V2 { "IOAccounting" } else { "BlockIOAccounting" };
    for accounting in ["MemoryAccounting", "CPUAccounting", "TasksAccounting", io] {
        properties.push(flag(accounting, true));
    }
    properties.push(flag("DefaultDependencies", false));
    properties.extend(properties::of(resources, hierarchies.version())?);
    properties.extend(properties::of_devices(&resources.devices)?);
    properties.extend(properties::of_annotations(&spec.annotations)?);
    let mut bus = Bus::connect().map_err(failed)?;
    match bus.start_transient(&unit.name, &properties) {
        // One that failed stays known until it is forgotten; a slice may be there for good.
        Err(failure) if failure.is_unit_exists() && !unit.is_slice() => {
            bus.reset_failed(&unit.name).map_err(|_| failed(failure))?;
            bus.start_transient(&unit.name, &properties).map_err(failed)?;
        }
        Err(failure) if failure.is_unit_exists() => {}
        result => result.map_err(failed)?,
    }
    let adopted = Cgroup::adopt(hierarchies, &unit.path(), pid, resources);
    if adopted.is_err() {
        let _ = bus.stop(&unit.name);
    }
    adopted
}

/// Tells systemd about other limits of a group that is its own.
pub(super) fn update(path: &str, version: Version, resources: &LinuxResources) -> Result<(), Error> {
    let Some(unit) = Unit::of(path).filter(|_| is_running()) else { return Ok(()) };
    let failed = |failure: Failure| Error::systemd("set properties of unit", &unit.name, &failure);
    let mut properties = properties::of(resources, version)?;
    if !resources.devices.is_empty() {
        properties.extend(properties::of_devices(&resources.devices)?);
    }
    if properties.is_empty() {
        return Ok(());
    }
    match Bus::connect().and_then(|mut bus| bus.set_properties(&unit.name, &properties)) {
        // A group that only looks like a scope.
        Err(failure) if failure.is_no_such_unit() => Ok(()),
        result => result.map_err(failed),
    }
}

/// Has systemd give up a group, if it is its own. One that is gone already counts as given up.
pub(crate) fn stop(path: &str) {
    let Some(unit) = Unit::of(path).filter(|_| is_running()) else { return };
    let Ok(mut bus) = Bus::connect() else { return };
    // What cannot be stopped is found not to be empty by whoever removes it next.
    let _ = bus.stop(&unit.name);
    let _ = bus.reset_failed(&unit.name);
}

impl Unit {
    fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    fn parent(&self) -> Value {
        if self.is_slice() { Value::Texts(vec![self.slice.clone()]) } else { Value::Text(self.slice.clone()) }
    }
}

fn text(name: &str, value: &str) -> message::Property {
    (name.to_owned(), Value::Text(value.to_owned()))
}

fn flag(name: &str, value: bool) -> message::Property {
    (name.to_owned(), Value::Flag(value))
}

impl Error {
    fn systemd(operation: &'static str, unit: &str, failure: &Failure) -> Self {
        Self::Systemd { operation, unit: unit.to_owned(), reason: failure.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_lies_in_those_that_its_name_starts_with() {
        for (slice, path) in [
            ("system.slice", "/system.slice"),
            ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
            ("-.slice", "/"),
        ] {
            assert_eq!(expand_slice(slice).as_deref(), Ok(path));
        }
        for bad in ["", ".slice", "a", "a/b.slice", "a--b.slice", "-a.slice", "a-.slice"] {
            assert_eq!(expand_slice(bad), Err(format!("invalid slice name: {bad}")));
        }
    }

    #[test]
    fn a_path_names_a_slice_and_a_scope() {
        let path = |text: &str| Unit::parse(text, "id").map(|unit| unit.path());
        assert_eq!(path("").as_deref(), Ok("/system.slice/runc-id.scope"));
        assert_eq!(path(":docker:1234").as_deref(), Ok("/system.slice/docker-1234.scope"));
        assert_eq!(path("-.slice::x").as_deref(), Ok("/x.scope"));
        assert_eq!(path("a-b.slice:cri:x").as_deref(), Ok("/a.slice/a-b.slice/cri-x.scope"));
        assert_eq!(path("a.slice::b.slice").as_deref(), Ok("/a.slice/b.slice"));
        assert_eq!(
            path("/berth/x").unwrap_err(),
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"/berth/x\" instead"
        );
        assert!(path("a.slice:b:../c").is_err());
    }

    #[test]
    fn a_scope_is_known_by_its_path() {
        let name = |path: &str| Unit::of(path).map(|unit| unit.name);
        assert_eq!(name("/a.slice/a-b.slice/cri-x.scope").as_deref(), Some("cri-x.scope"));
        assert_eq!(name("system.slice/docker-1.scope").as_deref(), Some("docker-1.scope"));
        assert_eq!(name("/x.scope").as_deref(), Some("x.scope"));
        assert_eq!(name("/berth/1234"), None);
        assert_eq!(name("/berth/x.scope"), None, "not where systemd would have it");
        assert_eq!(name("/system.slice/ssh.service"), None);
    }
}
