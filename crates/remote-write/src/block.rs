//! The snappy block format, with bounds checked before memory is taken.

mod elements;

use elements::{Corrupt, Fault};
use fearless_simd::{Level, dispatch};
use snap::raw::{Encoder, decompress_len, max_compress_len};

/// The format cannot expand more than this: its densest element makes 64 bytes of 3.
const MAX_EXPANSION: u64 = 22;

/// Why a body could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// No bytes at all: HTTP 400. An empty message is the one byte `00`.
    #[error("the body is empty: expected a snappy block")]
    Empty,
    /// More than the caller allows: HTTP 413.
    #[error("the decompressed request has {size} bytes, more than the limit of {limit} bytes")]
    TooLarge {
        /// Declared decompressed bytes.
        size: u64,
        /// Allowed decompressed bytes.
        limit: u64,
    },
    /// Not a snappy block: HTTP 400.
    #[error("the body is not a valid snappy block: {0}")]
    Corrupt(String),
}

/// Replaces `out` by the decompressed block: [`decompress_reusing`], then cuts off what is left of
/// longer earlier content, which therefore has to be zeroed when the buffer grows again.
pub fn decompress_into(
    compressed: &[u8],
    max: u64,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let length = decompress_reusing(compressed, max, out)?;
    out.truncate(length);
    Ok(())
}

/// Decompresses a block into the beginning of a buffer that is used again, and returns its
/// decompressed length. `out` is only ever grown, so that it need not be zeroed again.
///
/// No memory is taken for a block that declares more than `max` bytes, or more than its compressed
/// size can expand to. After an error `out` holds unspecified bytes.
pub fn decompress_reusing(
    compressed: &[u8],
    max: u64,
    out: &mut Vec<u8>,
) -> Result<usize, DecompressError> {
    if compressed.is_empty() {
        return Err(DecompressError::Empty);
    }
    let corrupt = |error: snap::Error| DecompressError::Corrupt(error.to_string());
    let size = match decompress_len(compressed) {
        Ok(size) => size,
        // More than the format allows is more than any limit as well.
        Err(snap::Error::TooBig { given, .. }) => {
            return Err(DecompressError::TooLarge {
                size: given,
                limit: max,
            });
        }
        Err(error) => return Err(corrupt(error)),
    };
    let declared = size as u64;
    if declared > max {
        return Err(DecompressError::TooLarge {
            size: declared,
            limit: max,
        });
    }
    let possible = (compressed.len() as u64).saturating_mul(MAX_EXPANSION);
    if declared > possible {
        return Err(DecompressError::Corrupt(format!(
            "it declares {declared} bytes, but its {} bytes can expand to at most {possible}",
            compressed.len()
        )));
    }
    if out.len() < size {
        out.resize(size, 0);
    }
    // Exactly its size: what does not fill it is corrupt.
    let target = out.get_mut(..size).unwrap_or_default();
    let preamble = 1 + compressed.iter().take_while(|byte| **byte >= 0x80).count();
    let elements = compressed.get(preamble..).unwrap_or_default();
    let decompressed = dispatch!(Level::new(), _simd => elements::decompress(elements, target));
    match decompressed {
        Ok(()) => Ok(size),
        Err(wrong) => Err(wrong.of_a_block(preamble, size)),
    }
}

impl Corrupt {
    /// Cold: nothing of it is to be in the way of what goes well.
    #[cold]
    fn of_a_block(&self, preamble: usize, size: usize) -> DecompressError {
        let at = preamble + self.at;
        DecompressError::Corrupt(match self.fault {
            Fault::Truncated => format!("it ends within the element that begins at byte {at}"),
            Fault::Offset => format!("the element at byte {at} copies from where nothing is"),
            Fault::TooLong => {
                format!("the element at byte {at} goes beyond the {size} bytes that it declares")
            }
            Fault::TooShort => format!("it makes fewer than the {size} bytes that it declares"),
        })
    }
}

/// The decompressed size that a block declares, bytes; `None` if it does not begin like a block.
/// Nothing says that it is true: see [`decompress_into`].
pub fn declared_size(compressed: &[u8]) -> Option<u64> {
    match decompress_len(compressed) {
        Ok(size) => Some(size as u64),
        Err(snap::Error::TooBig { given, .. }) => Some(given),
        Err(_) => None,
    }
}

