//! The options of the local driver: `type`, `device` and `o` say what is mounted as the volume, as `mount -t … -o …` does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use berth_oci::units::{parse_bytes, quote};

/// Options by name.
pub(crate) type Options = BTreeMap<String, String>;

const KNOWN: [&str; 4] = ["type", "o", "device", "size"];

/// Words of `o` that are flags of the call: the word, whether it takes the flag away, and the flag.
const FLAGS: [(&str, bool, u32); 30] = [
    ("ro", false, RDONLY),
    ("rw", true, RDONLY),
    ("suid", true, NOSUID),
    ("nosuid", false, NOSUID),
    ("dev", true, NODEV),
    ("nodev", false, NODEV),
    ("exec", true, NOEXEC),
    ("noexec", false, NOEXEC),
    ("sync", false, 1 << 4),
    ("async", true, 1 << 4),
    ("dirsync", false, 1 << 7),
    ("remount", false, 1 << 5),
    ("mand", false, 1 << 6),
    ("nomand", true, 1 << 6),
    ("atime", true, 1 << 10),
    ("noatime", false, 1 << 10),
    ("diratime", true, 1 << 11),
    ("nodiratime", false, 1 << 11),
    ("bind", false, BIND),
    ("rbind", false, BIND | REC),
    ("unbindable", false, UNBINDABLE),
    ("runbindable", false, UNBINDABLE | REC),
    ("private", false, PRIVATE),
    ("rprivate", false, PRIVATE | REC),
    ("shared", false, SHARED),
    ("rshared", false, SHARED | REC),
    ("slave", false, SLAVE),
    ("rslave", false, SLAVE | REC),
    ("relatime", false, 1 << 21),
    ("strictatime", false, 1 << 24),
];

// `MS_…` of mount(2).
pub(super) const RDONLY: u32 = 1;
const NOSUID: u32 = 1 << 1;
const NODEV: u32 = 1 << 2;
const NOEXEC: u32 = 1 << 3;
pub(super) const REMOUNT: u32 = 1 << 5;
pub(super) const BIND: u32 = 1 << 12;
pub(super) const REC: u32 = 1 << 14;
const UNBINDABLE: u32 = 1 << 17;
const PRIVATE: u32 = 1 << 18;
const SLAVE: u32 = 1 << 19;
const SHARED: u32 = 1 << 20;
/// Those that say how mounts propagate, which is a call of its own.
pub(super) const PROPAGATION: u32 = UNBINDABLE | PRIVATE | SLAVE | SHARED;

/// Checks the options of a volume that is to be made.
///
/// Errors: Docker's texts.
pub(crate) fn check(options: &Options) -> Result<(), String> {
    if let Some(unknown) = options.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(format!("invalid option: {}", quote(unknown)));
    }
    let device = options.get("device").map_or("", String::as_str);
    if options.get("type").is_some_and(|kind| kind == "cifs") {
        check_url(device)?;
    }
    if let Some(size) = options.get("size")
        && parse_bytes(size).map_err(|_| format!("invalid size: '{size}'"))? > 0
    {
        // Directories of the data root have no quota of their own.
        return Err("quota size requested but no quota support".to_owned());
    }
    for (option, needs) in [("o", "device"), ("type", "device"), ("device", "type"), ("o", "type")] {
        if options.contains_key(option) && !options.contains_key(needs) {
            return Err(format!("missing required option: {}", quote(needs)));
        }
    }
    Ok(())
}

/// Whether something is mounted as the volume.
pub(crate) fn needs_mount(options: Option<&Options>) -> bool {
    let says =
        |name: &str| options.and_then(|options| options.get(name)).is_some_and(|text| !text.is_empty());
    says("type") || says("device")
}

/// A mount as the call takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) kind: String,
    pub(super) device: String,
    pub(super) flags: u32,
    pub(super) data: String,
}

