//! What can be wrong with a decompressed request, and where.

use std::fmt;

/// A request that is not what its content type says: HTTP 400. The message is one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanError {
    /// What is wrong.
    pub problem: Problem,
    /// The protobuf message, and field where known, that was being read.
    pub field: &'static str,
    /// Index of the series that was being read, from 0, in the order of the request.
    pub series: Option<u64>,
    /// Byte of the decompressed request.
    pub offset: usize,
}

impl ScanError {
    pub(crate) fn in_series(mut self, series: u64) -> Self {
        self.series = Some(series);
        self
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "invalid remote write request: {} in {}",
            self.problem, self.field
        )?;
        if let Some(series) = self.series {
            write!(out, " (series {series})")?;
        }
        write!(out, " at byte {} of the decompressed request", self.offset)
    }
}

impl std::error::Error for ScanError {}

/// What is wrong, without the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Fields are numbered from 1.
    #[error("field number 0")]
    FieldNumberZero,
    /// A field number beyond 2^29 - 1.
    #[error("field key {key} exceeds 32 bits")]
    KeyTooLarge {
        /// Field number and wire type as read.
        key: u64,
    },
    /// Groups (3, 4) and the unassigned 6 and 7.
    #[error("wire type {wire_type} is not supported")]
    UnsupportedWireType {
        /// As read.
        wire_type: u8,
    },
    /// A known field with another wire type than its own.
    #[error("wire type {got} instead of {expected}")]
    WrongWireType {
        /// Wire type of the field.
        expected: u8,
        /// As read.
        got: u8,
    },
    /// More than ten bytes, or more than 64 bits.
    #[error("varint longer than 64 bits")]
    VarintTooLong,
    /// The message ends before the value does.
    #[error("message ends inside a value")]
    Truncated,
    /// A length prefix that runs past its message.
    #[error("length {length} exceeds the {left} bytes left")]
    LengthBeyondEnd {
        /// Declared bytes.
        length: u64,
        /// Bytes left in the enclosing message.
        left: usize,
    },
    /// A packed run of 8-byte values that ends inside one.
    #[error("packed run of {length} bytes holds 8-byte values")]
    PackedLength {
        /// Declared bytes.
        length: usize,
    },
    /// 2.0 references are 32 bits wide.
    #[error("symbol reference {reference} exceeds 32 bits")]
    ReferenceTooLarge {
        /// As read.
        reference: u64,
    },
    /// A 2.0 reference to a symbol that the request does not have.
    #[error("symbol reference {reference} out of range: the request has {symbols} symbols")]
    ReferenceOutOfRange {
        /// As read.
        reference: u32,
        /// Number of symbols in the request.
        symbols: usize,
    },
    /// 2.0 references come in pairs of name and value.
    #[error("odd number of label references")]
    OddReferences,
    /// 2.0 reserves reference 0 for the empty string.
    #[error("the first symbol is not the empty string")]
    FirstSymbolNotEmpty,
    /// 2.0 series without any symbol.
    #[error("the request has series but no symbols")]
    NoSymbols,
    /// A series of 2.0 in a request of 1.0, or the other way round: it would pass unseen.
    #[error("a series of remote write {found}, while the request says {expected},")]
    OtherVersion {
        /// The version of the series.
        found: &'static str,
        /// The version of the request.
        expected: &'static str,
    },
    /// A cluster or replica that cannot be a key.
    #[error("value of the HA {label} label is not UTF-8")]
    NotUtf8 {
        /// `cluster` or `replica`.
        label: &'static str,
    },
    /// More distinct (cluster, replica) than any honest sender has.
    #[error("more than {limit} distinct pairs of HA cluster and replica, or too long ones,")]
    TooManyGroups {
        /// Pairs allowed in one request.
        limit: usize,
    },
    /// Nothing but tiny fields: they cost work and memory, and hold no samples.
    #[error("{fields} fields so far, of fewer than {minimum} bytes on average,")]
    FieldsTooSmall {
        /// Series, symbols, metadata and unusual fields that have been read.
        fields: usize,
        /// Bytes that they must have on average.
        minimum: usize,
    },
    /// Snappy blocks and the positions kept by the scan are 32 bits wide.
    #[error("request of {length} bytes, more than 4 GiB,")]
    RequestTooLarge {
        /// Bytes.
        length: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_what_and_where() {
        let error = ScanError {
            problem: Problem::LengthBeyondEnd {
                length: 300,
                left: 12,
            },
            field: "TimeSeries.labels",
            series: None,
            offset: 120,
        };
        assert_eq!(
            error.in_series(3).to_string(),
            "invalid remote write request: length 300 exceeds the 12 bytes left in \
             TimeSeries.labels (series 3) at byte 120 of the decompressed request"
        );
    }
}
