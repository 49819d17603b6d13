//! Values of options, from a flag or from the file.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use berth_engine::Runtime;
use berth_oci::container::Ulimit;
use berth_oci::json::Node;

use super::table::{Kind, Row};

/// The value of an option.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    Bytes(u64),
    Ip(IpAddr),
    List(Vec<String>),
    Ips(Vec<IpAddr>),
    Map(BTreeMap<String, String>),
    Ulimits(BTreeMap<String, Ulimit>),
    Runtimes(BTreeMap<String, Runtime>),
    Pools(Vec<(String, u8)>),
    Registries(BTreeMap<String, Registry>),
    Object(Node),
}

/// How one registry is reached.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Registry {
    /// URLs that are asked before the registry itself, in order.
    pub(super) mirrors: Vec<String>,
    /// Its certificate need not be right, and it may speak in clear.
    pub(super) insecure: bool,
}

/// Reads `registries`.
///
/// Errors: the registry and what is wrong with it.
fn registries(node: &Node) -> Result<BTreeMap<String, Registry>, String> {
    let Node::Object(entries) = node else {
        return Err(format!("registries: an object by host is wanted, and not {}", node.kind()));
    };
    let read = |(name, node): &(String, Node)| {
        let text = berth_oci::json::to_vec(node).map_err(|error| error.to_string())?;
        let registry =
            serde_json::from_slice(&text).map_err(|error| format!("registries: {name}: {error}"))?;
        Ok((name.clone(), registry))
    };
    entries.iter().map(read).collect()
}