impl Plan {
    /// What the options ask for. `resolve` looks up the address of a server.
    ///
    /// Errors: Docker's texts.
    pub(super) fn of(
        options: &Options,
        resolve: impl Fn(&str) -> Result<IpAddr, String>,
    ) -> Result<Plan, String> {
        let text = |name: &str| options.get(name).cloned().unwrap_or_default();
        let (kind, mut device) = (text("type"), text("device"));
        if device.is_empty() {
            return Err("missing device in volume options".to_owned());
        }
        let resolve = |host: &str| {
            resolve(host).map_err(|why| format!("error resolving passed in network volume address: {why}"))
        };
        let o = text("o");
        let mut words: Vec<String> = o.split(',').map(str::to_owned).collect();
        let server = words.iter_mut().find(|word| word.len() > 5 && word.starts_with("addr="));
        match (kind.as_str(), server) {
            ("nfs" | "cifs", Some(word)) if word[5..].parse::<std::net::Ipv4Addr>().is_err() => {
                *word = format!("addr={}", resolve(&word[5..])?);
            }
            ("cifs", _) => {
                let host = host(&device).filter(|place| !is_address(&device[place.clone()]));
                if let Some(place) = host {
                    let address = resolve(&device[place.clone()])?.to_string();
                    device.replace_range(place, &address);
                }
            }
            _ => {}
        }
        let mut flags = 0;
        let mut data = Vec::new();
        for word in words {
            match FLAGS.iter().find(|(name, ..)| *name == word) {
                Some((_, true, flag)) => flags &= !flag,
                Some((_, false, flag)) => flags |= flag,
                None if word == "norelatime" || word == "nostrictatime" => {}
                None => data.push(word),
            }
        }
        Ok(Plan { kind, device, flags, data: data.join(",") })
    }

    /// What a failure is told by: what was tried with which flags, but no password.
    pub(super) fn failure(&self, action: &str, target: &str, flags: u32, why: &str) -> String {
        let mut text = format!("failed to mount local volume: {action} ");
        if action == "mount" {
            text.push_str(&format!("{}:", self.device));
        }
        text.push_str(target);
        if flags != 0 {
            text.push_str(&format!(", flags: 0x{flags:x}"));
        }
        let data: Vec<&str> = self.data.split(',').map(veiled).collect();
        if action == "mount" && !self.data.is_empty() {
            text.push_str(&format!(", data: {}", data.join(",")));
        }
        format!("{text}: {why}")
    }
}

fn veiled(word: &str) -> &str {
    if word.len() > 9 && word.starts_with("password=") { "password=********" } else { word }
}

