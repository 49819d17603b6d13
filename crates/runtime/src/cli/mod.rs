//! `berth oci`: the runtime with runc's command line, for engines that drive it as a program.
//!
//! ```text
//! <--root>/                     0711, default /run/berth-oci
//! └── <id>/
//!     ├── state.json            the container: process, cgroup, its configuration; replaced whole
//!     └── exec.fifo             only between create and start; start opens it, and the process goes on
//! ```
//!
//! Errors go to standard error and, as a line of text or JSON, to `--log`, in the form of runc, which containerd,
//! conmon and Podman read.

mod arguments;
mod container;
mod control;
mod create;
mod delete;
mod exec;
mod features;
mod foreground;
mod list;
mod log;
mod protect;
mod signal;
mod spec;
mod stats;
mod terminal;
mod update;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use arguments::{Flag, Parsed};
use log::Log;

/// Where the states of containers are, unless `--root` says otherwise.
const ROOT: &str = "/run/berth-oci";

/// What comes before the command.
#[derive(Debug, Clone)]
struct Global {
    root: PathBuf,
    log: Log,
    systemd_cgroup: bool,
}

/// Why a command failed.
#[derive(Debug)]
struct Failure {
    message: String,
    code: u8,
}

type Outcome = Result<ExitCode, Failure>;

const GLOBAL: &[Flag] = &[
    Flag::switch("debug"),
    Flag::value("log"),
    Flag::value("log-format"),
    Flag::value("root"),
    Flag::value("criu"),
    Flag::switch("systemd-cgroup"),
    Flag::value("rootless"),
    Flag::value("cgroup-manager"),
    Flag::switch("help").or('h'),
    Flag::switch("version").or('v'),
];

/// A command: its name, its flags, whether flags end at the first argument that is none, what it does.
struct Command {
    name: &'static str,
    usage: &'static str,
    flags: &'static [Flag],
    flags_end: bool,
    run: fn(&Global, &Parsed) -> Outcome,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        usage: "<container-id>",
        flags: create::CREATE,
        flags_end: false,
        run: create::create,
    },
    Command {
        name: "delete",
        usage: "<container-id>",
        flags: delete::FLAGS,
        flags_end: false,
        run: delete::delete,
    },
    Command {
        name: "events",
        usage: "<container-id>",
        flags: stats::FLAGS,
        flags_end: false,
        run: stats::events,
    },
    Command {
        name: "exec",
        usage: "<container-id> <command> [command options] || -p process.json <container-id>",
        flags: exec::FLAGS,
        flags_end: true,
        run: exec::exec,
    },
    Command { name: "features", usage: "", flags: &[], flags_end: false, run: features::features },
    Command {
        name: "kill",
        usage: "<container-id> [signal]",
        flags: signal::FLAGS,
        flags_end: false,
        run: signal::kill,
    },
    Command { name: "list", usage: "", flags: list::LIST, flags_end: false, run: list::list },
    Command { name: "pause", usage: "<container-id>", flags: &[], flags_end: false, run: control::pause },
    Command {
        name: "ps",
        usage: "<container-id> [ps options]",
        flags: list::PS,
        flags_end: true,
        run: list::ps,
    },
    Command { name: "resume", usage: "<container-id>", flags: &[], flags_end: false, run: control::resume },
    Command { name: "run", usage: "<container-id>", flags: create::RUN, flags_end: false, run: create::run },
    Command { name: "spec", usage: "", flags: spec::FLAGS, flags_end: false, run: spec::spec },
    Command { name: "start", usage: "<container-id>", flags: &[], flags_end: false, run: create::start },
    Command { name: "state", usage: "<container-id>", flags: &[], flags_end: false, run: list::state },
    Command {
        name: "update",
        usage: "<container-id>",
        flags: update::FLAGS,
        flags_end: false,
        run: update::update,
    },
];

/// Runs one command; `arguments` are those after the program's name (`oci` left out).
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut log = Log::default();
    match dispatch(arguments, &mut log) {
        Ok(code) => code,
        Err(failure) => {
            log.error(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(arguments: impl Iterator<Item = OsString>, log: &mut Log) -> Outcome {
    let arguments = arguments
        .map(|argument| {
            argument.into_string().map_err(|argument| Failure::new(format!("{argument:?} is not UTF-8")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let global = Parsed::parse(&arguments, GLOBAL, true)?;
    *log = Log::new(global.value("log"), global.value("log-format"))?;
    if global.has("version") {
        return print(&format!(
            "berth version {}\nspec: {}\n",
            env!("CARGO_PKG_VERSION"),
            berth_oci::runtime::VERSION
        ));
    }
    let Some((name, rest)) = global.positional.split_first().filter(|_| !global.has("help")) else {
        return print(&help());
    };
    let command = COMMANDS
        .iter()
        .find(|command| command.name == name)
        .ok_or_else(|| Failure::new(format!("No help topic for {name:?}")))?;
    let parsed = Parsed::parse(rest, command.flags, command.flags_end)?;
    if parsed.has("help") {
        return print(&command_help(command));
    }
    let global = Global {
        root: PathBuf::from(global.value("root").unwrap_or(ROOT)),
        log: log.clone(),
        systemd_cgroup: global.has("systemd-cgroup") || global.value("cgroup-manager") == Some("systemd"),
    };
    (command.run)(&global, &parsed)
}

fn help() -> String {
    let mut text = "NAME:\n   berth oci - an OCI runtime of runtime-spec 1.2 with runc's command line\n\n\
                    USAGE:\n   berth oci [global options] command [command options] [arguments...]\n\nCOMMANDS:\n"
        .to_owned();
    for command in COMMANDS {
        text.push_str(&format!("   {} {}\n", command.name, command.usage));
    }
    text.push_str("\nGLOBAL OPTIONS:\n");
    text.push_str(&flags_help(GLOBAL));
    text
}

fn command_help(command: &Command) -> String {
    let Command { name, usage, flags, .. } = command;
    format!("USAGE:\n   berth oci {name} [command options] {usage}\n\nOPTIONS:\n{}", flags_help(flags))
}

fn flags_help(flags: &[Flag]) -> String {
    flags
        .iter()
        .map(|flag| format!("   --{}{}\n", flag.name, if flag.takes_value { " value" } else { "" }))
        .collect()
}

fn print(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("write to standard output: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Says what was being done.
    fn during(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<crate::cgroup::Error> for Failure {
    fn from(error: crate::cgroup::Error) -> Self {
        Self::new(crate::error::chain(&error))
    }
}

/// Names the file or step that an I/O error is about.
trait About<T> {
    fn about(self, what: impl std::fmt::Display) -> Result<T, Failure>;
}

impl<T> About<T> for std::io::Result<T> {
    fn about(self, what: impl std::fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{what}: {}", crate::error::io_text(&error))))
    }
}

impl<T> About<T> for Result<T, rustix::io::Errno> {
    fn about(self, what: impl std::fmt::Display) -> Result<T, Failure> {
        self.map_err(|errno| Failure::new(format!("{what}: {}", crate::error::text(errno))))
    }
}
