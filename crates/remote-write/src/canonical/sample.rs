//! Samples of both versions.

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Eight bytes of a window.
#[inline(always)]
pub(super) fn word<const N: usize>(window: &[u8; N], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&window[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// A timestamp of less than 56 bits as it is written, without the bits that say whether more follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written(u64);

impl Written {
    #[inline(always)]
    pub(crate) fn value(self) -> u64 {
        let Self(bits) = self;
        let bits = (bits & 0x007f_007f_007f_007f) | ((bits & 0x7f00_7f00_7f00_7f00) >> 1);
        let bits = (bits & 0x0000_3fff_0000_3fff) | ((bits & 0x3fff_0000_3fff_0000) >> 2);
        (bits & 0x0fff_ffff) | ((bits & 0x0fff_ffff_0000_0000) >> 4)
    }
}

/// A sample: value unless zero, then timestamp unless zero, and nothing else. Answers the
/// timestamp and the length of the field.
#[inline(always)]
pub(crate) fn sample(request: &[u8], pos: usize, end: usize) -> Option<(u64, usize)> {
    let (timestamp, length) = written_sample(request, pos, end)?;
    Some((timestamp.value(), length))
}

/// The same, with the timestamp as it is written.
#[inline(always)]
pub(crate) fn written_sample(request: &[u8], pos: usize, end: usize) -> Option<(Written, usize)> {
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
    Some((Written(bits), used))
}