fn is_address(host: &str) -> bool {
    host.is_empty() || host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

/// Where the host, with its port, stands in a device like `//user@host/share`.
fn host(device: &str) -> Option<Range<usize>> {
    let start = device.find("//")?;
    if start > 0 && !device[..start].ends_with(':') {
        return None;
    }
    let start = start + 2;
    let end = device[start..].find(['/', '?', '#']).map_or(device.len(), |length| start + length);
    let start = device[start..end].rfind('@').map_or(start, |at| start + at + 1);
    Some(start..end)
}

/// A device of `cifs` is a URL, whose port has its place elsewhere.
fn check_url(device: &str) -> Result<(), String> {
    let wrong = |why: String| format!("error parsing mount device url: parse {}: {why}", quote(device));
    for (at, _) in device.match_indices('%') {
        let escape = device.get(at..at + 3).unwrap_or(&device[at..]);
        if escape.len() < 3 || !escape.bytes().skip(1).all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong(format!("invalid URL escape {}", quote(escape))));
        }
    }
    let Some(host) = host(device).map(|place| &device[place]) else { return Ok(()) };
    // Colons inside of brackets belong to the address.
    let after = host.rfind(']').map_or(host, |at| &host[at + 1..]);
    let Some(colon) = after.rfind(':') else { return Ok(()) };
    let port = &after[colon + 1..];
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong(format!("invalid port {} after host", quote(&after[colon..]))));
    }
    if port.is_empty() {
        return Ok(());
    }
    Err("port not allowed in CIFS device URL, include 'port' in 'o='".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Options {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn refusals_are_dockers() {
        let refused = |text: &str| check(&options(text)).unwrap_err();
        assert_eq!(refused("b=1 a=2"), "invalid option: \"a\"");
        for lacks_device in ["type=tmpfs", "o=ro", "type=tmpfs o=ro"] {
            assert_eq!(refused(lacks_device), "missing required option: \"device\"");
        }
        for lacks_type in ["device=tmpfs", "device=tmpfs o=ro"] {
            assert_eq!(refused(lacks_type), "missing required option: \"type\"");
        }
        assert_eq!(refused("size=1m"), "quota size requested but no quota support");
        for size in ["x", "-1", "", "1.5.x"] {
            assert_eq!(refused(&format!("size={size}")), format!("invalid size: '{size}'"));
        }
        assert_eq!(
            refused("type=cifs device=//h:1/x"),
            "port not allowed in CIFS device URL, include 'port' in 'o='"
        );
        let parse = "error parsing mount device url: parse";
        assert_eq!(
            refused("type=cifs device=//h:x/x"),
            format!("{parse} \"//h:x/x\": invalid port \":x\" after host")
        );
        assert_eq!(
            refused("type=cifs device=//h%zz/x"),
            format!("{parse} \"//h%zz/x\": invalid URL escape \"%zz\"")
        );
        for fine in
            ["", "size=0", "type= device=", "type=cifs device=//[::1]/x", "type=nfs device=:/x o=addr=h"]
        {
            check(&options(fine)).unwrap();
        }
        assert!(!needs_mount(None) && !needs_mount(Some(&options("type= device="))));
        assert!(!needs_mount(Some(&options("size=0"))) && needs_mount(Some(&options("type=x device="))));
    }

    #[test]
    fn options_become_a_call() {
        let plan = |text: &str| {
            let plan = Plan::of(&options(text), |host| match host {
                "server" => Ok(IpAddr::from([192, 0, 2, 7])),
                "::1" => Ok(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
                host => Err(format!("lookup {host}: no such host")),
            });
            plan.map_or_else(|error| error, |p| format!("{} {} {:x} {}", p.kind, p.device, p.flags, p.data))
        };
        assert_eq!(plan("type=tmpfs device=tmpfs o=size=1m,ro,uid=5,noexec"), "tmpfs tmpfs 9 size=1m,uid=5");
        assert_eq!(plan("type=none device=/a o=bind,ro,rw"), "none /a 1000 ");
        assert_eq!(plan("type=none device=/a o=rbind,rslave"), "none /a 85000 ");
        assert_eq!(plan("type=x device= o="), "missing device in volume options");
        assert_eq!(
            plan("type=nfs device=:/x o=clientaddr=server,addr=server,rw"),
            "nfs :/x 0 clientaddr=server,addr=192.0.2.7"
        );
        assert_eq!(plan("type=nfs device=:/x o=addr=::1"), "nfs :/x 0 addr=::1");
        assert_eq!(plan("type=nfs device=:/x o=addr=10.0.0.1"), "nfs :/x 0 addr=10.0.0.1");
        assert_eq!(
            plan("type=nfs device=:/x o=addr=nobody"),
            "error resolving passed in network volume address: lookup nobody: no such host"
        );
        // Only of these two are servers looked up.
        assert_eq!(plan("type=nfs4 device=:/x o=addr=nobody"), "nfs4 :/x 0 addr=nobody");
        assert_eq!(plan("type=cifs device=//server/x o=user=a"), "cifs //192.0.2.7/x 0 user=a");
        assert_eq!(
            plan("type=cifs device=//u@server/x o=addr=10.0.0.1"),
            "cifs //u@192.0.2.7/x 0 addr=10.0.0.1"
        );
        assert_eq!(plan("type=cifs device=//[::1]/x o="), "cifs //[::1]/x 0 ");
    }

    #[test]
    fn a_password_is_not_told() {
        let resolve = |_: &str| Err(String::new());
        let plan =
            Plan::of(&options("type=cifs device=//10.0.0.1/x o=ro,user=a,password=b"), resolve).unwrap();
        assert_eq!(
            plan.failure("mount", "/v", plan.flags, "permission denied"),
            "failed to mount local volume: mount //10.0.0.1/x:/v, flags: 0x1, data: user=a,password=********: \
             permission denied"
        );
        assert_eq!(
            plan.failure("remount-ro", "/v", 0x21, "invalid argument"),
            "failed to mount local volume: remount-ro /v, flags: 0x21: invalid argument"
        );
    }
}
