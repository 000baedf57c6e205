//! The elements of a snappy block, which follow its preamble: literals, and copies of bytes that
//! are already there.
//!
//! Source of the format: `format_description.txt` of <https://github.com/google/snappy>. Here instead
//! of in a library because decompression is the dearest part of a request that is dropped. These make
//! it cheap:
//!
//! - Where the next element begins is decided by branches, which a processor predicts. Looked up in a
//!   table, each element would wait until that of the one before has been loaded.
//! - What mostly comes next is tried at once, at a place of its own in the code, which the processor
//!   remembers apart from the others.
//! - A literal or copy moves as many bytes as an element can have, and what is too much is written
//!   over by the next one. Only near both ends, and where a copy overlaps itself, bytes are counted.

/// What a literal of usual length, or a copy, has at most, bytes.
const MOST: usize = 64;
/// What is moved at once if the source of a copy is near.
const STEP: usize = 16;
/// The size of an element that copies with an offset of two bytes.
const FAR_COPY: usize = 3;
/// Literals up to here have their length in the tag.
const LONGEST_TAGGED: usize = 60;

/// Why an element, or all of them together, make no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The input ends within it.
    Truncated,
    /// It copies from before the beginning, or from itself.
    Offset,
    /// It goes beyond the declared length.
    TooLong,
    /// All together make less than the declared length.
    TooShort,
}

/// What is wrong, and where: bytes from the first element's beginning to that of the wrong one, or
/// to the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Corrupt {
    pub(super) fault: Fault,
    pub(super) at: usize,
}

/// What one element took of the input, and made of output; bytes.
struct Done {
    size: usize,
    len: usize,
}

/// Decompresses elements to exactly the length of `out`. After an error it holds unspecified bytes.
///
/// Inlined: the caller says what vectors it may use.
#[inline(always)]
pub(super) fn decompress(elements: &[u8], out: &mut [u8]) -> Result<(), Corrupt> {
    let mut rest = elements;
    let mut at = 0;
    while !rest.is_empty() {
        if let Some(window) = rest.first_chunk::<{ MOST + 1 }>()
            && let Some(to) = chunk_mut::<MOST>(out, at)
        {
            let [tag, one, two, ..] = *window;
            let upper = usize::from(tag >> 2);
            // Bit by bit, not as one number of four values: that would become a jump through a
            // table, which is predicted less well.
            let copy = if tag & 2 != 0 {
                (tag & 1 == 0).then(|| (1 + upper, u16::from_le_bytes([one, two]), 3))
            } else if tag & 1 != 0 {
                Some((4 + (upper & 7), u16::from_le_bytes([one, tag >> 5]), 2))
            } else {
                let len = 1 + upper;
                if len <= STEP {
                    to[..STEP].copy_from_slice(&window[1..=STEP]);
                    rest = &rest[1 + len..];
                    at += len;
                    // Mostly a copy follows.
                    let next = [window[1 + len], window[2 + len], window[3 + len]];
                    if let Some(len) = far_copy(out, at, next) {
                        rest = &rest[FAR_COPY..];
                        at += len;
                    }
                    continue;
                }
                if len <= LONGEST_TAGGED {
                    to.copy_from_slice(&window[1..]);
                    rest = &rest[1 + len..];
                    at += len;
                    continue;
                }
                None
            };
            if let Some((len, offset, size)) = copy {
                let offset = usize::from(offset);
                if offset >= MOST {
                    if let Some(earlier) = at.checked_sub(offset)
                        && let Some(from) = chunk_mut::<MOST>(out, earlier).copied()
                        && let Some(to) = chunk_mut::<MOST>(out, at)
                    {
                        *to = from;
                        rest = &rest[size..];
                        at += len;
                        // What is longer than one element can be needs another.
                        let next = [window[size], window[size + 1], window[size + 2]];
                        if len == MOST
                            && let Some(len) = far_copy(out, at, next)
                        {
                            rest = &rest[FAR_COPY..];
                            at += len;
                        }
                        continue;
                    }
                } else if offset >= STEP
                    && let Some(earlier) = at.checked_sub(offset)
                    && let Some(both) = out.get_mut(earlier..at + MOST)
                {
                    let mut done = 0;
                    while done < len {
                        copy_step(both, done, offset);
                        done += STEP;
                    }
                    rest = &rest[size..];
                    at += len;
                    continue;
                }
            }
        }
        let Done { size, len } = exactly(rest, out, at).map_err(|fault| Corrupt {
            fault,
            at: elements.len() - rest.len(),
        })?;
        rest = &rest[size..];
        at += len;
    }
    if at == out.len() {
        Ok(())
    } else {
        Err(Corrupt {
            fault: Fault::TooShort,
            at: elements.len(),
        })
    }
}

