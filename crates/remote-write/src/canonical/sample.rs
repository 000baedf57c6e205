//! Samples of both versions.

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Eight bytes of a window.
#[inline(always)]
pub(super) fn word<const N: usize>(window: &[u8; N], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&window[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// A sample: value unless zero, then timestamp unless zero, and nothing else. Answers the
/// timestamp and the length of the field.
#[inline(always)]
pub(crate) fn sample(request: &[u8], pos: usize, end: usize) -> Option<(u64, usize)> {
    let window: &[u8; 24] = request.get(pos..)?.first_chunk()?;
    let [0x12, length, first_key, ..] = *window else {
        return None;
    };
    let (key, varint, at) = match first_key {
        0x09 => (window[11], word(window, 12), 12),
        key => (key, word(window, 3), 3),
    };
    let stops = !varint & HIGH_BITS;
    // Nine bytes and more, as negative timestamps have, go the long way.
    if key != 0x10 || stops == 0 {
        return None;
    }
    let used = at + 1 + (stops.trailing_zeros() / 8) as usize;
    if used != usize::from(length) + 2 || pos + used > end {
        return None;
    }
    let bits = varint & (stops ^ stops.wrapping_sub(1)) & !HIGH_BITS;
    let bits = (bits & 0x007f_007f_007f_007f) | ((bits & 0x7f00_7f00_7f00_7f00) >> 1);
    let bits = (bits & 0x0000_3fff_0000_3fff) | ((bits & 0x3fff_0000_3fff_0000) >> 2);
    let bits = (bits & 0x0fff_ffff) | ((bits & 0x0fff_ffff_0000_0000) >> 4);
    Some((bits, used))
}

/// The last sample that was read: those of one target of one scrape have the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastSample {
    pub(crate) timestamp: u64,
    /// Of the field.
    length: usize,
    /// The first bytes of one with a value and a timestamp; the last of these is not compared.
    start: u32,
    /// The timestamp as it is written, and a bit for each of its bits.
    written: u64,
    mask: u64,
}

impl LastSample {
    /// Like no sample.
    pub(crate) const NONE: Self = Self {
        timestamp: 0,
        length: 0,
        start: 0,
        written: 0,
        mask: 0,
    };

    /// Reads a sample as [`sample`] does. Answers the length of the field, and whether this is the first
    /// one with its timestamp.
    #[inline(always)]
    pub(crate) fn read(&mut self, request: &[u8], pos: usize, end: usize) -> Option<(usize, bool)> {
        let window: &[u8; 24] = request.get(pos..)?.first_chunk()?;
        let start = word(window, 0) as u32 & 0x00ff_ffff;
        let written = word(window, 12) & self.mask;
        if start == self.start
            && window[11] == 0x10
            && written == self.written
            && pos + self.length <= end
        {
            return Some((self.length, false));
        }
        Some((self.read_another(request, pos, end)?, true))
    }

    #[inline(never)]
    fn read_another(&mut self, request: &[u8], pos: usize, end: usize) -> Option<usize> {
        let window: &[u8; 24] = request.get(pos..)?.first_chunk()?;
        let (timestamp, length) = sample(request, pos, end)?;
        *self = Self::NONE;
        self.timestamp = timestamp;
        if window[2] == 0x09 {
            self.start = word(window, 0) as u32 & 0x00ff_ffff;
            self.length = length;
            self.mask = u64::MAX.unbounded_shr(8 * (20 - length as u32));
            self.written = word(window, 12) & self.mask;
        }
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One after the other, with the timestamps of one to eight bytes, and other bytes changed.
    #[test]
    fn a_sample_is_read_alike_whatever_the_last_one_was() {
        let one = |value: bool, varint: &[u8]| {
            let value = match value {
                true => &[0x09, 1, 2, 3, 4, 5, 6, 7, 8][..],
                false => &[],
            };
            let content = [value, &[0x10], varint].concat();
            [&[0x12, content.len() as u8], &content[..], &[0x0a; 24]].concat()
        };
        let mut all = Vec::new();
        for bytes in 0..9 {
            let mut varint = vec![0x81; bytes];
            varint.push(5);
            all.extend([one(true, &varint), one(false, &varint)]);
            varint[0] ^= 2;
            all.push(one(true, &varint));
        }
        for at in [0, 1, 2, 3, 11, 12] {
            let mut odd = one(true, &[0x80, 0x80, 0x01]);
            odd[at] ^= 1;
            all.push(odd);
        }
        for first in &all {
            for (second, end) in all.iter().flat_map(|second| [(second, 14), (second, 30)]) {
                let mut last = LastSample::NONE;
                last.read(first, 0, first.len());
                let before = last.timestamp;
                let read = last.read(second, 0, end);
                let expected = sample(second, 0, end);
                assert_eq!(
                    read.map(|(length, _)| length),
                    expected.map(|(_, length)| length)
                );
                if let (Some((_, is_first)), Some((timestamp, _))) = (read, expected) {
                    assert_eq!(last.timestamp, timestamp);
                    assert!(is_first || timestamp == before);
                }
            }
        }
    }
}
