//! References of a 2.0 series that repeat those of the one before, but for values of one byte.

use fearless_simd::{Simd, prelude::*, u8x64};

use super::series_v2::RunLabels;

/// Bytes of a run at most; longer ones are read as if they were the first.
const LENGTH: usize = 64;

/// The last run that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastRun {
    bytes: [u8; LENGTH],
    /// Longer than any if there is none.
    length: usize,
    /// One bit for each byte: a value of one byte that is not one of an HA label.
    values: u64,
    /// Positions in `bytes`.
    labels: RunLabels,
}

impl LastRun {
    /// Like no run.
    pub(crate) const NONE: Self = Self {
        bytes: [0; LENGTH],
        length: usize::MAX,
        values: 0,
        labels: RunLabels::NONE,
    };

    /// What the run at the beginning of `window`, which is at `pos` of the request, refers to, if it
    /// differs from the last one in nothing but values of one byte, which are in range: less than `short`.
    #[inline(always)]
    pub(crate) fn repeated<S: Simd>(
        &self,
        simd: S,
        window: &[u8; LENGTH],
        length: usize,
        pos: usize,
        short: u8,
    ) -> Option<RunLabels> {
        if length != self.length {
            return None;
        }
        let [this, last] = [window, &self.bytes].map(|run| u8x64::load_array_ref(simd, run));
        let alike = this.simd_eq(last).to_bitmask();
        let not_short = this.simd_ge(short).to_bitmask();
        let different = !alike & valid(length);
        if different & (not_short | !self.values) != 0 {
            return None;
        }
        Some(RunLabels {
            cut: self.labels.cut.moved(pos),
            ..self.labels
        })
    }

    /// Takes note of a run of whole pairs that was read as these labels, with a bit for each byte that is a
    /// value of one byte and not one of an HA label. It is at the beginning of `window`, which is at `pos`
    /// of the request.
    #[inline(always)]
    pub(crate) fn note(
        &mut self,
        (window, length): (&[u8; LENGTH], usize),
        pos: usize,
        labels: &RunLabels,
        values: u64,
    ) {
        self.length = usize::MAX;
        if length > LENGTH {
            return;
        }
        self.values = values;
        self.bytes = *window;
        self.length = length;
        self.labels = RunLabels {
            cut: labels.cut.moved(pos.wrapping_neg()),
            ..*labels
        };
    }
}

/// A bit for each of so many bytes.
#[inline(always)]
fn valid(length: usize) -> u64 {
    match length {
        0..LENGTH => !(u64::MAX << length),
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::baseline;
    use crate::wire::Span;

    const LABELS: RunLabels = RunLabels {
        cluster: 7,
        replica: 8,
        cut: Span {
            start: 102,
            end: 104,
        },
    };

    fn window(run: &[u8]) -> [u8; LENGTH] {
        let mut window = [0xee; LENGTH];
        window[..run.len()].copy_from_slice(run);
        window
    }

    /// After the pairs (3, 7), (5, 8), (9, 10), (9, 300), at 100.
    fn after() -> (Vec<u8>, LastRun) {
        let run = vec![3, 7, 5, 8, 9, 10, 9, 0xac, 0x02];
        let mut last = LastRun::NONE;
        last.note((&window(&run), run.len()), 100, &LABELS, 1 << 5);
        (run, last)
    }

    #[test]
    fn only_values_of_one_byte_may_differ() {
        let (run, last) = after();
        let repeated_of = |symbols: u8, run: &[u8]| {
            last.repeated(baseline(), &window(run), run.len(), 200, symbols)
        };
        let repeated = |run: &[u8]| repeated_of(0x80, run);
        let cut = Span::new(202, 204);
        assert_eq!(repeated(&run), Some(RunLabels { cut, ..LABELS }));
        for (at, byte) in (0..run.len()).flat_map(|at| [(at, 1), (at, 0x81), (at, 127)]) {
            let mut other = run.clone();
            other[at] = byte;
            let expected = at == 5 && byte < 0x80;
            assert_eq!(repeated(&other).is_some(), expected, "{at}: {byte}");
        }
        for (symbols, value) in
            (11..0x80).flat_map(|symbols| [(symbols, symbols - 1), (symbols, symbols)])
        {
            let mut other = run.clone();
            other[5] = value;
            assert_eq!(repeated_of(symbols, &other).is_some(), value < symbols);
        }
        assert_eq!(repeated(&run[..6]), None);
        assert_eq!(repeated(&[&run[..], &[1, 2]].concat()), None);
        assert_eq!(
            LastRun::NONE.repeated(baseline(), &window(&[]), 0, 0, 0x80),
            None
        );
    }

    #[test]
    fn runs_of_any_length() {
        let labels = RunLabels::NONE;
        for pairs in 0..32 {
            let run = vec![6; 2 * pairs];
            let mut last = LastRun::NONE;
            last.note((&window(&run), run.len()), 5, &labels, u64::MAX / 3 * 2);
            assert_eq!(
                last.repeated(baseline(), &window(&run), run.len(), 9, 0x80),
                Some(labels)
            );
            let mut other = run.clone();
            if let Some(value) = other.last_mut() {
                *value = 100;
                assert_eq!(
                    last.repeated(baseline(), &window(&other), run.len(), 9, 0x80),
                    Some(labels)
                );
                other[2 * pairs - 2] = 101;
                assert_eq!(
                    last.repeated(baseline(), &window(&other), run.len(), 9, 0x80),
                    None
                );
            }
        }
        let mut last = after().1;
        last.note((&[6; LENGTH], LENGTH + 2), 5, &labels, 0);
        assert_eq!(
            last.repeated(baseline(), &[6; LENGTH], LENGTH, 9, 0x80),
            None
        );
    }
}
