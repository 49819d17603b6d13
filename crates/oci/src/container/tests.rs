use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::json;

/// `inspect` of Docker 26 for a container made with `{"Image":"busybox","Cmd":"ls"}`, in its order.
const HOST: &str = r#"{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"json-file","Config":{}},"NetworkMode":"bridge","PortBindings":null,"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":false,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,"CgroupnsMode":"host","Dns":null,"DnsOptions":null,"DnsSearch":null,"ExtraHosts":null,"GroupAdd":null,"IpcMode":"private","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":67108864,"Runtime":"runc","Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":null,"BlkioDeviceReadBps":null,"BlkioDeviceWriteBps":null,"BlkioDeviceReadIOps":null,"BlkioDeviceWriteIOps":null,"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,"CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":null,"DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,"MemorySwappiness":null,"OomKillDisable":false,"PidsLimit":null,"Ulimits":null,"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":["/proc/asound"],"ReadonlyPaths":["/proc/bus"]}"#;
const CONFIG: &str = r#"{"Hostname":"8fade08a4ec6","Domainname":"","User":"","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":null,"Cmd":["ls"],"Image":"busybox","Volumes":null,"WorkingDir":"","Entrypoint":null,"Labels":{}}"#;

/// Reads the text with Go's rules and with serde's, writes it, and wants the same bytes.
fn same<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(text: &str) -> T {
    let value: T = json::from_slice(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(json::to_vec(&value).unwrap()).unwrap(), text);
    assert_eq!(serde_json::from_str::<T>(text).unwrap(), value);
    value
}

#[test]
fn dockers_own_answers_come_back_byte_for_byte() {
    same::<HostConfig>(HOST);
    same::<Config>(CONFIG);
    same::<Mount>(
        r#"{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true,"BindOptions":{"Propagation":"rshared"},"VolumeOptions":{"Labels":{"a":"b"},"DriverConfig":{"Name":"local"}},"TmpfsOptions":{"SizeBytes":1,"Mode":511,"Options":[["noexec"]]}}"#,
    );
    same::<Mount>("{}");
    same::<Healthcheck>(
        r#"{"Test":["CMD","a"],"Interval":1,"Timeout":2,"StartPeriod":3,"StartInterval":4,"Retries":5}"#,
    );
    same::<EndpointSettings>(
        r#"{"IPAMConfig":{"IPv4Address":"10.0.0.2","LinkLocalIPs":["169.254.1.1"]},"Links":null,"Aliases":[],"MacAddress":"","GwPriority":0,"NetworkID":"","EndpointID":"","Gateway":"","IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"DriverOpts":null,"DNSNames":null}"#,
    );
}

#[test]
fn every_limit_is_read_and_written() {
    let text = r#"{"CpuShares":1,"Memory":2,"NanoCpus":3,"CgroupParent":"/p","BlkioWeight":4,"BlkioWeightDevice":[{"Path":"/dev/sda","Weight":5}],"BlkioDeviceReadBps":[{"Path":"/dev/sda","Rate":6}],"BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[{"Path":"/dev/sda","Rate":7}],"BlkioDeviceWriteIOps":[{"Path":"/dev/sda","Rate":8}],"CpuPeriod":9,"CpuQuota":10,"CpuRealtimePeriod":11,"CpuRealtimeRuntime":12,"CpusetCpus":"0","CpusetMems":"0","Devices":[{"PathOnHost":"/dev/null","PathInContainer":"/dev/x","CgroupPermissions":"rwm"}],"DeviceCgroupRules":["c 1:3 rwm"],"DeviceRequests":[{"Driver":"nvidia","Count":-1,"DeviceIDs":null,"Capabilities":[["gpu"]],"Options":{}}],"MemoryReservation":13,"MemorySwap":-1,"MemorySwappiness":60,"OomKillDisable":true,"PidsLimit":100,"Ulimits":[{"Name":"nofile","Hard":2,"Soft":1}],"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0}"#;
    let resources: Resources = same(text);
    let host: HostConfig = json::from_slice(text.as_bytes()).unwrap();
    assert_eq!(host.resources, resources);
}

