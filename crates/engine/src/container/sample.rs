//! Samples of what containers use.
//!
//! Nothing is sampled while nobody asks. A client that wants one sample with rates gets it at once: the sample before
//! is the one that was last asked for, or one taken a moment earlier.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use berth_shim::client::Stats;
use tokio::sync::mpsc;

use super::registry::Slot;
use super::{Container, Status};
use crate::Inner;
use crate::error::{Error, Result, chain};
use crate::stats::{
    BlockIo, BlockIoEntry, CpuSample, InterfaceSample, MemorySample, Sample, StatsReport, StatsStream,
};
use crate::time::Time;

/// Between two samples of a stream.
const PERIOD: Duration = Duration::from_secs(1);
/// Between two samples of which only the second one is wanted.
const MOMENT: Duration = Duration::from_millis(20);
/// A sample this old says nothing of the present any more.
const STALE: Duration = Duration::from_secs(30);

/// The tables that the kernel's throttling keeps; the others went with the scheduler that kept them.
macro_rules! entries {
    ($list:expr) => {
        $list
            .into_iter()
            .map(|entry| BlockIoEntry {
                major: entry.major,
                minor: entry.minor,
                op: entry.op,
                value: entry.value,
            })
            .collect()
    };
}

impl Inner {
    pub(crate) fn stats(
        self: &Arc<Self>,
        reference: &str,
        stream: bool,
        one_shot: bool,
    ) -> Result<StatsStream> {
        let slot = self.registry.find(reference)?;
        let (sender, receiver) = mpsc::channel(1);
        let engine = self.clone();
        tokio::spawn(async move {
            if stream {
                engine.stats_stream(&slot, &sender).await;
            } else {
                let report = engine.stats_once(&slot, one_shot).await;
                let _ = sender.send(report).await;
            }
        });
        Ok(StatsStream { receiver })
    }

    async fn stats_stream(&self, slot: &Arc<Slot>, sender: &mpsc::Sender<Result<StatsReport>>) {
        let mut previous = None;
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = sender.closed() => return,
            }
            let report = match previous.take() {
                None => self.stats_once(slot, false).await,
                Some(previous) => self.sample(slot).await.map(|sample| report(&slot.get(), sample, previous)),
            };
            if let Ok(report) = &report {
                previous = Some(report.current.clone());
            }
            let gone = self.registry.find(slot.id()).is_err();
            if sender.send(report).await.is_err() || gone {
                return;
            }
        }
    }

    async fn stats_once(&self, slot: &Arc<Slot>, one_shot: bool) -> Result<StatsReport> {
        let kept = slot.last_sample.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = Time::now();
        let age = |sample: &Sample| now.since(sample.read);
        let usable = |sample: &Sample| {
            let started = slot.get().state.started_at;
            age(sample) >= MOMENT && age(sample) < STALE && sample.read > started && sample.memory.is_some()
        };
        let previous = match kept.filter(usable) {
            _ if one_shot => Sample::default(),
            Some(kept) => kept,
            None => {
                let first = self.sample(slot).await?;
                if first.memory.is_some() {
                    tokio::time::sleep(MOMENT).await;
                }
                first
            }
        };
        let sample = self.sample(slot).await?;
        Ok(report(&slot.get(), sample, previous))
    }

    /// Takes a sample and keeps it for the next one. Of a container that does not run there is nothing to tell.
    async fn sample(&self, slot: &Arc<Slot>) -> Result<Sample> {
        let container = slot.get();
        let Ok(shim) = slot.shim() else { return Ok(Sample::default()) };
        let stats = match shim.stats().await {
            Ok(stats) => stats,
            // It ended in between.
            Err(_) if slot.shim().is_err() => return Ok(Sample::default()),
            Err(error) => return Err(Error::Internal(chain(&error))),
        };
        let sample = self.convert(&container, stats);
        *slot.last_sample.lock().unwrap_or_else(PoisonError::into_inner) = Some(sample.clone());
        Ok(sample)
    }

    fn convert(&self, container: &Container, stats: Stats) -> Sample {
        let online = u32::try_from(self.host.cpus).unwrap_or(1);
        let memory = &stats.memory.usage;
        let limit = memory.limit.min(self.host.memory);
        Sample {
            read: Time::now(),
            cpu: CpuSample {
                total: stats.cpu.total,
                kernel: stats.cpu.system,
                user: stats.cpu.user,
                per_cpu: stats.cpu.per_cpu,
                system: machine_cpu_time(online),
                online,
                throttled_periods_all: stats.cpu.throttling.periods,
                throttled_periods: stats.cpu.throttling.throttled_periods,
                throttled_time: stats.cpu.throttling.throttled_time,
            },
            memory: Some(MemorySample {
                usage: memory.usage,
                max_usage: memory.max,
                failcnt: memory.failures,
                limit,
                details: stats.memory.stat,
            }),
            pids_current: Some(stats.pids.current),
            // Version 1 has no number for "no limit"; Docker then leaves it out.
            pids_limit: Some(stats.pids.limit).filter(|limit| stats.unified || *limit != u64::MAX),
            block_io: BlockIo {
                service_bytes: entries!(stats.blkio.service_bytes),
                serviced: entries!(stats.blkio.serviced),
                ..BlockIo::default()
            },
            networks: self.networks(container),
            cgroup_v2: stats.unified,
        }
    }

    fn networks(&self, container: &Container) -> Option<std::collections::BTreeMap<String, InterfaceSample>> {
        let endpoint = container.state.network.endpoint.as_ref()?;
        let stats = self.network.stats(endpoint).ok()?;
        let interface = InterfaceSample {
            rx_bytes: stats.rx_bytes,
            rx_packets: stats.rx_packets,
            rx_errors: stats.rx_errors,
            rx_dropped: stats.rx_dropped,
            tx_bytes: stats.tx_bytes,
            tx_packets: stats.tx_packets,
            tx_errors: stats.tx_errors,
            tx_dropped: stats.tx_dropped,
        };
        Some([("eth0".to_owned(), interface)].into())
    }
}

fn report(container: &Container, current: Sample, previous: Sample) -> StatsReport {
    let runs = matches!(container.state.status, Status::Running | Status::Paused);
    StatsReport {
        name: container.record.name.clone(),
        id: container.record.id.clone(),
        current: if runs { current } else { Sample::default() },
        previous: if runs { previous } else { Sample::default() },
    }
}

/// What all processors together had to give since the machine was booted, in nanoseconds.
///
/// Docker adds up `/proc/stat`, which counts in hundredths of a second: too coarse for two samples a moment apart. The
/// sum is the time that passed, once for each processor.
fn machine_cpu_time(online: u32) -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
    nanos * u64::from(online)
}
