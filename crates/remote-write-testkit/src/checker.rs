//! What can be told from what arrived: every sample stored once, from one replica, and where samples
//! are missing. Pure: it knows neither HTTP nor a clock. [`Ledger`](crate::Ledger) knows what was sent
//! as well.

use std::collections::{BTreeMap, HashMap};

use crate::series::Series;
use crate::slot::{Arrival, Slot};

/// What was wrong with what arrived, and how much arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Distinct samples.
    pub stored: u64,
    /// Samples that had arrived before, the same in all: those of a request whose answer was lost
    /// with its distributor, and which was sent again. Every receiver stores them once.
    pub repeated: u64,
    /// Further samples of a series within one scrape interval: those of the other replica.
    pub overlapping: u64,
    /// Samples whose series still had the replica label.
    pub labelled: u64,
}

impl Counts {
    /// Samples that a deduplicating distributor must not have let through.
    pub fn doubled(&self) -> u64 {
        self.overlapping
    }
}

/// A time without any sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last sample before it, Unix ms.
    pub after_ms: i64,
    /// The first sample after it, Unix ms.
    pub until_ms: i64,
    /// Scrape intervals without a sample; at least 1.
    pub scrapes: u64,
}

impl Gap {
    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.until_ms.saturating_sub(self.after_ms) as f64 / 1000.0
    }
}

/// Remembers every sample: made for minutes, not for days.
#[derive(Debug)]
pub struct Checker {
    interval_ms: i64,
    replica_label: &'static str,
    /// By series and interval; a timestamp tells the replica. The replica label is no part of a
    /// series here: a replica whose label was left on would hide its doubled samples behind it.
    series: HashMap<String, BTreeMap<i64, Slot<i64>>>,
    /// Number of series that have a sample at a timestamp.
    by_timestamp: BTreeMap<i64, u64>,
    counts: Counts,
}

