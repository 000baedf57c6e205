//! [`crate::scan`] by the book: decode everything, filter, strip, encode. The scanner must agree.

use std::collections::HashMap;

use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{DecodeError, Message};

use super::{v1, v2};
use crate::{
    AGE_BOUNDS_S, Ages, Counts, Decides, Group, HaRule, Mixed, OneLabel, Problem, Scratch, Verdict,
    Version, Window, scan, scan_in_place,
};

/// What [`crate::Scan`] and the edited request should say.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// The edited request, as prost encodes it.
    pub output: Vec<u8>,
    /// As in [`crate::Scan`].
    pub groups: Vec<Group>,
    /// As in [`crate::Scan`].
    pub other: Counts,
    /// As in [`crate::Scan`].
    pub one_label: OneLabel,
    /// As in [`crate::Scan`].
    pub both_labels: u64,
    /// As in [`crate::Scan`].
    pub mixed: Option<Mixed>,
    /// As in [`crate::Scan`].
    pub metadata: u64,
    /// Timestamps of the samples and histograms of [`Reference::output`].
    pub times: Vec<i64>,
    /// Why a request that prost accepts must be refused.
    pub illegal: Option<&'static str>,
}

/// Decodes, filters, strips and encodes. [`Verdict::Later`] counts as [`Verdict::Keep`].
pub fn filter(
    version: Version,
    request: &[u8],
    rule: Option<HaRule<'_>>,
    judge: &mut dyn FnMut(&str, &str) -> Verdict,
) -> Result<Reference, DecodeError> {
    let mut groups = Groups {
        rule,
        list: Vec::new(),
        by_name: HashMap::new(),
        first: None,
        other: Counts::default(),
        one_label: OneLabel::default(),
        both_labels: 0,
        mixed: None,
    };
    let (other_version, why) = match version {
        Version::V1 => (5, "a series of 2.0"),
        Version::V2 => (1, "a series of 1.0"),
    };
    let mut illegal = has_field(request, other_version)?.then_some(why);
    let (output, metadata, times) = match version {
        Version::V1 => {
            let mut request = v1::WriteRequest::decode(request)?;
            request
                .timeseries
                .retain_mut(|series| groups.keep_v1(series, judge));
            let times = request.timeseries.iter().flat_map(times_v1).collect();
            let metadata = request.metadata.len() as u64;
            (request.encode_to_vec(), metadata, times)
        }
        Version::V2 => {
            let mut request = v2::Request::decode(request)?;
            illegal = illegal.or_else(|| illegality(&request));
            let v2::Request {
                symbols,
                timeseries,
            } = &mut request;
            if illegal.is_none() {
                timeseries.retain_mut(|series| groups.keep_v2(series, symbols, judge));
            }
            let times = request.timeseries.iter().flat_map(times_v2).collect();
            (request.encode_to_vec(), 0, times)
        }
    };
    Ok(Reference {
        output,
        groups: groups.list,
        other: groups.other,
        one_label: groups.one_label,
        both_labels: groups.both_labels,
        mixed: groups.mixed,
        metadata,
        times,
        illegal,
    })
}

fn times_v1(series: &v1::TimeSeries) -> impl Iterator<Item = i64> {
    let samples = series.samples.iter().map(|sample| sample.timestamp);
    samples.chain(series.histograms.iter().map(|h| h.timestamp))
}

fn times_v2(series: &v2::TimeSeries) -> impl Iterator<Item = i64> {
    let samples = series.samples.iter().map(|sample| sample.timestamp);
    samples.chain(series.histograms.iter().map(|h| h.timestamp))
}

/// Whether ages, measured from this time, are those of samples with these timestamps.
fn is_age_of(ages: &Ages, now_ms: i64, times: &[i64]) -> bool {
    let mut counts = [0; AGE_BOUNDS_S.len() + 1];
    for time in times {
        let age_ms = now_ms.saturating_sub(*time);
        let is_below = |bound: &&i32| i64::from(**bound) * 1000 < age_ms;
        counts[AGE_BOUNDS_S.iter().filter(is_below).count()] += 1;
    }
    let sum = times.iter().fold(0i64, |sum, time| {
        sum.saturating_add(now_ms.saturating_sub(*time))
    });
    // In another order, what saturates may come to another sum.
    let is_sum = sum == ages.sum_ms() || times.iter().any(|time| time.abs_diff(0) > 1 << 50);
    ages.counts() == counts && is_sum && ages.latest_ms() == times.iter().copied().max()
}

