//! The scan: what it takes, what it answers, and what both versions share.

use crate::density::Density;
use crate::error::{Problem, ScanError};
use crate::groups::{GroupTables, Groups, Run};
use crate::media::Version;
use crate::mover::Mover;
use crate::symbols::Symbols;
use crate::wire::Span;
use crate::{v1, v2};

/// The labels that make a series one of an HA pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HaLabelNames<'a> {
    /// Names the pair: usually `cluster`.
    pub cluster: &'a str,
    /// Names one of the pair: usually `__replica__`. Cut out of what is kept.
    pub replica: &'a str,
}

/// What to do with the series of one (cluster, replica).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Forward them without their replica labels.
    Keep,
    /// Leave them out.
    Drop,
    /// As [`Verdict::Keep`], until [`Scan::discard`].
    Later,
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

/// Which of the HA labels a series has, not both of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Has {
    Neither,
    Cluster,
    Replica,
}

impl Has {
    #[inline]
    pub(crate) fn of(cluster: bool, replica: bool) -> Self {
        match (cluster, replica) {
            (true, _) => Self::Cluster,
            (_, true) => Self::Replica,
            _ => Self::Neither,
        }
    }
}

/// The series of one (cluster, replica), or all whose cluster or replica is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Value of the cluster label; empty only if there is a problem.
    pub cluster: String,
    /// Value of the replica label; empty only if there is a problem.
    pub replica: String,
    /// Why nobody can judge this group, and where the first of its series is. It is left out.
    pub problem: Option<ScanError>,
    /// Decided during the scan; may be changed before [`Scan::discard`].
    pub verdict: Verdict,
    /// What the request holds of this group, dropped or not.
    pub counts: Counts,
    /// Earliest timestamp of a sample or histogram, in milliseconds since the epoch; `None` when
    /// the group has neither.
    pub earliest_ms: Option<i64>,
}

impl Group {
    pub(crate) fn new(cluster: &str, replica: &str, verdict: Verdict) -> Self {
        Self {
            cluster: cluster.to_owned(),
            replica: replica.to_owned(),
            problem: None,
            verdict,
            counts: Counts::default(),
            earliest_ms: None,
        }
    }
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// In the order of their first series.
    pub groups: Vec<Group>,
    /// Series without both HA labels: kept as they are.
    pub other: Counts,
    /// Samples and histograms of [`Scan::other`] whose series carry one of the two labels.
    pub one_label: OneLabel,
    /// 1.0 metadata entries. Always 0 for 2.0, where metadata belongs to its series.
    pub metadata: u64,
    /// Whether the request differs from what came in. If not, its compressed form is still good.
    pub modified: bool,
    /// Bytes of the edited request.
    pub length: usize,
    /// Where the output holds series of groups with [`Verdict::Later`].
    runs: Vec<Run>,
}

impl Scan {
    /// Bytes of heap memory that this holds.
    pub fn allocated_bytes(&self) -> usize {
        let text: usize = self
            .groups
            .iter()
            .map(|group| group.cluster.capacity() + group.replica.capacity())
            .sum();
        text + size_of::<Group>() * self.groups.capacity() + size_of::<Run>() * self.runs.capacity()
    }

    /// Everything that the request held, dropped or not.
    pub fn total(&self) -> Counts {
        let mut total = self.other;
        for group in &self.groups {
            total += group.counts;
        }
        total
    }

    /// What is left out, by the verdicts as they stand.
    pub fn dropped(&self) -> Counts {
        let mut dropped = Counts::default();
        for group in self
            .groups
            .iter()
            .filter(|group| group.verdict == Verdict::Drop)
        {
            dropped += group.counts;
        }
        dropped
    }

    /// Series that are left, by the verdicts as they stand.
    pub fn kept_series(&self) -> u64 {
        self.total().series - self.dropped().series
    }

    /// Series that are left out, by the verdicts as they stand.
    pub fn dropped_series(&self) -> u64 {
        self.dropped().series
    }

    /// Decides what the scan left open: sets the verdict of each listed group to
    /// [`Verdict::Drop`] and takes its series out of `buf`, which must be as [`scan`] left it.
    ///
    /// Only groups judged [`Verdict::Later`] can be discarded; other indexes are ignored. What is
    /// not discarded stays. Costs one copy for each gap between runs of series of one group.
    pub fn discard(&mut self, buf: &mut Vec<u8>, group_indexes: &[usize]) {
        self.discard_in_place(buf, group_indexes);
        buf.truncate(self.length);
    }

