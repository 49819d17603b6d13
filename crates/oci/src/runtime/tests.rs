use super::*;

#[test]
fn a_configuration_survives_reading_and_writing() {
    let text = r#"{"ociVersion":"1.2.1",
        "process":{"terminal":true,"consoleSize":{"height":24,"width":80},"user":{"uid":1,"gid":2,"umask":18,
            "additionalGids":[3]},"args":["sh"],"env":["A=b"],"cwd":"/","capabilities":{"bounding":["CAP_KILL"]},
            "rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":512}],"noNewPrivileges":true,
            "oomScoreAdj":-5,"scheduler":{"policy":"SCHED_BATCH","nice":3},
            "ioPriority":{"class":"IOPRIO_CLASS_BE","priority":4},"execCPUAffinity":{"initial":"0","final":"0-1"}},
        "root":{"path":"rootfs","readonly":true},"hostname":"h",
        "mounts":[{"destination":"/proc","type":"proc","source":"proc"}],
        "hooks":{"createRuntime":[{"path":"/bin/true","timeout":3}]},
        "linux":{"uidMappings":[{"containerID":0,"hostID":1000,"size":1}],
            "namespaces":[{"type":"pid"},{"type":"network","path":"/proc/1/ns/net"}],
            "resources":{"devices":[{"allow":false,"access":"rwm"}],"memory":{"limit":-1,"disableOOMKiller":true},
                "cpu":{"shares":2,"cpus":"0-1"},"pids":{"limit":5},
                "blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],
                    "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":1}]},
                "hugepageLimits":[{"pageSize":"2MB","limit":0}],"unified":{"memory.high":"max"}},
            "seccomp":{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"architectures":["SCMP_ARCH_X86_64"],
                "syscalls":[{"names":["clone"],"action":"SCMP_ACT_ALLOW",
                    "args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}]},
            "timeOffsets":{"monotonic":{"secs":-3,"nanosecs":7}}}}"#;
    let spec: Spec = serde_json::from_str(text).unwrap();
    let written: serde_json::Value = serde_json::to_value(&spec).unwrap();
    let expected: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(written, expected);
}

#[test]
fn null_is_nothing_and_unknown_is_ignored() {
    let text = r#"{"ociVersion":"1.0.0","process":{"args":null,"env":null,"user":{"uid":0,"gid":0},"cwd":"/"},
        "mounts":null,"windows":{},"linux":{"namespaces":null,"sysctl":null,"resources":{"devices":null}}}"#;
    let spec: Spec = serde_json::from_str(text).unwrap();
    assert!(spec.mounts.is_empty());
    assert!(spec.linux.unwrap().namespaces.is_empty());
}

#[test]
fn an_unknown_namespace_is_an_error() {
    assert!(serde_json::from_str::<LinuxNamespace>(r#"{"type":"disk"}"#).is_err());
}
