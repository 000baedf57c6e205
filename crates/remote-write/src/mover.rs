//! Leaves parts of a buffer out, in place, with as few copies as there are gaps.

use crate::wire::Span;

/// Moves kept parts of a buffer towards its start. Parts come in ascending order; adjacent ones
/// are moved together.
#[derive(Debug, Default)]
pub(crate) struct Mover {
    /// Bytes of output that are in place.
    written: usize,
    /// Source of what is kept but not yet moved.
    from: usize,
    to: usize,
    /// Something was written over.
    has_moved: bool,
}

impl Mover {
    /// Length of the output so far.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.written + (self.to - self.from)
    }

    #[inline]
    pub(crate) fn keep(&mut self, buf: &mut [u8], start: usize, end: usize) {
        if start != self.to {
            self.flush(buf);
            self.from = start;
        }
        self.to = end;
    }

    #[inline]
    fn flush(&mut self, buf: &mut [u8]) {
        if self.from != self.written && self.from != self.to {
            buf.copy_within(self.from..self.to, self.written);
            self.has_moved = true;
        }
        self.written += self.to - self.from;
        self.from = self.to;
    }

    /// Appends bytes that are not in the buffer. They must not be longer than what was read and
    /// not kept so far, or they would overwrite what is still to be read.
    pub(crate) fn put(&mut self, buf: &mut [u8], bytes: &[u8]) {
        self.flush(buf);
        self.has_moved = true;
        if let Some(target) = buf.get_mut(self.written..self.written + bytes.len()) {
            target.copy_from_slice(bytes);
        }
        self.written += bytes.len();
    }

    /// Moves what is left; returns the length of the output, and whether any of it was moved or put.
    pub(crate) fn finish(mut self, buf: &mut [u8]) -> (usize, bool) {
        self.flush(buf);
        (self.written, self.has_moved)
    }
}

/// Writes the key and length of a field so that they end where its `content` starts, over the old
/// ones, which are at least as long. Returns their first byte.
#[inline]
pub(crate) fn write_header(buf: &mut [u8], key: u8, content: usize, length: usize) -> usize {
    match length {
        0..0x80 => {
            buf[content - 2..content].copy_from_slice(&[key, length as u8]);
            content - 2
        }
        0x80..0x4000 => {
            let bytes = [key, length as u8 | 0x80, (length >> 7) as u8];
            buf[content - 3..content].copy_from_slice(&bytes);
            content - 3
        }
        _ => write_long_header(buf, key, content, length),
    }
}

#[cold]
fn write_long_header(buf: &mut [u8], key: u8, content: usize, length: usize) -> usize {
    let mut bytes = [key, 0, 0, 0, 0, 0];
    let mut rest = length;
    let mut used = 1;
    for byte in &mut bytes[1..] {
        used += 1;
        if rest < 0x80 {
            *byte = rest as u8;
            break;
        }
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    let start = content - used;
    buf[start..content].copy_from_slice(&bytes[..used]);
    start
}

/// Keeps `start..end` except for the ascending `cuts` in it.
#[inline]
pub(crate) fn keep_without(
    mover: &mut Mover,
    buf: &mut [u8],
    start: usize,
    end: usize,
    cuts: &[Span],
) {
    let mut from = start;
    for cut in cuts {
        mover.keep(buf, from, cut.start as usize);
        from = cut.end as usize;
    }
    mover.keep(buf, from, end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_close_and_neighbours_merge() {
        let mut buf = *b"0123456789";
        let mut mover = Mover::default();
        mover.keep(&mut buf, 0, 2);
        mover.keep(&mut buf, 2, 3);
        assert_eq!(mover.position(), 3);
        mover.keep(&mut buf, 5, 5);
        mover.put(&mut buf, b"ab");
        mover.keep(&mut buf, 7, 8);
        mover.keep(&mut buf, 9, 10);
        assert_eq!(mover.position(), 7);
        let (length, has_moved) = mover.finish(&mut buf);
        assert!(has_moved);
        assert_eq!(&buf[..length], b"012ab79");
    }

    #[test]
    fn headers_end_where_the_content_starts() {
        for (length, expected) in [
            (0, &[0x0a, 0][..]),
            (127, &[0x0a, 0x7f]),
            (128, &[0x0a, 0x80, 0x01]),
            (16_383, &[0x0a, 0xff, 0x7f]),
            (16_384, &[0x0a, 0x80, 0x80, 0x01]),
            (u32::MAX as usize, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut buf = [0xee; 8];
            let start = write_header(&mut buf, 0x0a, 8, length);
            assert_eq!(&buf[start..], expected);
            assert!(buf[..start].iter().all(|&byte| byte == 0xee));
        }
    }
}
