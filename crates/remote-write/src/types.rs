//! What a scan is given and what it tells, for both versions.

use crate::error::ScanError;

/// The labels that make a series one of an HA pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HaLabelNames<'a> {
    /// Names the pair: usually `cluster`.
    pub cluster: &'a str,
    /// Names one of the pair: usually `__replica__`. Cut out of what is kept.
    pub replica: &'a str,
}

/// How a scan finds out what a series belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HaRule<'a> {
    /// The labels.
    pub names: HaLabelNames<'a>,
    /// Whose labels count.
    pub decides: Decides,
}

impl<'a> HaLabelNames<'a> {
    /// With these labels.
    pub const fn rule(self, decides: Decides) -> HaRule<'a> {
        HaRule {
            names: self,
            decides,
        }
    }
}

/// Which series of a request says what HA pair a series is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decides {
    /// The first series, for the whole request. That is the contract of Mimir and Cortex: a request
    /// comes from one replica.
    FirstSeries,
    /// Each series for itself.
    EachSeries,
}

/// What to do with the series of one (cluster, replica).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Forward them without their replica labels.
    Keep,
    /// The same with what lies within this window, and leave the rest out: samples, histograms and
    /// exemplars, each by its own timestamp, and series of which nothing is left.
    Within(Window),
    /// Leave them out.
    Drop,
    /// As [`Verdict::Keep`], until [`Scan::discard`](crate::Scan::discard).
    Later,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Only what is later than this, Unix ms: a sample of this very millisecond is outside.
    pub after_ms: i64,
    /// And not later than this, Unix ms.
    pub until_ms: i64,
}

impl Window {
    /// Whether this time, Unix ms, lies within.
    #[inline]
    pub const fn contains(self, time_ms: i64) -> bool {
        time_ms > self.after_ms && time_ms <= self.until_ms
    }
}

/// How much of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// TimeSeries messages.
    pub series: u64,
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.series += other.series;
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
    }
}

/// Samples and histograms that carry one of the two HA labels, the other being absent or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OneLabel {
    /// Without replica.
    pub cluster: u64,
    /// Without cluster.
    pub replica: u64,
}

/// A series that says something else than the first one, which decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixed {
    /// Its cluster label, at most 100 bytes of it; empty if it has none.
    pub cluster: String,
    /// Its replica label, likewise.
    pub replica: String,
}

impl Mixed {
    pub(crate) fn new(cluster: &[u8], replica: &[u8]) -> Self {
        const MAX_SHOWN: usize = 100;
        let shown = |text: &[u8]| {
            let start = text.get(..MAX_SHOWN).unwrap_or(text);
            String::from_utf8_lossy(start).into_owned()
        };
        Self {
            cluster: shown(cluster),
            replica: shown(replica),
        }
    }
}

/// Which of the HA labels a series of no group has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Has {
    Neither,
    Cluster,
    Replica,
    Both,
}

impl Has {
    #[inline]
    pub(crate) fn of(cluster: bool, replica: bool) -> Self {
        match (cluster, replica) {
            (true, true) => Self::Both,
            (true, false) => Self::Cluster,
            (false, true) => Self::Replica,
            (false, false) => Self::Neither,
        }
    }
}

/// The series of one (cluster, replica), or all whose cluster or replica is not UTF-8; or all of the
/// request, where its first series decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Value of the cluster label; empty only if there is a problem.
    pub cluster: String,
    /// Value of the replica label; empty only if there is a problem.
    pub replica: String,
    /// Why this group cannot be judged, and where the first of its series is. It is left out.
    pub problem: Option<ScanError>,
    /// Decided during the scan; may be changed before [`Scan::discard`](crate::Scan::discard).
    pub verdict: Verdict,
    /// What the request holds of this group, dropped or not.
    pub counts: Counts,
    /// What of it lies outside of the window of [`Verdict::Within`], and is left out; nothing with any
    /// other verdict.
    pub outside: Counts,
    /// Earliest timestamp of a sample or histogram, in milliseconds since the epoch; `None` when
    /// the group has neither. Those outside of a window count as well.
    pub earliest_ms: Option<i64>,
    /// The latest, likewise.
    pub latest_ms: Option<i64>,
}

impl Group {
    pub(crate) fn new(cluster: &str, replica: &str, verdict: Verdict) -> Self {
        Self {
            cluster: cluster.to_owned(),
            replica: replica.to_owned(),
            problem: None,
            verdict,
            counts: Counts::default(),
            outside: Counts::default(),
            earliest_ms: None,
            latest_ms: None,
        }
    }

    /// Takes note of samples from one time to another, Unix ms.
    #[cold]
    pub(crate) fn see(&mut self, earliest_ms: i64, latest_ms: i64) {
        let earliest = self.earliest_ms.unwrap_or(earliest_ms).min(earliest_ms);
        let latest = self.latest_ms.unwrap_or(latest_ms).max(latest_ms);
        (self.earliest_ms, self.latest_ms) = (Some(earliest), Some(latest));
    }
}
