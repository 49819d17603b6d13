//! What containers use, sampled on request.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::error::Result;
use crate::time::Time;

/// One sample with the one before it, so that rates can be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatsReport {
    /// The container's name, without a slash.
    pub name: String,
    /// Its id.
    pub id: String,
    /// The sample.
    pub current: Sample,
    /// The sample before; empty if there is none.
    pub previous: Sample,
}

/// What a container used up to a moment. Units: nanoseconds and bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When.
    pub read: Time,
    /// Processor time.
    pub cpu: CpuSample,
    /// Memory; `None` if the container does not run.
    pub memory: Option<MemorySample>,
    /// Processes.
    pub pids_current: Option<u64>,
    /// The limit of processes; `None`: none.
    pub pids_limit: Option<u64>,
    /// Block devices.
    pub block_io: BlockIo,
    /// Network interfaces by name; `None` without an own network.
    pub networks: Option<BTreeMap<String, InterfaceSample>>,
    /// Whether the figures come from cgroup v2 (names and omissions in the API differ).
    pub cgroup_v2: bool,
}

/// Processor time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuSample {
    /// All of it.
    pub total: u64,
    /// In the kernel.
    pub kernel: u64,
    /// In user mode.
    pub user: u64,
    /// A figure a processor (v1 only).
    pub per_cpu: Vec<u64>,
    /// What all processors of the machine had to give.
    pub system: u64,
    /// Processors on line.
    pub online: u32,
    /// Periods that passed.
    pub throttled_periods_all: u64,
    /// Periods in which it was held back.
    pub throttled_periods: u64,
    /// For how long it was held back.
    pub throttled_time: u64,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemorySample {
    /// In use.
    pub usage: u64,
    /// The most ever in use (v1 only).
    pub max_usage: u64,
    /// How often the limit was met.
    pub failcnt: u64,
    /// The limit, the machine's memory if there is none.
    pub limit: u64,
    /// The kernel's figures by its names.
    pub details: BTreeMap<String, u64>,
}

/// Block devices: a list for each of the kernel's tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockIo {
    /// Bytes by device and operation.
    pub service_bytes: Vec<BlockIoEntry>,
    /// Operations.
    pub serviced: Vec<BlockIoEntry>,
    /// Queued operations.
    pub queued: Vec<BlockIoEntry>,
    /// Time of service.
    pub service_time: Vec<BlockIoEntry>,
    /// Time of waiting.
    pub wait_time: Vec<BlockIoEntry>,
    /// Merged operations.
    pub merged: Vec<BlockIoEntry>,
    /// Time on the device.
    pub time: Vec<BlockIoEntry>,
    /// Sectors.
    pub sectors: Vec<BlockIoEntry>,
}

/// One figure of a block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockIoEntry {
    /// Device number.
    pub major: u64,
    /// Device number.
    pub minor: u64,
    /// `read`, `write`, `sync`, …
    pub op: String,
    /// The figure.
    pub value: u64,
}

/// A network interface as the container sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceSample {
    /// Received.
    pub rx_bytes: u64,
    /// Received.
    pub rx_packets: u64,
    /// Received.
    pub rx_errors: u64,
    /// Received.
    pub rx_dropped: u64,
    /// Sent.
    pub tx_bytes: u64,
    /// Sent.
    pub tx_packets: u64,
    /// Sent.
    pub tx_errors: u64,
    /// Sent.
    pub tx_dropped: u64,
}

/// Samples as they are taken: one a second, or one only. Ends when the container is removed or the stream dropped.
pub struct StatsStream {
    pub(crate) receiver: mpsc::Receiver<Result<StatsReport>>,
}

impl futures_util::Stream for StatsStream {
    type Item = Result<StatsReport>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context)
    }
}
