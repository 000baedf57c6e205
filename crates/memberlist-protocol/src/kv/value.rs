//! Values as dskit's codecs write them: a Snappy block, of a protobuf message for all that are merged.

use bytes::Bytes;

use crate::codec::{Error, inflate_snappy};

/// A value of no bytes. An empty value is never sent: Cortex's members cannot read it.
pub const EMPTY: &[u8] = &[0];

/// Reads a value, which becomes at most `limit` bytes. One without any bytes is an empty one.
///
/// # Errors
/// When it is no Snappy block, or would become larger.
pub fn read(value: &[u8], limit: usize) -> Result<Bytes, Error> {
    if value.is_empty() {
        return Ok(Bytes::new());
    }
    inflate_snappy(value, limit).map(Bytes::from)
}

/// Writes a value.
///
/// # Errors
/// When it is longer than 4 GiB.
pub fn write(plain: &[u8]) -> Result<Bytes, Error> {
    let compressed = snap::raw::Encoder::new().compress_vec(plain);
    compressed.map(Bytes::from).map_err(|_| Error::Unsendable {
        what: "a value",
        size: plain.len(),
        rule: "it must be below 4 GiB",
    })
}
