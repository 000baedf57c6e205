//! What each message may hold: enough to check every byte of what is only copied.

use crate::error::Problem;
use crate::wire::{BYTES, Cursor, FIXED64, Result, VARINT};

/// How the value of a field is encoded.
pub(crate) enum Kind {
    /// A number that is not used.
    Unknown,
    Varint,
    Fixed64,
    /// A string: not checked for UTF-8, see [`crate::scan`].
    Text,
    Message(&'static Schema),
    /// Repeated, packed or not.
    Varints,
    /// Repeated, packed or not.
    Fixed64s,
}

/// Fields by number, from 1.
pub(crate) struct Schema {
    fields: &'static [(&'static str, Kind)],
}

use Kind::{Fixed64, Fixed64s, Message, Text, Unknown, Varint, Varints};

pub(crate) static METRIC_METADATA: Schema = Schema {
    fields: &[
        ("MetricMetadata.type", Varint),
        ("MetricMetadata.metric_family_name", Text),
        ("MetricMetadata", Unknown),
        ("MetricMetadata.help", Text),
        ("MetricMetadata.unit", Text),
    ],
};

pub(crate) static LABEL: Schema = Schema {
    fields: &[("Label.name", Text), ("Label.value", Text)],
};

/// Of 1.0 and 2.0: `start_timestamp` is unknown to 1.0, see [`SAMPLE_V2`].
pub(crate) static SAMPLE_V1: Schema = Schema {
    fields: &[("Sample.value", Fixed64), ("Sample.timestamp", Varint)],
};

pub(crate) static SAMPLE_V2: Schema = Schema {
    fields: &[
        ("Sample.value", Fixed64),
        ("Sample.timestamp", Varint),
        ("Sample.start_timestamp", Varint),
    ],
};

pub(crate) static EXEMPLAR_V1: Schema = Schema {
    fields: &[
        ("Exemplar.labels", Message(&LABEL)),
        ("Exemplar.value", Fixed64),
        ("Exemplar.timestamp", Varint),
    ],
};

/// Its references are read by the caller, which knows the symbols.
pub(crate) static EXEMPLAR_V2: Schema = Schema {
    fields: &[
        ("Exemplar.labels_refs", Varints),
        ("Exemplar.value", Fixed64),
        ("Exemplar.timestamp", Varint),
    ],
};

static BUCKET_SPAN: Schema = Schema {
    fields: &[("BucketSpan.offset", Varint), ("BucketSpan.length", Varint)],
};

macro_rules! histogram {
    ($($start_timestamp:expr)?) => {
        Schema {
            fields: &[
                ("Histogram.count_int", Varint),
                ("Histogram.count_float", Fixed64),
                ("Histogram.sum", Fixed64),
                ("Histogram.schema", Varint),
                ("Histogram.zero_threshold", Fixed64),
                ("Histogram.zero_count_int", Varint),
                ("Histogram.zero_count_float", Fixed64),
                ("Histogram.negative_spans", Message(&BUCKET_SPAN)),
                ("Histogram.negative_deltas", Varints),
                ("Histogram.negative_counts", Fixed64s),
                ("Histogram.positive_spans", Message(&BUCKET_SPAN)),
                ("Histogram.positive_deltas", Varints),
                ("Histogram.positive_counts", Fixed64s),
                ("Histogram.reset_hint", Varint),
                ("Histogram.timestamp", Varint),
                ("Histogram.custom_values", Fixed64s),
                $($start_timestamp)?
            ],
        }
    };
}

pub(crate) static HISTOGRAM_V1: Schema = histogram!();
pub(crate) static HISTOGRAM_V2: Schema = histogram!(("Histogram.start_timestamp", Varint));

pub(crate) const SAMPLE_TIMESTAMP: u32 = 2;
pub(crate) const EXEMPLAR_TIMESTAMP: u32 = 3;
pub(crate) const HISTOGRAM_TIMESTAMP: u32 = 15;
/// For a message whose scalars are not asked for.
pub(crate) const NOTHING: u32 = 0;

/// Checks a whole message; returns the last value of its varint field number `wanted`, 0 if none.
pub(crate) fn check(schema: &Schema, mut message: Cursor<'_>, wanted: u32) -> Result<u64> {
    let mut found = 0;
    while !message.is_at_end() {
        let (number, wire_type) = message.key()?;
        if number == wanted {
            message.expect(wire_type, VARINT)?;
            found = message.varint()?;
        } else {
            check_field(schema, &mut message, number, wire_type)?;
        }
    }
    Ok(found)
}

/// Checks and steps over the value of one field whose key has been read.
pub(crate) fn check_field(
    schema: &Schema,
    message: &mut Cursor<'_>,
    number: u32,
    wire_type: u8,
) -> Result<()> {
    let Some((name, kind)) = schema.fields.get(number as usize - 1) else {
        return message.skip(wire_type);
    };
    let outer = std::mem::replace(&mut message.field, name);
    match kind {
        Unknown => message.skip(wire_type)?,
        Varint => {
            message.expect(wire_type, VARINT)?;
            message.varint()?;
        }
        Fixed64 => {
            message.expect(wire_type, FIXED64)?;
            message.advance(8)?;
        }
        Text => {
            message.expect(wire_type, BYTES)?;
            message.nested(name)?;
        }
        Message(inner) => {
            message.expect(wire_type, BYTES)?;
            check(inner, message.nested(name)?, NOTHING)?;
        }
        Varints if wire_type == VARINT => {
            message.varint()?;
        }
        Varints => {
            message.expect(wire_type, BYTES)?;
            let mut run = message.nested(name)?;
            while !run.is_at_end() {
                run.varint()?;
            }
        }
        Fixed64s if wire_type == FIXED64 => message.advance(8)?,
        Fixed64s => {
            message.expect(wire_type, BYTES)?;
            let run = message.nested(name)?;
            let length = run.rest().len();
            if !length.is_multiple_of(8) {
                return run.fail(Problem::PackedLength { length });
            }
        }
    }
    message.field = outer;
    Ok(())
}
