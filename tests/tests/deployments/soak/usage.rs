//! What the distributors use, from second to second.

use std::time::Duration;

use e2e::attack::Usage;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};

/// How much the resident memory of a process may be above that of before: an allocator keeps some of
/// what a larger request or a reload needed.
const GROWTH: u64 = 8 << 20;
/// How many descriptors more: connections of a load that changes its pace.
const DESCRIPTORS: usize = 8;

/// Records until it is asked to end.
pub(super) struct Recorder {
    task: JoinHandle<()>,
    seen: tokio::sync::mpsc::UnboundedReceiver<(Duration, [Usage; 2])>,
}

/// What was seen: since the begin, and of each process.
pub(super) struct Recorded(Vec<(Duration, [Usage; 2])>);

impl Recorder {
    /// Begins.
    pub(super) fn begin(processes: [u32; 2]) -> Self {
        let (send, seen) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let mut clock = interval(Duration::from_secs(1));
            loop {
                clock.tick().await;
                let usages = processes.map(|process| Usage::of(process).unwrap());
                if send.send((began.elapsed(), usages)).is_err() {
                    return;
                }
            }
        });
        Self { task, seen }
    }

    /// Everything until now.
    pub(super) async fn end(mut self) -> Recorded {
        assert!(!self.task.is_finished(), "a distributor is gone");
        self.task.abort();
        let mut all = Vec::new();
        while let Some(one) = self.seen.recv().await {
            all.push(one);
        }
        Recorded(all)
    }
}

impl Recorded {
    /// A part, by quarters.
    fn quarter(&self, number: usize) -> &[(Duration, [Usage; 2])] {
        let length = self.0.len() / 4;
        &self.0[number * length..(number + 1) * length]
    }

    /// Median resident memory of a process in a quarter.
    fn resident(&self, quarter: usize, process: usize) -> u64 {
        let rows = self.quarter(quarter).iter();
        let mut all: Vec<u64> = rows.map(|(_, usages)| usages[process].resident).collect();
        all.sort_unstable();
        all[all.len() / 2]
    }

    /// The most descriptors of a process in a quarter.
    fn descriptors(&self, quarter: usize, process: usize) -> usize {
        let rows = self.quarter(quarter).iter();
        rows.map(|(_, usages)| usages[process].descriptors)
            .max()
            .unwrap()
    }

    /// The second quarter is compared with the last: in the first, caches and pools get their size.
    ///
    /// # Panics
    /// When memory or descriptors have grown.
    pub(super) fn assert_flat(&self) {
        for process in 0..2 {
            let (before, after) = (self.resident(1, process), self.resident(3, process));
            assert!(
                after <= before + before / 10 + GROWTH,
                "d{process} has grown from {before} to {after} bytes"
            );
            let (before, after) = (self.descriptors(1, process), self.descriptors(3, process));
            assert!(
                after <= before + DESCRIPTORS,
                "d{process} has {after} descriptors, and had {before}"
            );
        }
    }

    pub(super) fn figures(&self) -> String {
        let mut text = String::new();
        for process in 0..2 {
            let mib = |quarter| self.resident(quarter, process) as f64 / f64::from(1 << 20);
            let memory = [0, 1, 2, 3].map(|quarter| format!("{:.1}", mib(quarter)));
            let open = [0, 1, 2, 3].map(|quarter| self.descriptors(quarter, process).to_string());
            text += &format!(
                "d{process}: by quarters of the time, resident MiB (median) {}, descriptors (most) {}\n",
                memory.join(" "),
                open.join(" ")
            );
        }
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else {
            return text;
        };
        let cpu = |usages: &[Usage; 2]| usages.iter().map(|usage| usage.cpu).sum::<Duration>();
        let used = cpu(&last.1).saturating_sub(cpu(&first.1)).as_secs_f64();
        let cores = used / (last.0 - first.0).as_secs_f64();
        text + &format!("{cores:.2} cores used by both\n")
    }
}