fn has_field(mut message: &[u8], wanted: u32) -> Result<bool, DecodeError> {
    while !message.is_empty() {
        let (number, wire_type) = decode_key(&mut message)?;
        if number == wanted {
            return Ok(true);
        }
        skip_field(wire_type, number, &mut message, DecodeContext::default())?;
    }
    Ok(false)
}

fn illegality(request: &v2::Request) -> Option<&'static str> {
    match request.symbols.first() {
        None if !request.timeseries.is_empty() => return Some("series without symbols"),
        Some(first) if !first.is_empty() => return Some("first symbol not empty"),
        _ => {}
    }
    let symbols = request.symbols.len();
    let is_known = |reference: &u32| (*reference as usize) < symbols;
    for series in &request.timeseries {
        let lists = series
            .exemplars
            .iter()
            .map(|exemplar| &exemplar.labels_refs)
            .chain(std::iter::once(&series.labels_refs));
        for list in lists {
            if list.len() % 2 != 0 {
                return Some("odd number of references");
            }
            if !list.iter().all(is_known) {
                return Some("reference out of range");
            }
        }
        if let Some(metadata) = &series.metadata
            && !(is_known(&metadata.help_ref) && is_known(&metadata.unit_ref))
        {
            return Some("metadata reference out of range");
        }
    }
    None
}

struct Groups<'r> {
    rule: Option<HaRule<'r>>,
    list: Vec<Group>,
    by_name: HashMap<(String, String), usize>,
    /// What the first series is of, where that one decides.
    first: Option<Option<(String, String)>>,
    other: Counts,
    one_label: OneLabel,
    both_labels: u64,
    mixed: Option<Mixed>,
}

type Judge<'j> = dyn FnMut(&str, &str) -> Verdict + 'j;

/// What a series is judged by.
struct Series {
    cluster: Option<String>,
    replica: Option<String>,
    counts: Counts,
    earliest_ms: Option<i64>,
    latest_ms: Option<i64>,
}

impl Series {
    fn pair(&self) -> Option<(String, String)> {
        self.cluster.clone().zip(self.replica.clone())
    }
}

