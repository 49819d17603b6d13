//! What users ask of containers that takes more than one step of their task: stop, kill, restart, remove, rename.

use std::sync::Arc;
use std::time::Duration;

use berth_shim::client::{Attach, Streams, Target};
use tokio::sync::oneshot;

use super::registry::Slot;
use super::signal::{self, KILL, TERM};
use super::task::Command;
use super::{
    AttachOptions, Attached, Container, ContainerSize, Pruned, RemoveOptions, Status, StopOptions,
    UpdateContainer, WaitCondition, WaitResult, limits,
};
use crate::error::{Error, Result, chain};
use crate::filters::Filters;
use crate::time::Time;
use crate::{Inner, names};

/// Seconds between the signal and the end, where nobody says otherwise.
const PATIENCE: i64 = 10;
/// A killed process is gone at once, unless the kernel holds it in an uninterruptible wait.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

impl Inner {
    pub(crate) async fn start(&self, reference: &str) -> Result<()> {
        self.registry.find(reference)?.ask(Command::Start).await
    }

    /// Asks nicely, waits, and then does not ask any more.
    pub(crate) async fn stop(&self, reference: &str, options: StopOptions) -> Result<()> {
        let slot = self.registry.find(reference)?;
        if !slot.get().state.status.is_running() {
            return Err(Error::NotModified("container is already stopped".to_owned()));
        }
        self.stop_slot(&slot, options).await.map_err(|error| match error {
            // Docker answers 500 to a bad signal here.
            Error::InvalidParameter(text) => {
                Error::Internal(format!("cannot stop container: {reference}: {text}"))
            }
            other => other,
        })
    }

