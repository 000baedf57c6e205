//! What a phase of the simulation costs each node.

use anyhow::Result;
use kv_memberlist::simulated::SimulatedNetwork;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Costs of one node, of each second of virtual time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// CPU seconds of the simulating process, those of the simulated network included.
    pub(crate) cpu: f64,
    /// Sent, headers of the network not counted.
    pub(crate) bytes: f64,
    /// Sent.
    pub(crate) packets: f64,
}

/// The beginning of a phase.
pub(crate) struct Meter {
    at: Instant,
    cpu: f64,
    traffic: (u64, u64),
}

impl Meter {
    pub(crate) fn start(network: &SimulatedNetwork) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            cpu: cpu_seconds()?,
            traffic: network.traffic(),
        })
    }

    /// What happened since.
    pub(crate) fn stop(&self, network: &SimulatedNetwork, nodes: usize) -> Result<Cost> {
        let (packets, bytes) = network.traffic();
        let each = self.at.elapsed().as_secs_f64() * nodes as f64;
        Ok(Cost {
            cpu: (cpu_seconds()? - self.cpu) / each,
            bytes: (bytes - self.traffic.1) as f64 / each,
            packets: (packets - self.traffic.0) as f64 / each,
        })
    }
}

/// CPU seconds that this process has used.
pub(crate) fn cpu_seconds() -> Result<f64> {
    let stat = procfs::process::Process::myself()?.stat()?;
    Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// Memory that this process has, bytes.
pub(crate) fn resident_bytes() -> Result<u64> {
    Ok(procfs::process::Process::myself()?.stat()?.rss * procfs::page_size())
}
