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
        let by = if cut.is_empty() { 0 } else { moved as u32 };
        let cut = Span {
            start: cut.start.wrapping_add(by),
            end: cut.end.wrapping_add(by),
        };
        Some((stopped, cut))
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
mod tests {
    use super::*;
    use crate::canonical::baseline;

    /// Both ways to read a repetition: where one takes it, the other does as well, and finds the same.
    fn repeated(
        earlier: &mut Earlier,
        request: &[u8],
        (pos, end): (usize, usize),
        names: &Names<'_>,
        values: &mut HaValues,
    ) -> Option<usize> {
        let expected = earlier.repeated_as_expected(baseline(), request, pos, names);
        let read = earlier.repeated(baseline(), request, pos, end, names, values);
        let is_short = |stopped: usize| stopped <= end && request.get(stopped) != Some(&LABEL_KEY);
        if let Some((stopped, cut)) = expected
            && is_short(stopped)
        {
            assert_eq!((read, values.cut), (Some(stopped), cut));
        }
        read
    }

    fn label(name: &str, value: &str) -> Vec<u8> {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        let lengths = [name.len() as u8, value.len() as u8];
        let content = [&[0x0a, lengths[0]], name, &[0x12, lengths[1]], value].concat();
        [&[LABEL_KEY, content.len() as u8], &content[..]].concat()
    }

    fn series(labels: &[(&str, &str)]) -> Vec<u8> {
        labels
            .iter()
            .flat_map(|(name, value)| label(name, value))
            .collect()
    }

    /// Reads what comes after `before` zeros.
    fn read(
        earlier: &mut Earlier,
        before: usize,
        labels: &[(&str, &str)],
    ) -> Option<(String, String)> {
        let bytes = series(labels);
        let request = [&vec![0; before], &bytes[..], &[0x12; 200]].concat();
        let names = Names::new(Some((b"cluster", b"__replica__")));
        let mut values = HaValues::default();
        let end = before + bytes.len() + 2;
        let read = repeated(earlier, &request, (before, end), &names, &mut values);
        if read.is_some() {
            assert_eq!(read, Some(before + bytes.len()));
            assert_eq!(earlier.belongs, Belongs::To(7));
            let cut = [label("__replica__", "a"), Vec::new()];
            assert!(cut.iter().any(|cut| cut == values.cut.of(&request)));
        }
        let text = |span: Span| String::from_utf8(span.of(&request).to_vec()).unwrap();
        read.map(|_| (text(values.cluster), text(values.replica)))
    }

    fn after(labels: &[(&str, &str)]) -> Earlier {
        let bytes = series(labels);
        let mut values = HaValues::default();
        let request = [&[9; 5], &bytes[..], &[0x12; 200]].concat();
        let names = Names::new(Some((b"cluster", b"__replica__")));
        let end = 5 + bytes.len();
        let stopped = super::super::labels(
            &request,
            5,
            end,
            &names,
            &mut super::super::Lengths::default(),
            &mut values,
        );
        assert_eq!(stopped, end);
        let mut earlier = Earlier::default();
        earlier.replace(&request, Span::new(5, end), &values, Belongs::To(7));
        earlier
    }

    const LONG: &str =
        "a value that does not fit into thirty-two bytes, nor into sixty-four of them";
    const FIRST: [(&str, &str); 6] = [
        ("__name__", "up"),
        ("__replica__", "a"),
        ("cluster", "c1"),
        ("job", LONG),
        ("mode", "idle"),
        ("zone", "z"),
    ];

    fn with(
        changes: &[(usize, (&'static str, &'static str))],
    ) -> Vec<(&'static str, &'static str)> {
        let mut labels = FIRST.to_vec();
        for (index, label) in changes {
            labels[*index] = *label;
        }
        labels
    }

    #[test]
    fn other_labels_in_place_of_a_few() {
        let pair = || Some(("c1".to_owned(), "a".to_owned()));
        let mut earlier = after(&FIRST);
        for before in [0, 3, 1000] {
            assert_eq!(read(&mut earlier, before, &FIRST), pair());
            for other in [
                ("mode", "iowait"),
                ("mode", ""),
                ("le", "0.5"),
                ("mode", LONG),
            ] {
                assert_eq!(read(&mut earlier, before, &with(&[(4, other)])), pair());
            }
            let three = [
                (0, ("__name__", LONG)),
                (3, ("job", "")),
                (5, ("zone", "y")),
            ];
            assert_eq!(read(&mut earlier, before, &with(&three)), pair());
            let four = [&three[..], &[(4, ("mode", "irq"))]].concat();
            assert_eq!(read(&mut earlier, before, &with(&four)), None);
        }
    }

    #[test]
    fn what_decides_never_differs() {
        let mut earlier = after(&FIRST);
        for different in [
            (1, ("__replica__", "b")),
            (2, ("cluster", "c2")),
            (2, ("cluster", "c11")),
            (2, ("job", "c1")),
            (1, ("replica", "a")),
            // The last of repeated labels counts.
            (4, ("cluster", "c2")),
            (0, ("__replica__", "b")),
            (5, ("__replica__", "a")),
        ] {
            assert_eq!(
                read(&mut earlier, 2, &with(&[different])),
                None,
                "{different:?}"
            );
        }
        let no_labels = [FIRST[0], FIRST[3]];
        let mut earlier = after(&no_labels);
        assert_eq!(read(&mut earlier, 2, &no_labels), Some(Default::default()));
        assert_eq!(read(&mut earlier, 2, &[FIRST[2], FIRST[3]]), None);
    }