    async fn stop_slot(&self, slot: &Arc<Slot>, options: StopOptions) -> Result<()> {
        let container = slot.get();
        let config = &container.record.config;
        let signal = match options.signal.as_deref().filter(|signal| !signal.is_empty()) {
            Some(signal) => signal::parse(signal)?,
            None => signal::parse(&config.stop_signal).unwrap_or(TERM),
        };
        let timeout = options.timeout.or(config.stop_timeout.map(i64::from)).unwrap_or(PATIENCE);
        let mut ended = slot.subscribe(WaitCondition::NotRunning);
        match self.send_signal(slot, signal).await {
            Ok(()) => {}
            Err(Error::NotRunning(_) | Error::NoSuchContainer(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        let waited = match u64::try_from(timeout) {
            Ok(seconds) => tokio::time::timeout(Duration::from_secs(seconds), &mut ended).await.is_ok(),
            // Negative: for ever.
            Err(_) => (&mut ended).await.is_ok(),
        };
        if !waited {
            self.kill_and_wait(slot, ended).await?;
        }
        self.container_event(&slot.get(), "stop", []);
        Ok(())
    }

    /// Sends a signal; `SIGKILL` (also if none is named) is waited for.
    pub(crate) async fn kill(&self, reference: &str, signal: Option<&str>) -> Result<()> {
        let explain = |error: Error| {
            let text = format!("cannot kill container: {reference}: {error}");
            match error {
                Error::NotRunning(_) => Error::Conflict(text),
                Error::NoSuchContainer(_) => Error::NotFound(text),
                Error::InvalidParameter(_) => Error::InvalidParameter(text),
                other => other,
            }
        };
        let signal = match signal.filter(|signal| !signal.is_empty()) {
            Some(signal) => signal::parse(signal).map_err(explain)?,
            None => KILL,
        };
        let slot = self.registry.find(reference).map_err(explain)?;
        if !slot.get().state.status.has_process() {
            return Err(explain(Error::NotRunning(slot.id().to_owned())));
        }
        if signal != KILL {
            return self.send_signal(&slot, signal).await.map_err(explain);
        }
        let ended = slot.subscribe(WaitCondition::NotRunning);
        self.kill_and_wait(&slot, ended).await.map_err(explain)
    }

    async fn kill_and_wait(&self, slot: &Arc<Slot>, ended: oneshot::Receiver<WaitResult>) -> Result<()> {
        match self.send_signal(slot, KILL).await {
            // It ended by itself in the meantime: that is what was asked for.
            Ok(()) | Err(Error::NotRunning(_) | Error::NoSuchContainer(_)) => {}
            Err(error) => return Err(error),
        }
        match tokio::time::timeout(KILL_PATIENCE, ended).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Internal(format!(
                "tried to kill container, but did not receive an exit event: {}",
                slot.id()
            ))),
        }
    }

    async fn send_signal(&self, slot: &Arc<Slot>, signal: i32) -> Result<()> {
        // The event comes before the signal's effect, whose own event would else be first.
        let container = slot.get();
        if container.state.status.has_process() {
            self.container_event(&container, "kill", [("signal", signal.to_string())]);
        }
        slot.ask(|reply| Command::Signal(signal, reply)).await
    }

    pub(crate) async fn restart(&self, reference: &str, options: StopOptions) -> Result<()> {
        let slot = self.registry.find(reference)?;
        if slot.get().state.status.is_running() {
            self.stop_slot(&slot, options).await?;
        }
        slot.ask(Command::Start).await?;
        self.container_event(&slot.get(), "restart", []);
        Ok(())
    }

    pub(crate) async fn rename(&self, reference: &str, name: &str) -> Result<()> {
        if name.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let slot = self.registry.find(reference)?;
        let bare = name.strip_prefix('/').unwrap_or(name);
        if slot.get().record.name == bare {
            return Err(Error::invalid("Renaming a container with the same name as its current name"));
        }
        let explain = |error: Error| {
            let text = format!("Error when allocating new name: {error}");
            match error {
                Error::NameInUse { .. } => Error::Conflict(text),
                _ => Error::InvalidParameter(text),
            }
        };
        names::check(&format!("/{bare}")).map_err(explain)?;
        self.registry.reserve(bare, slot.id()).map_err(explain)?;
        match slot.ask(|reply| Command::Rename(bare.to_owned(), reply)).await {
            Ok(old) => {
                self.registry.release(&old, slot.id());
                Ok(())
            }
            Err(error) => {
                self.registry.release(bare, slot.id());
                Err(error)
            }
        }
    }

    pub(crate) async fn remove(&self, reference: &str, options: RemoveOptions) -> Result<()> {
        if options.link
            && let Some((parent, alias)) = reference.trim_start_matches('/').split_once('/')
        {
            let missing = |error| match error {
                Error::NoSuchContainer(_) => Error::NoSuchContainer(reference.to_owned()),
                other => other,
            };
            let parent = self.registry.find(parent).map_err(missing)?;
            return parent.ask(|reply| Command::Unlink(alias.to_owned(), reply)).await.map_err(missing);
        }
        let slot = self.registry.find(reference)?;
        if options.link {
            return Err(Error::Refused(
                "Conflict, cannot remove the default link name of the container".to_owned(),
            ));
        }
        let gone = slot.subscribe(WaitCondition::Removed);
        if options.force && slot.get().state.status.is_running() {
            let ended = slot.subscribe(WaitCondition::NotRunning);
            let name = slot.get().record.name.clone();
            self.kill_and_wait(&slot, ended).await.map_err(|error| {
                Error::Internal(format!("cannot remove container \"/{name}\": could not kill: {error}"))
            })?;
        }
        match slot.ask(|reply| Command::Remove(options, reply)).await {
            // It removed itself when it ended (`--rm`).
            Err(Error::NoSuchContainer(_)) if options.force => {
                let _ = gone.await;
                Ok(())
            }
            other => other,
        }
    }

    pub(crate) async fn update(&self, reference: &str, update: UpdateContainer) -> Result<Vec<String>> {
        let slot = self.registry.find(reference)?;
        let container = slot.get();
        let mut record = (*container.record).clone();
        let mut warnings = Vec::new();
        let mut asked = update.resources.resources;
        limits::check(&mut asked, &self.host, true, &mut warnings)?;
        super::update::apply(&mut record.host_config.resources, &asked)
            .map_err(|error| Error::Conflict(format!("Cannot update container {}: {error}", record.id)))?;
        if let Some(policy) = update.restart_policy.filter(|policy| !policy.name.is_empty()) {
            policy.parse().map_err(Error::InvalidParameter)?;
            if record.host_config.auto_remove && policy.name != "no" {
                let why = "Restart policy cannot be updated because AutoRemove is enabled for the container";
                return Err(Error::Conflict(format!("Cannot update container {}: {why}", record.id)));
            }
            record.host_config.restart_policy = policy;
        }
        let id = slot.id().to_owned();
        slot.ask(|reply| Command::Replace(Box::new(record), reply)).await.map_err(|error| match error {
            Error::NoSuchContainer(_) => error,
            error => Error::Refused(format!("Cannot update container {id}: {error}")),
        })?;
        Ok(warnings)
    }

    pub(crate) async fn pause(&self, reference: &str) -> Result<()> {
        self.registry.find(reference)?.ask(Command::Pause).await
    }

    pub(crate) async fn unpause(&self, reference: &str) -> Result<()> {
        self.registry.find(reference)?.ask(Command::Unpause).await
    }

    pub(crate) async fn resize(&self, reference: &str, height: u32, width: u32) -> Result<()> {
        let slot = self.registry.find(reference)?;
        let (rows, columns) = (crate::exec::clamp(height), crate::exec::clamp(width));
        match slot.shim()?.resize(&Target::Container, rows, columns).await {
            Ok(()) | Err(berth_shim::client::Error::NoTerminal) => {}
            Err(berth_shim::client::Error::NotRunning) => {
                return Err(Error::NotRunning(slot.id().to_owned()));
            }
            Err(error) => return Err(Error::Internal(chain(&error))),
        }
        let attributes = [("height", height.to_string()), ("width", width.to_string())];
        self.container_event(&slot.get(), "resize", attributes);
        Ok(())
    }

    pub(crate) async fn attach(
        self: &Arc<Self>,
        reference: &str,
        options: AttachOptions,
    ) -> Result<Attached> {
        let slot = self.registry.find(reference)?;
        let container = slot.get();
        check_attach(&container)?;
        let tty = container.record.config.tty;
        let logs = match options.logs {
            true => Some(self.logs_so_far(&container, options.stdout, options.stderr)?),
            false => None,
        };
        let keys = if tty { super::detach_keys(options.detach_keys.as_deref())? } else { Vec::new() };
        let stream = if options.stream {
            let streams = Streams {
                stdin: options.stdin && container.record.config.open_stdin,
                stdout: options.stdout,
                stderr: options.stderr,
                detach_keys: keys,
            };
            let (mut attach, ours) = Attach::pair(streams).map_err(Error::io("cannot make a socket"))?;
            // Any number but 0 (nobody): which client left does not matter, that one did does.
            attach.id = 1;
            let attached = slot.ask(|reply| Command::Attach(Box::new(attach), reply)).await;
            match attached {
                // It ended meanwhile: its end is what the client sees.
                Err(Error::NotRunning(_)) => {}
                other => other?,
            }
            Some(ours)
        } else {
            None
        };
        self.container_event(&container, "attach", []);
        Ok(Attached { tty, logs, stream })
    }

    /// Removes containers that do not run.
    pub(crate) async fn prune(&self, filters: &Filters) -> Result<Pruned> {
        filters.validate(&["label", "label!", "until"])?;
        let until = filters.get("until").first().map(|text| parse_until(text)).transpose()?;
        let mut pruned = Pruned::default();
        for slot in self.registry.all() {
            let container = slot.get();
            let labels = container.record.config.labels.clone().unwrap_or_default();
            let fits = !container.state.status.is_running()
                && until.is_none_or(|until| container.record.created < until)
                && filters.labels("label", &labels)
                && !(filters.contains("label!") && filters.labels("label!", &labels));
            if !fits {
                continue;
            }
            let size = self.size_of(&container).await.unwrap_or_default();
            if slot.ask(|reply| Command::Remove(RemoveOptions::default(), reply)).await.is_ok() {
                pruned.deleted.push(slot.id().to_owned());
                pruned.space_reclaimed += size.writable;
            }
        }
        if !pruned.deleted.is_empty() {
            let attributes = [("reclaimed".to_owned(), pruned.space_reclaimed.to_string())];
            self.publish("container", "prune", "", attributes.into());
        }
        Ok(pruned)
    }

    /// What a container takes on disk. Walks what it wrote.
    pub(crate) async fn size_of(&self, container: &Container) -> Result<ContainerSize> {
        let snapshots = self.store.snapshots().clone();
        let id = container.record.id.clone();
        let usage = tokio::task::spawn_blocking(move || snapshots.usage(&id)).await;
        let usage =
            usage.map_err(|error| Error::internal("measuring", &error))?.map_err(crate::image::error)?;
        let image = container.record.image.parse().ok().and_then(|id| self.store.images().by_id(&id));
        let image = image.map_or(0, |image| image.size);
        Ok(ContainerSize { writable: usage.bytes, root_fs: usage.bytes + image })
    }
}

fn check_attach(container: &Container) -> Result<()> {
    let id = &container.record.id;
    match container.state.status {
        Status::Paused => {
            Err(Error::Conflict(format!("container {id} is paused, unpause the container before attach")))
        }
        Status::Restarting => {
            Err(Error::Conflict(format!("container {id} is restarting, wait until the container is running")))
        }
        _ => Ok(()),
    }
}

/// A moment as `until` filters give it: RFC 3339, seconds since 1970, or a duration before now.
pub(crate) fn parse_until(text: &str) -> Result<Time> {
    let invalid = || Error::invalid(format!("failed to parse value as time or duration: {text:?}"));
    if let Some(time) = Time::parse_rfc3339(text).or_else(|| parse_date(text)) {
        return Ok(time);
    }
    if let Some(duration) = parse_duration(text) {
        let nanos = i64::try_from(duration.as_nanos()).map_err(|_| invalid())?;
        return Ok(Time::from_unix_nanos(Time::now().unix_nanos() - nanos));
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: i64 = digits.parse().map_err(|_| invalid())?;
    seconds
        .checked_mul(1_000_000_000)
        .and_then(|whole| whole.checked_add(nanos))
        .map(Time::from_unix_nanos)
        .ok_or_else(invalid)
}

/// A date, with or without a time of day: that of this machine's clock.
fn parse_date(text: &str) -> Option<Time> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let time = match time.len() {
        2 => format!("{time}:00:00"),
        5 => format!("{time}:00"),
        _ => time.to_owned(),
    };
    let moment: jiff::civil::DateTime = format!("{date}T{time}").parse().ok()?;
    let zoned = moment.to_zoned(jiff::tz::TimeZone::system()).ok()?;
    Some(Time::from_unix_nanos(i64::try_from(zoned.timestamp().as_nanosecond()).ok()?))
}

/// A duration as Go writes them: `1h30m`, `1.5h`, `300ms`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let unit_at = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let number: f64 = rest[..unit_at].parse().ok()?;
        let unit_end = rest[unit_at..].find(|character: char| character.is_ascii_digit() || character == '.');
        let unit_end = unit_end.map_or(rest.len(), |end| unit_at + end);
        seconds += number
            * match &rest[unit_at..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_filters() {
        assert_eq!(parse_until("1700000000").unwrap().unix_nanos(), 1_700_000_000_000_000_000);
        assert_eq!(parse_until("1700000000.5").unwrap().unix_nanos(), 1_700_000_000_500_000_000);
        assert_eq!(parse_until("2023-11-14T22:13:20Z").unwrap().unix_seconds(), 1_700_000_000);
        let day = parse_until("2023-11-14").unwrap().unix_seconds();
        assert_eq!(parse_until("2023-11-14T01").unwrap().unix_seconds(), day + 3600);
        assert_eq!(parse_until("2023-11-14T00:01").unwrap().unix_seconds(), day + 60);
        assert_eq!(
            parse_until("2023-11-x").unwrap_err().to_string(),
            "failed to parse value as time or duration: \"2023-11-x\""
        );
        let hour_ago = parse_until("1h").unwrap();
        let age = Time::now().since(hour_ago).as_secs();
        assert!((3600..3700).contains(&age));
        assert!(parse_until("x").is_err() && parse_until("1x").is_err() && parse_until("").is_err());
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
    }
}
