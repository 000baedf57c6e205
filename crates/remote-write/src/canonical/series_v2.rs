//! 2.0 series: one run of references, one sample, metadata.

use fearless_simd::{Simd, mask8x16, prelude::*, u8x16};

use super::last_run::LastRun;
use super::sample::{LastSample, sample, word};
use crate::wire::Span;

/// A reference that no request can hold: a table that long would not fit into 4 GiB.
pub(crate) const NO_REFERENCE: u32 = u32::MAX;

/// The end of the 2.0 series at `pos`, if its content is shorter than 128 bytes.
#[inline(always)]
pub(crate) fn short_series(request: &[u8], pos: usize) -> Option<usize> {
    let rest = request.get(pos..)?;
    let [0x2a, length @ ..0x80, content @ ..] = rest else {
        return None;
    };
    (content.len() >= usize::from(*length)).then_some(pos + 2 + usize::from(*length))
}

/// Reads series of tables in which each HA label has at most one symbol, one of the first 128.
#[derive(Clone, Copy)]
pub(crate) struct SeriesReader<S> {
    simd: S,
    symbols: u32,
    /// Less than this is a reference of one byte that is in range.
    short: Lane,
    /// The only byte of the references to the label names.
    cluster: Lane,
    replica: Lane,
    /// Bytes of the first reference of two bytes out of range: its first, and its second, which is beyond
    /// what a second byte can be if every one is in range, and zero if none is.
    low: Lane,
    high: Lane,
    /// What makes a high bit of a second byte beyond `high`, less one.
    limit: Lane,
}

/// The same byte, as often as bytes are compared at once.
type Lane = [u8; 16];

/// What a run refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunLabels {
    /// References to the values of the HA labels; [`NO_REFERENCE`] where there is none.
    pub(crate) cluster: u32,
    pub(crate) replica: u32,
    /// The pair that is to be cut out.
    pub(crate) cut: Span,
}

impl RunLabels {
    pub(crate) const NONE: Self = Self {
        cluster: NO_REFERENCE,
        replica: NO_REFERENCE,
        cut: Span { start: 0, end: 0 },
    };
}

/// A series of one run of references, one sample, and perhaps metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShortSeries {
    /// Where the series ends.
    pub(crate) end: usize,
    pub(crate) labels: RunLabels,
    /// Of the sample.
    pub(crate) timestamp: u64,
}

/// What the last series taught.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Last {
    metadata: LastMetadata,
    run: LastRun,
}

impl Last {
    /// Nothing.
    pub(crate) const NONE: Self = Self {
        metadata: LastMetadata::NONE,
        run: LastRun::NONE,
    };
}

/// The last metadata field that was read: the series of a metric follow each other and have it in
/// common.
#[derive(Debug, Clone, Copy)]
struct LastMetadata {
    bytes: [u64; 2],
    masks: [u64; 2],
    length: usize,
}

impl LastMetadata {
    /// Like no field.
    const NONE: Self = Self {
        bytes: [1, 0],
        masks: [0, 0],
        length: 0,
    };
}

impl LastMetadata {
    /// The end of metadata at `pos` if it is the same.
    #[inline(always)]
    fn end_of_same(&self, request: &[u8; 192], pos: usize) -> Option<usize> {
        let window: &[u8; 16] = request.get(pos..)?.first_chunk()?;
        let is_same = word(window, 0) & self.masks[0] == self.bytes[0]
            && word(window, 8) & self.masks[1] == self.bytes[1];
        is_same.then_some(pos + self.length)
    }
}

/// One bit for each byte of a window.
struct Bits {
    /// More bytes of the reference follow.
    firsts: u64,
    /// The same as the references to the label names.
    cluster: u64,
    replica: u64,
    /// Too large for a reference of one byte.
    not_short: u64,
    /// Too large if it is the second byte of a reference, or zero.
    odd_high: u64,
    /// Too large if it is the second byte of a reference whose first byte is `large_low`.
    last_high: u64,
    large_low: u64,
}

impl<S: Simd> SeriesReader<S> {
    /// `None` for a table that it is not for. A name without symbol is [`NO_REFERENCE`].
    pub(crate) fn new(simd: S, symbols: usize, cluster: u32, replica: u32) -> Option<Self> {
        let symbols = u32::try_from(symbols).ok().filter(|&symbols| symbols > 0)?;
        let byte = |reference| match reference {
            // No reference of one byte looks like this.
            NO_REFERENCE => Some([0xff; 16]),
            0..0x80 => Some([reference as u8; 16]),
            _ => None,
        };
        let high = (symbols >> 7).min(0x80) as u8;
        Some(Self {
            simd,
            symbols,
            short: [symbols.min(0x80) as u8; 16],
            cluster: byte(cluster)?,
            replica: byte(replica)?,
            low: [symbols as u8 | 0x80; 16],
            high: [high; 16],
            limit: [0x80 - high; 16],
        })
    }

