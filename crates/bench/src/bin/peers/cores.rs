//! Which processor does what.

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The two processors that are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    server: usize,
    load: usize,
}

impl Cores {
    /// The first two that this process may use.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("which processors may be used")?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (Some(server), Some(load)) = (usable.next(), usable.next()) else {
            bail!("two processors are needed: server and load have one each");
        };
        let cores = Self { server, load };
        cores.for_load()?;
        Ok(cores)
    }

    /// From now on this thread, and those that it starts, are part of the load.
    fn for_load(self) -> Result<()> {
        pin(&[self.load])
    }

    /// What this does, and the processes that it starts, run where the servers do.
    pub(crate) fn as_server<T>(self, work: impl FnOnce() -> T) -> Result<T> {
        pin(&[self.server])?;
        let result = work();
        self.for_load()?;
        Ok(result)
    }

    /// What this does, and the threads and processes that it starts, run on both.
    pub(crate) fn everywhere<T>(self, work: impl FnOnce() -> T) -> Result<T> {
        pin(&[self.server, self.load])?;
        let result = work();
        self.for_load()?;
        Ok(result)
    }
}

fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on processors {cores:?}"))
}

/// CPU seconds of the work of this thread.
pub(crate) fn thread_seconds(work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let before = now();
    work();
    now() - before
}