/// The decompressed size that a block declares, but no more than it can expand to, bytes; 0 if it
/// does not begin like a block.
pub fn plausible_size(compressed: &[u8]) -> u64 {
    let possible = (compressed.len() as u64).saturating_mul(MAX_EXPANSION);
    declared_size(compressed).unwrap_or(0).min(possible)
}

/// Compresses `raw` into the beginning of a buffer that is used again, and returns the block's
/// length. `out` is only ever grown, so that it need not be zeroed again.
///
/// `raw` must have fewer than 2^32 bytes; of a longer one nothing is compressed and the length is 0.
pub fn compress_reusing(raw: &[u8], out: &mut Vec<u8>) -> usize {
    let needed = max_compress_len(raw.len());
    if out.len() < needed {
        out.resize(needed, 0);
    }
    Encoder::new().compress(raw, out).unwrap_or(0)
}

/// Replaces `out` by `raw` as a snappy block, reusing its capacity.
///
/// `raw` must have fewer than 2^32 bytes; of a longer one nothing is compressed and `out` becomes
/// empty, which no receiver accepts.
pub fn compress_into(raw: &[u8], out: &mut Vec<u8>) {
    let written = compress_reusing(raw, out);
    out.truncate(written);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 100 << 20;

    #[test]
    fn round_trip_reuses_buffers() {
        let raw: Vec<u8> = (0..100_000u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect();
        let (mut compressed, mut out) = (Vec::new(), Vec::new());
        let mut grown = Vec::new();
        for part in [&raw[..], &raw[..1000], &[], &raw[..]] {
            compress_into(part, &mut compressed);
            let length = decompress_reusing(&compressed, LIMIT, &mut grown).unwrap();
            assert_eq!((&grown[..length], grown.len()), (part, raw.len()));
            decompress_into(&compressed, LIMIT, &mut out).unwrap();
            assert_eq!(out, part);
        }
        assert!(out.capacity() >= raw.len());
    }

    #[test]
    fn nothing_is_not_an_empty_message() {
        let mut out = vec![1, 2, 3];
        assert_eq!(
            decompress_into(&[], LIMIT, &mut out),
            Err(DecompressError::Empty)
        );
        assert_eq!(decompress_into(&[0], LIMIT, &mut out), Ok(()));
        assert!(out.is_empty());
    }

    #[test]
    fn a_preamble_that_claims_gigabytes_takes_no_memory() {
        let mut out = Vec::new();
        let four_gib = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(
            decompress_into(&four_gib, LIMIT, &mut out),
            Err(DecompressError::TooLarge {
                size: u64::from(u32::MAX),
                limit: LIMIT
            })
        );
        // Within the limit, but not within what five bytes can expand to.
        let error = decompress_into(&[0xff, 0xff, 0x7f, 0, 0], LIMIT, &mut out).unwrap_err();
        assert!(matches!(&error, DecompressError::Corrupt(text) if text.contains("at most 110")));
        let beyond = [0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(
            decompress_into(&beyond, LIMIT, &mut out),
            Err(DecompressError::TooLarge { .. } | DecompressError::Corrupt(_))
        ));
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn the_densest_block_passes() {
        let raw = vec![7u8; 1 << 20];
        let (mut compressed, mut out) = (Vec::new(), Vec::new());
        compress_into(&raw, &mut compressed);
        assert!(raw.len() as u64 <= compressed.len() as u64 * MAX_EXPANSION);
        decompress_into(&compressed, raw.len() as u64, &mut out).unwrap();
        assert_eq!(out, raw);
        let limit = raw.len() as u64 - 1;
        assert_eq!(
            decompress_into(&compressed, limit, &mut out),
            Err(DecompressError::TooLarge {
                size: raw.len() as u64,
                limit
            })
        );
    }

    #[test]
    fn truncated_or_padded_blocks_are_corrupt() {
        let (mut compressed, mut out) = (Vec::new(), Vec::new());
        compress_into(b"hello hello hello hello hello", &mut compressed);
        for end in 1..compressed.len() {
            let error = decompress_into(&compressed[..end], LIMIT, &mut out).unwrap_err();
            assert!(
                matches!(error, DecompressError::Corrupt(_)),
                "{end}: {error}"
            );
            assert!(!error.to_string().contains('\n'));
        }
        compressed.push(0);
        assert!(decompress_into(&compressed, LIMIT, &mut out).is_err());
        assert!(decompress_into(&[0x80], LIMIT, &mut out).is_err());
    }
}
