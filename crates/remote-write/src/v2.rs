//! Remote write 2.0: labels are references to a table of symbols.

mod read;

use fearless_simd::Simd;

use crate::canonical::{self, Last, LastSample, NO_REFERENCE, SeriesReader, ShortSeries};
use crate::density::Density;
use crate::error::Problem;
use crate::groups::Belongs;
use crate::mover::{Mover, keep_without, write_header};
use crate::progress::{Found, Parts, Progress, Stays};
use crate::symbols::Symbols;
use crate::types::{Has, Verdict};
use crate::window::{find_outside, timed_v2};
use crate::wire::{BYTES, Cursor, Result, Span, write_varint};

use read::{Layout, each_reference};

const TIMESERIES_KEY: u8 = 0x2a;
const TIMESERIES_OF_V1: u32 = 1;
const LABELS_REFS_KEY: u8 = 0x0a;

#[inline(always)]
pub(crate) fn scan<S: Simd>(
    simd: S,
    buf: &mut [u8],
    names: Option<(&[u8], &[u8])>,
    parts: &mut Parts,
    progress: &mut Progress<'_, '_>,
) -> Result<()> {
    parts.symbols.clear();
    let mut outline = Outline::default();
    outline.read_until_series(buf, names, &mut parts.symbols)?;
    let mut pos = outline.pos;
    progress.mover.keep(buf, 0, pos);
    let mut reader = parts.symbols.series_reader(simd);
    let mut last = Last::NONE;
    // What the last series that `last` takes note of belongs to.
    let mut last_belongs = Belongs::Unknown;
    while pos < buf.len() {
        if let Some(reader) = &reader {
            pos = alike_series(buf, pos, reader, &last, last_belongs, progress);
        }
        let start = pos;
        let short = reader
            .as_ref()
            .and_then(|reader| reader.series(buf, start, &mut last));
        if let Some(series) = short {
            last_belongs = short_series(buf, start, &series, &parts.symbols, progress)
                .map_err(|error| error.in_series(progress.series))?;
            if last_belongs != Belongs::Unknown {
                pos = series.end;
                continue;
            }
        }
        if outline.read_rest(buf, start, names, &mut parts.symbols)? {
            reader = parts.symbols.series_reader(simd);
            (last, last_belongs) = (Last::NONE, Belongs::Unknown);
        }
        let mut request = Cursor {
            bytes: buf,
            pos,
            field: "Request",
        };
        let (number, wire_type) = request.key()?;
        if number != 5 {
            request.skip(wire_type)?;
            pos = request.pos;
            progress.mover.keep(buf, start, pos);
            continue;
        }
        progress.density.field(start, "Request.timeseries")?;
        let body = request.nested("TimeSeries")?;
        let (content, end) = (body.pos, request.pos);
        let whole = Span::new(start, end);
        series(buf, whole, content, parts, reader.as_ref(), progress)
            .map_err(|error| error.in_series(progress.series))?;
        pos = end;
    }
    Ok(())
}

/// Reads the symbols, and the outlines of all other fields.
///
/// Symbols may come after series, but no known sender writes them there: so series are read with the
/// symbols before them, and the rest of the request is looked through when one of them is not as usual,
/// as is one that refers to a symbol that is still to come.
#[derive(Default)]
struct Outline {
    /// Up to where the request has been read.
    pos: usize,
    density: Density,
    is_whole: bool,
}

impl Outline {
    /// Reads what comes before the first series.
    fn read_until_series(
        &mut self,
        buf: &[u8],
        names: Option<(&[u8], &[u8])>,
        symbols: &mut Symbols,
    ) -> Result<()> {
        self.read(buf, names, symbols, true)?;
        symbols.finish(buf, false);
        Ok(())
    }

    /// Reads all that comes from the series at `pos` on, if that has not been done yet; answers whether
    /// it has more symbols.
    #[inline(never)]
    fn read_rest(
        &mut self,
        buf: &[u8],
        pos: usize,
        names: Option<(&[u8], &[u8])>,
        symbols: &mut Symbols,
    ) -> Result<bool> {
        if self.is_whole {
            return Ok(false);
        }
        self.is_whole = true;
        self.pos = pos;
        let before = symbols.len();
        self.read(buf, names, symbols, false)?;
        if symbols.len() == 0 {
            let request = Cursor {
                bytes: buf,
                pos,
                field: "Request",
            };
            return request.fail(Problem::NoSymbols);
        }
        let has_more = symbols.len() > before;
        if has_more {
            symbols.finish(buf, true);
        }
        Ok(has_more)
    }

