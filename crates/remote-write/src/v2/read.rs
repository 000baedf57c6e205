//! Any legal 2.0 series.

use fearless_simd::Simd;

use crate::canonical::{self, NO_REFERENCE, SeriesReader};
use crate::error::Problem;
use crate::progress::{Found, Progress};
use crate::schema::{
    self, EXEMPLAR_V2, HISTOGRAM_TIMESTAMP, HISTOGRAM_V2, SAMPLE_TIMESTAMP, SAMPLE_V2,
};
use crate::symbols::{LabelReferences, Symbols};
use crate::wire::{BYTES, Cursor, Result, Span, VARINT};

/// How a series holds its references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    NoRun,
    /// In one packed run of whole pairs, as every known sender writes them: where the field
    /// starts, and its content.
    OneRun {
        field: u32,
        run: Span,
    },
    /// Not packed, or in several runs.
    Scattered,
}

pub(super) struct Labels<'a> {
    names: LabelReferences<'a>,
    /// Number of symbols: a reference must be less.
    symbols: usize,
    /// References to the values of the HA labels.
    pub(super) cluster: Option<u32>,
    pub(super) replica: Option<u32>,
    pub(super) layout: Layout,
    /// Replica pairs, only with [`Layout::OneRun`].
    cuts: &'a mut Vec<Span>,
}

impl Labels<'_> {
    /// Reads the only run of a series so far.
    #[inline]
    fn read_run<S: Simd>(
        &mut self,
        request: &[u8],
        reader: Option<&SeriesReader<S>>,
        field: usize,
        mut run: Cursor<'_>,
    ) -> Result<()> {
        let (start, end) = (run.pos, run.bytes.len());
        self.layout = Layout::OneRun {
            field: field as u32,
            run: Span::new(start, end),
        };
        if let Some(found) = reader.and_then(|reader| reader.run(request, start, end)) {
            let present = |reference| (reference != NO_REFERENCE).then_some(reference);
            (self.cluster, self.replica) = (present(found.cluster), present(found.replica));
            if self.replica.is_some() {
                self.cuts.push(found.cut);
            }
            return Ok(());
        }
        while !run.is_at_end() {
            let start = run.pos;
            let name = reference(&mut run, self.symbols)?;
            if run.is_at_end() {
                // Legal only if another run has the value.
                self.scatter();
                return Ok(());
            }
            let value = reference(&mut run, self.symbols)?;
            if self.names.is_cluster(name) {
                self.cluster = Some(value);
            }
            if self.names.is_replica(name) {
                self.replica = Some(value);
                self.cuts.push(Span::new(start, run.pos));
            }
        }
        Ok(())
    }

    fn scatter(&mut self) {
        self.layout = Layout::Scattered;
        self.cuts.clear();
    }

    /// Reads the references of a whole series.
    fn read_scattered(&mut self, body: Cursor<'_>) -> Result<()> {
        (self.cluster, self.replica) = (None, None);
        let mut name = None;
        each_reference(body, &mut |at, value| {
            check_reference(at, value, self.symbols)?;
            let Some(name) = name.take() else {
                name = Some(value);
                return Ok(());
            };
            if self.names.is_cluster(name) {
                self.cluster = Some(value);
            }
            if self.names.is_replica(name) {
                self.replica = Some(value);
            }
            Ok(())
        })?;
        if name.is_some() {
            body.fail(Problem::OddReferences)
        } else {
            Ok(())
        }
    }
}

/// Reads the content of one series of `request`.
pub(super) fn series<'p, S: Simd>(
    request: &[u8],
    body: Cursor<'_>,
    symbols: &'p Symbols,
    cuts: &'p mut Vec<Span>,
    reader: Option<&SeriesReader<S>>,
    progress: &mut Progress<'_, '_>,
) -> Result<(Labels<'p>, Found)> {
    cuts.clear();
    let mut labels = Labels {
        names: symbols.label_references(),
        symbols: symbols.len(),
        cluster: None,
        replica: None,
        layout: Layout::NoRun,
        cuts,
    };
    let found = read(request, body, &mut labels, reader, progress)?;
    if labels.layout == Layout::Scattered {
        labels.read_scattered(body)?;
    }
    Ok((labels, found))
}

