//! What a container asks to have mounted, from its four spellings (`Binds`, `Mounts`, `Volumes`, `VolumesFrom`) to one
//! list. Pure: volumes are made, and paths looked at, by `create`.

use std::collections::BTreeMap;

use berth_oci::container::{BindOptions, Config, HostConfig, Mount, TmpfsOptions};

use super::MountPoint;
use crate::error::{Error, Result};

/// The propagation of bind mounts that name none.
const DEFAULT_PROPAGATION: &str = "rprivate";
const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];

/// Puts the four spellings into one list, sorted by destination. Volumes without a name are still to be made.
///
/// `inherited` gives the mounts of a container for `VolumesFrom`; `exists` tells whether a path of the host is there.
///
/// Errors: `InvalidParameter` with Docker's text.
pub(crate) fn plan(
    config: &Config,
    host: &HostConfig,
    inherited: impl Fn(&str) -> Result<Vec<MountPoint>>,
    exists: impl Fn(&str) -> bool,
) -> Result<Vec<MountPoint>> {
    for target in host.tmpfs.iter().flatten().map(|(target, _)| target) {
        check_target(target)?;
    }
    let mut points = BTreeMap::new();
    for from in host.volumes_from.iter().flatten() {
        let (container, mode) = from.split_once(':').unwrap_or((from, ""));
        if from.is_empty() {
            return Err(Error::invalid("volumes-from specification cannot be an empty string"));
        }
        if container.is_empty() {
            return Err(Error::invalid("malformed volumes-from specification: "));
        }
        if !valid_mode(mode) {
            return Err(invalid_mode(mode));
        }
        for mut point in inherited(container)? {
            point.writable &= writable(mode);
            point.copy_up = false;
            points.insert(point.destination.clone(), point);
        }
    }
    let tmpfs: Vec<String> = host.tmpfs.iter().flatten().map(|(target, _)| clean(target)).collect();
    let mut taken = Vec::new();
    let binds = host.binds.iter().flatten().map(|bind| (true, parse_bind(bind, &host.volume_driver)));
    let mounts = host.mounts.iter().flatten().map(|mount| (false, parse_mount(mount, &exists)));
    for (is_bind, point) in binds.chain(mounts) {
        let point = point?;
        if taken.contains(&point.destination) || (is_bind && tmpfs.contains(&point.destination)) {
            return Err(Error::invalid(format!("Duplicate mount point: {}", point.destination)));
        }
        taken.push(point.destination.clone());
        points.insert(point.destination.clone(), point);
    }
    for target in config.volumes.iter().flatten().map(|(target, _)| target) {
        let destination = clean(target);
        if !taken.contains(&destination)
            && !tmpfs.contains(&destination)
            && !points.contains_key(&destination)
        {
            let driver = Some(driver_or_local(&host.volume_driver));
            points.insert(destination.clone(), MountPoint { driver, ..anonymous(destination, "") });
        }
    }
    Ok(points.into_values().collect())
}

fn anonymous(destination: String, mode: &str) -> MountPoint {
    MountPoint {
        kind: "volume".to_owned(),
        destination,
        driver: Some("local".to_owned()),
        mode: mode.to_owned(),
        writable: true,
        anonymous: true,
        copy_up: true,
        ..MountPoint::default()
    }
}