    /// The same for the buffer of [`scan_in_place`].
    pub fn discard_in_place(&mut self, buf: &mut [u8], group_indexes: &[usize]) {
        for &index in group_indexes {
            if let Some(group) = self.groups.get_mut(index)
                && group.verdict == Verdict::Later
            {
                group.verdict = Verdict::Drop;
            }
        }
        let groups = &self.groups;
        let mut mover = Mover::default();
        let length = self.length.min(buf.len());
        let mut from = 0;
        self.runs.retain_mut(|run| {
            let start = length.min(run.output.start as usize);
            mover.keep(buf, from, start);
            from = length.min(run.output.end as usize);
            if groups
                .get(run.group as usize)
                .is_some_and(|group| group.verdict == Verdict::Drop)
            {
                return false;
            }
            let moved = mover.position();
            run.output = Span::new(moved, moved + run.output.len());
            mover.keep(buf, start, from);
            true
        });
        mover.keep(buf, from, length);
        let kept = mover.finish(buf);
        self.modified |= kept < length;
        self.length = kept;
    }
}

/// Memory that scans reuse, one at a time.
#[derive(Default)]
pub struct Scratch {
    pub(crate) tables: GroupTables,
    pub(crate) parts: Parts,
}

/// What one series, or one request, is taken apart into.
#[derive(Default)]
pub(crate) struct Parts {
    /// Replica labels of the series being read.
    pub(crate) cuts: Vec<Span>,
    pub(crate) symbols: Symbols,
    /// A 2.0 series that does not hold its references in one run, written anew; and that run.
    pub(crate) rebuilt: Vec<u8>,
    pub(crate) run: Vec<u8>,
}

impl Scratch {
    /// Bytes of heap memory that wait for the next scan.
    pub fn allocated_bytes(&self) -> usize {
        self.tables.allocated_bytes()
            + self.parts.symbols.allocated_bytes()
            + size_of::<Span>() * self.parts.cuts.capacity()
            + self.parts.rebuilt.capacity()
            + self.parts.run.capacity()
    }

    /// Gives the memory back if it is more than `limit` bytes, as after an unusual request.
    pub fn trim(&mut self, limit: usize) {
        if self.allocated_bytes() > limit {
            *self = Self::default();
        }
    }
}

/// Reads a decompressed request once, and edits it in place.
///
/// Each series that carries both labels with non-empty values (of a repeated label the last value
/// counts) belongs to the group of its (cluster, replica), and `judge` is called once for each
/// group, when its first series is met. Kept series lose every replica label, dropped ones are
/// left out, as are those whose cluster or replica is not UTF-8: they are one group with a
/// [`Group::problem`], which is not judged. The rest, and every other field in its order, stays byte
/// for byte. The output is
/// never longer than the input. Without `names` the request is checked and counted, not changed.
///
/// # What is refused
///
/// Every byte of the request is read, inside histograms and exemplars too, and of dropped series
/// as well. What prost refuses is refused, with one exception: strings are not checked for UTF-8.
/// What prost accepts is accepted, but for:
/// - groups (wire types 3 and 4), which proto3 does not have;
/// - 2.0 references that exceed 32 bits (prost cuts them off) or the table, an odd number of them
///   in a series or exemplar, a first symbol that is not empty, series without any symbol;
/// - requests of more than 16,384 fields (series, symbols, metadata, unknown and unusual ones) that
///   have fewer than 4 bytes on average, which hold no samples and cost the most work;
/// - requests of 4 GiB, and of more than 65,536 groups or groups whose names take more bytes than
///   the request and 1 MiB.
///
/// After an error `buf` holds unspecified bytes.
pub fn scan(
    version: Version,
    buf: &mut Vec<u8>,
    names: Option<HaLabelNames<'_>>,
    scratch: &mut Scratch,
    judge: &mut dyn FnMut(&str, &str) -> Verdict,
) -> Result<Scan, ScanError> {
    let found = scan_in_place(version, buf, names, scratch, judge)?;
    buf.truncate(found.length);
    Ok(found)
}

