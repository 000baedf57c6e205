//! [`Rendering`]: an answer that is made once for all its readers.

use std::fmt;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

/// Bytes of one piece: what a connection is given at once.
pub(super) const PIECE: usize = 16 << 10;
/// Text that is collected before it is compressed, because it is written a few bytes at a time.
const COLLECTED: usize = 64 << 10;

/// A whole answer, compressed with gzip, in pieces that all readers share.
#[derive(Debug)]
pub(crate) struct Rendering {
    pieces: Vec<Bytes>,
    /// Bytes of all pieces.
    compressed: u64,
    /// Bytes of the uncompressed text.
    plain: u64,
}

/// The writer of a [`Rendering`].
pub(crate) struct Renderer {
    encoder: BufWriter<GzEncoder<Pieces>>,
    plain: u64,
}

#[derive(Debug, Default)]
struct Pieces {
    whole: Vec<Bytes>,
    last: Vec<u8>,
    bytes: u64,
}

impl Rendering {
    pub(super) fn piece(&self, index: usize) -> Option<Bytes> {
        self.pieces.get(index).cloned()
    }

    pub(super) fn compressed(&self) -> u64 {
        self.compressed
    }

    /// Bytes of the text, not compressed.
    pub(crate) fn plain(&self) -> u64 {
        self.plain
    }
}

impl Renderer {
    pub(crate) fn new() -> Self {
        let encoder = GzEncoder::new(Pieces::default(), Compression::fast());
        Self {
            encoder: BufWriter::with_capacity(COLLECTED, encoder),
            plain: 0,
        }
    }

    /// Writes `value` as JSON.
    pub(crate) fn write_json(&mut self, value: &impl Serialize) -> fmt::Result {
        serde_json::to_writer(Bytewise(self), value).map_err(|_| fmt::Error)
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.plain += bytes.len() as u64;
        self.encoder.write_all(bytes)
    }

    /// # Errors
    /// None in memory; the types of what is below allow for some.
    pub(crate) fn finish(self) -> io::Result<Rendering> {
        let encoder = self
            .encoder
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let mut pieces = encoder.finish()?;
        pieces.cut();
        Ok(Rendering {
            pieces: pieces.whole,
            compressed: pieces.bytes,
            plain: self.plain,
        })
    }
}

impl fmt::Write for Renderer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_bytes(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// For code that writes text as bytes.
struct Bytewise<'a>(&'a mut Renderer);

impl Write for Bytewise<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_bytes(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pieces {
    fn cut(&mut self) {
        if !self.last.is_empty() {
            let piece = std::mem::take(&mut self.last).into_boxed_slice();
            self.whole.push(Bytes::from(piece));
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.last.capacity() == 0 {
            self.last.reserve_exact(PIECE);
        }
        let taken = bytes.len().min(PIECE - self.last.len());
        self.last
            .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.last.len() == PIECE {
            self.cut();
        }
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the pieces of a rendering one after the other.
pub(super) struct PieceReader {
    rendering: Arc<Rendering>,
    index: usize,
    offset: usize,
}

impl PieceReader {
    pub(super) fn new(rendering: Arc<Rendering>) -> Self {
        Self {
            rendering,
            index: 0,
            offset: 0,
        }
    }
}

impl BufRead for PieceReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while let Some(piece) = self.rendering.pieces.get(self.index) {
            match piece.get(self.offset..) {
                None | Some([]) => {
                    self.index += 1;
                    self.offset = 0;
                }
                Some(rest) => return Ok(rest),
            }
        }
        Ok(&[])
    }

    fn consume(&mut self, amount: usize) {
        self.offset += amount;
    }
}

impl Read for PieceReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let taken = self.fill_buf()?.read(into)?;
        self.consume(taken);
        Ok(taken)
    }
}