/// `-v`: `target`, `source:target` or `source:target:mode`.
fn parse_bind(bind: &str, volume_driver: &str) -> Result<MountPoint> {
    // Docker answers 500 to these.
    let invalid = || Error::Refused(format!("invalid volume specification: '{bind}'"));
    let parts: Vec<&str> = bind.splitn(4, ':').collect();
    let (source, target, mode) = match parts[..] {
        ["", ..] | [_, ""] => return Err(invalid()),
        [target] => ("", target, ""),
        // A target with a mode is no volume: `/a:ro`.
        [_, second] if !second.is_empty() && valid_mode(second) => return Err(invalid()),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(invalid()),
    };
    if !valid_mode(mode) {
        return Err(invalid_mode(mode));
    }
    let is_bind = source.starts_with('/');
    let propagation = mode.split(',').find(|word| PROPAGATIONS.contains(word)).unwrap_or("");
    let explain = |error: Error| Error::Refused(format!("invalid volume specification: '{bind}': {error}"));
    let kind = if is_bind { "bind" } else { "volume" };
    checked(kind, target).map_err(explain)?;
    if !is_bind && !propagation.is_empty() {
        return Err(explain(config_error("volume", "field BindOptions must not be specified")));
    }
    if is_bind && mode.split(',').any(|word| word == "nocopy") {
        return Err(explain(config_error("bind", "field VolumeOptions must not be specified")));
    }
    let mut point = MountPoint {
        kind: kind.to_owned(),
        destination: clean(target),
        mode: mode.to_owned(),
        writable: writable(mode),
        ..MountPoint::default()
    };
    if is_bind {
        point.source = clean(source);
        point.propagation = if propagation.is_empty() { DEFAULT_PROPAGATION } else { propagation }.to_owned();
        point.create_source = true;
    } else {
        point.name = Some(source.to_owned()).filter(|name| !name.is_empty());
        point.anonymous = point.name.is_none();
        point.copy_up = !mode.split(',').any(|word| word == "nocopy");
        point.driver = Some(driver_or_local(volume_driver));
        if point.mode.is_empty() {
            point.mode = "z".to_owned();
        }
    }
    Ok(point)
}

/// `--mount`.
fn parse_mount(mount: &Mount, exists: &impl Fn(&str) -> bool) -> Result<MountPoint> {
    let kind = mount.kind.as_str();
    check_options(mount)?;
    checked(kind, &mount.target)?;
    let mut point = MountPoint {
        kind: kind.to_owned(),
        destination: clean(&mount.target),
        writable: !mount.read_only,
        ..MountPoint::default()
    };
    match kind {
        "bind" => bind_mount(mount, exists, &mut point)?,
        "volume" => volume_mount(mount, &mut point)?,
        "tmpfs" => tmpfs_mount(mount, &mut point)?,
        "image" => {
            return Err(Error::NotImplemented("mounts of type \"image\" are not supported yet".to_owned()));
        }
        _ => return Err(config_error(kind, "mount type unknown")),
    }
    Ok(point)
}

fn bind_mount(mount: &Mount, exists: &impl Fn(&str) -> bool, point: &mut MountPoint) -> Result<()> {
    if mount.source.is_empty() {
        return Err(config_error("bind", "field Source must not be empty"));
    }
    let default = BindOptions::default();
    let options = mount.bind_options.as_ref().unwrap_or(&default);
    if !options.propagation.is_empty() && !PROPAGATIONS.contains(&options.propagation.as_str()) {
        return Err(config_error("bind", &format!("invalid propagation mode: {}", options.propagation)));
    }
    absolute("bind", &mount.source)?;
    if !options.create_mountpoint && !exists(&mount.source) {
        return Err(config_error("bind", &format!("bind source path does not exist: {}", mount.source)));
    }
    if options.read_only_non_recursive && options.read_only_force_recursive {
        return Err(Error::invalid("mount options conflict: ReadOnlyNonRecursive, ReadOnlyForceRecursive"));
    }
    point.source = clean(&mount.source);
    let propagation = options.propagation.as_str();
    point.propagation = if propagation.is_empty() { DEFAULT_PROPAGATION } else { propagation }.to_owned();
    point.create_source = options.create_mountpoint;
    for (set, option) in [
        (options.non_recursive, "bind"),
        (options.read_only_non_recursive, "ro-non-recursive"),
        (options.read_only_force_recursive, "ro-force-recursive"),
    ] {
        if set {
            point.options.push(option.to_owned());
        }
    }
    Ok(())
}

fn volume_mount(mount: &Mount, point: &mut MountPoint) -> Result<()> {
    if mount.source.is_empty() && mount.read_only {
        return Err(config_error("volume", "must not set ReadOnly mode when using anonymous volumes"));
    }
    let options = mount.volume_options.clone().unwrap_or_default();
    let subpath = options.subpath.as_str();
    if mount.source.is_empty() && !subpath.is_empty() {
        return Err(config_error("volume", "must not set Subpath when using anonymous volumes"));
    }
    if subpath.starts_with('/') || subpath.split('/').any(|part| part == "..") {
        return Err(config_error("volume", "subpath must be a relative path within the volume"));
    }
    point.name = Some(mount.source.clone()).filter(|name| !name.is_empty());
    point.anonymous = point.name.is_none();
    point.copy_up = !options.no_copy;
    point.subpath = Some(options.subpath).filter(|subpath| !subpath.is_empty());
    point.driver = Some(driver_or_local(&options.driver_config.unwrap_or_default().name));
    point.mode = "z".to_owned();
    Ok(())
}

