//! Remote write 1.0: labels are in the series, as text.

use fearless_simd::Simd;

use crate::canonical::{self, Earlier, HaValues, LastSample, Lengths, Names};
use crate::error::Problem;
use crate::groups::{Belongs, Pair};
use crate::mover::{Mover, keep_without, write_header};
use crate::progress::{Found, Parts, Progress, Stays};
use crate::schema::{
    self, EXEMPLAR_V1, HISTOGRAM_TIMESTAMP, HISTOGRAM_V1, METRIC_METADATA, NOTHING,
    SAMPLE_TIMESTAMP, SAMPLE_V1,
};
use crate::types::{Has, Verdict};
use crate::window::{find_outside, timed_v1};
use crate::wire::{BYTES, Cursor, Result, Span};

const TIMESERIES_KEY: u8 = 0x0a;
const TIMESERIES_OF_V2: u32 = 5;

#[inline(always)]
pub(crate) fn scan<S: Simd>(
    simd: S,
    buf: &mut [u8],
    names: Option<(&[u8], &[u8])>,
    parts: &mut Parts,
    progress: &mut Progress<'_, '_>,
) -> Result<()> {
    let names = Names::new(names);
    let mut taught = (Lengths::default(), Earlier::default());
    let mut pos = 0;
    while pos < buf.len() {
        if taught.1.expects() {
            pos = alike_series(simd, buf, pos, &names, &mut taught.1, progress);
        }
        let start = pos;
        if let Some((content, end)) = canonical::series_v1(buf, start) {
            let whole = (Span::new(start, end), content);
            if !short_series(simd, buf, whole, &names, &mut taught, progress) {
                series(buf, Span::new(start, end), content, &names, parts, progress)
                    .map_err(|error| error.in_series(progress.series))?;
            }
            pos = end;
            continue;
        }
        let mut request = Cursor {
            bytes: buf,
            pos,
            field: "WriteRequest",
        };
        let (number, wire_type) = request.key()?;
        match number {
            1 => {
                request.expect(wire_type, BYTES)?;
                progress.density.field(start, "WriteRequest.timeseries")?;
                let body = request.nested("TimeSeries")?;
                let (content, end) = (body.pos, request.pos);
                series(buf, Span::new(start, end), content, &names, parts, progress)
                    .map_err(|error| error.in_series(progress.series))?;
                pos = end;
            }
            3 => {
                request.expect(wire_type, BYTES)?;
                progress.density.field(start, "WriteRequest.metadata")?;
                schema::check(&METRIC_METADATA, request.nested("MetricMetadata")?, NOTHING)?;
                pos = request.pos;
                progress.metadata += 1;
                progress.mover.keep(buf, start, pos);
            }
            // Receivers that know both versions would store what was never deduplicated.
            TIMESERIES_OF_V2 => {
                request.pos = start;
                return request.fail(Problem::OtherVersion {
                    found: "2.0",
                    expected: "1.0",
                });
            }
            _ => {
                progress.density.field(start, request.field)?;
                request.skip(wire_type)?;
                pos = request.pos;
                progress.mover.keep(buf, start, pos);
            }
        }
    }
    Ok(())
}

/// Reads series from `pos` on, each with the labels of the earlier one but for those that are expected
/// to differ, and one sample, and moves, strips or leaves them out. Answers where it stopped: at another
/// one, or at once if they are not simply all kept or all left out.
#[inline(always)]
fn alike_series<S: Simd>(
    simd: S,
    buf: &mut [u8],
    pos: usize,
    names: &Names<'_>,
    earlier: &mut Earlier,
    progress: &mut Progress<'_, '_>,
) -> usize {
    let Some(mut run) = progress.begin_alike(earlier.belongs) else {
        return pos;
    };
    let (mut sample, mut start) = (LastSample::NONE, pos);
    while let Some((content, end)) = canonical::series_v1(buf, start)
        && let Some((stopped, cut)) = earlier.repeated_as_expected(simd, buf, content, names)
        && let Some((length, is_first)) = sample.read(buf, stopped, end)
        && stopped + length == end
    {
        let is_kept = match is_first {
            true => progress.count_first_alike(&mut run, sample.timestamp),
            false => progress.count_alike(&mut run),
        };
        if is_kept {
            keep_stripped(buf, (start, content, end), cut, &mut progress.mover);
        }
        start = end;
    }
    if progress.end_alike(&run) {
        earlier.were_as_expected();
    }
    start
}