impl Checker {
    /// Intervals are `interval_ms` long (at least 1) and begin at the Unix epoch; the replicas of a
    /// pair scrape once in each, at different times.
    pub fn new(interval_ms: i64, replica_label: &'static str) -> Self {
        Self {
            interval_ms: interval_ms.max(1),
            replica_label,
            series: HashMap::new(),
            by_timestamp: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Takes the samples of one series of a request.
    pub fn store_series(&mut self, series: &Series) {
        let labels = series.labels.iter();
        self.store(
            labels.map(|(name, value)| (name.as_str(), value.as_str())),
            series.samples.iter().map(|sample| sample.timestamp),
        );
    }

    /// Takes the samples of one series as they arrived.
    pub fn store<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        timestamps: impl Iterator<Item = i64>,
    ) {
        let mut labels: Vec<(&str, &str)> = labels.collect();
        let all = labels.len();
        labels.retain(|(name, _)| *name != self.replica_label);
        let is_labelled = labels.len() < all;
        labels.sort_unstable();
        let times = self.series.entry(format!("{labels:?}")).or_default();
        for timestamp in timestamps {
            self.counts.labelled += u64::from(is_labelled);
            let interval = timestamp.div_euclid(self.interval_ms);
            match times.entry(interval).or_default().add(timestamp) {
                Arrival::First => {}
                Arrival::Doubled => self.counts.overlapping += 1,
                Arrival::Repeated => {
                    self.counts.repeated += 1;
                    continue;
                }
            }
            self.counts.stored += 1;
            *self.by_timestamp.entry(timestamp).or_default() += 1;
        }
    }

    /// All that arrived so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The latest timestamp of all series, Unix ms.
    pub fn latest_ms(&self) -> Option<i64> {
        self.by_timestamp.keys().next_back().copied()
    }

    /// Times without a sample of any series, between the first and the latest one.
    pub fn gaps(&self) -> Vec<Gap> {
        let times = self.by_timestamp.keys();
        times
            .clone()
            .zip(times.skip(1))
            .filter_map(|(&after_ms, &until_ms)| {
                let interval = |ms: i64| ms.div_euclid(self.interval_ms);
                let scrapes = interval(until_ms)
                    .saturating_sub(interval(after_ms))
                    .saturating_sub(1);
                (scrapes > 0).then_some(Gap {
                    after_ms,
                    until_ms,
                    scrapes: scrapes.unsigned_abs(),
                })
            })
            .collect()
    }

    /// Of the scrapes (timestamp, samples) that senders were told are stored, the samples that are
    /// not here.
    pub fn lost(&self, acknowledged: impl IntoIterator<Item = (i64, u64)>) -> u64 {
        acknowledged
            .into_iter()
            .map(|(timestamp, samples)| {
                let here = self.by_timestamp.get(&timestamp).copied().unwrap_or(0);
                samples.saturating_sub(here)
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checker() -> Checker {
        Checker::new(100, "__replica__")
    }

    fn feed(checker: &mut Checker, labels: &[(&str, &str)], timestamps: &[i64]) {
        checker.store(labels.iter().copied(), timestamps.iter().copied());
    }

    const UP: &[(&str, &str)] = &[("__name__", "up"), ("job", "a")];

    #[test]
    fn one_sample_per_interval_is_right() {
        let mut checker = checker();
        feed(&mut checker, UP, &[1010, 1110, 1299]);
        feed(&mut checker, &[("__name__", "up"), ("job", "b")], &[1010]);
        let expected = Counts {
            stored: 4,
            ..Counts::default()
        };
        assert_eq!(checker.counts(), expected);
        assert_eq!(checker.gaps(), []);
        assert_eq!(checker.latest_ms(), Some(1299));
    }

    #[test]
    fn the_other_replicas_sample_is_doubled() {
        let mut checker = checker();
        feed(&mut checker, UP, &[1010, 1110]);
        feed(&mut checker, UP, &[1060]);
        assert_eq!(checker.counts().overlapping, 1);
        assert_eq!(checker.counts().doubled(), 1);
        // In whatever order they come.
        feed(&mut checker, UP, &[1260, 1210]);
        assert_eq!(checker.counts().doubled(), 2);
    }

    #[test]
    fn a_sample_that_comes_again_is_counted_and_not_stored_again() {
        let mut checker = checker();
        feed(&mut checker, UP, &[1010, 1010]);
        let swapped: Vec<_> = UP.iter().rev().copied().collect();
        feed(&mut checker, &swapped, &[1010]);
        let expected = Counts {
            stored: 1,
            repeated: 2,
            ..Counts::default()
        };
        assert_eq!(checker.counts(), expected);
        assert_eq!(expected.doubled(), 0);
    }

    #[test]
    fn a_replica_label_is_seen_and_hides_nothing() {
        let mut checker = checker();
        let with = |replica| [UP, &[("__replica__", replica)]].concat();
        feed(&mut checker, &with("r1"), &[1010]);
        feed(&mut checker, &with("r2"), &[1050]);
        let expected = Counts {
            stored: 2,
            overlapping: 1,
            labelled: 2,
            repeated: 0,
        };
        assert_eq!(checker.counts(), expected);
    }

    #[test]
    fn gaps_have_their_length() {
        let mut checker = checker();
        // Late arrivals fill a gap.
        feed(&mut checker, UP, &[1010, 1110, 1660, 1210, 1760]);
        let gap = Gap {
            after_ms: 1210,
            until_ms: 1660,
            scrapes: 3,
        };
        assert_eq!(checker.gaps(), [gap]);
        assert!((gap.seconds() - 0.45).abs() < 1e-9);
        feed(&mut checker, UP, &[1310, 1460, 1510]);
        assert_eq!(checker.gaps(), []);
    }

    #[test]
    fn what_was_acknowledged_must_be_here() {
        let mut checker = checker();
        feed(&mut checker, UP, &[1010]);
        feed(&mut checker, &[("__name__", "up"), ("job", "b")], &[1010]);
        assert_eq!(checker.lost([(1010, 2)]), 0);
        assert_eq!(checker.lost([(1010, 5), (1110, 2)]), 5);
    }

    #[test]
    fn extreme_timestamps_are_harmless() {
        let mut checker = checker();
        feed(&mut checker, UP, &[i64::MIN, i64::MAX, 0, -1]);
        assert_eq!(checker.counts().stored, 4);
        checker.gaps();
    }
}