fn tmpfs_mount(mount: &Mount, point: &mut MountPoint) -> Result<()> {
    if !mount.source.is_empty() {
        return Err(config_error("tmpfs", "field Source must not be specified"));
    }
    let options = mount.tmpfs_options.clone().unwrap_or_default();
    point.options = tmpfs_options(&options, mount.read_only)?;
    Ok(())
}

/// The mount options of a `tmpfs` in the long form.
fn tmpfs_options(options: &TmpfsOptions, read_only: bool) -> Result<Vec<String>> {
    let mut words = Vec::new();
    if options.mode != 0 {
        words.push(format!("mode={:o}", options.mode & 0o7777));
    }
    if options.size_bytes < 0 {
        return Err(config_error("tmpfs", "tmpfs size must not be negative"));
    }
    if options.size_bytes > 0 {
        words.push(format!("size={}", options.size_bytes));
    }
    words.extend(options.options.iter().flatten().map(|pair| pair.join("=")));
    if read_only {
        words.push("ro".to_owned());
    }
    Ok(words)
}

/// Options of another kind of mount are a mistake of the client.
fn check_options(mount: &Mount) -> Result<()> {
    for (given, name, kind) in [
        (mount.bind_options.is_some(), "BindOptions", "bind"),
        (mount.volume_options.is_some(), "VolumeOptions", "volume"),
        (mount.tmpfs_options.is_some(), "TmpfsOptions", "tmpfs"),
        (mount.image_options.is_some(), "ImageOptions", "image"),
    ] {
        if given && mount.kind != kind {
            let kind = &mount.kind;
            return Err(Error::invalid(format!("{name} must not be specified on mount type \"{kind}\"")));
        }
    }
    Ok(())
}

/// What is the same for all kinds.
fn checked(kind: &str, target: &str) -> Result<()> {
    if target.is_empty() {
        return Err(config_error(kind, "field Target must not be empty"));
    }
    if clean(target) == "/" {
        return Err(config_error(kind, "invalid specification: destination can't be '/'"));
    }
    absolute(kind, target)
}

/// A target of `--tmpfs`.
fn check_target(target: &str) -> Result<()> {
    if clean(target) == "/" {
        return Err(Error::invalid("invalid specification: destination can't be '/'"));
    }
    if !target.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    Ok(())
}

fn absolute(kind: &str, path: &str) -> Result<()> {
    if path.starts_with('/') {
        return Ok(());
    }
    Err(config_error(kind, &format!("invalid mount path: '{path}' mount path must be absolute")))
}

fn config_error(kind: &str, text: &str) -> Error {
    Error::invalid(format!("invalid mount config for type \"{kind}\": {text}"))
}

fn invalid_mode(mode: &str) -> Error {
    Error::invalid(format!("invalid mode: {mode}"))
}

fn driver_or_local(driver: &str) -> String {
    if driver.is_empty() { "local" } else { driver }.to_owned()
}

/// Whether a mode has only known words, at most one of each sort.
fn valid_mode(mode: &str) -> bool {
    if mode.is_empty() {
        return true;
    }
    let sorts: [&[&str]; 5] =
        [&["rw", "ro"], &["z", "Z"], &PROPAGATIONS, &["nocopy"], &["consistent", "cached", "delegated"]];
    let mut seen = [0; 5];
    for word in mode.split(',') {
        let Some(sort) = sorts.iter().position(|words| words.contains(&word)) else { return false };
        seen[sort] += 1;
    }
    seen.iter().all(|count| *count <= 1)
}

fn writable(mode: &str) -> bool {
    !mode.split(',').any(|word| word == "ro")
}