#[inline(always)]
fn chunk_mut<const N: usize>(bytes: &mut [u8], at: usize) -> Option<&mut [u8; N]> {
    bytes.get_mut(at..)?.first_chunk_mut()
}

/// A copy of [`FAR_COPY`] bytes, if its source is far enough for it to be moved at once: what it made.
#[inline(always)]
fn far_copy(out: &mut [u8], at: usize, [tag, one, two]: [u8; FAR_COPY]) -> Option<usize> {
    let offset = usize::from(u16::from_le_bytes([one, two]));
    if tag & 3 != 2 || offset < MOST {
        return None;
    }
    let from = *chunk_mut::<MOST>(out, at.checked_sub(offset)?)?;
    *chunk_mut(out, at)? = from;
    Some(1 + usize::from(tag >> 2))
}

/// Copies a step of bytes within the bytes from the source of a copy on.
#[inline(always)]
fn copy_step(bytes: &mut [u8], done: usize, offset: usize) {
    if let Some(from) = chunk_mut::<STEP>(bytes, done).copied()
        && let Some(to) = chunk_mut::<STEP>(bytes, done + offset)
    {
        *to = from;
    }
}

/// Any element, moving no byte too many.
#[inline(never)]
fn exactly(rest: &[u8], out: &mut [u8], at: usize) -> Result<Done, Fault> {
    let (tag, after) = rest.split_first().ok_or(Fault::Truncated)?;
    let upper = usize::from(tag >> 2);
    let number = |bytes: usize| -> Result<usize, Fault> {
        let mut number = [0; 4];
        let own = after.get(..bytes).ok_or(Fault::Truncated)?;
        number[..bytes].copy_from_slice(own);
        Ok(u32::from_le_bytes(number) as usize)
    };
    let room = out.len() - at;
    if tag & 3 == 0 {
        let extra = (upper + 1).saturating_sub(LONGEST_TAGGED);
        let less = if extra == 0 { upper } else { number(extra)? };
        let len = less.saturating_add(1);
        if len > room {
            return Err(Fault::TooLong);
        }
        let content =
            (after.get(extra..).and_then(|after| after.get(..len))).ok_or(Fault::Truncated)?;
        out[at..at + len].copy_from_slice(content);
        return Ok(Done {
            size: 1 + extra + len,
            len,
        });
    }
    let (len, offset, size) = match tag & 3 {
        1 => (4 + (upper & 7), usize::from(tag >> 5) << 8 | number(1)?, 2),
        2 => (1 + upper, number(2)?, 3),
        _ => (1 + upper, number(4)?, 5),
    };
    if len > room {
        return Err(Fault::TooLong);
    }
    if offset == 0 || offset > at {
        return Err(Fault::Offset);
    }
    // What overlaps repeats its first bytes: as many at once as there are.
    let mut done = 0;
    while done < len {
        let part = (len - done).min(offset + done);
        out.copy_within(at - offset..at - offset + part, at + done);
        done += part;
    }
    Ok(Done { size, len })
}