impl Value {
    /// Reads the argument of a flag.
    ///
    /// Errors: Docker's text.
    pub(super) fn from_flag(kind: Kind, text: &str) -> Result<Self, String> {
        Ok(match kind {
            Kind::Bool => Self::Bool(parse_bool(text)?),
            Kind::Int => {
                let bad = |_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
                Self::Int(text.parse().map_err(bad)?)
            }
            Kind::Text => Self::Text(text.to_owned()),
            Kind::Bytes => Self::Bytes(parse_bytes(text)?),
            Kind::Ip => Self::Ip(text.parse().map_err(|_| format!("failed to parse IP: {text:?}"))?),
            Kind::List => Self::List(vec![text.to_owned()]),
            Kind::IpList => {
                let ips = text.split(',').map(|part| {
                    part.trim()
                        .parse()
                        .map_err(|_| format!("invalid string being converted to IP address: {part}"))
                });
                Self::Ips(ips.collect::<Result<_, _>>()?)
            }
            Kind::Switches => {
                let (key, value) = text.split_once('=').unwrap_or((text, "true"));
                Self::Map(BTreeMap::from([(key.to_owned(), parse_bool(value)?.to_string())]))
            }
            Kind::Map => {
                let (key, value) = text.split_once('=').unwrap_or((text, ""));
                Self::Map(BTreeMap::from([(key.to_owned(), value.to_owned())]))
            }
            Kind::Ulimits => {
                let ulimit = Ulimit::parse(text)?;
                Self::Ulimits(BTreeMap::from([(ulimit.name.clone(), ulimit)]))
            }
            Kind::Runtimes => {
                let named = text.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty());
                let (name, path) = named.ok_or_else(|| format!("invalid runtime argument: {text}"))?;
                let runtime = Runtime { path: path.trim().to_owned(), ..Runtime::default() };
                Self::Runtimes(BTreeMap::from([(name.trim().to_lowercase(), runtime)]))
            }
            Kind::Pools => Self::Pools(vec![parse_pool(text)?]),
            Kind::Object | Kind::Registries => {
                let (key, value) = text.split_once('=').unwrap_or((text, "true"));
                Self::Object(Node::Object(vec![(key.to_owned(), Node::string(value))]))
            }
        })
    }

    /// Reads the value of a key in the file.
    ///
    /// Errors: what was found and what was wanted, in Go's words.
    pub(super) fn from_file(row: &Row, node: &Node) -> Result<Self, String> {
        use serde::Deserialize as _;
        let field = row.go_field();
        let wanted = |wanted: &str| match row.kind {
            Kind::Int => "int".to_owned(),
            Kind::IpList => "[]net.IP".to_owned(),
            _ => wanted.to_owned(),
        };
        let told = |error| match error {
            berth_oci::json::Error::Type { found, wanted: type_, .. } => {
                format!(
                    "json: cannot unmarshal {found} into Go struct field {field} of type {}",
                    wanted(&type_.to_string())
                )
            }
            other => other.to_string(),
        };
        let read_ip = |text: &String| text.parse().map_err(|_| format!("invalid IP address: {text}"));
        Ok(match row.kind {
            Kind::Bool => Self::Bool(read(node, &told)?),
            Kind::Int => Self::Int(read(node, &told)?),
            Kind::Text => Self::Text(read(node, &told)?),
            Kind::Bytes => match node {
                Node::String(text) => Self::Bytes(parse_bytes(text)?),
                other => Self::Bytes(read(other, &told)?),
            },
            Kind::Ip => Self::Ip(read_ip(&read(node, &told)?)?),
            Kind::List => Self::List(read(node, &told)?),
            // One address had a key of its own.
            Kind::IpList if row.key == "host-gateway-ip" => Self::Ips(vec![read_ip(&read(node, &told)?)?]),
            Kind::Switches => {
                let switches: BTreeMap<String, bool> = read(node, &told)?;
                Self::Map(switches.into_iter().map(|(name, on)| (name, on.to_string())).collect())
            }
            Kind::IpList => {
                let texts: Vec<String> = read(node, &told)?;
                Self::Ips(texts.iter().map(read_ip).collect::<Result<_, _>>()?)
            }
            Kind::Registries => Self::Registries(registries(node)?),
            Kind::Map => Self::Map(read(node, &told)?),
            Kind::Ulimits => {
                let mut ulimits: BTreeMap<String, Ulimit> = read(node, &told)?;
                ulimits.iter_mut().for_each(|(name, ulimit)| ulimit.name.clone_from(name));
                Self::Ulimits(ulimits)
            }
            Kind::Runtimes => {
                let runtimes =
                    BTreeMap::<String, FileRuntime>::deserialize(node).map_err(|error| error.to_string())?;
                Self::Runtimes(runtimes.into_iter().map(FileRuntime::checked).collect::<Result<_, _>>()?)
            }
            Kind::Pools => {
                let pools: Vec<FilePool> = read(node, &told)?;
                Self::Pools(pools.into_iter().map(|pool| (pool.base, pool.size)).collect())
            }
            Kind::Object => Self::Object(node.clone()),
        })
    }

    /// Adds a further value of the same flag; one that can be given once only is replaced.
    pub(super) fn add(&mut self, other: Self) {
        match (self, other) {
            (Self::List(list), Self::List(more)) => list.extend(more),
            (Self::Ips(list), Self::Ips(more)) => list.extend(more),
            (Self::Map(map), Self::Map(more)) => map.extend(more),
            (Self::Ulimits(map), Self::Ulimits(more)) => map.extend(more),
            (Self::Runtimes(map), Self::Runtimes(more)) => map.extend(more),
            (Self::Pools(list), Self::Pools(more)) => list.extend(more),
            (value, other) => *value = other,
        }
    }

    /// Says whether this is what an option that was not given would be.
    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Text(text) => text.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Object(node) => matches!(node, Node::Null) || *node == Node::Object(Vec::new()),
            Self::Map(map) => map.is_empty(),
            _ => false,
        }
    }
}

