//! How many fields a request may have for its bytes.

use crate::error::{Problem, ScanError};
use crate::wire::Result;

/// Fields of less than this on average are no samples, bytes. A label has at least 8, a sample 9, a
/// series 15 with what is in it; of symbols that all differ, a table of millions has 5 each.
const MIN_FIELD: usize = 4;
/// A request may have so many fields whatever their size.
const FREE_FIELDS: usize = 16_384;

/// Counts what is read one by one: series, symbols, metadata, unknown fields, and what is unusual
/// in a series. A request of nothing but empty fields would cost many times the work, and the
/// memory, of an honest one of its size.
#[derive(Debug, Default)]
pub(crate) struct Density(usize);

impl Density {
    /// Counts one field of a request of which so many bytes have been read.
    #[inline]
    pub(crate) fn field(&mut self, read: usize, field: &'static str) -> Result<()> {
        self.0 += 1;
        if self.0 <= FREE_FIELDS || (self.0 - FREE_FIELDS) * MIN_FIELD <= read {
            return Ok(());
        }
        Err(ScanError {
            problem: Problem::FieldsTooSmall {
                fields: self.0,
                minimum: MIN_FIELD,
            },
            field,
            series: None,
            offset: read,
        })
    }
}
