//! Series of one metric mostly differ in the same few labels: those that follow each other are
//! compared with an earlier one without a look at where they differ.

use fearless_simd::{Simd, prelude::*, u8x64};

use super::Names;
use super::repeats::{DIFFERENT, TEXT, other_label};

/// Bytes that are compared at once, of text that is followed by as many.
pub(super) const CHUNK: usize = 64;

/// Labels in which a series may differ from an earlier one, ascending and none of them an HA label,
/// and the stretches of the earlier one's text between them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expected {
    labels: [u8; DIFFERENT],
    count: usize,
    first: Stretch,
    /// After each of the labels.
    others: [Stretch; DIFFERENT],
}

/// A part of the text.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    start: usize,
    length: usize,
    /// Bytes that are compared: whole chunks, the last of which goes beyond its end.
    read: usize,
    /// A bit for each byte of its last chunk that is beyond its end.
    beyond: u64,
}

impl Expected {
    /// Appends a label, from `start` to `end` of the text.
    pub(super) fn add(&mut self, label: usize, start: usize, end: usize) {
        self.end(start);
        if let (Some(place), Some(other)) = (
            self.labels.get_mut(self.count),
            self.others.get_mut(self.count),
        ) {
            *place = label as u8;
            other.start = end;
            self.count += 1;
        }
    }

    /// Where the text ends.
    pub(super) fn end(&mut self, end: usize) {
        let others = self.others.iter_mut().take(self.count);
        let last = others.last().unwrap_or(&mut self.first);
        last.length = end.saturating_sub(last.start);
        last.read = last.length / CHUNK * CHUNK + CHUNK;
        last.beyond = u64::MAX << (last.length % CHUNK);
    }

    /// The labels, ascending.
    pub(super) fn labels(&self) -> impl ExactSizeIterator<Item = usize> {
        self.labels
            .iter()
            .take(self.count)
            .copied()
            .map(usize::from)
    }

    /// Reads labels from `pos` of a request on that are those of the text, and others in place of the
    /// expected ones. Answers where they stop, and by how many bytes what is at `marked` of the text, if
    /// it is not in an expected label, is further on.
    #[inline(always)]
    pub(super) fn read<S: Simd>(
        &self,
        simd: S,
        text: &[u8; TEXT + CHUNK],
        request: &[u8],
        pos: usize,
        names: &Names<'_>,
        marked: usize,
    ) -> Option<(usize, usize)> {
        let mut at = self.first.end_in(simd, text, request, pos)?;
        let mut moved = pos;
        for stretch in self.others.get(..self.count)? {
            at = other_label(request, at, names)?;
            if marked >= stretch.start {
                moved = at.wrapping_sub(stretch.start);
            }
            at = stretch.end_in(simd, text, request, at)?;
        }
        Some((at, moved))
    }
}

impl Stretch {
    /// Where this stretch of the text ends in the request if it is at this position. Reads up to a chunk
    /// beyond its end, without which it is not there.
    #[inline(always)]
    fn end_in<S: Simd>(
        &self,
        simd: S,
        text: &[u8; TEXT + CHUNK],
        request: &[u8],
        pos: usize,
    ) -> Option<usize> {
        let text = text.get(self.start..)?.get(..self.read)?;
        let request = request.get(pos..)?.get(..self.read)?;
        let chunks = text
            .as_chunks::<CHUNK>()
            .0
            .iter()
            .zip(request.as_chunks::<CHUNK>().0);
        let mut alike = u64::MAX;
        let mut before = u64::MAX;
        for (left, right) in chunks {
            before &= alike;
            let [left, right] = [left, right].map(|bytes| u8x64::load_array_ref(simd, bytes));
            alike = left.simd_eq(right).to_bitmask();
        }
        (before & (alike | self.beyond) == u64::MAX).then_some(pos + self.length)
    }
}
