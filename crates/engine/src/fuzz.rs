//! The parsers of foreign bytes, for the fuzz targets of `fuzz/targets`.

use crate::container::LogsOptions;
use crate::container::logs::line::Printer;
use crate::time::Time;

/// A target's name, what mutation starts from, and the function.
pub type Row = (&'static str, &'static [&'static str], fn(&[u8]));

/// See `fuzz/targets`.
pub const TARGETS: &[Row] = &[
    (
        "log-line",
        &[
            r#"{"log":"text \\u003c\\n","stream":"stdout","attrs":{"a":"b"},"time":"2020-01-02T03:04:05.678901234Z"}"#,
            r#"{"log":"x","stream":"stderr","time":"2020-01-02T03:04:05Z"}"#,
        ],
        log_line,
    ),
    (
        "seccomp-profile",
        &[
            r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"],"minKernel":"4.8"}}]}"#,
        ],
        seccomp_profile,
    ),
    ("time", &["2020-01-02T03:04:05.678901234+01:00"], time),
];

fn log_line(data: &[u8]) {
    let options =
        LogsOptions { stdout: true, stderr: true, timestamps: true, details: true, ..LogsOptions::default() };
    for tty in [false, true] {
        let (mut printer, mut out) = (Printer::new(&options, tty), Vec::new());
        for line in data.split(|byte| *byte == b'\n') {
            printer.print(line, &mut out);
        }
        assert!(out.len() <= 64 + data.len() * 16, "{} bytes became {}", data.len(), out.len());
    }
}

fn seccomp_profile(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(crate::security::profile::Profile::parse(text));
    }
}

fn time(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Time::parse_rfc3339(text);
    }
}
