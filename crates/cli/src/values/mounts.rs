//! `--mount`.

use std::path::Path;

use berth_api::container::{
    BindOptions, ImageOptions, Map, Mount, TmpfsOptions, VolumeDriver, VolumeOptions,
};

use super::{csv, volumes};
use crate::flags::parse_bool;
use crate::format::units::parse_bytes;

/// Reads one `--mount` value.
///
/// # Errors
/// Docker's text.
pub(crate) fn parse(value: &str) -> Result<Mount, String> {
    let mut mount = Mount { kind: "volume".to_owned(), ..Mount::default() };
    for field in csv::fields(value.trim())? {
        match field.split_once('=') {
            Some((key, value)) => set(&mut mount, &key.to_lowercase(), value, &field)?,
            None => switch(&mut mount, &field)?,
        }
    }
    check(&mount)?;
    Ok(mount)
}

/// A field without a value.
fn switch(mount: &mut Mount, field: &str) -> Result<(), String> {
    match field.to_lowercase().as_str() {
        "readonly" | "ro" => mount.read_only = true,
        "volume-nocopy" => mount.volume_options.get_or_insert_default().no_copy = true,
        "bind-nonrecursive" => mount.bind_options.get_or_insert_default().non_recursive = true,
        _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
    }
    Ok(())
}

fn set(mount: &mut Mount, key: &str, value: &str, field: &str) -> Result<(), String> {
    let invalid = || format!("invalid value for {key}: {value}");
    match key {
        "type" => mount.kind = value.to_lowercase(),
        "source" | "src" => mount.source = source(value),
        "target" | "dst" | "destination" => value.clone_into(&mut mount.target),
        "readonly" | "ro" => mount.read_only = parse_bool(value).map_err(|_| invalid())?,
        "consistency" => mount.consistency = value.to_lowercase(),
        "image-subpath" => {
            value.clone_into(&mut mount.image_options.get_or_insert_with(ImageOptions::default).subpath);
        }
        key if key.starts_with("bind-") => {
            return set_bind(mount.bind_options.get_or_insert_default(), key, value, field);
        }
        key if key.starts_with("volume-") => {
            return set_volume(mount.volume_options.get_or_insert_default(), key, value, field);
        }
        key if key.starts_with("tmpfs-") => {
            return set_tmpfs(mount.tmpfs_options.get_or_insert_default(), key, value, field);
        }
        _ => return Err(unexpected(key, field)),
    }
    Ok(())
}

fn unexpected(key: &str, field: &str) -> String {
    format!("unexpected key '{key}' in '{field}'")
}

/// A source that starts with a dot is in our directory, not in the engine's.
fn source(value: &str) -> String {
    if !value.starts_with('.') {
        return value.to_owned();
    }
    let directory = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
    volumes::clean(&directory.join(value).to_string_lossy())
}