    /// The same for a series that is like the last one: with its metadata, and with its references but
    /// for values of one byte. Answers where it ends, and whether it is the first one with the timestamp
    /// of `sample`.
    #[inline(always)]
    pub(crate) fn alike_series(
        &self,
        request: &[u8],
        pos: usize,
        last: &Last,
        sample: &mut LastSample,
    ) -> Option<(usize, RunLabels, bool)> {
        let window: &[u8; 192] = request.get(pos..)?.first_chunk()?;
        let (end, run_end) = Self::ends(window)?;
        let (length, is_first) = sample.read(window, run_end, end)?;
        let after = run_end + length;
        if after != end && last.metadata.end_of_same(window, after)? != end {
            return None;
        }
        let (run, _) = window.get(4..)?.split_first_chunk()?;
        let labels = (last.run).repeated(self.simd, run, run_end - 4, pos + 4, self.short[0])?;
        Some((pos + end, labels, is_first))
    }

    /// Where a series that begins with a run ends in the window, and where the run does, if both are
    /// shorter than 128 bytes.
    #[inline(always)]
    fn ends(window: &[u8; 192]) -> Option<(usize, usize)> {
        // Both keys, and no high bit in either length.
        let is_usual = word(window, 0) as u32 & 0x80ff_80ff == 0x000a_002a;
        is_usual.then(|| (2 + usize::from(window[1]), 4 + usize::from(window[3])))
    }

    /// Reads the series at `pos` if it has the usual fields in the usual order and less than 128
    /// bytes.
    #[inline(always)]
    pub(crate) fn series(
        &self,
        request: &[u8],
        pos: usize,
        last: &mut Last,
    ) -> Option<ShortSeries> {
        let window: &[u8; 192] = request.get(pos..)?.first_chunk()?;
        let (end, run_end) = Self::ends(window)?;
        let (timestamp, length) = sample(window, run_end, end)?;
        let after = run_end + length;
        if after != end && self.metadata(window, after, &mut last.metadata)? != end {
            return None;
        }
        let labels = self.labels(request, window, pos, run_end, &mut last.run)?;
        Some(ShortSeries {
            end: pos + end,
            labels,
            timestamp,
        })
    }

    /// What the run refers to that is in `window` from its fifth byte to `run_end`.
    #[inline(always)]
    fn labels(
        &self,
        request: &[u8],
        window: &[u8; 192],
        pos: usize,
        run_end: usize,
        last: &mut LastRun,
    ) -> Option<RunLabels> {
        let (run, _) = window.get(4..)?.split_first_chunk()?;
        let (length, pos) = (run_end - 4, pos + 4);
        if let Some(labels) = last.repeated(self.simd, run, length, pos, self.short[0]) {
            return Some(labels);
        }
        self.another_run(request, (run, length), pos, last)
    }

    #[inline(never)]
    fn another_run(
        &self,
        request: &[u8],
        (run, length): (&[u8; 64], usize),
        pos: usize,
        last: &mut LastRun,
    ) -> Option<RunLabels> {
        self.simd.vectorize(
            #[inline(always)]
            || {
                let (labels, values) = self.read_run(request, pos, pos + length)?;
                last.note((run, length), pos, &labels, values);
                Some(labels)
            },
        )
    }

    /// The end of metadata at `pos`: type and references of one or two bytes, all in range.
    #[inline]
    fn metadata(&self, request: &[u8; 192], pos: usize, last: &mut LastMetadata) -> Option<usize> {
        if let Some(end) = last.end_of_same(request, pos) {
            return Some(end);
        }
        let window: &[u8; 32] = request.get(pos..)?.first_chunk()?;
        let bytes = [word(window, 0), word(window, 8)];
        let [0x2a, length @ ..=14, ..] = *window else {
            return None;
        };
        let end = 2 + usize::from(length);
        let mut at = 2;
        while at < end {
            let [key, low, high] = [window[at], window[at + 1], window[at + 2]];
            let (value, used) = match (low, high) {
                (..0x80, _) => (u32::from(low), 2),
                (_, ..0x80) => (u32::from(low & 0x7f) | u32::from(high) << 7, 3),
                _ => return None,
            };
            // Type, help and unit.
            if key != 0x08 && (key != 0x18 && key != 0x20 || value >= self.symbols) {
                return None;
            }
            at += used;
        }
        if at != end {
            return None;
        }
        let mask = |bits: usize| u64::MAX.unbounded_shr(64_u32.saturating_sub(bits as u32));
        last.masks = [mask(8 * end), mask((8 * end).saturating_sub(64))];
        last.bytes = [bytes[0] & last.masks[0], bytes[1] & last.masks[1]];
        last.length = end;
        Some(pos + end)
    }