    /// With each byte changed, in turn.
    #[test]
    fn nothing_but_what_is_expected_differs() {
        let other = [("mode", "irq"), ("job", "another"), ("__name__", "down")];
        let [mode, job, name] = other.map(|label| {
            let index = FIRST.iter().position(|(name, _)| *name == label.0);
            (index.unwrap(), label)
        });
        let names = Names::new(Some((b"cluster", b"__replica__")));
        for changes in [&[][..], &[mode], &[name, mode], &[name, job, mode]] {
            let expecting = || {
                let mut earlier = after(&FIRST);
                for _ in 0..2 {
                    assert!(read(&mut earlier, 0, &with(changes)).is_some());
                }
                let expected = changes.iter().map(|(index, _)| *index);
                assert!(earlier.expected.labels().eq(expected));
                earlier
            };
            let is_expected = |byte: usize| {
                let mut end = 0;
                let label = FIRST.iter().position(|(name, value)| {
                    end += label(name, value).len();
                    byte < end
                });
                changes.iter().any(|(index, _)| Some(*index) == label)
            };
            let text = series(&FIRST);
            let read_as_expected = |bytes: &[u8]| {
                let mut earlier = expecting();
                let request = [bytes, &[0x12; 200]].concat();
                let none = &mut HaValues::default();
                let read = earlier.repeated_as_expected(baseline(), &request, 0, &names);
                repeated(&mut earlier, &request, (0, text.len()), &names, none);
                read
            };
            assert!(read_as_expected(&text).is_some());
            for byte in 0..text.len() {
                let mut changed = text.clone();
                changed[byte] ^= 1;
                let read = read_as_expected(&changed);
                assert!(read.is_none() || is_expected(byte), "{byte}");
            }
        }
    }

    #[test]
    fn more_and_fewer_labels() {
        let mut earlier = after(&FIRST);
        let more = [&FIRST[..], &[("zzz", "")]].concat();
        for labels in [&FIRST[..5], &FIRST[1..], &[], &more] {
            assert_eq!(read(&mut earlier, 0, labels), None, "{labels:?}");
        }
        // A series that ends within the labels of the earlier one.
        let request = [series(&FIRST), vec![0x12; 200]].concat();
        let names = Names::new(None);
        let mut values = HaValues::default();
        let length = request.len() - 200;
        let mut read = |end| repeated(&mut earlier, &request, (0, end), &names, &mut values);
        assert_eq!(read(length - 1), None);
        assert_eq!(read(length), Some(length));
    }

    /// Of an earlier one that had more labels than this, too.
    #[test]
    fn each_byte_is_of_its_label_whatever_the_guess() {
        let many =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"].map(|name| (name, "x"));
        let mut earlier = after(&many);
        let bytes = [&series(&FIRST)[..], &[0x12; 200]].concat();
        let end = bytes.len() - 200;
        let none = HaValues::default();
        earlier.replace(&bytes, Span::new(0, end), &none, Belongs::ToNone);
        let mut expected = Vec::new();
        for (index, (name, value)) in FIRST.iter().enumerate() {
            expected.extend(vec![Some(index); label(name, value).len()]);
        }
        for guess in 0..BOUNDS as u8 {
            let found = (0..end).map(|byte| {
                earlier.differed = [guess; DIFFERENT];
                earlier.label_of(byte, 0, 0)
            });
            assert_eq!(found.collect::<Vec<_>>(), expected, "{guess}");
        }
    }

    #[test]
    fn what_is_not_worth_comparing() {
        assert_eq!(Earlier::default().labels, 0);
        let long = "x".repeat(100);
        let names: Vec<String> = (0..40).map(|number| format!("l{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (&name[..], "")).collect();
        let longest: Vec<_> = names
            .iter()
            .take(10)
            .map(|name| (&name[..], &long[..]))
            .collect();
        assert_eq!(
            (after(&many[..31]).labels, after(&many[..32]).labels),
            (31, 0)
        );
        assert_eq!(
            (after(&longest[..9]).labels, after(&longest).labels),
            (9, 0)
        );

        let mut earlier = after(&FIRST);
        let outdated: Vec<bool> = (0..UNLIKE + PAUSE + 2)
            .map(|_| earlier.is_outdated(false))
            .collect();
        let before = usize::from(UNLIKE);
        assert!(outdated[..before].iter().all(|outdated| *outdated));
        assert!(
            !outdated[before..before + usize::from(PAUSE)]
                .iter()
                .any(|outdated| *outdated)
        );
        assert!(outdated[before + usize::from(PAUSE)]);

        // More differences than before, once.
        let mut earlier = after(&FIRST);
        let mut read_another = |changes: &[_]| {
            assert!(read(&mut earlier, 0, &with(changes)).is_some());
            earlier.is_outdated(true)
        };
        let (one, another) = ((4, ("mode", "irq")), (5, ("zone", "")));
        assert!(!read_another(&[]));
        assert!(read_another(&[one]));
        assert!(!read_another(&[one]));
        assert!(read_another(&[one, another]));
        assert!(!read_another(&[]));
    }
}