fn set_bind(options: &mut BindOptions, key: &str, value: &str, field: &str) -> Result<(), String> {
    match (key, value) {
        ("bind-propagation", value) => options.propagation = value.to_lowercase(),
        ("bind-nonrecursive", value) => {
            options.non_recursive =
                parse_bool(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        ("bind-recursive", "enabled") => {}
        ("bind-recursive", "disabled") => options.non_recursive = true,
        ("bind-recursive", "writable") => options.read_only_non_recursive = true,
        ("bind-recursive", "readonly") => options.read_only_force_recursive = true,
        ("bind-recursive", value) => {
            return Err(format!(
                r#"invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")"#
            ));
        }
        _ => return Err(unexpected(key, field)),
    }
    Ok(())
}

fn set_volume(options: &mut VolumeOptions, key: &str, value: &str, field: &str) -> Result<(), String> {
    match key {
        "volume-subpath" => value.clone_into(&mut options.subpath),
        "volume-nocopy" => {
            options.no_copy =
                parse_bool(value).map_err(|_| format!("invalid value for volume-nocopy: {value}"))?;
        }
        "volume-label" => put(options.labels.get_or_insert_default(), value),
        "volume-driver" => value.clone_into(&mut driver(options).name),
        "volume-opt" => put(driver(options).options.get_or_insert_default(), value),
        _ => return Err(unexpected(key, field)),
    }
    Ok(())
}

fn driver(options: &mut VolumeOptions) -> &mut VolumeDriver {
    options.driver_config.get_or_insert_default()
}

fn put(map: &mut Map<String>, pair: &str) {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if !key.is_empty() {
        map.insert(key.to_owned(), value.to_owned());
    }
}

fn set_tmpfs(options: &mut TmpfsOptions, key: &str, value: &str, field: &str) -> Result<(), String> {
    let invalid = || format!("invalid value for {key}: {value}");
    match key {
        "tmpfs-size" => options.size_bytes = parse_bytes(value).map_err(|_| invalid())?,
        "tmpfs-mode" => options.mode = u32::from_str_radix(value, 8).map_err(|_| invalid())?,
        _ => return Err(unexpected(key, field)),
    }
    Ok(())
}

/// Refuses what does not go together.
fn check(mount: &Mount) -> Result<(), String> {
    let kind = mount.kind.as_str();
    if kind.is_empty() {
        return Err("type is required".to_owned());
    }
    let mixed = [
        (mount.volume_options.is_some(), "volume"),
        (mount.image_options.is_some(), "image"),
        (mount.bind_options.is_some(), "bind"),
        (mount.tmpfs_options.is_some(), "tmpfs"),
    ];
    for (is_set, of) in mixed {
        if is_set && kind != of {
            return Err(format!("cannot mix '{of}-*' options with mount type '{kind}'"));
        }
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    let requires = |option: &str, other: &str| {
        Err(format!("option 'bind-recursive={option}' requires '{other}' to be specified in conjunction"))
    };
    match &mount.bind_options {
        Some(bind) if bind.read_only_non_recursive && !mount.read_only => requires("writable", "readonly"),
        Some(bind) if bind.read_only_force_recursive && !mount.read_only => requires("readonly", "readonly"),
        Some(bind) if bind.read_only_force_recursive && bind.propagation != "rprivate" => {
            requires("readonly", "bind-propagation=rprivate")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_every_kind() {
        let mount = parse("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave").unwrap();
        assert_eq!((mount.kind.as_str(), mount.read_only), ("bind", true));
        assert_eq!(mount.bind_options.unwrap().propagation, "rslave");
        let mount = parse("target=/b,source=vol,volume-opt=a=b,volume-label=x,volume-driver=local").unwrap();
        let options = mount.volume_options.unwrap();
        assert_eq!(options.labels.unwrap()["x"], "");
        assert_eq!(options.driver_config.unwrap().options.unwrap()["a"], "b");
        let mount = parse("type=tmpfs,destination=/b,tmpfs-size=1m,tmpfs-mode=0700").unwrap();
        let options = mount.tmpfs_options.unwrap();
        assert_eq!((options.size_bytes, options.mode), (1 << 20, 0o700));
        let mount = parse(r#"type=tmpfs,"target=/a,b""#).unwrap();
        assert_eq!(mount.target, "/a,b");
    }

    #[test]
    fn wrong_mounts_have_docker_s_words() {
        let check = |value: &str, expect: &str| assert_eq!(parse(value).unwrap_err(), expect, "{value}");
        check("foo", "invalid field 'foo' must be a key=value pair");
        check("type=foo", "target is required");
        check("type=bind,foo=x,target=/a", "unexpected key 'foo' in 'foo=x'");
        check("type=bind,target=/a,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'bind'");
        check("type=tmpfs,target=/a,tmpfs-size=x", "invalid value for tmpfs-size: x");
        check("target=/a,readonly=x", "invalid value for readonly: x");
    }
}
