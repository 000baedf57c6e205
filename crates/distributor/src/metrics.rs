//! Metrics of the process and of requests.

mod requests;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub(crate) use requests::{Protocol, RequestMetrics, Status};

/// `process_*` and `cortex_build_info`, of a program built from `revision`.
pub(crate) fn register_process(registry: &mut Registry, revision: &'static str) {
    registry.register(
        "cortex_build",
        "Version and revision of this build",
        Info::new([
            ("version", crate::version::VERSION),
            ("revision", revision),
            ("rustversion", env!("CARGO_PKG_RUST_VERSION")),
        ]),
    );
    registry.register_collector(Box::new(LogCollector));
    registry.register_collector(Box::new(ProcessCollector(Arc::new(
        procfs::ticks_per_second(),
    ))));
}

/// What only the log knows: it is the process's, as standard error is.
#[derive(Debug)]
struct LogCollector;

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        counter(
            &mut encoder,
            "cortex_distributor_log_lines_dropped",
            "Log lines that were dropped because standard error was not read or failed",
            crate::logging::dropped() as f64,
        )
    }
}

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
struct ProcessCollector(Arc<u64>);

impl ProcessCollector {
    fn encode_from_proc(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> Result<fmt::Result, procfs::ProcError> {
        let process = procfs::process::Process::myself()?;
        let stat = process.stat()?;
        let ticks = *self.0 as f64;
        let cpu_s = (stat.utime + stat.stime) as f64 / ticks;
        let started_s = procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks;
        let open_files = process.fd_count()? as f64;
        let max_files = match process.limits()?.max_open_files.soft_limit {
            procfs::process::LimitValue::Value(limit) => limit as f64,
            procfs::process::LimitValue::Unlimited => f64::INFINITY,
        };
        let resident = stat.rss as f64 * procfs::page_size() as f64;
        Ok(counter(
            encoder,
            "process_cpu_seconds",
            "Total user and system CPU time spent in seconds",
            cpu_s,
        )
        .and_then(|()| {
            gauge(
                encoder,
                "process_open_fds",
                "Number of open file descriptors",
                open_files,
            )
        })
        .and_then(|()| {
            gauge(
                encoder,
                "process_max_fds",
                "Maximum number of open file descriptors",
                max_files,
            )
        })
        .and_then(|()| {
            gauge(
                encoder,
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
                resident,
            )
        })
        .and_then(|()| {
            gauge(
                encoder,
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes",
                stat.vsize as f64,
            )
        })
        .and_then(|()| {
            gauge(
                encoder,
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds",
                started_s,
            )
        }))
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Without /proc there are no such metrics.
        self.encode_from_proc(&mut encoder).unwrap_or(Ok(()))
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Gauge)?
        .encode_gauge(&value)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, u64>(&value, None)
}
