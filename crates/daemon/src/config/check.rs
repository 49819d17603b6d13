//! Checks of single options, with Docker's texts.

use super::flags::Values;
use super::table::{Effect, TABLE};
use super::value::Value;
use super::{int, list, text};

/// Warns of options without effect and refuses those that ask for what is not there.
pub(super) fn effects(values: &Values) -> Result<Vec<String>, String> {
    let mut warnings = Vec::new();
    for row in TABLE {
        let Some(value) = values.get(row.id()).filter(|value| !value.is_nothing()) else { continue };
        match row.effect {
            Effect::Works => {}
            Effect::Idle(why) => warnings.push(format!("{} has no effect: {why}", row.id())),
            Effect::Refused(why) => return Err(format!("{} cannot be used: {why}", row.id())),
        }
        let _ = value;
    }
    Ok(warnings)
}

/// Checks options that are one of a few words.
pub(super) fn check_words(values: &Values) -> Result<(), String> {
    match text(values, "default-ipc-mode") {
        None | Some("private" | "shareable") => {}
        Some(mode) => {
            return Err(format!(
                "IPC mode {mode:?} is not supported as default value; use \"shareable\" or \"private\""
            ));
        }
    }
    match text(values, "default-cgroupns-mode") {
        None | Some("private" | "host") => {}
        Some(mode) => {
            return Err(format!(
                "default cgroup namespace mode ({mode}) is invalid; use \"host\" or \"private\""
            ));
        }
    }
    let only = |id: &str, known: &[&str], what: &str| match text(values, id) {
        Some(name) if !known.contains(&name) => {
            Err(format!("{what} {name:?} is not supported; use {:?}", known[0]))
        }
        _ => Ok(()),
    };
    only("storage-driver", &["overlay2"], "storage driver")?;
    only("firewall-backend", &["nftables", "iptables"], "firewall backend")?;
    match text(values, "log-format") {
        None | Some("text") => {}
        Some("json") => return Err("log format \"json\" is not built yet; use \"text\"".to_owned()),
        Some(format) => return Err(format!("invalid log format: {format}")),
    }
    for label in list(values, "labels") {
        if !label.contains('=') {
            return Err(format!("bad attribute format: {label}"));
        }
    }
    for domain in list(values, "dns-search") {
        if !is_domain(&domain) {
            return Err(format!("{domain} is not a valid domain"));
        }
    }
    for (id, what) in [
        ("max-concurrent-downloads", "max concurrent downloads"),
        ("max-concurrent-uploads", "max concurrent uploads"),
        ("max-download-attempts", "max download attempts"),
    ] {
        if let Some(number) = int::<i64>(values, id).filter(|number| *number < 0) {
            return Err(format!("invalid {what}: {number}"));
        }
    }
    if let Some(Value::Int(mtu)) = values.get("mtu")
        && *mtu < 0
    {
        return Err(format!("invalid default MTU: {mtu}"));
    }
    Ok(())
}

/// Says whether this can be a search domain: `.`, or labels of letters, digits and dashes.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text == "." || text.trim_end_matches('.').split('.').all(is_label)
}

/// Docker refuses one key with two values; the same twice is one.
///
/// Errors: Docker's text.
pub(super) fn check_labels(values: &Values) -> Result<(), String> {
    let labels = list(values, "labels");
    for (at, label) in labels.iter().enumerate() {
        let key = label.split('=').next();
        let earlier = labels[..at].iter().find(|other| other.split('=').next() == key && *other != label);
        if let Some(earlier) = earlier {
            return Err(format!("conflict labels for {label} and {earlier}"));
        }
    }
    Ok(())
}