    fn read(
        &mut self,
        buf: &[u8],
        names: Option<(&[u8], &[u8])>,
        symbols: &mut Symbols,
        stops_at_series: bool,
    ) -> Result<()> {
        let mut request = Cursor {
            bytes: buf,
            pos: self.pos,
            field: "Request",
        };
        while !request.is_at_end() {
            self.pos = request.pos;
            if !stops_at_series && let Some(end) = canonical::short_series(buf, request.pos) {
                request.pos = end;
                continue;
            }
            let start = request.pos;
            let (number, wire_type) = request.key()?;
            if number == 5 && stops_at_series {
                return Ok(());
            }
            self.density.field(start, "Request")?;
            match number {
                4 => {
                    request.expect(wire_type, BYTES)?;
                    let prefix = request.pos;
                    let text = request.nested("Request.symbols")?;
                    if symbols.len() == 0 && !text.is_at_end() {
                        return text.fail(Problem::FirstSymbolNotEmpty);
                    }
                    symbols.push(prefix, text.rest(), names);
                }
                5 => {
                    request.expect(wire_type, BYTES)?;
                    request.nested("TimeSeries")?;
                }
                TIMESERIES_OF_V1 => {
                    request.pos = start;
                    return request.fail(Problem::OtherVersion {
                        found: "1.0",
                        expected: "2.0",
                    });
                }
                _ => request.skip(wire_type)?,
            }
        }
        self.pos = request.pos;
        Ok(())
    }
}

/// Reads series from `pos` on, each like the `last` one, and moves, strips or leaves them out. Answers
/// where it stopped: at another one, or at once if they are not simply all kept or all left out.
#[inline(always)]
fn alike_series<S: Simd>(
    buf: &mut [u8],
    pos: usize,
    reader: &SeriesReader<S>,
    last: &Last,
    belongs: Belongs,
    progress: &mut Progress<'_, '_>,
) -> usize {
    let Some(mut run) = progress.begin_alike(belongs) else {
        return pos;
    };
    let (mut sample, mut start) = (LastSample::NONE, pos);
    while let Some((end, labels, is_first)) = reader.alike_series(buf, start, last, &mut sample) {
        let is_kept = match is_first {
            true => progress.count_first_alike(&mut run, sample.timestamp),
            false => progress.count_alike(&mut run),
        };
        if is_kept {
            keep_stripped(buf, (start, end), labels.cut, &mut progress.mover);
        }
        start = end;
    }
    progress.end_alike(&run);
    start
}

/// Keeps a short series, without what is cut out of its run.
#[inline(always)]
fn keep_stripped(buf: &mut [u8], (start, end): (usize, usize), cut: Span, mover: &mut Mover) {
    if cut.is_empty() {
        mover.keep(buf, start, end);
        return;
    }
    // Both lengths take one byte, and still do when they become smaller.
    buf[start + 1] -= cut.len() as u8;
    buf[start + 3] -= cut.len() as u8;
    mover.keep(buf, start, cut.start as usize);
    mover.keep(buf, cut.end as usize, end);
}

/// Moves, strips or leaves out a series. Answers what it belongs to; unknown, and nothing is done, if it
/// lies outside of the group's window.
#[inline(always)]
fn short_series(
    buf: &mut [u8],
    start: usize,
    series: &ShortSeries,
    symbols: &Symbols,
    progress: &mut Progress<'_, '_>,
) -> Result<Belongs> {
    let end = series.end;
    let labels = &series.labels;
    let references = (labels.cluster, labels.replica);
    let group = progress
        .groups
        .of_references(references, symbols, buf, start)?;
    let Some(group) = group else {
        progress.count_other_sample(has(buf, symbols, references), series.timestamp);
        progress.mover.keep(buf, start, end);
        return Ok(Belongs::ToNone);
    };
    let Some(stays) = progress.count_sample(group, series.timestamp) else {
        return Ok(Belongs::Unknown);
    };
    if stays != Stays::No {
        let before = progress.mover.position();
        keep_stripped(buf, (start, end), labels.cut, &mut progress.mover);
        if stays == Stays::ForNow {
            progress.note_run(group, before);
        }
    }
    Ok(Belongs::To(group))
}

