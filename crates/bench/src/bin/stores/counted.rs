//! Totals that grow, and how fast.

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
}
