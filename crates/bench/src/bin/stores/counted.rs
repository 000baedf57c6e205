//! Totals that grow, and how fast.

use anyhow::Result;
use tokio::time::Instant;

/// Totals of one source, read at the same moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted<const N: usize> {
    at: Instant,
    totals: [f64; N],
}

impl<const N: usize> Counted<N> {
    /// Read now.
    pub(crate) fn now(totals: [f64; N]) -> Self {
        Self {
            at: Instant::now(),
            totals,
        }
    }

    /// By how much the totals have grown since an earlier reading.
    pub(crate) fn growth(&self, since: &Self) -> [f64; N] {
        std::array::from_fn(|index| self.totals[index] - since.totals[index])
    }

    /// The same for each second in between.
    pub(crate) fn per_second(&self, since: &Self) -> [f64; N] {
        self.growth(since)
            .map(|growth| growth / self.seconds(since))
    }

    /// How much later it was read.
    pub(crate) fn seconds(&self, since: &Self) -> f64 {
        (self.at - since.at).as_secs_f64()
    }
}

/// CPU seconds that a process has used, of all its threads.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64> {
    let stat = stat(process)?;
    Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// Memory that a process has, bytes.
pub(crate) fn resident_bytes(process: u32) -> Result<u64> {
    Ok(stat(process)?.rss * procfs::page_size())
}

fn stat(process: u32) -> Result<procfs::process::Stat> {
    Ok(procfs::process::Process::new(process.try_into()?)?.stat()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn growth_is_by_the_time_in_between() {
        let before = Counted::now([1.0, 5.0]);
        let after = Counted {
            at: before.at + Duration::from_secs(4),
            totals: [9.0, 5.0],
        };
        assert_eq!(after.growth(&before), [8.0, 0.0]);
        assert_eq!(after.per_second(&before), [2.0, 0.0]);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert!(cpu_seconds(std::process::id()).unwrap() < 1e6);
    }
}
