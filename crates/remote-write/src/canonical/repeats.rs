//! Labels of a 1.0 series that repeat those of an earlier one but for a few: compared many bytes at
//! a time, instead of read one by one.

use fearless_simd::{Simd, prelude::*, u8x32};

use super::expected::{self, Expected};
use super::{HaValues, Header, Names};
use crate::groups::Belongs;
use crate::wire::Span;

const LABEL_KEY: u8 = 0x0a;
/// Bytes of labels that are kept of a series; longer ones are read one by one.
pub(super) const TEXT: usize = 1024;
/// Bytes that are compared at once.
const CHUNK: usize = 32;
/// A power of two: one more than there may be labels.
const BOUNDS: usize = 32;
/// Labels that may differ.
pub(super) const DIFFERENT: usize = 3;
/// After so many series in a row that were unlike the one before,
const UNLIKE: u8 = 4;
/// so many are read without comparing.
const PAUSE: u8 = 32;

/// The labels of an earlier series of one sample, and what it belonged to.
#[derive(Debug)]
pub(crate) struct Earlier {
    text: [u8; TEXT + expected::CHUNK],
    /// Where each label starts in `text`, and where the last one ends; then zeros.
    bounds: [u16; BOUNDS],
    /// How many there are; 0 if there is no such series.
    labels: usize,
    /// Positions in `text`.
    values: HaValues,
    /// Which of the labels the HA labels are; larger than any where there is none.
    cluster: usize,
    replica: usize,
    /// What it belonged to, as do its repetitions.
    pub(crate) belongs: Belongs,
    /// The labels in which the last repetition differed that was not as expected.
    differed: [u8; DIFFERENT],
    /// The labels in which the next one is expected to differ.
    expected: Expected,
    /// In how many labels the last repetition differed, and the one before.
    differences: usize,
    differences_before: usize,
    /// Whether the last repetition was not as expected.
    is_surprised: bool,
    /// Series in a row that were no repetitions.
    unlike: u8,
    /// Series that are still to be read without comparing.
    pause: u8,
}

impl Default for Earlier {
    fn default() -> Self {
        Self {
            text: [0; TEXT + expected::CHUNK],
            bounds: [0; BOUNDS],
            labels: 0,
            values: HaValues::default(),
            cluster: usize::MAX,
            replica: usize::MAX,
            belongs: Belongs::Unknown,
            differed: [0; DIFFERENT],
            expected: Expected::default(),
            differences: 0,
            differences_before: 0,
            is_surprised: false,
            unlike: 0,
            pause: 0,
        }
    }
}

impl Earlier {
    /// Reads the labels of the series from `pos` to `end` if they are those of the earlier one, with
    /// the same HA labels, and other labels in place of a few. Answers where they stop, and has then
    /// set `values`; otherwise these are unspecified.
    ///
    /// Inlined: it takes a sixth longer where it is not.
    #[inline(always)]
    pub(crate) fn repeated<S: Simd>(
        &mut self,
        simd: S,
        request: &[u8],
        pos: usize,
        end: usize,
        names: &Names<'_>,
        values: &mut HaValues,
    ) -> Option<usize> {
        if self.labels == 0 || self.pause > 0 {
            return None;
        }
        let length = self.bound(self.labels);
        // The next label, where it starts in the request, and where in the text.
        let (mut label, mut at, mut from) = (0, pos, 0);
        for nth in 0..=DIFFERENT {
            let same = from
                + common(
                    simd,
                    self.text.get(from..)?,
                    request.get(at..)?,
                    length - from,
                )?;
            let different = if same == length {
                self.labels
            } else {
                self.label_of(same, label, nth)?
            };
            let moved = |span: Span| {
                let start = span.start as usize - from + at;
                Span::new(start, start + span.len())
            };
            if label <= self.cluster && self.cluster < different {
                values.cluster = moved(self.values.cluster);
            }
            if label <= self.replica && self.replica < different {
                values.replica = moved(self.values.replica);
                values.cut = moved(self.values.cut);
            }
            if different == self.labels {
                at += length - from;
                // One label more is another shape.
                if at > end || request.get(at) == Some(&LABEL_KEY) {
                    return None;
                }
                (self.differences_before, self.differences) = (self.differences, nth);
                self.unlike = 0;
                // Once may be where one metric ends and another begins.
                if self.is_surprised || nth <= self.expected.labels().len() {
                    self.expect(nth);
                }
                self.is_surprised = true;
                return Some(at);
            }
            if different == self.cluster || different == self.replica {
                return None;
            }
            at = other_label(request, at + self.bound(different) - from, names)?;
            label = different + 1;
            from = self.bound(label);
        }
        None
    }

    /// From now on expects what differed in the last repetition.
    #[inline(never)]
    fn expect(&mut self, count: usize) {
        self.expected = Expected::default();
        let differed = self.differed;
        for label in differed.iter().take(count).copied().map(usize::from) {
            self.expected
                .add(label, self.bound(label), self.bound(label + 1));
        }
        self.expected.end(self.bound(self.labels));
    }

    /// The same labels as before, if they can be those of this series.
    fn expect_again(&mut self) {
        let before = self.expected;
        let is_possible =
            |label: usize| label < self.labels && label != self.cluster && label != self.replica;
        if before.labels().all(is_possible) {
            for (differed, label) in self.differed.iter_mut().zip(before.labels()) {
                *differed = label as u8;
            }
            self.expect(before.labels().len());
        } else {
            self.expect(0);
        }
    }

