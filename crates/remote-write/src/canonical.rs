//! Fast readers for the encodings that every known sender writes. Whatever is unusual they leave
//! to the readers that take anything legal; whatever they accept, those accept with the same
//! result.
//!
//! They read a fixed window of the whole request, beyond the end of the message if necessary, so
//! that one comparison stands for the bounds checks of every byte in it.

mod expected;
mod last_run;
mod repeats;
mod sample;
mod series_v2;

pub(crate) use repeats::Earlier;
pub(crate) use sample::{LastSample, sample};
pub(crate) use series_v2::{Last, NO_REFERENCE, SeriesReader, ShortSeries, short_series};

use crate::wire::Span;
use sample::word;

/// A label name to look for: most others differ in length or in the first sixteen bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    text: &'a [u8],
    /// Longer than any name if no name is searched for.
    length: usize,
    start: [u64; 2],
    mask: [u64; 2],
}

impl<'a> Name<'a> {
    fn new(text: Option<&'a [u8]>) -> Self {
        let length = text.map_or(usize::MAX, <[u8]>::len);
        let text = text.unwrap_or_default();
        let (mut start, mut mask) = ([0; 16], [0; 16]);
        for ((byte, start), mask) in text.iter().zip(&mut start).zip(&mut mask) {
            (*start, *mask) = (*byte, 0xff);
        }
        let words = |bytes: [u8; 16]| [word(&bytes, 0), word(&bytes, 8)];
        Self {
            text,
            length,
            start: words(start),
            mask: words(mask),
        }
    }

    pub(crate) fn is(&self, name: &[u8]) -> bool {
        name.len() == self.length && name == self.text
    }

    /// Whether it is the name of this name's length after the four bytes of header in `window`.
    #[inline(always)]
    fn is_in(&self, window: &[u8; 136]) -> bool {
        word(window, 4) & self.mask[0] == self.start[0]
            && word(window, 12) & self.mask[1] == self.start[1]
            && (self.length <= 16 || self.ends_in(window))
    }

    #[cold]
    fn ends_in(&self, window: &[u8; 136]) -> bool {
        window.get(4..4 + self.length) == Some(self.text)
    }
}

/// The HA label names, or no names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) cluster: Name<'a>,
    pub(crate) replica: Name<'a>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(names: Option<(&'a [u8], &'a [u8])>) -> Self {
        Self {
            cluster: Name::new(names.map(|(cluster, _)| cluster)),
            replica: Name::new(names.map(|(_, replica)| replica)),
        }
    }
}

/// The HA labels of a 1.0 series: their last values, and the last replica label, whole; empty where
/// there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HaValues {
    pub(crate) cluster: Span,
    pub(crate) replica: Span,
    pub(crate) cut: Span,
}

/// Where the content of the 1.0 series at `pos` starts and ends, if its length takes two bytes, as
/// it does with more than a few labels.
#[inline(always)]
pub(crate) fn series_v1(request: &[u8], pos: usize) -> Option<(usize, usize)> {
    let (&[0x0a, low @ 0x80..=0xff, high @ ..0x80], content) =
        request.get(pos..)?.split_first_chunk()?
    else {
        return None;
    };
    let length = usize::from(low & 0x7f) | usize::from(high) << 7;
    (length <= content.len()).then_some((pos + 3, pos + 3 + length))
}

const LENGTHS: usize = 32;

/// How long the labels of the series before were, headers included: those of the next one mostly are
/// as long.
#[derive(Debug)]
pub(crate) struct Lengths([u8; LENGTHS]);

impl Default for Lengths {
    fn default() -> Self {
        Self([0; LENGTHS])
    }
}

impl Lengths {
    /// Takes note of another length, and answers where a label of it ends.
    #[inline(never)]
    fn differ(&mut self, index: usize, pos: usize, length: usize) -> usize {
        // Longer labels are not read here.
        self.0[index % LENGTHS] = (2 + length).min(0xff) as u8;
        pos + 2 + length
    }
}

/// How a label begins.
struct Header {
    /// Of the content.
    length: usize,
    name_length: usize,
    /// Whether it is a name, then a value, both shorter than 128 bytes, and nothing else.
    is_usual: bool,
}

impl Header {
    #[inline(always)]
    fn of(window: &[u8; 136]) -> Self {
        let header = word(window, 0) as u32;
        let (length, name_length) = (usize::from(window[1]), (header >> 24 & 0x7f) as usize);
        let value_header = u16::from_le_bytes([window[4 + name_length], window[5 + name_length]]);
        // Wraps to what no value length can be if the name is too long.
        let value_length = (length as u32).wrapping_sub(name_length as u32 + 4);
        // Both keys, and no high bit in either length.
        let is_usual = header & 0x80ff_80ff == 0x000a_000a
            && u32::from(value_header) == value_length << 8 | 0x12;
        Self {
            length,
            name_length,
            is_usual,
        }
    }
}

/// Reads labels from `pos` on, as long as each is a name, then a value, both shorter than 128
/// bytes, and nothing else, and not another replica label. Answers where it stopped.
///
/// Not inlined: this is the hottest loop of all, and needs the registers for itself.
#[inline(never)]
pub(crate) fn labels(
    request: &[u8],
    mut pos: usize,
    end: usize,
    names: &Names<'_>,
    lengths: &mut Lengths,
    values: &mut HaValues,
) -> usize {
    let (cluster_length, replica_length) = (names.cluster.length, names.replica.length);
    let mut index = 0;
    while let Some(window) = request
        .get(pos..)
        .and_then(|rest| rest.first_chunk::<136>())
    {
        let Header {
            length,
            name_length,
            is_usual,
        } = Header::of(window);
        // Not computed from what was read if it is as expected: so the next label can be read at the
        // same time, and need not wait for this one.
        let mut next = pos + usize::from(lengths.0[index]);
        if next != pos + 2 + length {
            next = lengths.differ(index, pos, length);
        }
        index = (index + 1) % LENGTHS;
        if !is_usual || next > end {
            break;
        }
        if name_length == cluster_length && names.cluster.is_in(window) {
            values.cluster = Span::new(pos + 6 + name_length, next);
        }
        if name_length == replica_length && names.replica.is_in(window) {
            if !values.cut.is_empty() {
                break;
            }
            values.replica = Span::new(pos + 6 + name_length, next);
            values.cut = Span::new(pos, next);
        }
        pos = next;
    }
    pos
}

