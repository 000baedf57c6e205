//! What a process uses, as its kernel counts it.

use std::fs;
use std::time::Duration;

/// Clock ticks per second in `/proc/PID/stat`; fixed on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Resource usage of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Resident memory, bytes.
    pub resident: u64,
    /// The most resident memory since [`Usage::forget_peak`], bytes.
    pub peak: u64,
    /// CPU time since its start, of all threads.
    pub cpu: Duration,
    /// Open file descriptors.
    pub descriptors: usize,
}

impl Usage {
    /// Looks at a process; `None` when it is gone.
    pub fn of(process: u32) -> Option<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).ok();
        let status = read("status")?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kilobytes = line.split_whitespace().next()?.parse::<u64>().ok()?;
            Some(kilobytes << 10)
        };
        let stat = read("stat")?;
        // The program's name may contain anything, so what follows its last bracket is counted.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        let cpu = ticks()? + ticks()?;
        Some(Self {
            resident: bytes("VmRSS:")?,
            peak: bytes("VmHWM:")?,
            cpu: Duration::from_millis(cpu * 1000 / TICKS_PER_SECOND),
            descriptors: fs::read_dir(format!("/proc/{process}/fd")).ok()?.count(),
        })
    }

    /// From now on, the peak is that of the time after.
    pub fn forget_peak(process: u32) {
        // Not possible everywhere; then the peak since the start is judged, which is stricter.
        let _ = fs::write(format!("/proc/{process}/clear_refs"), "5");
    }
}
