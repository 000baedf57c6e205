//! Leaves out of a series what lies outside of a window of time.
//!
//! Only series that reach beyond their group's window come here, and are read a second time: which group
//! a series belongs to, and so which window, is known only after its last field has been read.

use crate::progress::Found;
use crate::schema::{
    self, EXEMPLAR_TIMESTAMP, EXEMPLAR_V1, EXEMPLAR_V2, HISTOGRAM_TIMESTAMP, HISTOGRAM_V1,
    HISTOGRAM_V2, SAMPLE_TIMESTAMP, SAMPLE_V1, SAMPLE_V2, Schema,
};
use crate::types::Window;
use crate::wire::{Cursor, Result, Span};

/// What has a timestamp in a series.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Sample,
    Histogram,
    Exemplar,
}

/// A field of a series that has a timestamp: what it is, what it may hold, and the timestamp's number.
type TimedField = (Kind, &'static Schema, u32);

/// Such fields of 1.0, by number.
pub(crate) fn timed_v1(number: u32) -> Option<TimedField> {
    match number {
        2 => Some((Kind::Sample, &SAMPLE_V1, SAMPLE_TIMESTAMP)),
        3 => Some((Kind::Exemplar, &EXEMPLAR_V1, EXEMPLAR_TIMESTAMP)),
        4 => Some((Kind::Histogram, &HISTOGRAM_V1, HISTOGRAM_TIMESTAMP)),
        _ => None,
    }
}

/// And those of 2.0.
pub(crate) fn timed_v2(number: u32) -> Option<TimedField> {
    match number {
        2 => Some((Kind::Sample, &SAMPLE_V2, SAMPLE_TIMESTAMP)),
        3 => Some((Kind::Histogram, &HISTOGRAM_V2, HISTOGRAM_TIMESTAMP)),
        4 => Some((Kind::Exemplar, &EXEMPLAR_V2, EXEMPLAR_TIMESTAMP)),
        _ => None,
    }
}

/// Adds the fields of a series that lie outside of the window to `outside`, in their order, and what
/// lies within to `within`.
///
/// # Errors
/// None if the series has been read before: all of it was legal.
pub(crate) fn find_outside(
    mut body: Cursor<'_>,
    timed: fn(u32) -> Option<TimedField>,
    window: Window,
    outside: &mut Vec<Span>,
    within: &mut Found,
) -> Result<()> {
    while !body.is_at_end() {
        let start = body.pos;
        let (number, wire_type) = body.key()?;
        let Some((kind, schema, timestamp)) = timed(number) else {
            body.skip(wire_type)?;
            continue;
        };
        let time = schema::check(schema, body.nested("TimeSeries")?, timestamp)?;
        if !window.contains(time as i64) {
            outside.push(Span::new(start, body.pos));
            continue;
        }
        match kind {
            Kind::Sample => within.sample(time),
            Kind::Histogram => within.histogram(time),
            Kind::Exemplar => within.exemplar(),
        }
    }
    Ok(())
}
