//! Hooks: programs that are run at moments of a container's life, with its state on standard input.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use berth_oci::runtime::{Hook, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Error;

/// Most of a failed hook's output that is told.
const OUTPUT_MAX: u64 = 4096;

/// Runs hooks one after the other; the first that fails ends it.
///
/// # Errors
/// [`Error::Hook`].
///
/// # Blocking
/// Until the last has ended.
pub fn run(kind: &'static str, hooks: &[Hook], state: &State) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = serde_json::to_vec(state).unwrap_or_default();
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, &state).map_err(|message| Error::Hook { kind, index, message })?;
    }
    Ok(())
}

fn run_one(hook: &Hook, state: &[u8]) -> Result<(), String> {
    if !hook.path.starts_with('/') {
        return Err(format!("path {:?} is not absolute", hook.path));
    }
    let mut command = Command::new(&hook.path);
    // A supervisor has all blocked.
    berth_sys::supervisor::unblock_signals_in(&mut command);
    // Files in memory, not pipes: neither does a hook have to read, nor can it block on what it writes.
    let mut files = memory_file(state).and_then(|stdin| memory_file(b"").map(|stderr| (stdin, stderr)));
    let (stdin, stderr) = files.as_mut().map_err(|error| format!("memfd_create: {error}"))?;
    let clone = |file: &File| file.try_clone().map_err(|error| error.to_string());
    command.env_clear().stdin(clone(stdin)?).stdout(Stdio::null()).stderr(clone(stderr)?);
    let mut arguments = hook.args.iter();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments);
    command.envs(hook.env.iter().filter_map(|variable| variable.split_once('=')));
    let mut child = command
        .spawn()
        .map_err(|error| format!("fork/exec {}: {}", hook.path, crate::error::io_text(&error)))?;
    let timeout = match hook.timeout {
        Some(seconds) if seconds <= 0 => return Err(kill(&mut child, "timeout must be positive")),
        timeout => timeout.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs),
    };
    if let Some(timeout) = timeout
        && !ends_within(&child, timeout)
    {
        return Err(kill(&mut child, &format!("timed out after {}s", timeout.as_secs())));
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let mut output = Vec::new();
    let _ = stderr.seek(SeekFrom::Start(0));
    let _ = stderr.take(OUTPUT_MAX).read_to_end(&mut output);
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    };
    Err(format!("{how}, stdout: , stderr: {}", String::from_utf8_lossy(&output).trim_end()))
}

fn memory_file(content: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("hook", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn ends_within(child: &Child, timeout: Duration) -> bool {
    let Some(pidfd) = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
    else {
        return true;
    };
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Err(Errno::INTR) => {}
            _ => return true,
        }
    }
}

fn kill(child: &mut Child, message: &str) -> String {
    let _ = child.kill();
    let _ = child.wait();
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_oci::runtime::Status;

    fn state() -> State {
        State {
            oci_version: "1.2.1".to_owned(),
            id: "x".to_owned(),
            status: Status::Creating,
            pid: 7,
            bundle: "/b".to_owned(),
            annotations: [].into(),
        }
    }

    fn shell(script: &str, timeout: Option<i64>) -> Vec<Hook> {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        vec![Hook { path: "/bin/sh".to_owned(), args, env: vec!["A=b".to_owned()], timeout }]
    }

    fn message(hooks: &[Hook]) -> String {
        match run("poststop", hooks, &state()) {
            Err(Error::Hook { kind: "poststop", index: 0, message }) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_state_is_on_standard_input_and_the_environment_is_the_hooks_own() {
        run(
            "x",
            &shell(r#"[ "$A" = b ] && [ -z "$HOME" ] && grep -q '"status":"creating","pid":7'"#, None),
            &state(),
        )
        .unwrap();
    }

    #[test]
    fn failures_say_how() {
        assert_eq!(message(&shell("echo bad >&2; exit 3", None)), "exit status 3, stdout: , stderr: bad");
        assert_eq!(message(&shell("kill -9 $$", None)), "signal 9, stdout: , stderr: ");
        assert_eq!(message(&shell("sleep 60", Some(1))), "timed out after 1s");
        let missing = Hook { path: "/no/such".to_owned(), ..Hook::default() };
        assert_eq!(message(&[missing]), "fork/exec /no/such: no such file or directory");
    }
}
