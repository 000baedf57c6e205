//! The scan of a request of either version, and what it found.

use fearless_simd::{Level, dispatch};

use crate::ages::Ages;
use crate::density::Density;
use crate::error::{Problem, ScanError};
use crate::groups::{GroupTables, Groups, Run};
use crate::media::Version;
use crate::mover::Mover;
use crate::progress::{Parts, Progress};
use crate::types::{Counts, Decides, Group, HaRule, Mixed, OneLabel, Verdict};
use crate::wire::Span;
use crate::{v1, v2};

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// In the order of their first series.
    pub groups: Vec<Group>,
    /// Series of no group: those without both HA labels; or all, where the first series decides and
    /// has not both. Kept as they are.
    pub other: Counts,
    /// Samples and histograms of [`Scan::other`] whose series carry one of the two labels.
    pub one_label: OneLabel,
    /// Samples and histograms of [`Scan::other`] whose series carry both.
    pub both_labels: u64,
    /// Where the first series decides: the first that is of another (cluster, replica) than that
    /// one, or of one where that one is of none, or of none where that one is of one.
    pub mixed: Option<Mixed>,
    /// 1.0 metadata entries. Always 0 for 2.0, where metadata belongs to its series.
    pub metadata: u64,
    /// Whether the request differs from what came in. If not, its compressed form is still good.
    pub modified: bool,
    /// Bytes of the edited request.
    pub length: usize,
    /// Ages of the samples and histograms that were not left out when they were read, measured from
    /// [`Scratch::now_ms`]. Those of groups with [`Verdict::Later`] are among them.
    pub ages: Ages,
    /// Some of what is kept was moved over what is not.
    has_moved: bool,
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
        let mixed = self.mixed.as_ref().map_or(0, |mixed| {
            mixed.cluster.capacity() + mixed.replica.capacity()
        });
        text + mixed
            + size_of::<Group>() * self.groups.capacity()
            + size_of::<Run>() * self.runs.capacity()
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
        for group in &self.groups {
            dropped += match group.verdict {
                Verdict::Drop => group.counts,
                _ => group.outside,
            };
        }
        dropped
    }

    /// What lies outside of windows, and is left out.
    pub fn outside(&self) -> Counts {
        let mut outside = Counts::default();
        for group in &self.groups {
            outside += group.outside;
        }
        outside
    }

    /// Series that are left, by the verdicts as they stand.
    pub fn kept_series(&self) -> u64 {
        self.total().series - self.dropped().series
    }

    /// Whether the buffer of [`scan_in_place`] still has the request as it came in, all of it: so it is
    /// if every group was dropped, and nothing that is kept came after what is not.
    pub fn left_intact(&self) -> bool {
        let is_dropped = |group: &Group| group.verdict == Verdict::Drop;
        !self.has_moved && self.groups.iter().all(is_dropped)
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
        // Their headers were written while they were kept.
        self.has_moved |= !self.runs.is_empty();
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
        let (kept, has_moved) = mover.finish(buf);
        self.has_moved |= has_moved;
        self.modified |= kept < length;
        self.length = kept;
    }
}

/// Memory that scans reuse, one at a time.
#[derive(Default)]
pub struct Scratch {
    pub(crate) tables: GroupTables,
    pub(crate) parts: Parts,
    /// The time that [`Scan::ages`] are measured from, Unix ms.
    pub now_ms: i64,
}

impl Scratch {
    /// Bytes of heap memory that wait for the next scan.
    pub fn allocated_bytes(&self) -> usize {
        self.tables.allocated_bytes()
            + self.parts.symbols.allocated_bytes()
            + size_of::<Span>() * (self.parts.cuts.capacity() + self.parts.outside.capacity())
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
/// A series that carries both labels with non-empty values (of a repeated label the last value
/// counts) is of a (cluster, replica). With [`Decides::EachSeries`](crate::Decides::EachSeries) it
/// belongs to the group of those. With [`Decides::FirstSeries`](crate::Decides::FirstSeries) all
/// series belong to the group of the first, whatever they carry, or to none if that one does.
/// `judge` is called once for each group, when its first series is met. Kept series of a group lose
/// every replica label and what lies outside of a window, dropped ones are left out, as are those
/// of which nothing lies within the window, and those whose cluster or replica is not
/// UTF-8 (until one is that decides for the others): they are one group with a [`Group::problem`],
/// which is not judged. The rest, and every other field in its order, stays byte for byte. The output
/// is never longer than the input. Without a `rule` the request is checked and counted, not changed.
///
/// # What is refused
///
/// Every byte of the request is read, inside histograms and exemplars too, and of dropped series as
/// well. What prost refuses is refused, with one exception: strings are not checked for UTF-8. What
/// prost accepts is accepted, except for:
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
    rule: Option<HaRule<'_>>,
    scratch: &mut Scratch,
    judge: &mut dyn FnMut(&str, &str) -> Verdict,
) -> Result<Scan, ScanError> {
    let found = scan_in_place(version, buf, rule, scratch, judge)?;
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
    rule: Option<HaRule<'_>>,
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
    let names = rule.map(|rule| (rule.names.cluster.as_bytes(), rule.names.replica.as_bytes()));
    let decides = rule.map_or(Decides::EachSeries, |rule| rule.decides);
    let mut progress = Progress {
        groups: Groups::new(&mut scratch.tables, length, decides, judge),
        other: Counts::default(),
        one_label: OneLabel::default(),
        both_labels: 0,
        metadata: 0,
        series: 0,
        mover: Mover::default(),
        runs: Vec::new(),
        density: Density::default(),
        ages: Ages::at(scratch.now_ms),
        last_seen: None,
    };
    let parts = &mut scratch.parts;
    dispatch!(Level::new(), simd => match version {
        Version::V1 => v1::scan(simd, buf, names, parts, &mut progress),
        Version::V2 => v2::scan(simd, buf, names, parts, &mut progress),
    })?;
    let Progress {
        groups,
        other,
        one_label,
        both_labels,
        metadata,
        mover,
        runs,
        ages,
        ..
    } = progress;
    let Groups {
        list: groups,
        mixed,
        ..
    } = groups;
    let (kept, has_moved) = mover.finish(buf);
    Ok(Scan {
        groups,
        other,
        one_label,
        both_labels,
        mixed,
        metadata,
        modified: kept < length,
        length: kept,
        ages,
        has_moved,
        runs,
    })
}
