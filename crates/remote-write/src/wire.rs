//! The protobuf wire format over a slice, with absolute positions.

use crate::error::{Problem, ScanError};

pub(crate) type Result<T> = std::result::Result<T, ScanError>;

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;
pub(crate) const FIXED32: u8 = 5;

/// A part of the request: first byte and the one after the last. 32 bits hold every position,
/// because longer requests are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    #[inline]
    pub(crate) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The same part so many bytes further on, or back if that wraps around; nothing stays nothing.
    #[inline(always)]
    pub(crate) fn moved(self, by: usize) -> Self {
        if self.is_empty() {
            return self;
        }
        Self {
            start: self.start.wrapping_add(by as u32),
            end: self.end.wrapping_add(by as u32),
        }
    }

    #[inline]
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// Reads one message: the request cut off at the message's end, so that positions stay those of
/// the request.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) pos: usize,
    /// What an error names.
    pub(crate) field: &'static str,
}

impl<'a> Cursor<'a> {
    #[cold]
    pub(crate) fn fail<T>(&self, problem: Problem) -> Result<T> {
        Err(ScanError {
            problem,
            field: self.field,
            series: None,
            offset: self.pos,
        })
    }

    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.pos >= self.bytes.len()
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.pos..).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        if let Some(&byte) = self.bytes.get(self.pos)
            && byte < 0x80
        {
            self.pos += 1;
            return Ok(u64::from(byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for (index, &byte) in self.rest().iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if index == 9 && byte > 1 {
                return self.fail(Problem::VarintTooLong);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.pos += index + 1;
                return Ok(value);
            }
        }
        self.fail(Problem::Truncated)
    }

    /// Field number and wire type of the next field.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<(u32, u8)> {
        let start = self.pos;
        let key = self.varint()?;
        let wire_type = (key & 7) as u8;
        let Ok(key) = u32::try_from(key) else {
            self.pos = start;
            return self.fail(Problem::KeyTooLarge { key });
        };
        if key < 8 {
            self.pos = start;
            return self.fail(Problem::FieldNumberZero);
        }
        Ok((key >> 3, wire_type))
    }

    #[inline]
    pub(crate) fn expect(&self, got: u8, expected: u8) -> Result<()> {
        if got == expected {
            return Ok(());
        }
        if matches!(got, VARINT | FIXED64 | BYTES | FIXED32) {
            return self.fail(Problem::WrongWireType { expected, got });
        }
        self.fail(Problem::UnsupportedWireType { wire_type: got })
    }

    /// Reads a length prefix and steps over what it covers.
    #[inline]
    pub(crate) fn nested(&mut self, field: &'static str) -> Result<Cursor<'a>> {
        let length = self.varint()?;
        let left = self.bytes.len() - self.pos;
        if length > left as u64 {
            self.field = field;
            return self.fail(Problem::LengthBeyondEnd { length, left });
        }
        let pos = self.pos;
        self.pos += length as usize;
        Ok(Cursor {
            bytes: self.bytes.get(..self.pos).unwrap_or_default(),
            pos,
            field,
        })
    }

    #[inline]
    pub(crate) fn advance(&mut self, length: usize) -> Result<()> {
        if length > self.bytes.len() - self.pos {
            return self.fail(Problem::Truncated);
        }
        self.pos += length;
        Ok(())
    }

    /// Steps over the value of an unknown field.
    pub(crate) fn skip(&mut self, wire_type: u8) -> Result<()> {
        match wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.advance(8),
            BYTES => self.nested(self.field).map(drop),
            FIXED32 => self.advance(4),
            _ => self.fail(Problem::UnsupportedWireType { wire_type }),
        }
    }
}

/// Bytes of a length as a varint.
pub(crate) fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(bytes: &[u8]) -> Cursor<'_> {
        Cursor {
            bytes,
            pos: 0,
            field: "test",
        }
    }

    fn varint(bytes: &[u8]) -> std::result::Result<(u64, usize), Problem> {
        let mut cursor = cursor(bytes);
        cursor
            .varint()
            .map(|value| (value, cursor.pos))
            .map_err(|error| error.problem)
    }

    #[test]
    fn varints() {
        assert_eq!(varint(&[0]), Ok((0, 1)));
        assert_eq!(varint(&[0x7f, 1]), Ok((127, 1)));
        assert_eq!(varint(&[0x80, 0x01]), Ok((128, 2)));
        // Not minimal, and legal.
        assert_eq!(varint(&[0x81, 0x80, 0x00]), Ok((1, 3)));
        let mut minus_one = [0xff; 10];
        minus_one[9] = 1;
        assert_eq!(varint(&minus_one), Ok((u64::MAX, 10)));
        minus_one[9] = 2;
        assert_eq!(varint(&minus_one), Err(Problem::VarintTooLong));
        assert_eq!(varint(&[0x80; 11]), Err(Problem::VarintTooLong));
        assert_eq!(varint(&[0x80; 9]), Err(Problem::Truncated));
        assert_eq!(varint(&[]), Err(Problem::Truncated));
        let mut out = Vec::new();
        for value in [0, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            out.clear();
            write_varint(value, &mut out);
            assert_eq!(varint(&out), Ok((value, out.len())));
        }
    }

    #[test]
    fn keys() {
        let key = |bytes: &[u8]| cursor(bytes).key().map_err(|error| error.problem);
        assert_eq!(key(&[0x0a]), Ok((1, 2)));
        assert_eq!(key(&[0x8a, 0x00]), Ok((1, 2)));
        assert_eq!(key(&[0x02]), Err(Problem::FieldNumberZero));
        assert_eq!(key(&[0xf8, 0xff, 0xff, 0xff, 0x0f]), Ok(((1 << 29) - 1, 0)));
        assert!(matches!(
            key(&[0xf8, 0xff, 0xff, 0xff, 0x1f]),
            Err(Problem::KeyTooLarge { .. })
        ));
    }
}
