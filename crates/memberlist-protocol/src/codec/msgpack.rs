//! MessagePack as Go's members write and read it: structs are maps with sorted string keys; strings
//! and bytes are both of the old raw family. Written strictly, read tolerantly.

use std::borrow::Cow;

/// Most values in one object, those of unknown fields included: what bounds the work of reading.
const MAX_VALUES: u32 = 4096;

/// Why an object cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// More bytes are needed: this many from the start of the input, at least.
    Short { needed: usize },
    /// It is wrong whatever follows.
    Invalid(&'static str),
}

/// Reads one object from the front of a slice.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    values_left: u32,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            values_left: MAX_VALUES,
        }
    }

    /// How many bytes were read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Reads a struct: `field` is called with each known name, and must read its value. Unknown
    /// fields are skipped, missing ones not called. An array has the fields in the order of `names`.
    pub(crate) fn structure(
        &mut self,
        names: &[&'static str],
        mut field: impl FnMut(&'static str, &mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let tag = self.tag()?;
        let (count, is_map) = match tag {
            0x80..=0x8f => (u64::from(tag & 0x0f), true),
            0xde => (self.number(2)?, true),
            0xdf => (self.number(4)?, true),
            0x90..=0x9f => (u64::from(tag & 0x0f), false),
            0xdc => (self.number(2)?, false),
            0xdd => (self.number(4)?, false),
            0xc0 => return Ok(()),
            _ => return Err(Fault::Invalid("not a map")),
        };
        for index in 0..count {
            let name = if is_map {
                let key = self.bytes()?.unwrap_or_default();
                names.iter().find(|name| name.as_bytes() == &*key).copied()
            } else {
                usize::try_from(index)
                    .ok()
                    .and_then(|index| names.get(index).copied())
            };
            match name {
                Some(name) => field(name, self)?,
                None => self.skip()?,
            }
        }
        Ok(())
    }

    /// A string or bytes; `None` for nil. Borrowed, unless written as an array of numbers.
    pub(crate) fn bytes(&mut self) -> Result<Option<Cow<'a, [u8]>>, Fault> {
        let tag = self.tag()?;
        if let Some(length) = self.raw_length(tag)? {
            return self.take(length).map(Cow::Borrowed).map(Some);
        }
        let count = match tag {
            0xc0 => return Ok(None),
            0x90..=0x9f => u64::from(tag & 0x0f),
            0xdc => self.number(2)?,
            0xdd => self.number(4)?,
            _ => return Err(Fault::Invalid("not bytes")),
        };
        // Nothing is reserved: the count is not trusted, and each number is charged for.
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(self.unsigned()?);
        }
        Ok(Some(Cow::Owned(numbers)))
    }

    /// Text; nil is empty.
    pub(crate) fn text(&mut self, max: usize) -> Result<String, Fault> {
        let bytes = self.bytes()?.unwrap_or_default();
        if bytes.len() > max {
            return Err(Fault::Invalid("a text is too long"));
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Fault::Invalid("a text is not UTF-8")),
        }
    }

    /// A whole number that fits; nil is 0.
    pub(crate) fn unsigned<N: TryFrom<u64>>(&mut self) -> Result<N, Fault> {
        let tag = self.tag()?;
        let number = match tag {
            0x00..=0x7f => u64::from(tag),
            0xcc => self.number(1)?,
            0xcd => self.number(2)?,
            0xce => self.number(4)?,
            0xcf => self.number(8)?,
            0xd0..=0xd3 => {
                let width = 1 << (tag - 0xd0);
                let number = self.number(width)?;
                if number >> (8 * width - 1) != 0 {
                    return Err(Fault::Invalid("a number is negative"));
                }
                number
            }
            0xc0 => 0,
            0xe0..=0xff => return Err(Fault::Invalid("a number is negative")),
            _ => return Err(Fault::Invalid("not a number")),
        };
        N::try_from(number).map_err(|_| Fault::Invalid("a number is too large"))
    }

    /// True or false; nil is false.
    pub(crate) fn boolean(&mut self) -> Result<bool, Fault> {
        match self.tag()? {
            0xc2 | 0xc0 => Ok(false),
            0xc3 => Ok(true),
            _ => Err(Fault::Invalid("not true or false")),
        }
    }

    /// Passes over one value of any type, with all that it holds. Not recursive: depth costs nothing.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        let mut pending: u64 = 1;
        while pending > 0 {
            pending -= 1;
            let tag = self.tag()?;
            if let Some(length) = self.raw_length(tag)? {
                self.take(length)?;
                continue;
            }
            match tag {
                0x80..=0x8f => pending += 2 * u64::from(tag & 0x0f),
                0xde => pending += 2 * self.number(2)?,
                0xdf => pending += 2 * self.number(4)?,
                0x90..=0x9f => pending += u64::from(tag & 0x0f),
                0xdc => pending += self.number(2)?,
                0xdd => pending += self.number(4)?,
                0xc7..=0xc9 => {
                    let length = self.length(1 << (tag - 0xc7))?;
                    self.take(length.saturating_add(1))?;
                }
                0xca => self.take(4).map(drop)?,
                0xcb => self.take(8).map(drop)?,
                0xcc..=0xcf => self.take(1 << (tag - 0xcc)).map(drop)?,
                0xd0..=0xd3 => self.take(1 << (tag - 0xd0)).map(drop)?,
                0xd4..=0xd8 => self.take(1 + (1 << (tag - 0xd4))).map(drop)?,
                0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => {}
                _ => return Err(Fault::Invalid("an unknown tag")),
            }
        }
        Ok(())
    }

    /// The length of a string or bytes with this tag.
    fn raw_length(&mut self, tag: u8) -> Result<Option<usize>, Fault> {
        Ok(Some(match tag {
            0xa0..=0xbf => usize::from(tag & 0x1f),
            0xc4 | 0xd9 => self.length(1)?,
            0xc5 | 0xda => self.length(2)?,
            0xc6 | 0xdb => self.length(4)?,
            _ => return Ok(None),
        }))
    }

    /// The first byte of a value, which is charged for.
    fn tag(&mut self) -> Result<u8, Fault> {
        self.values_left = match self.values_left.checked_sub(1) {
            Some(left) => left,
            None => return Err(Fault::Invalid("too many values")),
        };
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn length(&mut self, width: usize) -> Result<usize, Fault> {
        usize::try_from(self.number(width)?).map_err(|_| Fault::Invalid("a length is too large"))
    }

    /// A big-endian number of 1 to 8 bytes.
    fn number(&mut self, width: usize) -> Result<u64, Fault> {
        let bytes = self.take(width)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.saturating_add(count);
        match self.bytes.get(self.at..end) {
            Some(taken) => {
                self.at = end;
                Ok(taken)
            }
            None => Err(Fault::Short { needed: end }),
        }
    }
}

