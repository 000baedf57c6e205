//! The state of a scan between two series.

use crate::ages::Ages;
use crate::density::Density;
use crate::groups::{Belongs, Groups, Run};
use crate::mover::Mover;
use crate::symbols::Symbols;
use crate::types::{Counts, Has, OneLabel, Verdict, Window};
use crate::wire::Span;

/// What one series, or one request, is taken apart into.
#[derive(Default)]
pub(crate) struct Parts {
    /// Replica labels of the series being read.
    pub(crate) cuts: Vec<Span>,
    /// Fields of the series being read that lie outside of its group's window.
    pub(crate) outside: Vec<Span>,
    pub(crate) symbols: Symbols,
    /// A 2.0 series that does not hold its references in one run, rebuilt; and that run.
    pub(crate) rebuilt: Vec<u8>,
    pub(crate) run: Vec<u8>,
}

/// State of a scan between two series.
pub(crate) struct Progress<'s, 'j> {
    pub(crate) groups: Groups<'s, 'j>,
    pub(crate) other: Counts,
    pub(crate) one_label: OneLabel,
    pub(crate) both_labels: u64,
    pub(crate) metadata: u64,
    pub(crate) series: u64,
    pub(crate) mover: Mover,
    pub(crate) runs: Vec<Run>,
    pub(crate) density: Density,
    /// Of what is not left out.
    pub(crate) ages: Ages,
    /// Group and timestamp of the last series of one sample.
    pub(crate) last_seen: Option<(usize, u64)>,
}

/// What becomes of a whole series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stays {
    Yes,
    No,
    /// Until [`crate::Scan::discard`].
    ForNow,
}

/// Series in a row of one sample and one group, of which all are kept or all are left out.
pub(crate) struct Alike {
    group: usize,
    is_kept: bool,
    count: u64,
    /// Of the last one.
    timestamp: u64,
}

impl Progress<'_, '_> {
    /// Series that belong to this, unless that says nothing about all of them.
    #[inline(always)]
    pub(crate) fn begin_alike(&self, belongs: Belongs) -> Option<Alike> {
        let Belongs::To(group) = belongs else {
            return None;
        };
        let is_kept = match self.groups.list.get(group)?.verdict {
            Verdict::Keep => true,
            Verdict::Drop => false,
            Verdict::Within(_) | Verdict::Later => return None,
        };
        Some(Alike {
            group,
            is_kept,
            count: 0,
            timestamp: 0,
        })
    }

    /// Counts the first one with a timestamp, and answers whether it is kept.
    #[inline]
    pub(crate) fn count_first_alike(&mut self, run: &mut Alike, timestamp: u64) -> bool {
        run.timestamp = timestamp;
        if let Some(group) = self.groups.list.get_mut(run.group) {
            group.see(timestamp as i64, timestamp as i64);
        }
        self.count_alike(run)
    }

    /// Counts one with the timestamp of the one before, and answers whether it is kept.
    #[inline(always)]
    pub(crate) fn count_alike(&mut self, run: &mut Alike) -> bool {
        run.count += 1;
        if run.is_kept {
            self.ages.add(run.timestamp);
        }
        run.is_kept
    }

    /// Adds what was counted; whether there was any.
    #[inline]
    pub(crate) fn end_alike(&mut self, run: &Alike) -> bool {
        if run.count == 0 {
            return false;
        }
        self.last_seen = Some((run.group, run.timestamp));
        self.series += run.count;
        if let Some(group) = self.groups.list.get_mut(run.group) {
            group.counts.series += run.count;
            group.counts.samples += run.count;
        }
        true
    }

    /// Counts a series for its group, and answers the verdict on it.
    #[inline]
    pub(crate) fn count(&mut self, group: usize, found: &Found) -> Option<Verdict> {
        let series = self.series;
        self.series += 1;
        let group = self.groups.list.get_mut(group)?;
        if let Some(problem) = &mut group.problem {
            problem.series.get_or_insert(series);
        }
        group.counts += found.counts();
        if found.samples + found.histograms > 0 {
            group.see(found.earliest_ms, found.latest_ms());
        }
        // Ages of what is within a window are added when that is known.
        if matches!(group.verdict, Verdict::Keep | Verdict::Later) {
            self.ages.merge(&found.ages);
        }
        Some(group.verdict)
    }