/// A path without `.`, `..`, double and trailing slashes, as Go's `path.Clean` gives it.
pub(crate) fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    match (absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str) -> Result<Vec<MountPoint>> {
        let host: HostConfig = serde_json::from_str(json).unwrap();
        let none = |name: &str| Err(Error::NoSuchContainer(name.to_owned()));
        plan(&Config::default(), &host, none, |path| path != "/nonexist")
    }

    #[test]
    fn refusals_are_dockers() {
        let check =
            |json: &str, expect: &str| assert_eq!(planned(json).unwrap_err().to_string(), expect, "{json}");
        let volume = "invalid mount config for type \"volume\": ";
        check(
            r#"{"Binds":["foo"]}"#,
            &format!(
                "invalid volume specification: 'foo': {volume}invalid mount path: 'foo' mount path must be absolute"
            ),
        );
        check(
            r#"{"Binds":["/tmp:/"]}"#,
            "invalid volume specification: '/tmp:/': invalid mount config for type \"bind\": invalid specification: \
             destination can't be '/'",
        );
        check(r#"{"Binds":["/tmp:/a:zz"]}"#, "invalid mode: zz");
        check(r#"{"Binds":["/tmp:/a:ro,rw"]}"#, "invalid mode: ro,rw");
        check(r#"{"Binds":["/a:ro"]}"#, "invalid volume specification: '/a:ro'");
        check(r#"{"Binds":[":/a"]}"#, "invalid volume specification: ':/a'");
        check(r#"{"Binds":["/tmp:/a:b:c"]}"#, "invalid volume specification: '/tmp:/a:b:c'");
        check(
            r#"{"Binds":["eng-v:/a:shared"]}"#,
            &format!(
                "invalid volume specification: 'eng-v:/a:shared': {volume}field BindOptions must not be specified"
            ),
        );
        check(r#"{"Binds":["/tmp:/a","/tmp:/a/"]}"#, "Duplicate mount point: /a");
        check(r#"{"Tmpfs":{"/b":""},"Binds":["/tmp:/b"]}"#, "Duplicate mount point: /b");
        check(r#"{"Tmpfs":{"b":""}}"#, "invalid mount path: 'b' mount path must be absolute");
        check(r#"{"Tmpfs":{"/":""}}"#, "invalid specification: destination can't be '/'");
        check(
            r#"{"Mounts":[{"Type":"bind","Source":"/nonexist","Target":"/a"}]}"#,
            "invalid mount config for type \"bind\": bind source path does not exist: /nonexist",
        );
        check(
            r#"{"Mounts":[{"Type":"foo","Source":"/x","Target":"/a"}]}"#,
            "invalid mount config for type \"foo\": mount type unknown",
        );
        check(
            r#"{"Mounts":[{"Type":"bind","Target":"/a"}]}"#,
            "invalid mount config for type \"bind\": field Source must not be empty",
        );
        check(
            r#"{"Mounts":[{"Type":"tmpfs","Source":"/x","Target":"/a"}]}"#,
            "invalid mount config for type \"tmpfs\": field Source must not be specified",
        );
        check(
            r#"{"Mounts":[{"Type":"volume","Target":"/a","ReadOnly":true}]}"#,
            &format!("{volume}must not set ReadOnly mode when using anonymous volumes"),
        );
        check(
            r#"{"Mounts":[{"Type":"bind","Source":"/tmp","Target":"/a","VolumeOptions":{}}]}"#,
            "VolumeOptions must not be specified on mount type \"bind\"",
        );
        check(r#"{"VolumesFrom":["foo"]}"#, "No such container: foo");
    }

    #[test]
    fn spellings_become_mount_points() {
        let points = planned(
            r#"{"Binds":["vol:/a:nocopy","/tmp:/x:ro,z","/y"],
                "Mounts":[{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":100000,"Mode":448}}]}"#,
        )
        .unwrap();
        let shown: Vec<String> = points
            .iter()
            .map(|point| {
                let MountPoint { kind, name, source, destination, mode, writable, propagation, .. } = point;
                format!("{kind} {name:?} {source} {destination} {mode} {writable} {propagation}")
            })
            .collect();
        assert_eq!(
            shown,
            [
                "volume Some(\"vol\")  /a nocopy true ",
                "tmpfs None  /t  true ",
                "bind None /tmp /x ro,z false rprivate",
                "volume None  /y z true ",
            ]
        );
        assert_eq!(points[1].options, ["mode=700", "size=100000"]);
        assert!(!points[0].copy_up && !points[0].anonymous && points[3].anonymous && points[3].copy_up);
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, expect) in [
            ("/a/../b/", "/b"),
            ("/", "/"),
            ("//a//b", "/a/b"),
            ("/..", "/"),
            ("a/..", "."),
            ("../a", "../a"),
            ("", "."),
        ] {
            assert_eq!(clean(path), expect);
        }
    }
}