#[test]
fn commands_are_strings_or_lists() {
    let read = |text: &str| json::from_slice::<Config>(text.as_bytes());
    assert_eq!(read(r#"{"Cmd":"ls"}"#).unwrap().cmd, Some(vec!["ls".into()]));
    assert_eq!(read(r#"{"cmd":["ls","-l"]}"#).unwrap().cmd, Some(vec!["ls".into(), "-l".into()]));
    assert_eq!(read(r#"{"Cmd":null}"#).unwrap().cmd, None);
    assert_eq!(read(r#"{"entrypoint":""}"#).unwrap().entrypoint, Some(vec![String::new()]));
    assert_eq!(read(r#"{"Entrypoint":[]}"#).unwrap().entrypoint, Some(vec![]));
    assert!(read(r#"{"Cmd":5}"#).is_err());
    let host: HostConfig = json::from_slice(br#"{"capadd":"ALL"}"#).unwrap();
    assert_eq!(host.cap_add, Some(vec!["ALL".into()]));
}

#[test]
fn limits_are_read_without_case_too() {
    let host: HostConfig =
        json::from_slice(br#"{"memory":5,"restartpolicy":{"NAME":"always"},"ulimits":null}"#).unwrap();
    assert_eq!(host.resources.memory, 5);
    assert_eq!(host.restart_policy.name, "always");
}

#[test]
fn a_wrong_limit_names_its_field() {
    let error = |text: &str| json::from_slice::<HostConfig>(text.as_bytes()).unwrap_err().to_string();
    let fits = |text: &str, end: &str| assert!(error(text).ends_with(end), "{}", error(text));
    fits(r#"{"CpuShares":"x"}"#, "string into Go struct field HostConfig.Resources.CpuShares of type int64");
    fits(
        r#"{"Ulimits":[{"Name":3}]}"#,
        "number into Go struct field Ulimit.Resources.Ulimits.Name of type string",
    );
    fits(r#"{"Privileged":"x"}"#, "string into Go struct field HostConfig.Privileged of type bool");
    fits("[]", "array into Go value of type HostConfig");
}

#[test]
fn restart_policies_are_checked() {
    let parse =
        |name: &str, maximum_retry_count| RestartPolicy { name: name.into(), maximum_retry_count }.parse();
    assert_eq!(parse("", 0), Ok(RestartPolicyName::No));
    assert_eq!(parse("on-failure", 3), Ok(RestartPolicyName::OnFailure));
    assert!(parse("on-failure", -1).unwrap_err().contains("cannot be negative"));
    assert!(parse("always", 3).unwrap_err().contains("can only be used with 'on-failure'"));
    assert!(parse("bad", 0).unwrap_err().contains("unknown policy 'bad'"));
}

#[test]
fn ports_are_parsed() {
    assert_eq!("80".parse(), Ok(Port { number: 80, protocol: Protocol::Tcp }));
    assert_eq!("53/UDP".parse::<Port>().unwrap().to_string(), "53/udp");
    assert!("80/icmp".parse::<Port>().is_err());
    assert!("65536/tcp".parse::<Port>().is_err());
    assert!("".parse::<Port>().is_err());
}

#[test]
fn network_modes_are_told_apart() {
    assert_eq!(NetworkMode::parse("container:abc"), NetworkMode::Container("abc"));
    assert_eq!(NetworkMode::parse("default"), NetworkMode::Default);
    assert_eq!(NetworkMode::parse("web"), NetworkMode::Named("web"));
}

#[test]
fn ulimits_are_read_as_docker_reads_them() {
    assert_eq!(Ulimit::parse("nofile=5:7").unwrap(), Ulimit { name: "nofile".into(), soft: 5, hard: 7 });
    assert_eq!(Ulimit::parse("core=-1").unwrap(), Ulimit { name: "core".into(), soft: -1, hard: -1 });
    let check = |value: &str, expect: &str| assert_eq!(Ulimit::parse(value).unwrap_err(), expect);
    check("foo", "invalid ulimit argument: foo");
    check("foo=1", "invalid ulimit type: foo");
    check("as=1", "invalid ulimit type: as");
    check("nofile=5:3", "ulimit soft limit must be less than or equal to hard limit: 5 > 3");
    check("nofile=x", r#"strconv.ParseInt: parsing "x": invalid syntax"#);
    check("nofile=1:2:3", "too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`");
}