impl Groups<'_> {
    fn keep_v1(&mut self, series: &mut v1::TimeSeries, judge: &mut Judge<'_>) -> bool {
        let last = |name: &str| {
            let label = series.labels.iter().rfind(|label| label.name == name);
            label
                .map(|label| label.value.clone())
                .filter(|value| !value.is_empty())
        };
        let names = self.rule.map(|rule| rule.names);
        let found = Series {
            cluster: names.and_then(|names| last(names.cluster)),
            replica: names.and_then(|names| last(names.replica)),
            counts: Counts {
                series: 1,
                samples: series.samples.len() as u64,
                histograms: series.histograms.len() as u64,
                exemplars: series.exemplars.len() as u64,
            },
            earliest_ms: times_v1(series).min(),
            latest_ms: times_v1(series).max(),
        };
        let Some(pair) = self.decide(&found) else {
            self.count_other(&found);
            return true;
        };
        let (index, verdict) = self.count(pair, &found, judge);
        if let Verdict::Within(window) = verdict {
            cut(window, &mut series.samples, |one| one.timestamp);
            cut(window, &mut series.histograms, |one| one.timestamp);
            cut(window, &mut series.exemplars, |one| one.timestamp);
        }
        let left = [
            series.samples.len(),
            series.histograms.len(),
            series.exemplars.len(),
        ];
        let kept = self.count_left(index, verdict, &found, left);
        if let Some(names) = names {
            series.labels.retain(|label| label.name != names.replica);
        }
        kept
    }

    fn keep_v2(
        &mut self,
        series: &mut v2::TimeSeries,
        symbols: &[String],
        judge: &mut Judge<'_>,
    ) -> bool {
        let pairs = series.labels_refs.as_chunks::<2>().0;
        let last = |name: &str| {
            let pair = pairs.iter().rfind(|pair| symbols[pair[0] as usize] == name);
            pair.map(|pair| symbols[pair[1] as usize].clone())
                .filter(|value| !value.is_empty())
        };
        let names = self.rule.map(|rule| rule.names);
        let found = Series {
            cluster: names.and_then(|names| last(names.cluster)),
            replica: names.and_then(|names| last(names.replica)),
            counts: Counts {
                series: 1,
                samples: series.samples.len() as u64,
                histograms: series.histograms.len() as u64,
                exemplars: series.exemplars.len() as u64,
            },
            earliest_ms: times_v2(series).min(),
            latest_ms: times_v2(series).max(),
        };
        let Some(pair) = self.decide(&found) else {
            self.count_other(&found);
            return true;
        };
        let (index, verdict) = self.count(pair, &found, judge);
        if let Verdict::Within(window) = verdict {
            cut(window, &mut series.samples, |one| one.timestamp);
            cut(window, &mut series.histograms, |one| one.timestamp);
            cut(window, &mut series.exemplars, |one| one.timestamp);
        }
        let left = [
            series.samples.len(),
            series.histograms.len(),
            series.exemplars.len(),
        ];
        let kept = self.count_left(index, verdict, &found, left);
        if let Some(names) = names {
            let left = pairs
                .iter()
                .filter(|pair| symbols[pair[0] as usize] != names.replica);
            series.labels_refs = left.flatten().copied().collect();
        }
        kept
    }

    /// The (cluster, replica) that a series counts for.
    fn decide(&mut self, series: &Series) -> Option<(String, String)> {
        let own = series.pair();
        if self.rule?.decides == Decides::EachSeries {
            return own;
        }
        let first = self.first.get_or_insert_with(|| own.clone());
        if own != *first {
            let text = |label: &Option<String>| label.clone().unwrap_or_default();
            self.mixed.get_or_insert_with(|| {
                Mixed::new(
                    text(&series.cluster).as_bytes(),
                    text(&series.replica).as_bytes(),
                )
            });
        }
        first.clone()
    }

    fn count_other(&mut self, series: &Series) {
        self.other += series.counts;
        let samples = series.counts.samples + series.counts.histograms;
        match (&series.cluster, &series.replica) {
            (Some(_), Some(_)) => self.both_labels += samples,
            (Some(_), None) => self.one_label.cluster += samples,
            (None, Some(_)) => self.one_label.replica += samples,
            (None, None) => {}
        }
    }

    fn count(
        &mut self,
        pair: (String, String),
        series: &Series,
        judge: &mut Judge<'_>,
    ) -> (usize, Verdict) {
        let list = &mut self.list;
        let index = *self
            .by_name
            .entry(pair)
            .or_insert_with_key(|(cluster, replica)| {
                list.push(Group::new(cluster, replica, judge(cluster, replica)));
                list.len() - 1
            });
        let group = &mut list[index];
        group.counts += series.counts;
        let times = group.earliest_ms.into_iter().chain(series.earliest_ms);
        group.earliest_ms = times.min();
        group.latest_ms = group.latest_ms.max(series.latest_ms);
        (index, group.verdict)
    }

    /// Counts what a window left out: of so many samples, histograms and exemplars the series
    /// consists now. Answers whether it stays.
    fn count_left(
        &mut self,
        group: usize,
        verdict: Verdict,
        series: &Series,
        [samples, histograms, exemplars]: [usize; 3],
    ) -> bool {
        let Verdict::Within(_) = verdict else {
            return verdict != Verdict::Drop;
        };
        let is_left = samples + histograms + exemplars > 0;
        self.list[group].outside += Counts {
            series: u64::from(!is_left),
            samples: series.counts.samples - samples as u64,
            histograms: series.counts.histograms - histograms as u64,
            exemplars: series.counts.exemplars - exemplars as u64,
        };
        is_left
    }
}

fn cut<T>(window: Window, items: &mut Vec<T>, time_of: fn(&T) -> i64) {
    items.retain(|item| window.contains(time_of(item)));
}

