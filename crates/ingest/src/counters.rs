//! Counters and histograms of atomic numbers: none takes a lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// A histogram with `N` buckets, the last of which has no bound.
#[derive(Debug)]
pub(crate) struct AtomicHistogram<const N: usize> {
    buckets: [AtomicU64; N],
    /// The bits of a number.
    sum: AtomicU64,
}

impl<const N: usize> Default for AtomicHistogram<N> {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0f64.to_bits()),
        }
    }
}

impl<const N: usize> AtomicHistogram<N> {
    /// Counts one value; `bounds` are the upper ones of all buckets but the last.
    pub(crate) fn observe(&self, value: f64, bounds: &[f64]) {
        let index = bounds.iter().take_while(|bound| value > **bound).count();
        if let Some(bucket) = self.buckets.get(index) {
            add(bucket, 1);
            self.add_to_sum(value);
        }
    }

    /// Counts many values: how many there are in each bucket, and what they come to.
    pub(crate) fn observe_all(&self, counts: &[u64], sum: f64) {
        for (bucket, count) in self.buckets.iter().zip(counts) {
            if *count > 0 {
                add(bucket, *count);
            }
        }
        self.add_to_sum(sum);
    }

    fn add_to_sum(&self, amount: f64) {
        let more = |bits| Some((f64::from_bits(bits) + amount).to_bits());
        // It always has something to store.
        let _ = self
            .sum
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// What was observed, all values together.
    pub(crate) fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Relaxed))
    }

    /// Writes it; `bounds` are those of [`AtomicHistogram::observe`].
    pub(crate) fn encode(
        &self,
        mut encoder: MetricEncoder<'_>,
        bounds: impl IntoIterator<Item = f64>,
    ) -> fmt::Result {
        let mut bounds = bounds.into_iter();
        let buckets: [(f64, u64); N] = std::array::from_fn(|index| {
            let bound = bounds.next().filter(|_| index + 1 < N);
            let count = self
                .buckets
                .get(index)
                .map_or(0, |bucket| bucket.load(Ordering::Relaxed));
            (bound.unwrap_or(f64::INFINITY), count)
        });
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum(), count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts<const N: usize>(histogram: &AtomicHistogram<N>) -> Vec<u64> {
        let buckets = histogram.buckets.iter();
        buckets
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .collect()
    }

    #[test]
    fn values_go_below_their_bounds() {
        let histogram = AtomicHistogram::<3>::default();
        for value in [0.0, 10.0, 10.5, 100.0, 1e9] {
            histogram.observe(value, &[10.0, 100.0]);
        }
        histogram.observe_all(&[1, 0, 2], -0.5);
        assert_eq!(counts(&histogram), [3, 2, 3]);
        assert_eq!(histogram.sum(), 1e9 + 120.0);
    }

    #[test]
    fn what_is_observed_at_once_adds_up() {
        let histogram = AtomicHistogram::<1>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| histogram.observe(1.0, &[])));
            }
        });
        assert_eq!(
            (counts(&histogram), histogram.sum()),
            (vec![40_000], 40_000.0)
        );
    }
}