/// Reads any legal series, whose field is `whole` and whose content starts at `content`, and
/// moves, strips or leaves it out.
#[inline(never)]
fn series<S: Simd>(
    buf: &mut [u8],
    whole: Span,
    content: usize,
    parts: &mut Parts,
    reader: Option<&SeriesReader<S>>,
    progress: &mut Progress<'_, '_>,
) -> Result<()> {
    let (start, end) = (whole.start as usize, whole.end as usize);
    let body = Cursor {
        bytes: &buf[..end],
        pos: content,
        field: "TimeSeries",
    };
    let (labels, found) =
        read::series(buf, body, &parts.symbols, &mut parts.cuts, reader, progress)?;
    let references = [labels.cluster, labels.replica].map(|value| value.unwrap_or(NO_REFERENCE));
    let references = references.into();
    let group = progress
        .groups
        .of_references(references, &parts.symbols, buf, start)?;
    let Some(group) = group else {
        let has = has(buf, &parts.symbols, references);
        progress.count_other(has, &found);
        progress.mover.keep(buf, start, end);
        return Ok(());
    };
    match progress.count(group, &found) {
        None | Some(Verdict::Drop) => {}
        Some(verdict) => {
            let body = Cursor {
                bytes: &buf[..end],
                pos: content,
                field: "TimeSeries",
            };
            parts.outside.clear();
            if let Verdict::Within(window) = verdict
                && !progress.is_all_within(window, &found)
            {
                let mut within = Found::nothing(&progress.ages);
                find_outside(body, timed_v2, window, &mut parts.outside, &mut within)?;
                if !progress.count_within(group, &found, &within) {
                    return Ok(());
                }
            }
            let before = progress.mover.position();
            if !parts.outside.is_empty() {
                rebuild(body, parts);
                progress.mover.put(buf, &parts.run);
                progress.mover.put(buf, &parts.rebuilt);
            } else if labels.replica.is_none() {
                progress.mover.keep(buf, start, end);
            } else if let Layout::OneRun { field, run } = labels.layout {
                strip(
                    buf,
                    end,
                    content,
                    (field as usize, run),
                    &parts.cuts,
                    progress,
                );
            } else {
                rebuild(body, parts);
                progress.mover.put(buf, &parts.run);
                progress.mover.put(buf, &parts.rebuilt);
            }
            if verdict == Verdict::Later {
                progress.note_run(group, before);
            }
        }
    }
    Ok(())
}

/// What a series of no group has of cluster and replica, given by their values' references.
#[inline]
fn has(buf: &[u8], symbols: &Symbols, (cluster, replica): (u32, u32)) -> Has {
    if (cluster, replica) == (NO_REFERENCE, NO_REFERENCE) {
        return Has::Neither;
    }
    // There is no text of a reference out of range.
    let is_given = |reference| !symbols.text(buf, reference).is_empty();
    Has::of(is_given(cluster), is_given(replica))
}

/// Keeps a series without the pairs `cuts` of its only run, given as the start of its field and
/// its content.
#[inline]
fn strip(
    buf: &mut [u8],
    end: usize,
    content: usize,
    (field, run): (usize, Span),
    cuts: &[Span],
    progress: &mut Progress<'_, '_>,
) {
    let cut: usize = cuts.iter().map(|cut| cut.len()).sum();
    let run_header = write_header(buf, LABELS_REFS_KEY, run.start as usize, run.len() - cut);
    // The inner header may have become shorter as well.
    let length = end - content - cut - (run_header - field);
    let header = write_header(buf, TIMESERIES_KEY, content, length);
    progress.mover.keep(buf, header, field);
    keep_without(&mut progress.mover, buf, run_header, end, cuts);
}

/// Writes a series whose references are scattered, or of which fields are `parts.outside`, into
/// `parts.rebuilt`, without those, with the references that are left in one run where the first of
/// them was, and its header into `parts.run`. One run is never longer than several.
fn rebuild(mut body: Cursor<'_>, parts: &mut Parts) {
    let Parts {
        symbols,
        outside,
        rebuilt,
        run,
        ..
    } = parts;
    let mut outside = outside.iter().peekable();
    rebuilt.clear();
    run.clear();
    let names = symbols.label_references();
    let mut name = None;
    // The series has been read before, so nothing fails here.
    let _ = each_reference(body, &mut |_, reference| {
        match name.take() {
            None => name = Some(reference),
            Some(name) if names.is_replica(name) => {}
            Some(name) => {
                write_varint(u64::from(name), run);
                write_varint(u64::from(reference), run);
            }
        }
        Ok(())
    });
    let mut is_written = false;
    while !body.is_at_end() {
        let start = body.pos;
        let Ok((number, wire_type)) = body.key() else {
            break;
        };
        if body.skip(wire_type).is_err() {
            break;
        }
        if outside.next_if(|cut| cut.start as usize == start).is_some() {
            continue;
        }
        if number != 1 {
            rebuilt.extend_from_slice(body.bytes.get(start..body.pos).unwrap_or_default());
        } else if !is_written {
            is_written = true;
            if !run.is_empty() {
                rebuilt.push(LABELS_REFS_KEY);
                write_varint(run.len() as u64, rebuilt);
                rebuilt.extend_from_slice(run);
            }
        }
    }
    run.clear();
    run.push(TIMESERIES_KEY);
    write_varint(rebuilt.len() as u64, run);
}