/// Keeps a series, without what is cut out of it.
#[inline(always)]
fn keep_stripped(
    buf: &mut [u8],
    (start, content, end): (usize, usize, usize),
    cut: Span,
    mover: &mut Mover,
) {
    if cut.is_empty() {
        mover.keep(buf, start, end);
        return;
    }
    let header = write_header(buf, TIMESERIES_KEY, content, end - content - cut.len());
    mover.keep(buf, header, cut.start as usize);
    mover.keep(buf, cut.end as usize, end);
}

/// Reads a series of usual labels and then one sample, which belongs to the same group as the one
/// before, or to none, and moves, strips or leaves it out. Answers false, and does nothing, for any
/// other.
#[inline(always)]
fn short_series<S: Simd>(
    simd: S,
    buf: &mut [u8],
    (whole, content): (Span, usize),
    names: &Names<'_>,
    (lengths, earlier): &mut (Lengths, Earlier),
    progress: &mut Progress<'_, '_>,
) -> bool {
    let (start, end) = (whole.start as usize, whole.end as usize);
    let mut values = HaValues::default();
    let repeated = earlier.repeated(simd, buf, content, end, names, &mut values);
    let stopped = match repeated {
        Some(stopped) => stopped,
        None => {
            values = HaValues::default();
            canonical::labels(buf, content, end, names, lengths, &mut values)
        }
    };
    let timestamp = match canonical::sample(buf, stopped, end) {
        Some((timestamp, length)) if stopped + length == end => timestamp,
        _ => return false,
    };
    let (cluster, replica) = (values.cluster.of(buf), values.replica.of(buf));
    let belongs = match repeated {
        Some(_) => earlier.belongs,
        None => progress.groups.at_sight_of_text(cluster, replica),
    };
    if earlier.is_outdated(repeated.is_some()) {
        earlier.replace(buf, Span::new(content, stopped), &values, belongs);
    }
    let group = match belongs {
        Belongs::To(group) => group,
        Belongs::ToNone => {
            let has = Has::of(!cluster.is_empty(), !replica.is_empty());
            progress.count_other_sample(has, timestamp);
            progress.mover.keep(buf, start, end);
            return true;
        }
        Belongs::Unknown => return false,
    };
    let Some(stays) = progress.count_sample(group, timestamp) else {
        return false;
    };
    if stays != Stays::No {
        let before = progress.mover.position();
        keep_stripped(buf, (start, content, end), values.cut, &mut progress.mover);
        if stays == Stays::ForNow {
            progress.note_run(group, before);
        }
    }
    true
}

/// Reads any legal series, whose field is `whole` and whose content starts at `content`, and
/// moves, strips or leaves it out.
#[inline(never)]
fn series(
    buf: &mut [u8],
    whole: Span,
    content: usize,
    names: &Names<'_>,
    parts: &mut Parts,
    progress: &mut Progress<'_, '_>,
) -> Result<()> {
    let (start, end) = (whole.start as usize, whole.end as usize);
    let body = Cursor {
        bytes: &buf[..end],
        pos: content,
        field: "TimeSeries",
    };
    parts.cuts.clear();
    let (values, found) = read(buf, body, names, &mut parts.cuts, progress)?;
    let (cluster, replica) = (values.cluster.of(buf), values.replica.of(buf));
    let group = progress.groups.of_text(Pair {
        cluster,
        replica,
        offset: start,
    })?;
    let Some(group) = group else {
        let has = Has::of(!cluster.is_empty(), !replica.is_empty());
        progress.count_other(has, &found);
        progress.mover.keep(buf, start, end);
        return Ok(());
    };
    match progress.count(group, &found) {
        None | Some(Verdict::Drop) => {}
        Some(verdict) => {
            if let Verdict::Within(window) = verdict
                && !progress.is_all_within(window, &found)
            {
                parts.outside.clear();
                let body = Cursor {
                    bytes: &buf[..end],
                    pos: content,
                    field: "TimeSeries",
                };
                let mut within = Found::nothing(&progress.ages);
                find_outside(body, timed_v1, window, &mut parts.outside, &mut within)?;
                if !progress.count_within(group, &found, &within) {
                    return Ok(());
                }
                parts.cuts.append(&mut parts.outside);
                parts.cuts.sort_unstable_by_key(|cut| cut.start);
            }
            let before = progress.mover.position();
            if parts.cuts.is_empty() {
                progress.mover.keep(buf, start, end);
            } else {
                let cut: usize = parts.cuts.iter().map(|cut| cut.len()).sum();
                let header = write_header(buf, TIMESERIES_KEY, content, end - content - cut);
                keep_without(&mut progress.mover, buf, header, end, &parts.cuts);
            }
            if verdict == Verdict::Later {
                progress.note_run(group, before);
            }
        }
    }
    Ok(())
}

