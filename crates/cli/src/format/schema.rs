//! The Go structs that Docker's `inspect` shows to templates.
//!
//! A template such as `{{if .State.Health}}` must work where the engine has left the field out, and `{{.State}}` prints
//! the fields in the order of the struct. The shapes are data: name in Go, name in JSON, kind.

use super::value::{Field, Struct, Value};

/// The kind of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Int,
    Bool,
    /// Anything, nil if absent; also pointers to numbers and truth values.
    Any,
    List(&'static Kind),
    Map(&'static Kind),
    Struct(&'static Shape),
    /// A struct that may be absent.
    Pointer(&'static Shape),
    /// A struct whose fields are those of the outer one.
    Embedded(&'static Shape),
}

/// A struct.
#[derive(Debug)]
pub(crate) struct Shape {
    type_name: &'static str,
    /// Go's name, JSON's name (empty: the same), kind.
    fields: &'static [(&'static str, &'static str, Kind)],
}

impl Shape {
    /// Puts the engine's JSON into the shape.
    pub(crate) fn fill(&self, json: &Value) -> Value {
        let fields = self.fields.iter().map(|(name, json_name, kind)| {
            if let Kind::Embedded(shape) = kind {
                return Field { name, json: "", present: true, value: shape.fill(json) };
            }
            let json_name = if json_name.is_empty() { name } else { json_name };
            let found = match json {
                Value::Map(map) => map.get(*json_name),
                _ => None,
            };
            Field {
                name,
                json: json_name,
                present: found.is_some(),
                value: kind.fill(found.unwrap_or(&Value::Nil)),
            }
        });
        Value::Struct(Struct { type_name: self.type_name, fields: fields.collect() }.into())
    }
}

impl Kind {
    fn fill(self, json: &Value) -> Value {
        match (self, json) {
            (Self::Text, Value::Nil) => Value::text(""),
            (Self::Int, Value::Nil) => Value::Int(0),
            (Self::Int | Self::Any, Value::Number(text)) => {
                text.parse().map_or_else(|_| json.clone(), Value::Int)
            }
            (Self::Bool, Value::Nil) => Value::Bool(false),
            (Self::List(_), Value::Nil) => Value::Empty("[]"),
            (Self::Map(_), Value::Nil) => Value::Empty("map[]"),
            (Self::List(kind), Value::List(list)) => {
                Value::List(list.iter().map(|item| kind.fill(item)).collect::<Vec<_>>().into())
            }
            (Self::Map(kind), Value::Map(map)) => Value::Map(
                map.iter()
                    .map(|(name, value)| (name.clone(), kind.fill(value)))
                    .collect::<std::collections::BTreeMap<_, _>>()
                    .into(),
            ),
            (Self::Pointer(_), Value::Nil) => Value::Nil,
            (Self::Struct(shape) | Self::Pointer(shape), json) => shape.fill(json),
            (_, json) => json.clone(),
        }
    }
}

use Kind::{Any, Bool, Embedded, Int, List, Map, Pointer, Text};

const TEXTS: Kind = List(&Text);
const TEXT_MAP: Kind = Map(&Text);
const EMPTY_MAP: Kind = Map(&Any);

/// What `container inspect` answers.
pub(crate) static CONTAINER: Shape = Shape {
    type_name: "*container.InspectResponse",
    fields: &[
        ("ContainerJSONBase", "", Embedded(&CONTAINER_BASE)),
        ("Mounts", "", List(&Kind::Struct(&MOUNT_POINT))),
        ("Config", "", Pointer(&CONFIG)),
        ("NetworkSettings", "", Pointer(&NETWORK_SETTINGS)),
    ],
};

static CONTAINER_BASE: Shape = Shape {
    type_name: "*container.ContainerJSONBase",
    fields: &[
        ("ID", "Id", Text),
        ("Created", "", Text),
        ("Path", "", Text),
        ("Args", "", TEXTS),
        ("State", "", Pointer(&STATE)),
        ("Image", "", Text),
        ("ResolvConfPath", "", Text),
        ("HostnamePath", "", Text),
        ("HostsPath", "", Text),
        ("LogPath", "", Text),
        ("Name", "", Text),
        ("RestartCount", "", Int),
        ("Driver", "", Text),
        ("Platform", "", Text),
        ("ImageManifestDescriptor", "", Any),
        ("MountLabel", "", Text),
        ("ProcessLabel", "", Text),
        ("AppArmorProfile", "", Text),
        ("ExecIDs", "", TEXTS),
        ("HostConfig", "", Pointer(&HOST_CONFIG)),
        ("GraphDriver", "", Kind::Struct(&GRAPH_DRIVER)),
        ("SizeRw", "", Any),
        ("SizeRootFs", "", Any),
    ],
};

static STATE: Shape = Shape {
    type_name: "*container.State",
    fields: &[
        ("Status", "", Text),
        ("Running", "", Bool),
        ("Paused", "", Bool),
        ("Restarting", "", Bool),
        ("OOMKilled", "", Bool),
        ("Dead", "", Bool),
        ("Pid", "", Int),
        ("ExitCode", "", Int),
        ("Error", "", Text),
        ("StartedAt", "", Text),
        ("FinishedAt", "", Text),
        ("Health", "", Pointer(&HEALTH)),
    ],
};

static HEALTH: Shape = Shape {
    type_name: "*container.Health",
    fields: &[
        ("Status", "", Text),
        ("FailingStreak", "", Int),
        ("Log", "", List(&Kind::Struct(&HEALTH_RESULT))),
    ],
};

static HEALTH_RESULT: Shape = Shape {
    type_name: "*container.HealthcheckResult",
    fields: &[("Start", "", Text), ("End", "", Text), ("ExitCode", "", Int), ("Output", "", Text)],
};

static HEALTH_CHECK: Shape = Shape {
    type_name: "*v1.HealthcheckConfig",
    fields: &[
        ("Test", "", TEXTS),
        ("Interval", "", Int),
        ("Timeout", "", Int),
        ("StartPeriod", "", Int),
        ("StartInterval", "", Int),
        ("Retries", "", Int),
    ],
};

static CONFIG: Shape = Shape {
    type_name: "*container.Config",
    fields: &[
        ("Hostname", "", Text),
        ("Domainname", "", Text),
        ("User", "", Text),
        ("AttachStdin", "", Bool),
        ("AttachStdout", "", Bool),
        ("AttachStderr", "", Bool),
        ("ExposedPorts", "", EMPTY_MAP),
        ("Tty", "", Bool),
        ("OpenStdin", "", Bool),
        ("StdinOnce", "", Bool),
        ("Env", "", TEXTS),
        ("Cmd", "", TEXTS),
        ("Healthcheck", "", Pointer(&HEALTH_CHECK)),
        ("ArgsEscaped", "", Bool),
        ("Image", "", Text),
        ("Volumes", "", EMPTY_MAP),
        ("WorkingDir", "", Text),
        ("Entrypoint", "", TEXTS),
        ("NetworkDisabled", "", Bool),
        ("MacAddress", "", Text),
        ("OnBuild", "", TEXTS),
        ("Labels", "", TEXT_MAP),
        ("StopSignal", "", Text),
        ("StopTimeout", "", Any),
        ("Shell", "", TEXTS),
    ],
};

static HOST_CONFIG: Shape = Shape {
    type_name: "*container.HostConfig",
    fields: &[
        ("Binds", "", TEXTS),
        ("ContainerIDFile", "", Text),
        ("LogConfig", "", Kind::Struct(&LOG_CONFIG)),
        ("NetworkMode", "", Text),
        ("PortBindings", "", Map(&List(&Kind::Struct(&PORT_BINDING)))),
        ("RestartPolicy", "", Kind::Struct(&RESTART_POLICY)),
        ("AutoRemove", "", Bool),
        ("VolumeDriver", "", Text),
        ("VolumesFrom", "", TEXTS),
        ("ConsoleSize", "", List(&Int)),
        ("Annotations", "", TEXT_MAP),
        ("CapAdd", "", TEXTS),
        ("CapDrop", "", TEXTS),
        ("CgroupnsMode", "", Text),
        ("DNS", "Dns", TEXTS),
        ("DNSOptions", "DnsOptions", TEXTS),
        ("DNSSearch", "DnsSearch", TEXTS),
        ("ExtraHosts", "", TEXTS),
        ("GroupAdd", "", TEXTS),
        ("IpcMode", "", Text),
        ("Cgroup", "", Text),
        ("Links", "", TEXTS),
        ("OomScoreAdj", "", Int),
        ("PidMode", "", Text),
        ("Privileged", "", Bool),
        ("PublishAllPorts", "", Bool),
        ("ReadonlyRootfs", "", Bool),
        ("SecurityOpt", "", TEXTS),
        ("StorageOpt", "", TEXT_MAP),
        ("Tmpfs", "", TEXT_MAP),
        ("UTSMode", "", Text),
        ("UsernsMode", "", Text),
        ("ShmSize", "", Int),
        ("Sysctls", "", TEXT_MAP),
        ("Runtime", "", Text),
        ("Isolation", "", Text),
        ("Resources", "", Embedded(&RESOURCES)),
        ("Mounts", "", List(&Any)),
        ("MaskedPaths", "", TEXTS),
        ("ReadonlyPaths", "", TEXTS),
        ("Init", "", Any),
    ],
};

static RESOURCES: Shape = Shape {
    type_name: "container.Resources",
    fields: &[
        ("CPUShares", "CpuShares", Int),
        ("Memory", "", Int),
        ("NanoCPUs", "NanoCpus", Int),
        ("CgroupParent", "", Text),
        ("BlkioWeight", "", Int),
        ("BlkioWeightDevice", "", List(&Any)),
        ("BlkioDeviceReadBps", "", List(&Any)),
        ("BlkioDeviceWriteBps", "", List(&Any)),
        ("BlkioDeviceReadIOps", "", List(&Any)),
        ("BlkioDeviceWriteIOps", "", List(&Any)),
        ("CPUPeriod", "CpuPeriod", Int),
        ("CPUQuota", "CpuQuota", Int),
        ("CPURealtimePeriod", "CpuRealtimePeriod", Int),
        ("CPURealtimeRuntime", "CpuRealtimeRuntime", Int),
        ("CpusetCpus", "", Text),
        ("CpusetMems", "", Text),
        ("Devices", "", List(&Kind::Struct(&DEVICE))),
        ("DeviceCgroupRules", "", TEXTS),
        ("DeviceRequests", "", List(&Any)),
        ("KernelMemory", "", Int),
        ("KernelMemoryTCP", "", Int),
        ("MemoryReservation", "", Int),
        ("MemorySwap", "", Int),
        ("MemorySwappiness", "", Any),
        ("OomKillDisable", "", Any),
        ("PidsLimit", "", Any),
        ("Ulimits", "", List(&Kind::Struct(&ULIMIT))),
        ("CPUCount", "CpuCount", Int),
        ("CPUPercent", "CpuPercent", Int),
        ("IOMaximumIOps", "", Int),
        ("IOMaximumBandwidth", "", Int),
    ],
};

static LOG_CONFIG: Shape =
    Shape { type_name: "container.LogConfig", fields: &[("Type", "", Text), ("Config", "", TEXT_MAP)] };

static PORT_BINDING: Shape =
    Shape { type_name: "nat.PortBinding", fields: &[("HostIP", "HostIp", Text), ("HostPort", "", Text)] };

static RESTART_POLICY: Shape = Shape {
    type_name: "container.RestartPolicy",
    fields: &[("Name", "", Text), ("MaximumRetryCount", "", Int)],
};

static DEVICE: Shape = Shape {
    type_name: "container.DeviceMapping",
    fields: &[("PathOnHost", "", Text), ("PathInContainer", "", Text), ("CgroupPermissions", "", Text)],
};

static ULIMIT: Shape =
    Shape { type_name: "*units.Ulimit", fields: &[("Name", "", Text), ("Hard", "", Int), ("Soft", "", Int)] };

static GRAPH_DRIVER: Shape =
    Shape { type_name: "storage.DriverData", fields: &[("Data", "", TEXT_MAP), ("Name", "", Text)] };

static MOUNT_POINT: Shape = Shape {
    type_name: "container.MountPoint",
    fields: &[
        ("Type", "", Text),
        ("Name", "", Text),
        ("Source", "", Text),
        ("Destination", "", Text),
        ("Driver", "", Text),
        ("Mode", "", Text),
        ("RW", "", Bool),
        ("Propagation", "", Text),
    ],
};

static NETWORK_SETTINGS: Shape = Shape {
    type_name: "*container.NetworkSettings",
    fields: &[
        ("NetworkSettingsBase", "", Embedded(&NETWORK_SETTINGS_BASE)),
        ("DefaultNetworkSettings", "", Embedded(&DEFAULT_NETWORK_SETTINGS)),
        ("Networks", "", Map(&Pointer(&ENDPOINT))),
    ],
};

static NETWORK_SETTINGS_BASE: Shape = Shape {
    type_name: "container.NetworkSettingsBase",
    fields: &[
        ("Bridge", "", Text),
        ("SandboxID", "", Text),
        ("SandboxKey", "", Text),
        ("Ports", "", Map(&List(&Kind::Struct(&PORT_BINDING)))),
        ("HairpinMode", "", Bool),
        ("LinkLocalIPv6Address", "", Text),
        ("LinkLocalIPv6PrefixLen", "", Int),
        ("SecondaryIPAddresses", "", List(&Any)),
        ("SecondaryIPv6Addresses", "", List(&Any)),
    ],
};

static DEFAULT_NETWORK_SETTINGS: Shape = Shape {
    type_name: "container.DefaultNetworkSettings",
    fields: &[
        ("EndpointID", "", Text),
        ("Gateway", "", Text),
        ("GlobalIPv6Address", "", Text),
        ("GlobalIPv6PrefixLen", "", Int),
        ("IPAddress", "", Text),
        ("IPPrefixLen", "", Int),
        ("IPv6Gateway", "", Text),
        ("MacAddress", "", Text),
    ],
};

static ENDPOINT: Shape = Shape {
    type_name: "*network.EndpointSettings",
    fields: &[
        ("IPAMConfig", "", Any),
        ("Links", "", TEXTS),
        ("Aliases", "", TEXTS),
        ("MacAddress", "", Text),
        ("DriverOpts", "", TEXT_MAP),
        ("GwPriority", "", Int),
        ("NetworkID", "", Text),
        ("EndpointID", "", Text),
        ("Gateway", "", Text),
        ("IPAddress", "", Text),
        ("IPPrefixLen", "", Int),
        ("IPv6Gateway", "", Text),
        ("GlobalIPv6Address", "", Text),
        ("GlobalIPv6PrefixLen", "", Int),
        ("DNSNames", "", TEXTS),
    ],
};

/// What `image inspect` answers.
pub(crate) static IMAGE: Shape = Shape {
    type_name: "*image.InspectResponse",
    fields: &[
        ("ID", "Id", Text),
        ("RepoTags", "", TEXTS),
        ("RepoDigests", "", TEXTS),
        ("Parent", "", Text),
        ("Comment", "", Text),
        ("Created", "", Text),
        ("DockerVersion", "", Text),
        ("Author", "", Text),
        ("Config", "", Pointer(&CONFIG)),
        ("Architecture", "", Text),
        ("Variant", "", Text),
        ("Os", "", Text),
        ("OsVersion", "", Text),
        ("Size", "", Int),
        ("VirtualSize", "", Int),
        ("GraphDriver", "", Kind::Struct(&GRAPH_DRIVER)),
        ("RootFS", "", Kind::Struct(&ROOT_FS)),
        ("Metadata", "", Any),
        ("Descriptor", "", Any),
        ("Manifests", "", List(&Any)),
    ],
};

/// What `volume inspect` answers.
pub(crate) static VOLUME: Shape = Shape {
    type_name: "volume.Volume",
    fields: &[
        ("ClusterVolume", "", Any),
        ("CreatedAt", "", Text),
        ("Driver", "", Text),
        ("Labels", "", TEXT_MAP),
        ("Mountpoint", "", Text),
        ("Name", "", Text),
        ("Options", "", TEXT_MAP),
        ("Scope", "", Text),
        ("Status", "", EMPTY_MAP),
        ("UsageData", "", Any),
    ],
};

static ROOT_FS: Shape =
    Shape { type_name: "image.RootFS", fields: &[("Type", "", Text), ("Layers", "", TEXTS)] };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::template::{Missing, Template};

    #[test]
    fn fields_that_were_left_out_are_there() {
        let json = serde_json::from_str(
            r#"{"Id":"abc","State":{"Status":"running","Running":true,"Pid":7},"HostConfig":{"Memory":5},"Config":{"Cmd":["sh"]}}"#,
        )
        .unwrap();
        let container = CONTAINER.fill(&json);
        let render = |template: &str| {
            let mut text = String::new();
            Template::parse(template).unwrap().run(&container, Missing::Print, &mut text).map(|()| text)
        };
        let check =
            |template: &str, expect: &str| assert_eq!(render(template).unwrap(), expect, "{template}");
        check("{{.ID}} {{.State}}", "abc {running true false false false false 7 0    <nil>}");
        check(
            "{{if .State.Health}}yes{{else}}no{{end}} {{.HostConfig.Memory}} {{.HostConfig.Init}}",
            "no 5 <nil>",
        );
        check("{{json .State}}", r#"{"Status":"running","Running":true,"Pid":7}"#);
        check(
            "{{.Config.Cmd}} {{.Config.Env}} {{.Config.Labels}} {{json .Config.Env}}",
            "[sh] [] map[] null",
        );
        check("{{.Config.Labels.foo}}", "<no value>");
        assert!(render("{{.Id}}").is_err());
    }
}