    /// The same for a series of one sample, of a known group. `None`, and nothing is counted, if it
    /// lies outside of the group's window.
    #[inline]
    pub(crate) fn count_sample(&mut self, index: usize, timestamp: u64) -> Option<Stays> {
        let group = self.groups.list.get_mut(index)?;
        if let Verdict::Within(window) = group.verdict
            && !window.contains(timestamp as i64)
        {
            return None;
        }
        // Those of one target of one scrape have the same time.
        if self.last_seen != Some((index, timestamp)) {
            self.last_seen = Some((index, timestamp));
            group.see(timestamp as i64, timestamp as i64);
        }
        self.series += 1;
        group.counts.series += 1;
        group.counts.samples += 1;
        if group.verdict == Verdict::Drop {
            return Some(Stays::No);
        }
        self.ages.add(timestamp);
        Some(match group.verdict == Verdict::Later {
            true => Stays::ForNow,
            false => Stays::Yes,
        })
    }

    /// Whether all of a series lies within the window, as far as that can be told without reading it
    /// again; if so, that is counted.
    pub(crate) fn is_all_within(&mut self, window: Window, found: &Found) -> bool {
        let is_within = found.samples + found.histograms > 0
            && found.exemplars == 0
            && window.contains(found.earliest_ms)
            && window.contains(found.latest_ms());
        if is_within {
            self.ages.merge(&found.ages);
        }
        is_within
    }

    /// Counts what a window leaves of a series that has been counted as `found`; answers whether that
    /// is anything.
    pub(crate) fn count_within(&mut self, group: usize, found: &Found, within: &Found) -> bool {
        let is_left = within.samples + within.histograms + within.exemplars > 0;
        if let Some(group) = self.groups.list.get_mut(group) {
            group.outside += Counts {
                series: u64::from(!is_left),
                samples: found.samples - within.samples,
                histograms: found.histograms - within.histograms,
                exemplars: found.exemplars - within.exemplars,
            };
        }
        self.ages.merge(&within.ages);
        is_left
    }

    /// Counts a series of no group.
    #[inline]
    pub(crate) fn count_other(&mut self, has: Has, found: &Found) {
        self.series += 1;
        self.other += found.counts();
        self.ages.merge(&found.ages);
        self.count_labels(has, found.samples + found.histograms);
    }

    /// The same for a series of one sample, of no group.
    #[inline]
    pub(crate) fn count_other_sample(&mut self, has: Has, timestamp: u64) {
        self.series += 1;
        self.other.series += 1;
        self.other.samples += 1;
        self.ages.add(timestamp);
        self.count_labels(has, 1);
    }

    #[inline]
    fn count_labels(&mut self, has: Has, samples: u64) {
        match has {
            Has::Neither => {}
            Has::Cluster => self.one_label.cluster += samples,
            Has::Replica => self.one_label.replica += samples,
            Has::Both => self.both_labels += samples,
        }
    }

    /// Notes that the output from `start` on is a series whose group is decided later.
    #[inline]
    pub(crate) fn note_run(&mut self, group: usize, start: usize) {
        let output = Span::new(start, self.mover.position());
        let group = group as u32;
        if let Some(run) = self.runs.last_mut()
            && run.group == group
            && run.output.end == output.start
        {
            run.output.end = output.end;
            return;
        }
        self.runs.push(Run { group, output });
    }
}

/// What one series holds besides its labels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    samples: u64,
    histograms: u64,
    exemplars: u64,
    earliest_ms: i64,
    ages: Ages,
}

impl Found {
    /// Nothing yet; ages are measured as those of `ages`.
    pub(crate) fn nothing(ages: &Ages) -> Self {
        Self {
            samples: 0,
            histograms: 0,
            exemplars: 0,
            earliest_ms: i64::MAX,
            ages: ages.empty(),
        }
    }

    #[inline]
    pub(crate) fn sample(&mut self, timestamp: u64) {
        self.samples += 1;
        self.seen_at(timestamp);
    }

    #[inline]
    pub(crate) fn histogram(&mut self, timestamp: u64) {
        self.histograms += 1;
        self.seen_at(timestamp);
    }

    #[inline]
    fn seen_at(&mut self, timestamp: u64) {
        self.earliest_ms = self.earliest_ms.min(timestamp as i64);
        self.ages.add(timestamp);
    }

    #[inline]
    pub(crate) fn exemplar(&mut self) {
        self.exemplars += 1;
    }

    /// The smallest number without samples and histograms.
    #[inline]
    fn latest_ms(&self) -> i64 {
        self.ages.latest_or_min()
    }

    fn counts(&self) -> Counts {
        Counts {
            series: 1,
            samples: self.samples,
            histograms: self.histograms,
            exemplars: self.exemplars,
        }
    }
}
