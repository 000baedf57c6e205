//! The downstream, where every sample is accounted for.

use std::collections::{BTreeMap, BTreeSet};

use super::senders::Sample;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub replica: usize,
    pub at_ms: i64,
    pub value: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub series: Vec<Vec<Stored>>,
    known: BTreeSet<(usize, i64, usize)>,
    /// Requests that were sent again since their answer was lost.
    pub uncertain: BTreeSet<u64>,
    /// Sample times of each term: from, to.
    pub terms: BTreeMap<i64, (i64, i64)>,
    /// When something of each series last came.
    pub arrived_ms: Vec<i64>,
    pub doubled: u64,
    pub stored: u64,
}

/// What comes with samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    pub request: u64,
    pub replica: usize,
    pub term: i64,
    pub guard_ms: i64,
    /// Whether clocks differ by more than the guard: then values can go back.
    pub is_skewed: bool,
    /// Samples later than this are of a clock that is wrong: their order is not promised.
    pub ahead_ms: i64,
}

impl Sink {
    pub(crate) fn new(series: usize) -> Self {
        Self {
            series: vec![Vec::new(); series],
            arrived_ms: vec![0; series],
            ..Self::default()
        }
    }

    /// Stores a sample; what it violates.
    pub(crate) fn store(&mut self, sample: Sample, delivery: Delivery) -> Option<String> {
        let Delivery { replica, term, .. } = delivery;
        self.arrived_ms[sample.series] = delivery.ahead_ms;
        let key = (sample.series, sample.at_ms, replica);
        if self.known.contains(&key) {
            self.doubled += 1;
            let is_explained = self.uncertain.contains(&delivery.request);
            return (!is_explained)
                .then(|| format!("invariant 1: stored twice: {sample:?} r{replica}"));
        }
        if sample.at_ms > delivery.ahead_ms {
            return None;
        }
        self.known.insert(key);
        self.stored += 1;
        let of_term = self.terms.entry(term).or_insert((i64::MAX, i64::MIN));
        *of_term = (of_term.0.min(sample.at_ms), of_term.1.max(sample.at_ms));
        let all = &mut self.series[sample.series];
        let last = all.last().copied();
        all.push(Stored {
            replica,
            at_ms: sample.at_ms,
            value: sample.value,
        });
        let last = last?;
        if sample.at_ms < last.at_ms {
            return Some(format!(
                "invariant 1: a series goes back: {sample:?} of r{replica} in term {term} after {last:?}"
            ));
        }
        if replica == last.replica {
            return None;
        }
        if sample.at_ms - last.at_ms <= delivery.guard_ms {
            return Some(format!(
                "invariant 3: {sample:?} of r{replica} is too close to {last:?}"
            ));
        }
        if sample.value < last.value && !delivery.is_skewed {
            return Some(format!("a counter decreases: {sample:?} after {last:?}"));
        }
        None
    }

    /// Terms whose sample times overlap.
    pub(crate) fn overlaps(&self) -> Option<String> {
        let mut before: Option<(i64, i64)> = None;
        for (term, (from, to)) in &self.terms {
            if let Some((earlier, end)) = before
                && *from <= end
            {
                return Some(format!(
                    "invariant 1: term {term} begins at {from}, and term {earlier} ends at {end}"
                ));
            }
            before = Some((*term, *to));
        }
        None
    }
}
