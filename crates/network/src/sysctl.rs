//! Kernel settings of the host's network namespace, read and written as files.

use std::{
    fs::{self, File},
    io::{self, Write},
};

use crate::Error;

/// `net.ipv4.ip_forward` and `net.ipv6.conf.all.forwarding`.
pub(crate) const FORWARD_V4: &str = "net/ipv4/ip_forward";
pub(crate) const FORWARD_V6: &str = "net/ipv6/conf/all/forwarding";

/// The value; `None` where the kernel has no such setting.
pub(crate) fn read(key: &str) -> Result<Option<String>, Error> {
    match fs::read_to_string(path(key)) {
        Ok(value) => Ok(Some(value.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::kernel(format!("read {}", path(key)), error)),
    }
}

/// Sets the value where it is another. Whether it was. A setting that the kernel does not have is left alone.
pub(crate) fn ensure(key: &str, value: &str) -> Result<bool, Error> {
    match read(key)? {
        Some(current) if current != value => {}
        _ => return Ok(false),
    }
    let file = File::options().write(true).open(path(key));
    file.and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|error| Error::kernel(format!("write {value} to {}", path(key)), error))?;
    Ok(true)
}

/// Turns on IPv6 forwarding, and keeps interfaces that take their address from router advertisements doing so: a
/// forwarding host ignores them otherwise.
pub(crate) fn forward_v6() -> Result<bool, Error> {
    if read(FORWARD_V6)?.is_none_or(|value| value == "1") {
        return Ok(false);
    }
    for entry in fs::read_dir(path("net/ipv6/conf")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let key = format!("net/ipv6/conf/{name}/accept_ra");
        if !matches!(name, "all" | "default") && read(&key)?.as_deref() == Some("1") {
            ensure(&key, "2")?;
        }
    }
    ensure(FORWARD_V6, "1")
}

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}