fn read<S: Simd>(
    request: &[u8],
    mut body: Cursor<'_>,
    labels: &mut Labels<'_>,
    reader: Option<&SeriesReader<S>>,
    progress: &mut Progress<'_, '_>,
) -> Result<Found> {
    let mut found = Found::nothing(&progress.ages);
    let mut metadata = Metadata::default();
    let end = body.bytes.len();
    while !body.is_at_end() {
        let start = body.pos;
        if let Some((timestamp, length)) = canonical::sample(request, start, end) {
            found.sample(timestamp);
            body.pos += length;
            continue;
        }
        progress.density.field(start, body.field)?;
        let (number, wire_type) = body.key()?;
        match number {
            1 if wire_type == BYTES && labels.layout == Layout::NoRun => {
                labels.read_run(
                    request,
                    reader,
                    start,
                    body.nested("TimeSeries.labels_refs")?,
                )?;
                continue;
            }
            1 => {
                labels.scatter();
                if wire_type == VARINT {
                    body.varint()?;
                    continue;
                }
            }
            2..=5 => {}
            _ => {
                body.skip(wire_type)?;
                continue;
            }
        }
        body.expect(wire_type, BYTES)?;
        match number {
            1 => {
                body.nested("TimeSeries.labels_refs")?;
            }
            2 => found.sample(schema::check(
                &SAMPLE_V2,
                body.nested("Sample")?,
                SAMPLE_TIMESTAMP,
            )?),
            3 => found.histogram(schema::check(
                &HISTOGRAM_V2,
                body.nested("Histogram")?,
                HISTOGRAM_TIMESTAMP,
            )?),
            4 => {
                exemplar(body.nested("Exemplar")?, labels.symbols)?;
                found.exemplar();
            }
            _ => metadata.read(body.nested("Metadata")?)?,
        }
    }
    check_reference(&body, metadata.help, labels.symbols)?;
    check_reference(&body, metadata.unit, labels.symbols)?;
    Ok(found)
}

fn exemplar(message: Cursor<'_>, symbols: usize) -> Result<()> {
    schema::check(&EXEMPLAR_V2, message, schema::NOTHING)?;
    let mut is_odd = false;
    each_reference(message, &mut |at, reference| {
        is_odd = !is_odd;
        check_reference(at, reference, symbols)
    })?;
    if is_odd {
        message.fail(Problem::OddReferences)
    } else {
        Ok(())
    }
}

/// References of the metadata of a series. It is one message however often the field occurs, and
/// the last of each reference counts.
#[derive(Default)]
struct Metadata {
    help: u32,
    unit: u32,
}

impl Metadata {
    #[inline]
    fn read(&mut self, mut message: Cursor<'_>) -> Result<()> {
        while !message.is_at_end() {
            let (number, wire_type) = message.key()?;
            match number {
                1 => {
                    message.expect(wire_type, VARINT)?;
                    message.varint()?;
                }
                3 | 4 => {
                    message.expect(wire_type, VARINT)?;
                    let value = message.varint()?;
                    let reference = narrow(&message, value)?;
                    let target = if number == 3 {
                        &mut self.help
                    } else {
                        &mut self.unit
                    };
                    *target = reference;
                }
                _ => message.skip(wire_type)?,
            }
        }
        Ok(())
    }
}

fn narrow(at: &Cursor<'_>, reference: u64) -> Result<u32> {
    match u32::try_from(reference) {
        Ok(reference) => Ok(reference),
        Err(_) => at.fail(Problem::ReferenceTooLarge { reference }),
    }
}

#[inline]
fn check_reference(at: &Cursor<'_>, reference: u32, symbols: usize) -> Result<()> {
    if (reference as usize) < symbols {
        return Ok(());
    }
    at.fail(Problem::ReferenceOutOfRange { reference, symbols })
}

#[inline]
fn reference(run: &mut Cursor<'_>, symbols: usize) -> Result<u32> {
    let value = run.varint()?;
    let reference = narrow(run, value)?;
    check_reference(run, reference, symbols)?;
    Ok(reference)
}

/// Calls `see` with every element of field 1 of a message, packed or not.
pub(super) fn each_reference(
    mut message: Cursor<'_>,
    see: &mut dyn FnMut(&Cursor<'_>, u32) -> Result<()>,
) -> Result<()> {
    while !message.is_at_end() {
        let (number, wire_type) = message.key()?;
        if number != 1 {
            message.skip(wire_type)?;
        } else if wire_type == VARINT {
            let value = message.varint()?;
            see(&message, narrow(&message, value)?)?;
        } else {
            message.expect(wire_type, BYTES)?;
            let mut run = message.nested("labels_refs")?;
            while !run.is_at_end() {
                let value = run.varint()?;
                see(&run, narrow(&run, value)?)?;
            }
        }
    }
    Ok(())
}
