//! Times several contenders in interleaved rounds.

use std::time::{Duration, Instant};

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Effort {
    /// A second or two in total: for tests and for trying things out.
    Quick,
    /// Numbers worth publishing.
    Full,
}

impl Effort {
    fn rounds(self) -> usize {
        match self {
            Self::Quick => 7,
            Self::Full => 61,
        }
    }

    fn round_time(self) -> Duration {
        match self {
            Self::Quick => Duration::from_millis(2),
            Self::Full => Duration::from_millis(8),
        }
    }

    /// Tracker checks in one round, at least.
    pub(crate) fn checks(self) -> usize {
        match self {
            Self::Quick => 20_000,
            Self::Full => 400_000,
        }
    }

    pub(crate) fn tracker_rounds(self) -> usize {
        match self {
            Self::Quick => 3,
            Self::Full => 15,
        }
    }
}

/// Seconds of one call of each contender, round by round.
#[derive(Debug, Clone)]
pub struct Timings {
    /// By contender, then by round.
    seconds: Vec<Vec<f64>>,
}

impl Timings {
    /// Median seconds of one call.
    pub fn seconds(&self, contender: usize) -> f64 {
        median(self.seconds[contender].clone())
    }

    /// Median over the rounds of the ratio of two contenders, which ran next to each other.
    pub fn ratio(&self, contender: usize, reference: usize) -> f64 {
        let rounds = self.seconds[contender].iter().zip(&self.seconds[reference]);
        median(rounds.map(|(ours, theirs)| ours / theirs).collect())
    }
}

/// The middle value; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Seconds that `work` takes.
#[expect(clippy::disallowed_methods, reason = "measures real time")]
pub fn seconds_of(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// CPU time of this thread: what else the machine does counts only by the caches that it takes.
fn timed(calls: u32, contender: &mut dyn FnMut()) -> Duration {
    let start = cpu_time();
    for _ in 0..calls {
        contender();
    }
    cpu_time().saturating_sub(start)
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Runs every contender in every round, in an order that turns from round to round, after as many
/// warm-up calls as it takes to know how often to call each one in a round.
pub fn interleaved(effort: Effort, contenders: &mut [&mut dyn FnMut()]) -> Timings {
    let calls: Vec<u32> = contenders
        .iter_mut()
        .map(|contender| {
            let mut calls = 1;
            while timed(calls, contender) < effort.round_time() {
                calls *= 2;
            }
            calls
        })
        .collect();
    let count = contenders.len();
    let mut seconds = vec![Vec::new(); count];
    for round in 0..effort.rounds() {
        for turn in 0..count {
            let index = (turn + round) % count;
            let time = timed(calls[index], contenders[index]);
            seconds[index].push(time.as_secs_f64() / f64::from(calls[index]));
        }
    }
    Timings { seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let timings = Timings {
            seconds: vec![vec![3.0, 1.0, 8.0], vec![1.0, 2.0, 4.0]],
        };
        assert!((timings.seconds(0) - 3.0).abs() < 1e-9);
        assert!((timings.ratio(0, 1) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn every_contender_runs_in_every_round() {
        let (mut first, mut second) = (0u64, 0u64);
        let timings = interleaved(
            Effort::Quick,
            &mut [&mut || first = std::hint::black_box(first + 1), &mut || {
                second += 1;
            }],
        );
        assert!(
            timings
                .seconds
                .iter()
                .all(|rounds| rounds.len() == Effort::Quick.rounds())
        );
        assert!(first > 7 && second > 7);
    }
}
