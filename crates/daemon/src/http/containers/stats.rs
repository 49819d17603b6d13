//! `GET /containers/{id}/stats`

use std::sync::Arc;

use berth_api::stats::{
    BlkioEntry, BlkioStats, CHANGES, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats,
    ThrottlingData,
};
use berth_api::version;
use berth_engine::StatsReport;
use berth_engine::stats::{BlockIoEntry, CpuSample, MemorySample, Sample};
use futures_util::StreamExt as _;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

pub(crate) async fn stats(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let stream = call.query.flag_or("stream", true);
    let one_shot = !call.version.is_before(41) && call.query.flag("one-shot");
    if stream && one_shot {
        return Err(Error::invalid("cannot have stream=true and one-shot=true"));
    }
    let mut samples = server.engine.container_stats(&call.name, stream, one_shot).await?;
    let version = call.version;
    let line = move |report: berth_engine::Result<StatsReport>| {
        let stats = render(report.map_err(std::io::Error::other)?);
        let mut text = version::to_vec_html(&stats, version, CHANGES).map_err(std::io::Error::other)?;
        text.push(b'\n');
        Ok(text.into())
    };
    if stream {
        return Ok(Answer::stream("application/json", samples.map(line)));
    }
    // A single sample is taken before the answer begins, so that an error is an error.
    match samples.next().await {
        Some(Err(error)) => Err(error.into()),
        sample => Ok(Answer::stream("application/json", futures_util::stream::iter(sample.map(line)))),
    }
}

fn render(report: StatsReport) -> Stats {
    let (current, previous) = (report.current, report.previous);
    let networks = current.networks.clone().unwrap_or_default().into_iter().map(|(name, interface)| {
        let stats = NetworkStats {
            rx_bytes: interface.rx_bytes,
            rx_packets: interface.rx_packets,
            rx_errors: interface.rx_errors,
            rx_dropped: interface.rx_dropped,
            tx_bytes: interface.tx_bytes,
            tx_packets: interface.tx_packets,
            tx_errors: interface.tx_errors,
            tx_dropped: interface.tx_dropped,
        };
        (name, stats)
    });
    Stats {
        id: report.id,
        name: format!("/{}", report.name),
        os_type: "linux".to_owned(),
        read: current.read.to_string(),
        cpu_stats: cpu(&current.cpu),
        networks: networks.collect(),
        pids_stats: PidsStats {
            current: current.pids_current.unwrap_or_default(),
            limit: current.pids_limit.unwrap_or_default(),
        },
        blkio_stats: block_io(&current),
        memory_stats: current.memory.map(memory).unwrap_or_default(),
        preread: previous.read.to_string(),
        precpu_stats: cpu(&previous.cpu),
        ..Stats::default()
    }
}

fn cpu(sample: &CpuSample) -> CpuStats {
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: sample.total,
            percpu_usage: sample.per_cpu.clone(),
            usage_in_kernelmode: sample.kernel,
            usage_in_usermode: sample.user,
        },
        system_cpu_usage: sample.system,
        online_cpus: sample.online,
        throttling_data: ThrottlingData {
            periods: sample.throttled_periods_all,
            throttled_periods: sample.throttled_periods,
            throttled_time: sample.throttled_time,
        },
    }
}

fn memory(sample: MemorySample) -> MemoryStats {
    MemoryStats {
        usage: sample.usage,
        max_usage: sample.max_usage,
        stats: sample.details,
        failcnt: sample.failcnt,
        limit: sample.limit,
    }
}

/// Tables that the kernel's interface does not have are `null`; a container that does not run has none at all.
fn block_io(sample: &Sample) -> BlkioStats {
    let entry = |entry: &BlockIoEntry| BlkioEntry {
        major: entry.major,
        minor: entry.minor,
        op: entry.op.clone(),
        value: entry.value,
    };
    let runs = sample.memory.is_some();
    let table = |entries: &[BlockIoEntry], on_v2: bool| {
        let has = runs && (!sample.cgroup_v2 || (on_v2 && !entries.is_empty()));
        has.then(|| entries.iter().map(entry).collect())
    };
    let io = &sample.block_io;
    BlkioStats {
        io_service_bytes_recursive: table(&io.service_bytes, true),
        io_serviced_recursive: table(&io.serviced, false),
        io_queue_recursive: table(&io.queued, false),
        io_service_time_recursive: table(&io.service_time, false),
        io_wait_time_recursive: table(&io.wait_time, false),
        io_merged_recursive: table(&io.merged, false),
        io_time_recursive: table(&io.time, false),
        sectors_recursive: table(&io.sectors, false),
    }
}
