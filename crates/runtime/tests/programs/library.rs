//! The runtime as a library: runs the bundle in the working directory, with the mounts of `rootfs.json` as its root
//! file system, executes `$EXEC` in it if that is set, and ends as the container ends.

use std::io::Write;
use std::process::ExitCode;

use berth_oci::Mount;
use berth_oci::runtime::Process;
use berth_runtime::{Create, Options, Stdio, Target, exec, run};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use std::os::fd::{AsFd, OwnedFd};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match begin() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(125)
        }
    }
}

fn begin() -> Result<u8, Failure> {
    let bundle = std::env::current_dir()?;
    let spec: berth_oci::Spec = serde_json::from_slice(&std::fs::read("config.json")?)?;
    let rootfs: Vec<Mount> = match std::fs::read("rootfs.json") {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) => Vec::new(),
    };
    let id = std::env::var("ID")?;
    let request = Create {
        id: &id,
        spec: &spec,
        bundle: &bundle,
        rootfs: &rootfs,
        stdio: Stdio::Inherit,
        preserve_fds: Vec::new(),
        options: Options::default(),
    };
    // In two steps or in one: both have to do.
    let running = if std::env::var_os("STEPS").is_some() {
        berth_runtime::create(&request)?.start()?
    } else {
        run(&request)?
    };
    if let Ok(command) = std::env::var("EXEC") {
        let first = spec.process.clone().unwrap_or_default();
        let args = ["sh", "-c", &command].map(str::to_owned).to_vec();
        let process = Process { args, ..first };
        let target = Target {
            id: &id,
            pid: running.pid,
            pidfd: running.pidfd.as_fd(),
            cgroup: running.cgroup.as_ref(),
            profile: &running.profile,
        };
        let executed = exec(&target, &process, &Stdio::Inherit, &[])?;
        writeln!(std::io::stdout(), "exec ended with {}", wait(&executed.pidfd)?)?;
    }
    let code = wait(&running.pidfd)?;
    if let Some(cgroup) = &running.cgroup {
        cgroup.remove()?;
    }
    Ok(code)
}

fn wait(pidfd: &OwnedFd) -> Result<u8, Failure> {
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?.ok_or("no status")?;
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    Ok(u8::try_from(code.unwrap_or(255))?)
}
