//! The processes of a container, as the host's `ps` shows them.

use std::collections::HashSet;
use std::process::Stdio;

use super::{Status, Top};
use crate::Inner;
use crate::error::{Error, Result, chain};

impl Inner {
    /// Runs `ps` with the user's arguments and keeps the lines of the container's processes.
    pub(crate) async fn top(&self, reference: &str, arguments: &str) -> Result<Top> {
        let slot = self.registry.find(reference)?;
        let container = slot.get();
        if !container.state.status.has_process() {
            let id = &container.record.id;
            return Err(match container.state.status {
                Status::Restarting => Error::Conflict(format!(
                    "Container {id} is restarting, wait until the container is running"
                )),
                _ => Error::NotRunning(id.clone()),
            });
        }
        let pids = slot.shim()?.pids().await.map_err(|error| Error::Internal(chain(&error)))?;
        let pids: HashSet<u32> = pids.into_iter().collect();
        let arguments = if arguments.is_empty() { "-ef" } else { arguments };
        let output = ps(arguments).await?;
        self.container_event(&container, "top", []);
        parse(&output, &pids)
    }
}

async fn ps(arguments: &str) -> Result<String> {
    let run = tokio::process::Command::new("ps")
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Error::io("cannot run ps"))?;
    if !run.status.success() {
        let text = String::from_utf8_lossy(&run.stderr);
        return Err(Error::Refused(format!("ps: {}", text.lines().next().unwrap_or("failed"))));
    }
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}

/// Splits a list of processes into columns and keeps the lines of these.
fn parse(output: &str, pids: &HashSet<u32>) -> Result<Top> {
    let mut lines = output.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let pid_at = titles.iter().position(|title| title == "PID");
    let pid_at = pid_at.ok_or_else(|| Error::Refused("Couldn't find PID field in ps output".to_owned()))?;
    let mut processes = Vec::new();
    // A line of the sort `ps -T` or `ps m` gives has `-` for the process that the line before named.
    let mut last_is_ours = false;
    for line in lines {
        let columns = columns(line, titles.len());
        let Some(pid) = columns.get(pid_at) else { continue };
        last_is_ours = match pid.parse::<u32>() {
            Ok(pid) => pids.contains(&pid),
            Err(_) => pid == "-" && last_is_ours,
        };
        if last_is_ours {
            processes.push(columns);
        }
    }
    Ok(Top { titles, processes })
}

/// The columns of a line; the last one is the rest of it.
fn columns(line: &str, count: usize) -> Vec<String> {
    let mut columns = Vec::with_capacity(count);
    let mut rest = line.trim();
    while columns.len() + 1 < count {
        let Some(end) = rest.find(char::is_whitespace) else { break };
        columns.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    if !rest.is_empty() {
        columns.push(rest.to_owned());
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_container_are_kept() {
        let output = "UID        PID  PPID  C STIME TTY          TIME CMD\n\
                      root         1     0  0 01:00 ?        00:00:01 /sbin/init splash\n\
                      www         77     1  0 01:02 pts/0    00:00:00 sh -c  sleep 5\n\
                      www          -     -  0 01:02 -        00:00:00 -\n\
                      root        78     1  0 01:02 ?        00:00:00 x\n\
                      root         -     -  0 01:02 -        00:00:00 -\n";
        let top = parse(output, &HashSet::from([77])).unwrap();
        assert_eq!(top.titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        assert_eq!(top.processes.len(), 2);
        assert_eq!(top.processes[0], ["www", "77", "1", "0", "01:02", "pts/0", "00:00:00", "sh -c  sleep 5"]);
        let error = parse("COMMAND\nx\n", &HashSet::new()).unwrap_err().to_string();
        assert_eq!(error, "Couldn't find PID field in ps output");
    }
}