    /// Reads the labels of a series from `pos` on as [`Earlier::repeated`] does, if they differ in no
    /// others than expected. Answers where they stop, and where the replica label, whole, is; empty if
    /// there is none.
    #[inline(always)]
    pub(crate) fn repeated_as_expected<S: Simd>(
        &self,
        simd: S,
        request: &[u8],
        pos: usize,
        names: &Names<'_>,
    ) -> Option<(usize, Span)> {
        let cut = self.values.cut;
        let marked = cut.start as usize;
        let (stopped, moved) = self
            .expected
            .read(simd, &self.text, request, pos, names, marked)?;
        Some((stopped, cut.moved(moved)))
    }

    /// Whether series may be read with [`Earlier::repeated_as_expected`].
    #[inline]
    pub(crate) fn expects(&self) -> bool {
        self.labels > 0 && self.pause == 0
    }

    /// Takes note of series that differed in the expected labels.
    pub(crate) fn were_as_expected(&mut self) {
        self.differences = self.expected.labels().len();
        self.differences_before = self.differences;
        self.unlike = 0;
        self.is_surprised = false;
    }

    /// Whether the next series will be more like the one that was just read than like the earlier one:
    /// if that one was no repetition, or one with more differences than before.
    #[inline]
    pub(crate) fn is_outdated(&mut self, is_repetition: bool) -> bool {
        if is_repetition {
            return self.differences > self.differences_before;
        }
        self.is_outdated_by_another()
    }

    #[inline(never)]
    fn is_outdated_by_another(&mut self) -> bool {
        self.differences = 0;
        if self.pause > 0 {
            self.pause -= 1;
        } else if self.unlike == UNLIKE {
            (self.unlike, self.pause) = (0, PAUSE);
        } else {
            self.unlike += 1;
        }
        self.pause == 0
    }

    /// Makes the series with the labels in `whole`, as [`super::labels`] reads them, the earlier one.
    #[inline(never)]
    pub(crate) fn replace(
        &mut self,
        request: &[u8],
        whole: Span,
        values: &HaValues,
        belongs: Belongs,
    ) {
        self.labels = 0;
        let bytes = whole.of(request);
        if bytes.len() > TEXT || belongs == Belongs::Unknown {
            return;
        }
        self.text[..bytes.len()].copy_from_slice(bytes);
        // A guess beyond the last label must not find bounds of one that had more.
        self.bounds = [0; BOUNDS];
        let inside = |span: Span| Span {
            start: span.start.wrapping_sub(whole.start),
            end: span.end.wrapping_sub(whole.start),
        };
        // What is not there ends where no label does.
        self.values = HaValues {
            cluster: inside(values.cluster),
            replica: inside(values.replica),
            cut: match values.cut.is_empty() {
                true => Span::default(),
                false => inside(values.cut),
            },
        };
        (self.cluster, self.replica) = (usize::MAX, usize::MAX);
        let (mut label, mut at) = (0, 0);
        while let Some(length) = bytes.get(at + 1) {
            at += 2 + usize::from(*length);
            if self.values.cluster.end as usize == at {
                self.cluster = label;
            }
            if self.values.replica.end as usize == at {
                self.replica = label;
            }
            label += 1;
            let Some(bound) = self.bounds.get_mut(label) else {
                return;
            };
            *bound = at as u16;
        }
        self.belongs = belongs;
        self.labels = label;
        self.expect_again();
    }

    #[inline(always)]
    fn bound(&self, label: usize) -> usize {
        usize::from(self.bounds[label % BOUNDS])
    }

    /// The label that this byte of the text is of, which is not before label `from`.
    #[inline(always)]
    fn label_of(&mut self, byte: usize, from: usize, nth: usize) -> Option<usize> {
        let guess = usize::from(*self.differed.get(nth)?);
        if self.bound(guess) <= byte && byte < self.bound(guess + 1) {
            return Some(guess);
        }
        self.search(byte, from, nth)
    }

    #[inline(never)]
    fn search(&mut self, byte: usize, from: usize, nth: usize) -> Option<usize> {
        let found = (from..self.labels).find(|label| byte < self.bound(label + 1))?;
        *self.differed.get_mut(nth)? = found as u8;
        Some(found)
    }
}

/// How many bytes both begin with alike, at most `length`. Reads chunks, beyond `length` if necessary.
#[inline(always)]
fn common<S: Simd>(simd: S, text: &[u8], request: &[u8], length: usize) -> Option<usize> {
    let chunks = length.div_ceil(CHUNK);
    let text = text.as_chunks::<CHUNK>().0.get(..chunks)?;
    let request = request.as_chunks::<CHUNK>().0.get(..chunks)?;
    for (nth, (left, right)) in text.iter().zip(request).enumerate() {
        let [left, right] = [left, right].map(|bytes| u8x32::load_array_ref(simd, bytes));
        let alike = left.simd_eq(right).to_bitmask() as u32;
        if alike != u32::MAX {
            return Some(length.min(nth * CHUNK + alike.trailing_ones() as usize));
        }
    }
    Some(length)
}

/// The end of a label as [`super::labels`] reads it that is no HA label.
#[inline(always)]
pub(super) fn other_label(request: &[u8], pos: usize, names: &Names<'_>) -> Option<usize> {
    let window: &[u8; 136] = request.get(pos..)?.first_chunk()?;
    let Header {
        length,
        name_length,
        is_usual,
    } = Header::of(window);
    let is_ha = name_length == names.cluster.length && names.cluster.is_in(window)
        || name_length == names.replica.length && names.replica.is_in(window);
    (is_usual && !is_ha).then_some(pos + 2 + length)
}

#[cfg(test)]
mod tests;