/// Reads the content of one series of `request`.
fn read(
    request: &[u8],
    mut body: Cursor<'_>,
    names: &Names<'_>,
    cuts: &mut Vec<Span>,
    progress: &mut Progress<'_, '_>,
) -> Result<(HaValues, Found)> {
    let mut values = HaValues::default();
    let mut found = Found::nothing(&progress.ages);
    let end = body.bytes.len();
    let mut lengths = Lengths::default();
    loop {
        let cut = values.cut;
        body.pos = canonical::labels(request, body.pos, end, names, &mut lengths, &mut values);
        if values.cut != cut {
            cuts.push(values.cut);
        }
        if body.is_at_end() {
            return Ok((values, found));
        }
        if let Some((timestamp, length)) = canonical::sample(request, body.pos, end) {
            found.sample(timestamp);
            body.pos += length;
        } else {
            progress.density.field(body.pos, body.field)?;
            read_field(&mut body, names, &mut values, &mut found, cuts)?;
        }
    }
}

/// Reads any legal field.
fn read_field(
    body: &mut Cursor<'_>,
    names: &Names<'_>,
    values: &mut HaValues,
    found: &mut Found,
    cuts: &mut Vec<Span>,
) -> Result<()> {
    let start = body.pos;
    let (number, wire_type) = body.key()?;
    if !matches!(number, 1..=4) {
        return body.skip(wire_type);
    }
    body.expect(wire_type, BYTES)?;
    match number {
        1 => {
            let (name, value) = label(body.nested("Label")?)?;
            let name = name.of(body.bytes);
            if names.cluster.is(name) {
                values.cluster = value;
            }
            if names.replica.is(name) {
                values.replica = value;
                values.cut = Span::new(start, body.pos);
                cuts.push(values.cut);
            }
        }
        2 => found.sample(schema::check(
            &SAMPLE_V1,
            body.nested("Sample")?,
            SAMPLE_TIMESTAMP,
        )?),
        3 => {
            schema::check(&EXEMPLAR_V1, body.nested("Exemplar")?, NOTHING)?;
            found.exemplar();
        }
        _ => {
            let histogram = body.nested("Histogram")?;
            found.histogram(schema::check(
                &HISTOGRAM_V1,
                histogram,
                HISTOGRAM_TIMESTAMP,
            )?);
        }
    }
    Ok(())
}

/// Any legal label: fields in any order, repeated (the last wins), absent, or unknown.
fn label(mut message: Cursor<'_>) -> Result<(Span, Span)> {
    let (mut name, mut value) = (Span::default(), Span::default());
    while !message.is_at_end() {
        let (number, wire_type) = message.key()?;
        let (target, field) = match number {
            1 => (&mut name, "Label.name"),
            2 => (&mut value, "Label.value"),
            _ => {
                message.skip(wire_type)?;
                continue;
            }
        };
        message.field = field;
        message.expect(wire_type, BYTES)?;
        let text = message.nested(field)?;
        *target = Span::new(text.pos, message.pos);
        message.field = "Label";
    }
    Ok((name, value))
}