/// Vectors that every processor has which the tests can run on.
#[cfg(test)]
pub(crate) fn baseline() -> impl fearless_simd::Simd {
    let level = fearless_simd::Level::new();
    #[cfg(target_arch = "x86_64")]
    return level.as_sse2().unwrap();
    #[cfg(target_arch = "aarch64")]
    return level.as_neon().unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows need bytes after the message.
    fn padded(bytes: &[u8]) -> Vec<u8> {
        [bytes, &[0xff; 200]].concat()
    }

    fn read(bytes: &[u8], end: usize) -> (usize, HaValues) {
        let names = Names::new(Some((b"abc", b"__replica__")));
        let mut values = HaValues::default();
        (
            labels(bytes, 0, end, &names, &mut Lengths::default(), &mut values),
            values,
        )
    }

    #[test]
    fn labels_until_something_else() {
        let text = [
            &b"\x0a\x08\x0a\x03abc\x12\x01x"[..],
            b"\x0a\x08\x0a\x03abd\x12\x01y",
            b"\x0a\x10\x0a\x0b__replica__\x12\x01r",
            b"\x0a\x10\x0a\x0b__replica_x\x12\x01s",
            b"\x0a\x04\x0a\x00\x12\x00",
            b"\x12\x00",
        ];
        let labels_end = text.concat().len() - 2;
        let values = HaValues {
            cluster: Span::new(9, 10),
            replica: Span::new(37, 38),
            cut: Span::new(20, 38),
        };
        let request = padded(&text.concat());
        assert_eq!(read(&request, labels_end + 2), (labels_end, values));
        assert_eq!(read(&request, 40), (38, values));
        assert_eq!(read(&request, 9), (0, HaValues::default()));
        assert_eq!(read(&request[..100], 10).0, 0);
        let mut none = HaValues::default();
        let stopped = labels(
            &request,
            0,
            labels_end,
            &Names::new(None),
            &mut Lengths::default(),
            &mut none,
        );
        assert_eq!((stopped, none), (labels_end, HaValues::default()));
        // A second replica label is left to the caller.
        let twice = padded(&[text[2], text[2]].concat());
        assert_eq!(read(&twice, 36).0, 18);
        for odd in [
            &b"\x0a\x08\x0a\x06abc\x12\x01x"[..],
            b"\x0a\x08\x12\x03abc\x0a\x01x",
            b"\x0a\x08\x0a\x03abc\x12\x02x",
            b"\x0a\x02\x0a\x00",
            b"\x0a\x00",
        ] {
            assert_eq!(read(&padded(odd), odd.len()).0, 0, "{odd:x?}");
        }
    }

    #[test]
    fn names_may_be_long_or_empty() {
        for name in [
            "",
            "eight678",
            "nine56789",
            "sixteen890123456",
            "seventeen01234567",
        ] {
            let names = Names::new(Some((name.as_bytes(), b"other")));
            let length = name.len() as u8;
            let header = [0x0a, length + 5, 0x0a, length];
            let mut label = [&header, name.as_bytes(), &[0x12, 1, b'v']].concat();
            let end = label.len();
            let mut values = HaValues::default();
            labels(
                &padded(&label),
                0,
                end,
                &names,
                &mut Lengths::default(),
                &mut values,
            );
            assert_eq!(values.cluster, Span::new(end - 1, end), "{name}");
            assert!(names.cluster.is(name.as_bytes()) && !names.replica.is(name.as_bytes()));
            if length > 0 {
                label[usize::from(length) + 3] ^= 1;
                let mut values = HaValues::default();
                assert_eq!(
                    labels(
                        &padded(&label),
                        0,
                        end,
                        &names,
                        &mut Lengths::default(),
                        &mut values
                    ),
                    end
                );
                assert_eq!(values, HaValues::default(), "{name}");
            }
        }
        assert!(!Names::new(None).cluster.is(b""));
    }

    #[test]
    fn samples() {
        let value = [
            &[0x12, 16, 0x09][..],
            &[7; 8],
            &[0x10, 0x80, 0x81, 0x82, 0x83, 0x84, 0x05],
        ];
        let value = value.concat();
        let timestamp = 1 << 7 | 2 << 14 | 3 << 21 | 4 << 28 | 5u64 << 35;
        assert_eq!(sample(&padded(&value), 0, 18), Some((timestamp, 18)));
        assert_eq!(sample(&padded(&value), 0, 17), None);
        let zero = [0x12, 4, 0x10, 0xff, 0xff, 0x7f];
        assert_eq!(sample(&padded(&zero), 0, 6), Some(((1 << 21) - 1, 6)));
        for odd in [
            &[0x12, 0][..],
            &[0x12, 9, 0x09, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x12, 5, 0x10, 0xff, 0xff, 0x7f, 0x18],
            &[
                0x12, 11, 0x10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1,
            ],
        ] {
            assert_eq!(sample(&padded(odd), 0, odd.len()), None, "{odd:x?}");
        }
    }
}
