//! What Docker's errors call the types of a request's fields. The names of our types are those of its structs; the types of
//! fields come with their package there, and some are words of their own.

use super::error::Error;

/// The field that is told, or the type that holds it (nothing: the whole value); our word for the type that was wanted, and
/// Docker's.
const NAMES: [(&str, &str, &str); 38] = [
    ("", "ContainerConfigWrapper", "runconfig.ContainerConfigWrapper"),
    ("", "Resources", "container.UpdateConfig"),
    ("", "UpdateConfig", "container.UpdateConfig"),
    ("", "ExecConfig", "types.ExecConfig"),
    ("BlkioDeviceReadBps", "ThrottleDevice", "blkiodev.ThrottleDevice"),
    ("BlkioDeviceReadBps", "[]string", "[]*blkiodev.ThrottleDevice"),
    ("BlkioDeviceReadIOps", "[]string", "[]*blkiodev.ThrottleDevice"),
    ("BlkioDeviceWriteBps", "[]string", "[]*blkiodev.ThrottleDevice"),
    ("BlkioDeviceWriteIOps", "[]string", "[]*blkiodev.ThrottleDevice"),
    ("BlkioWeightDevice", "WeightDevice", "blkiodev.WeightDevice"),
    ("BlkioWeightDevice", "[]string", "[]*blkiodev.WeightDevice"),
    ("Cgroup", "string", "container.CgroupSpec"),
    ("CgroupnsMode", "string", "container.CgroupnsMode"),
    ("ConsoleSize", "uint32", "uint"),
    ("DeviceRequests", "DeviceRequest", "container.DeviceRequest"),
    ("DeviceRequests", "[]string", "[]container.DeviceRequest"),
    ("Devices", "DeviceMapping", "container.DeviceMapping"),
    ("Devices", "[]string", "[]container.DeviceMapping"),
    ("EndpointsConfig", "EndpointSettings", "network.EndpointSettings"),
    ("EndpointsConfig", "map[string]string", "map[string]*network.EndpointSettings"),
    ("ExposedPorts", "Empty", "struct {}"),
    ("ExposedPorts", "map[string]string", "nat.PortSet"),
    ("Healthcheck", "Healthcheck", "v1.HealthcheckConfig"),
    ("IpcMode", "string", "container.IpcMode"),
    ("Isolation", "string", "container.Isolation"),
    ("LogConfig", "LogConfig", "container.LogConfig"),
    ("Mounts", "Mount", "mount.Mount"),
    ("Mounts", "[]string", "[]mount.Mount"),
    ("NetworkMode", "string", "container.NetworkMode"),
    ("NetworkingConfig", "NetworkingConfig", "network.NetworkingConfig"),
    ("PidMode", "string", "container.PidMode"),
    ("PortBindings", "PortBinding", "nat.PortBinding"),
    ("PortBindings", "[]string", "[]nat.PortBinding"),
    ("PortBindings", "map[string]string", "nat.PortMap"),
    ("RestartPolicy", "RestartPolicy", "container.RestartPolicy"),
    ("UTSMode", "string", "container.UTSMode"),
    ("Ulimits", "Ulimit", "units.Ulimit"),
    ("Ulimits", "[]string", "[]*units.Ulimit"),
];
/// The same where the field alone does not say it: the whole path of the field.
const PATHS: [(&str, &str, &str); 6] = [
    ("HostConfig.HostConfig.UsernsMode", "string", "container.UsernsMode"),
    ("ContainerConfigWrapper.Config.Volumes", "Empty", "struct {}"),
    ("ContainerConfigWrapper.Config.Volumes", "map[string]string", "map[string]struct {}"),
    ("RestartPolicy.HostConfig.RestartPolicy.Name", "string", "container.RestartPolicyMode"),
    ("RestartPolicy.RestartPolicy.Name", "string", "container.RestartPolicyMode"),
    ("Healthcheck.Config.Healthcheck.Interval", "int64", "time.Duration"),
];

/// An error in Docker's names for types.
pub(crate) fn named(mut error: Error) -> Error {
    let Some((begin, ours)) = error.message.rsplit_once(" of type ") else { return error };
    let (head, path) = match begin.rsplit_once(" into Go struct field ") {
        Some((head, path)) => (head, Some(path)),
        None => (begin, None),
    };
    let field = path.and_then(|path| path.rsplit('.').next()).unwrap_or_default();
    let by_path = || PATHS.iter().find(|(whole, word, _)| path == Some(whole) && *word == ours);
    let theirs = NAMES.iter().find(|(name, word, _)| *name == field && *word == ours).or_else(by_path);
    let theirs = theirs.map_or(ours, |(_, _, theirs)| theirs);
    error.message = match path {
        Some(path) => {
            let path = match path.strip_prefix("Healthcheck.") {
                Some(rest) => format!("HealthcheckConfig.{rest}"),
                None => path.to_owned(),
            };
            format!("{head} into Go struct field {path} of type {theirs}")
        }
        None => format!("{head} of type {theirs}"),
    };
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_docker_s_names() {
        let check = |ours: &str, theirs: &str| {
            let text = |end: &str| format!("invalid JSON: json: cannot unmarshal number into Go {end}");
            assert_eq!(named(Error::invalid(text(ours))).message, text(theirs));
        };
        check("value of type ContainerConfigWrapper", "value of type runconfig.ContainerConfigWrapper");
        check(
            "struct field A.HostConfig.Memory of type int64",
            "struct field A.HostConfig.Memory of type int64",
        );
        check(
            "struct field HostConfig.HostConfig.PortBindings of type map[string]string",
            "struct field HostConfig.HostConfig.PortBindings of type nat.PortMap",
        );
        check(
            "struct field Healthcheck.Config.Healthcheck.Interval of type int64",
            "struct field HealthcheckConfig.Config.Healthcheck.Interval of type time.Duration",
        );
        assert_eq!(named(Error::invalid("unexpected EOF")).message, "unexpected EOF");
    }
}