/// Runs the scanner and the reference over the same bytes, whatever they are, and answers how
/// they disagree. Agreement is what the documentation of [`crate::scan`] promises.
pub fn disagreement(
    version: Version,
    request: &[u8],
    rule: HaRule<'_>,
    scratch: &mut Scratch,
    verdict: &dyn Fn(&str, &str) -> Verdict,
) -> Option<String> {
    let mut ours = request.to_vec();
    let scanned = scan(
        version,
        &mut ours,
        Some(rule),
        scratch,
        &mut |cluster, replica| verdict(cluster, replica),
    );
    let expected = filter(version, request, Some(rule), &mut |cluster, replica| {
        verdict(cluster, replica)
    });
    let mut untouched = request.to_vec();
    let passed = scan(version, &mut untouched, None, scratch, &mut |_, _| {
        Verdict::Drop
    });
    if let Ok(passed) = &passed
        && (untouched != request || passed.modified || !passed.groups.is_empty())
    {
        return Some(format!("pass-through changed the request: {passed:?}"));
    }
    let scanned = match (scanned, &expected) {
        (Err(_), Err(_)) => return None,
        (Err(error), Ok(expected)) => {
            return (expected.illegal.is_none() && !is_stricter(error.problem))
                .then(|| format!("prost accepts, the scanner says: {error}"));
        }
        (Ok(scanned), _) => scanned,
    };
    match &passed {
        Err(error) => return Some(format!("pass-through alone refuses: {error}")),
        Ok(passed) if passed.total() != scanned.total() => {
            return Some(format!(
                "pass-through counts {passed:?}, the scan {scanned:?}"
            ));
        }
        Ok(_) => {}
    }
    if ours.len() > request.len() || scanned.modified != (ours != request) {
        return Some(format!(
            "{} bytes became {}, {scanned:?}",
            request.len(),
            ours.len()
        ));
    }
    let mut in_place = request.to_vec();
    let again = scan_in_place(
        version,
        &mut in_place,
        Some(rule),
        scratch,
        &mut |cluster, replica| verdict(cluster, replica),
    );
    if again.is_ok_and(|again| again.left_intact()) && in_place != request {
        return Some(format!("not left intact: {in_place:02x?}"));
    }
    let mut later = request.to_vec();
    let discarded = scan(
        version,
        &mut later,
        Some(rule),
        scratch,
        &mut |cluster, replica| match verdict(cluster, replica) {
            window @ Verdict::Within(_) => window,
            _ => Verdict::Later,
        },
    )
    .map(|mut scan| {
        let dropped: Vec<usize> = (0..scan.groups.len())
            .filter(|&index| scanned.groups[index].verdict == Verdict::Drop)
            .collect();
        scan.discard(&mut later, &dropped);
        (scan.total(), scan.kept_series(), scan.modified)
    });
    if discarded != Ok((scanned.total(), scanned.kept_series(), scanned.modified)) || later != ours
    {
        return Some(format!(
            "deciding later differs: {discarded:?}, {scanned:?}"
        ));
    }
    match expected {
        Err(error) if error.to_string().contains("UTF-8") => None,
        Err(error) => Some(format!("the scanner accepts, prost says: {error}")),
        Ok(Reference {
            illegal: Some(why), ..
        }) => Some(format!("the scanner accepts: {why}")),
        Ok(expected) => {
            let output = filter(version, &ours, None, &mut |_, _| Verdict::Keep);
            let is_same = output.is_ok_and(|output| output.output == expected.output)
                && (&expected.groups, expected.other, expected.metadata)
                    == (&scanned.groups, scanned.other, scanned.metadata)
                && expected.one_label == scanned.one_label
                && is_age_of(&scanned.ages, scratch.now_ms, &expected.times)
                && (expected.both_labels, &expected.mixed) == (scanned.both_labels, &scanned.mixed);
            (!is_same).then(|| format!("expected {expected:?}, got {scanned:?} and {ours:02x?}"))
        }
    }
}

/// Where the scanner refuses on purpose what prost accepts.
fn is_stricter(problem: Problem) -> bool {
    matches!(
        problem,
        Problem::UnsupportedWireType { wire_type: 3 | 4 }
            | Problem::ReferenceTooLarge { .. }
            | Problem::TooManyGroups { .. }
    )
}