    /// Reads the run `start..end`: whole pairs of references of one or two bytes, no more than they
    /// need, all in range, with each HA label at most once. `None` for any other, which may be
    /// legal or not.
    #[inline(never)]
    pub(crate) fn run(&self, request: &[u8], start: usize, end: usize) -> Option<RunLabels> {
        self.simd.vectorize(
            #[inline(always)]
            || Some(self.read_run(request, start, end)?.0),
        )
    }

    /// The same; and a bit for each of the first 64 bytes that is a value of one byte and not one of an HA
    /// label.
    #[inline(always)]
    fn read_run(&self, request: &[u8], start: usize, end: usize) -> Option<(RunLabels, u64)> {
        let (mut labels, mut values) = (RunLabels::NONE, 0);
        // One bit for each byte of a window. These carry over to the next window: whether its
        // first byte is a second one, and after a large first one, and all ones if an odd number
        // of references comes before.
        let (mut carried, mut carried_low, mut odd) = (0u64, 0u64, 0u64);
        let mut pos = start;
        while pos < end {
            let window: &[u8; 64] = request.get(pos..)?.first_chunk()?;
            let left = end - pos;
            let valid = if left < 64 {
                !(u64::MAX << left)
            } else {
                u64::MAX
            };
            let bits = self.bits(window, left);
            let firsts = bits.firsts & valid;
            let seconds = firsts << 1 | carried;
            // A third byte, or a run that ends within a reference.
            if firsts & seconds != 0 || seconds & !valid != 0 {
                return None;
            }
            // Out of range, or two bytes of what could be one, which may be a label name.
            let after_large = bits.large_low << 1 | carried_low;
            if (bits.odd_high | bits.last_high & after_large) & seconds != 0 {
                return None;
            }
            // Whether the number of references that end here or before is odd.
            let parity = prefix_xor(!firsts & valid) ^ odd;
            let short = !seconds & !firsts & valid;
            if bits.not_short & short != 0 {
                return None;
            }
            let is_value = parity << 1 | odd & 1;
            let names = !is_value & short;
            let cluster = bits.cluster & names;
            if cluster != 0 {
                if !cluster.is_power_of_two() || labels.cluster != NO_REFERENCE {
                    return None;
                }
                let at = pos + cluster.trailing_zeros() as usize;
                (labels.cluster, _) = short_reference(request, at + 1)?;
            }
            let replica = bits.replica & names;
            if replica != 0 {
                if !replica.is_power_of_two() || labels.replica != NO_REFERENCE {
                    return None;
                }
                let at = pos + replica.trailing_zeros() as usize;
                let (value, value_end) = short_reference(request, at + 1)?;
                (labels.replica, labels.cut) = (value, Span::new(at, value_end));
            }
            if pos == start {
                values = is_value & short & !((bits.cluster | bits.replica) & names) << 1;
            }
            carried = firsts >> 63;
            carried_low = bits.large_low >> 63;
            odd = 0u64.wrapping_sub(parity >> 63);
            pos += 64;
        }
        (carried == 0 && odd == 0).then_some((labels, values))
    }

    #[inline(always)]
    fn bits(&self, window: &[u8; 64], left: usize) -> Bits {
        let simd = self.simd;
        let load = |lane: &Lane| u8x16::load_array_ref(simd, lane);
        let mut bits = Bits {
            firsts: 0,
            cluster: 0,
            replica: 0,
            not_short: 0,
            odd_high: 0,
            last_high: 0,
            large_low: 0,
        };
        for (index, lane) in window.as_chunks::<16>().0.iter().enumerate() {
            if 16 * index >= left {
                break;
            }
            let bytes = load(lane);
            let shifted = |lane: mask8x16<S>| lane.to_bitmask() << (16 * index);
            bits.firsts |= shifted(bytes.simd_ge(0x80));
            bits.cluster |= shifted(bytes.simd_eq(load(&self.cluster)));
            bits.replica |= shifted(bytes.simd_eq(load(&self.replica)));
            bits.not_short |= shifted(bytes.simd_ge(load(&self.short)));
            // Less one, zero is the largest of all.
            let odd_high = (bytes - u8x16::splat(simd, 1)).saturating_add(load(&self.limit));
            bits.odd_high |= shifted(odd_high.simd_ge(0x80));
            bits.last_high |= shifted(bytes.simd_eq(load(&self.high)));
            bits.large_low |= shifted(bytes.simd_ge(load(&self.low)));
        }
        bits
    }
}

/// Each bit: whether the number of ones up to it is odd.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// A reference of one or two bytes, and where it ends.
#[inline(always)]
fn short_reference(request: &[u8], at: usize) -> Option<(u32, usize)> {
    let first = *request.get(at)?;
    if first < 0x80 {
        return Some((u32::from(first), at + 1));
    }
    let second = *request.get(at + 1)?;
    (second < 0x80).then_some((u32::from(first & 0x7f) | u32::from(second) << 7, at + 2))
}

#[cfg(test)]
mod tests;
