//! How old the samples of a request are.

/// Upper bounds of the buckets of [`Ages`], seconds, as Mimir's
/// `cortex_distributor_sample_delay_seconds` has them. A negative age is that of a sample whose
/// sender's clock is ahead.
pub const AGE_BOUNDS_S: [i32; 15] = [
    -60, -15, -5, 30, 60, 120, 240, 480, 600, 1_800, 3_600, 7_200, 10_800, 21_600, 86_400,
];

/// One for each bound, and the last for what is older.
const BUCKETS: usize = AGE_BOUNDS_S.len() + 1;

/// Ages of samples and histograms that were not left out when they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    /// The time that ages are measured from, Unix ms.
    now_ms: i64,
    /// How many there are of each age: above the bound before, up to the bucket's own.
    counts: [u64; BUCKETS],
    /// Ages together, ms; the largest number where that is exceeded.
    sum_ms: i64,
    /// `i64::MIN` without samples.
    latest_ms: i64,
    bucket: Bucket,
}

/// Where the last age went: the next one nearly always goes there too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    index: usize,
    /// Ages above this, ms,
    above: i64,
    /// and up to this.
    up_to: i64,
}

impl Bucket {
    /// Of no age.
    const NONE: Self = Self {
        index: 0,
        above: i64::MAX,
        up_to: i64::MIN,
    };

    #[cold]
    fn of(age_ms: i64) -> Self {
        let bound_ms = |index: usize| AGE_BOUNDS_S.get(index).map(|s| i64::from(*s) * 1000);
        let index = (0..AGE_BOUNDS_S.len())
            .find(|index| bound_ms(*index).is_some_and(|bound_ms| age_ms <= bound_ms))
            .unwrap_or(AGE_BOUNDS_S.len());
        let before = index.checked_sub(1).and_then(bound_ms);
        Self {
            index,
            // Nothing is smaller than the smallest number but itself, which is searched for again.
            above: before.unwrap_or(i64::MIN),
            up_to: bound_ms(index).unwrap_or(i64::MAX),
        }
    }
}

impl Ages {
    /// Of nothing yet, measured from this time, Unix ms.
    pub(crate) fn at(now_ms: i64) -> Self {
        Self {
            now_ms,
            counts: [0; BUCKETS],
            sum_ms: 0,
            latest_ms: i64::MIN,
            bucket: Bucket::NONE,
        }
    }

    /// The same time, and nothing.
    pub(crate) fn empty(&self) -> Self {
        Self::at(self.now_ms)
    }

    /// One sample or histogram with this timestamp, Unix ms.
    #[inline]
    pub(crate) fn add(&mut self, timestamp: u64) {
        let timestamp_ms = timestamp as i64;
        let age_ms = self.now_ms.saturating_sub(timestamp_ms);
        self.sum_ms = self.sum_ms.saturating_add(age_ms);
        self.latest_ms = self.latest_ms.max(timestamp_ms);
        if age_ms <= self.bucket.above || age_ms > self.bucket.up_to {
            self.bucket = Bucket::of(age_ms);
        }
        if let Some(count) = self.counts.get_mut(self.bucket.index) {
            *count += 1;
        }
    }

    /// Those of one series, once it is known that it stays.
    pub(crate) fn merge(&mut self, series: &Self) {
        for (count, more) in self.counts.iter_mut().zip(series.counts) {
            *count += more;
        }
        self.sum_ms = self.sum_ms.saturating_add(series.sum_ms);
        self.latest_ms = self.latest_ms.max(series.latest_ms);
        self.bucket = series.bucket;
    }

    /// The latest timestamp, Unix ms; the smallest number without samples and histograms.
    #[inline]
    pub(crate) fn latest_or_min(&self) -> i64 {
        self.latest_ms
    }

    /// How many there are between two bounds of [`AGE_BOUNDS_S`], by the upper one; the last is of
    /// those above all bounds.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// All ages together, ms.
    pub fn sum_ms(&self) -> i64 {
        self.sum_ms
    }

    /// The latest timestamp, Unix ms; `None` without samples and histograms.
    pub fn latest_ms(&self) -> Option<i64> {
        self.counts
            .iter()
            .any(|count| *count > 0)
            .then_some(self.latest_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn ages(of: &[i64]) -> Ages {
        let mut ages = Ages::at(NOW_MS);
        for age_ms in of {
            ages.add(NOW_MS.saturating_sub(*age_ms) as u64);
        }
        ages
    }

    #[test]
    fn each_age_is_counted_below_its_bound() {
        let found = ages(&[-60_000, -59_999, 0, 30_000, 30_001, 30_002, 86_400_001, 1]);
        let mut expected = [0; BUCKETS];
        expected[0] = 1;
        expected[1] = 1;
        expected[3] = 3;
        expected[4] = 2;
        expected[15] = 1;
        assert_eq!(found.counts(), expected);
        assert_eq!(found.sum_ms(), 86_400_001 + 90_003 - 119_999 + 1);
        assert_eq!(found.latest_ms(), Some(NOW_MS + 60_000));
        assert_eq!(ages(&[]).latest_ms(), None);
    }

    #[test]
    fn ages_of_series_add_up() {
        let mut both = ages(&[1, 40_000]);
        both.merge(&ages(&[2, -10_000, 7_000_000]));
        let all = ages(&[1, 40_000, 2, -10_000, 7_000_000]);
        assert_eq!(both.counts(), all.counts());
        assert_eq!(both.sum_ms(), all.sum_ms());
        assert_eq!(both.latest_ms(), all.latest_ms());
        both.merge(&ages(&[]));
        assert_eq!(both.sum_ms(), all.sum_ms());
    }

    #[test]
    fn no_timestamp_is_too_strange() {
        let mut ages = Ages::at(NOW_MS);
        for timestamp in [i64::MIN, i64::MAX, 0, i64::MIN, i64::MIN] {
            ages.add(timestamp as u64);
        }
        assert_eq!(ages.counts().iter().sum::<u64>(), 5);
        assert_eq!((ages.counts()[0], ages.counts()[15]), (1, 4));
        assert_eq!(ages.latest_ms(), Some(i64::MAX));
        let mut ages = Ages::at(i64::MIN);
        ages.add(i64::MAX as u64);
        ages.add(i64::MAX as u64);
        assert_eq!(ages.counts()[0], 2);
    }
}