/// As Go prints values of these types.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn map<V>(
            f: &mut fmt::Formatter<'_>,
            map: &BTreeMap<String, V>,
            show: impl Fn(&V) -> String,
        ) -> fmt::Result {
            let entries: Vec<_> = map.iter().map(|(key, value)| format!("{key}:{}", show(value))).collect();
            write!(f, "map[{}]", entries.join(" "))
        }
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::List(list) => write!(f, "[{}]", list.join(" ")),
            Self::Ips(list) => {
                write!(f, "[{}]", list.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
            }
            Self::Map(values) => map(f, values, String::clone),
            Self::Ulimits(values) => {
                map(f, values, |ulimit| format!("{}={}:{}", ulimit.name, ulimit.soft, ulimit.hard))
            }
            Self::Runtimes(values) => map(f, values, |runtime| runtime.path.clone()),
            Self::Pools(list) => {
                let pools: Vec<_> = list.iter().map(|(base, size)| format!("{{{base} {size}}}")).collect();
                write!(f, "[{}]", pools.join(" "))
            }
            Self::Object(_) | Self::Registries(_) => f.write_str("map[]"),
        }
    }
}

/// Reads a value of the file; `told` says what is wrong with it.
fn read<'de, T: serde::Deserialize<'de>>(
    node: &'de Node,
    told: &dyn Fn(berth_oci::json::Error) -> String,
) -> Result<T, String> {
    T::deserialize(node).map_err(told)
}

/// A runtime in the file.
#[derive(Default, serde::Deserialize)]
#[serde(rename = "Runtime", rename_all = "camelCase", default)]
struct FileRuntime {
    path: String,
    runtime_args: Option<Vec<String>>,
    runtime_type: String,
}

impl FileRuntime {
    fn checked((name, runtime): (String, Self)) -> Result<(String, Runtime), String> {
        if !runtime.runtime_type.is_empty() {
            return Err(format!(
                "runtime {name}: a runtime of containerd ({}) cannot be used",
                runtime.runtime_type
            ));
        }
        if runtime.path.is_empty() {
            return Err(format!("runtime {name}: either a runtimeType or a path must be configured"));
        }
        Ok((name, Runtime { path: runtime.path, arguments: runtime.runtime_args.unwrap_or_default() }))
    }
}

/// A pool of subnets in the file.
#[derive(Default, serde::Deserialize)]
#[serde(rename = "NetworkToSplit", default)]
struct FilePool {
    base: String,
    size: u8,
}

/// Reads a switch as Go does.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// Reads `64m`, `1.5GB`, `100`: units are powers of 1024.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let bytes = berth_oci::units::parse_bytes(text)?;
    u64::try_from(bytes).map_err(|_| format!("invalid size: '{text}'"))
}

/// Reads `base=10.10.0.0/16,size=24`.
fn parse_pool(text: &str) -> Result<(String, u8), String> {
    let (mut base, mut size) = (None, None);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("base", value)) => base = Some(value.to_owned()),
            Some(("size", value)) => {
                size = Some(value.parse().map_err(|_| format!("invalid size value: {value}"))?);
            }
            Some((key, _)) => return Err(format!("unexpected key '{key}' in '{part}'")),
            None => return Err(format!("invalid field '{part}' must be a key=value pair")),
        }
    }
    base.zip(size).ok_or_else(|| format!("base and size are both needed: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_read() {
        assert_eq!(parse_pool("base=10.0.0.0/8,size=24"), Ok(("10.0.0.0/8".into(), 24)));
        for bad in ["base=10.0.0.0/8", "size=24", "x=1", "base"] {
            assert!(parse_pool(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_shown_as_go_shows_them() {
        let show = |kind, text: &str| Value::from_flag(kind, text).unwrap().to_string();
        assert_eq!(show(Kind::Bool, "true"), "true");
        assert_eq!(show(Kind::List, "a=b"), "[a=b]");
        assert_eq!(show(Kind::Map, "max-size=10m"), "map[max-size:10m]");
        assert_eq!(show(Kind::IpList, "1.1.1.1,::1"), "[1.1.1.1 ::1]");
    }
}
