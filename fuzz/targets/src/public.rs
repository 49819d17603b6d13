//! Targets that need nothing but what the crates show anyway.

use berth_oci::{Digest, ImageConfig, Platform, Reference, Spec};

/// Name, seeds, function.
type Row = (&'static str, &'static [&'static str], fn(&[u8]));

pub(crate) const TARGETS: &[Row] = &[
    ("tar", &["\0tar"], tar),
    ("image-document", &[MANIFEST, INDEX], image_document),
    ("image-config", &[CONFIG], image_config),
    ("spec", &[SPEC], spec),
    (
        "reference",
        &[
            "docker.io/library/busybox:1.2@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "[::1]:5000/a/b-c__d.e:t_1",
        ],
        reference,
    ),
    ("filters", &[r#"{"label":["a=b"],"status":{"exited":true,"running":false}}"#, r#"{"id":[]}"#], filters),
    ("create-body", &[CREATE], create_body),
];

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","size":7},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","size":32654}],"annotations":{"a":"b"}}"#;
const INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","size":7,"platform":{"architecture":"arm","os":"linux","variant":"v7"}}]}"#;
const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","created":"2020-01-01T00:00:00Z","config":{"User":"1:2","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Entrypoint":["/e"],"Cmd":["c"],"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"l":"m"},"StopSignal":"TERM","Healthcheck":{"Test":["CMD","x"],"Interval":5}},"rootfs":{"type":"layers","diff_ids":["sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"]},"history":[{"created":"2020-01-01T00:00:00Z","created_by":"x","empty_layer":true}]}"#;
const SPEC: &str = r#"{"ociVersion":"1.0.2","process":{"terminal":true,"user":{"uid":1,"gid":2},"args":["sh"],"env":["A=b"],"cwd":"/","capabilities":{"bounding":["CAP_KILL"]},"rlimits":[{"type":"RLIMIT_NOFILE","hard":3,"soft":2}]},"root":{"path":"r","readonly":true},"mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["nosuid"]}],"linux":{"namespaces":[{"type":"pid"}],"resources":{"devices":[{"allow":false,"access":"rwm"}],"memory":{"limit":5}},"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}]},"maskedPaths":["/x"]}}"#;
const CREATE: &str = r#"{"Hostname":"h","Image":"busybox","Cmd":"sh -c","Entrypoint":["a"],"Env":["A=b"],"ExposedPorts":{"80/tcp":{}},"Tty":true,"Healthcheck":{"Test":["NONE"]},"StopTimeout":3,"HostConfig":{"Binds":["/a:/b:ro"],"PortBindings":{"80/tcp":[{"HostIp":"::","HostPort":"8-9"}]},"RestartPolicy":{"Name":"always"},"Ulimits":[{"Name":"nofile","Soft":1,"Hard":2}],"Mounts":[{"Type":"bind","Source":"/s","Target":"/t"}],"Memory":9223372036854775807,"NanoCpus":-1,"LogConfig":{"Type":"json-file","Config":{"max-size":"1m"}}},"NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{"IPv4Address":"1.2.3.4"}}}}}"#;

fn text(data: &[u8], run: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(data) {
        run(text);
    }
}

/// Reads an archive to its end: entries never say more than what is there.
fn tar(data: &[u8]) {
    let mut reader = berth_store::tar::Reader::new(data);
    let mut entry = berth_store::tar::Entry::default();
    let mut read = 0;
    while let Ok(true) = reader.next(&mut entry) {
        while let Ok(piece) = reader.data() {
            let size = piece.len();
            if size == 0 {
                break;
            }
            read += size;
            assert!(read <= data.len(), "more data than the archive has");
            reader.consume(size);
        }
    }
}

fn image_document(data: &[u8]) {
    if let Ok(document) = berth_oci::image::Document::parse(data) {
        drop(format!("{document:?}"));
    }
}

fn image_config(data: &[u8]) {
    if let Ok(config) = ImageConfig::parse(data) {
        drop(format!("{config:?}"));
    }
}

fn spec(data: &[u8]) {
    if let Ok(spec) = berth_oci::json::from_slice::<Spec>(data) {
        drop(format!("{spec:?}"));
    }
}

/// What was parsed is written as something that parses to the same.
fn reference(data: &[u8]) {
    text(data, |text| {
        if let Ok(reference) = Reference::parse(text) {
            assert_eq!(Reference::parse(&reference.to_string()), Ok(reference));
        }
        if let Ok(digest) = Digest::parse(text) {
            assert_eq!(digest.to_string(), text);
        }
        drop(Platform::parse(text));
    });
}

/// Both forms of filters; what was parsed is written as something that parses to the same.
fn filters(data: &[u8]) {
    text(data, |text| {
        if let Ok(filters) = berth_api::filters::parse(text) {
            let again = berth_api::filters::parse(&berth_api::filters::to_text(&filters));
            assert_eq!(again.ok(), Some(filters));
        }
        let _ = berth_api::Version::parse(text);
    });
}

fn create_body(data: &[u8]) {
    if let Ok(body) = berth_oci::json::from_slice::<berth_api::container::CreateRequest>(data) {
        drop(format!("{body:?}"));
    }
    drop(berth_oci::json::from_slice::<berth_api::exec::CreateRequest>(data));
}