/// Writes a map with `count` fields, of which there are fewer than 16.
pub(crate) fn put_map(out: &mut Vec<u8>, count: u8) {
    out.push(0x80 | count & 0x0f);
}

/// Writes a string or bytes.
pub(crate) fn put_raw(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        short @ 0..32 => out.push(0xa0 | short as u8),
        middle @ 32..0x1_0000 => {
            out.push(0xda);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(0xdb);
            // Longer than 4 GiB is refused before.
            out.extend_from_slice(&(long as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

/// Writes bytes of which none are nil, as Go's members do.
pub(crate) fn put_raw_or_nil(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.is_empty() {
        out.push(0xc0);
    } else {
        put_raw(out, bytes);
    }
}

/// Writes a number of an unsigned field.
pub(crate) fn put_unsigned(out: &mut Vec<u8>, number: u32) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x100 => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..0x1_0000 => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        _ => {
            out.push(0xce);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Writes a number, none of which is negative, of a signed field: as dskit's codec does.
pub(crate) fn put_signed(out: &mut Vec<u8>, number: u32) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x8000 => {
            out.push(0xd1);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x8000..0x8000_0000 => {
            out.push(0xd2);
            out.extend_from_slice(&number.to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&u64::from(number).to_be_bytes());
        }
    }
}

/// Writes true or false.
pub(crate) fn put_boolean(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}
