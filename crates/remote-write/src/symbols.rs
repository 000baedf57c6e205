//! The symbol table of a 2.0 request: where each symbol is, and which ones are the HA labels.

use fearless_simd::Simd;

use crate::canonical::{NO_REFERENCE, SeriesReader};
use crate::wire::Cursor;

/// References that name the HA labels.
#[derive(Clone, Copy)]
pub(crate) enum LabelReferences<'a> {
    /// At most one symbol for each name, as every known sender writes.
    Single { cluster: u32, replica: u32 },
    /// Bits by reference: [`CLUSTER`] and [`REPLICA`].
    Many(&'a [u8]),
}

impl LabelReferences<'_> {
    #[inline]
    pub(crate) fn is_cluster(&self, reference: u32) -> bool {
        match *self {
            Self::Single { cluster, .. } => reference == cluster,
            Self::Many(bits) => has(bits, reference, CLUSTER),
        }
    }

    #[inline]
    pub(crate) fn is_replica(&self, reference: u32) -> bool {
        match *self {
            Self::Single { replica, .. } => reference == replica,
            Self::Many(bits) => has(bits, reference, REPLICA),
        }
    }
}

fn has(bits: &[u8], reference: u32, bit: u8) -> bool {
    bits.get(reference as usize)
        .is_some_and(|bits| bits & bit != 0)
}

const CLUSTER: u8 = 1;
const REPLICA: u8 = 2;

/// Positions rather than text, so that a table of millions of empty symbols stays about as small
/// as the bytes that carry it.
#[derive(Default)]
pub(crate) struct Symbols {
    /// Where the length prefix of each symbol is, in the request or in `moved`.
    starts: Vec<u32>,
    /// Copies of the symbols when the scan would move them while series still refer to them.
    moved: Vec<u8>,
    is_moved: bool,
    cluster: Vec<u32>,
    replica: Vec<u32>,
    bits: Vec<u8>,
}

impl Symbols {
    pub(crate) fn clear(&mut self) {
        self.starts.clear();
        self.moved.clear();
        self.is_moved = false;
        self.cluster.clear();
        self.replica.clear();
        self.bits.clear();
    }

    pub(crate) fn allocated_bytes(&self) -> usize {
        4 * (self.starts.capacity() + self.cluster.capacity() + self.replica.capacity())
            + self.moved.capacity()
            + self.bits.capacity()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Adds the symbol whose length prefix is at `start`.
    #[inline]
    pub(crate) fn push(&mut self, start: usize, text: &[u8], names: Option<(&[u8], &[u8])>) {
        if let Some((cluster, replica)) = names {
            if text.len() == cluster.len() && text == cluster {
                self.cluster.push(self.starts.len() as u32);
            }
            if text.len() == replica.len() && text == replica {
                self.replica.push(self.starts.len() as u32);
            }
        }
        self.starts.push(start as u32);
    }

    /// Ends the table: sorts out repeated names and, if series come before symbols, copies.
    pub(crate) fn finish(&mut self, buf: &[u8], series_before_symbols: bool) {
        if self.cluster.len() > 1 || self.replica.len() > 1 {
            self.bits.resize(self.starts.len(), 0);
            for (references, bit) in [(&self.cluster, CLUSTER), (&self.replica, REPLICA)] {
                for &reference in references {
                    if let Some(bits) = self.bits.get_mut(reference as usize) {
                        *bits |= bit;
                    }
                }
            }
        }
        if series_before_symbols {
            for start in &mut self.starts {
                let from = *start as usize;
                let mut cursor = Cursor {
                    bytes: buf,
                    pos: from,
                    field: "Request.symbols",
                };
                // Read before, so neither fails.
                let _ = cursor.nested("Request.symbols");
                *start = self.moved.len() as u32;
                self.moved
                    .extend_from_slice(buf.get(from..cursor.pos).unwrap_or_default());
            }
            self.is_moved = true;
        }
    }

    #[inline]
    pub(crate) fn label_references(&self) -> LabelReferences<'_> {
        if !self.bits.is_empty() {
            return LabelReferences::Many(&self.bits);
        }
        let only = |references: &[u32]| references.first().copied().unwrap_or(NO_REFERENCE);
        LabelReferences::Single {
            cluster: only(&self.cluster),
            replica: only(&self.replica),
        }
    }

    /// A fast reader of series, if the table allows one.
    pub(crate) fn series_reader<S: Simd>(&self, simd: S) -> Option<SeriesReader<S>> {
        match self.label_references() {
            LabelReferences::Single { cluster, replica } => {
                SeriesReader::new(simd, self.starts.len(), cluster, replica)
            }
            LabelReferences::Many(_) => None,
        }
    }

    /// The text of a symbol; empty for a reference out of range.
    pub(crate) fn text<'a>(&'a self, buf: &'a [u8], reference: u32) -> &'a [u8] {
        let Some(&start) = self.starts.get(reference as usize) else {
            return &[];
        };
        let bytes = if self.is_moved { &self.moved } else { buf };
        let mut cursor = Cursor {
            bytes,
            pos: start as usize,
            field: "Request.symbols",
        };
        cursor
            .nested("Request.symbols")
            .map(|text| text.rest())
            .unwrap_or_default()
    }
}