/// [`scan`] of all of `buf`, whose first [`Scan::length`] bytes are the edited request afterwards.
///
/// For a buffer that is used again: one that has been truncated must be zeroed as it grows, which
/// is not nothing beside the scan.
pub fn scan_in_place(
    version: Version,
    buf: &mut [u8],
    names: Option<HaLabelNames<'_>>,
    scratch: &mut Scratch,
    judge: &mut dyn FnMut(&str, &str) -> Verdict,
) -> Result<Scan, ScanError> {
    let length = buf.len();
    if u32::try_from(length).is_err() {
        let problem = Problem::RequestTooLarge { length };
        return Err(ScanError {
            problem,
            field: "request",
            series: None,
            offset: 0,
        });
    }
    let names = names.map(|names| (names.cluster.as_bytes(), names.replica.as_bytes()));
    let mut progress = Progress {
        groups: Groups::new(&mut scratch.tables, length, judge),
        other: Counts::default(),
        one_label: OneLabel::default(),
        metadata: 0,
        series: 0,
        mover: Mover::default(),
        runs: Vec::new(),
        density: Density::default(),
    };
    match version {
        Version::V1 => v1::scan(buf, names, &mut scratch.parts, &mut progress)?,
        Version::V2 => v2::scan(buf, names, &mut scratch.parts, &mut progress)?,
    }
    let Progress {
        groups,
        other,
        one_label,
        metadata,
        mover,
        runs,
        ..
    } = progress;
    let groups = groups.list;
    let kept = mover.finish(buf);
    Ok(Scan {
        groups,
        other,
        one_label,
        metadata,
        modified: kept < length,
        length: kept,
        runs,
    })
}

/// State of a scan between two series.
pub(crate) struct Progress<'s, 'j> {
    pub(crate) groups: Groups<'s, 'j>,
    pub(crate) other: Counts,
    pub(crate) one_label: OneLabel,
    pub(crate) metadata: u64,
    pub(crate) series: u64,
    pub(crate) mover: Mover,
    pub(crate) runs: Vec<Run>,
    pub(crate) density: Density,
}

impl Progress<'_, '_> {
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
            let earliest = found.earliest_ms;
            group.earliest_ms = Some(group.earliest_ms.map_or(earliest, |ms| ms.min(earliest)));
        }
        Some(group.verdict)
    }

    /// The same for a series of one sample, of a known group.
    #[inline]
    pub(crate) fn count_sample(&mut self, group: usize, timestamp: u64) -> Option<Verdict> {
        let group = self.groups.list.get_mut(group)?;
        self.series += 1;
        group.counts.series += 1;
        group.counts.samples += 1;
        let timestamp = timestamp as i64;
        if group
            .earliest_ms
            .is_none_or(|earliest| timestamp < earliest)
        {
            group.earliest_ms = Some(timestamp);
        }
        Some(group.verdict)
    }

    /// Counts a series of no group.
    #[inline]
    pub(crate) fn count_other(&mut self, has: Has, found: &Found) {
        self.series += 1;
        self.other += found.counts();
        self.count_one_label(has, found.samples + found.histograms);
    }

    /// The same for a series of one sample, of no group.
    #[inline]
    pub(crate) fn count_other_sample(&mut self, has: Has) {
        self.series += 1;
        self.other.series += 1;
        self.other.samples += 1;
        self.count_one_label(has, 1);
    }

    #[inline]
    fn count_one_label(&mut self, has: Has, samples: u64) {
        match has {
            Has::Neither => {}
            Has::Cluster => self.one_label.cluster += samples,
            Has::Replica => self.one_label.replica += samples,
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
}

impl Found {
    pub(crate) const NOTHING: Self = Self {
        samples: 0,
        histograms: 0,
        exemplars: 0,
        earliest_ms: i64::MAX,
    };

    #[inline]
    pub(crate) fn sample(&mut self, timestamp: u64) {
        self.samples += 1;
        self.earliest_ms = self.earliest_ms.min(timestamp as i64);
    }

    #[inline]
    pub(crate) fn histogram(&mut self, timestamp: u64) {
        self.histograms += 1;
        self.earliest_ms = self.earliest_ms.min(timestamp as i64);
    }

    #[inline]
    pub(crate) fn exemplar(&mut self) {
        self.exemplars += 1;
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
