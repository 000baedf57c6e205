//! What any receiver has to do with a body, by the `snap` crate: ratios to it say the same when our
//! own decompression changes.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

/// Buffers that are used again: they only grow.
#[derive(Debug, Default)]
pub struct Codec {
    raw: Vec<u8>,
    block: Vec<u8>,
}

impl Codec {
    /// Decompresses a block; its decompressed length.
    pub fn decompress(&mut self, block: &[u8]) -> Result<usize, snap::Error> {
        let length = decompress_len(block)?;
        if self.raw.len() < length {
            self.raw.resize(length, 0);
        }
        Decoder::new().decompress(block, &mut self.raw)
    }

    /// Compresses so many of the bytes that were decompressed last: the block.
    pub fn compress_again(&mut self, bytes: usize) -> Result<&[u8], snap::Error> {
        let raw = std::mem::take(&mut self.raw);
        let length = self.compress(raw.get(..bytes).unwrap_or_default());
        self.raw = raw;
        Ok(self.block.get(..length?).unwrap_or_default())
    }

    /// Compresses; the length of the block.
    pub fn compress(&mut self, raw: &[u8]) -> Result<usize, snap::Error> {
        let needed = max_compress_len(raw.len());
        if self.block.len() < needed {
            self.block.resize(needed, 0);
        }
        Encoder::new().compress(raw, &mut self.block)
    }
}
