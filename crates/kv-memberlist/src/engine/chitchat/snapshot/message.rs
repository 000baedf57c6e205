//! What a joiner and a member say to each other, besides what chitchat says.
//!
//! ```text
//! 53 b0 | 0 | kind, as in chitchat's messages, whose kinds are below 16
//! ask  (16): snapshot (8), 0 for any | first part wanted (4)
//! part (17): snapshot (8) | number (4) | of how many (4) | entries of all parts (8) | a message
//! word (18): which (1)
//! ```
//!
//! Numbers are little-endian.

use crate::seal::reader::Reader;
use crate::seal::refusal::Refusal;

/// As in chitchat's messages: its magic number and version.
const START: [u8; 3] = [0x53, 0xb0, 0];
/// Kinds from here on are not chitchat's.
const FIRST_KIND: u8 = 16;
const ASK: u8 = FIRST_KIND;
const PART: u8 = FIRST_KIND + 1;
const WORD: u8 = FIRST_KIND + 2;

/// Parts that are asked for at once. With [`super::parts::MAX_PART`], about 0.9 MiB at most before
/// compression.
pub(super) const BATCH: u32 = 8;

/// Which parts are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The snapshot that is being received; 0 if any will do.
    pub(crate) snapshot: u64,
    /// The first part that is wanted.
    pub(crate) next: u32,
}

/// What a part is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) snapshot: u64,
    pub(crate) number: u32,
    pub(crate) count: u32,
    /// Entries in all parts together.
    pub(crate) entries: u64,
}

/// What a member answers that does not, or not yet, do what another wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// It has not caught up itself, or is leaving, and gives no snapshot.
    NotActive = 1,
    /// Its table of members is full: it cannot take in the other one.
    Full = 2,
    /// It makes the snapshot.
    Making = 3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Ask(Ask),
    Part(Head, &'a [u8]),
    Word(Word),
}

impl Message<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = START.to_vec();
        match self {
            Message::Ask(ask) => {
                body.push(ASK);
                body.extend(ask.snapshot.to_le_bytes());
                body.extend(ask.next.to_le_bytes());
            }
            Message::Part(head, message) => {
                body.reserve(32 + message.len());
                body.push(PART);
                body.extend(head.snapshot.to_le_bytes());
                body.extend(head.number.to_le_bytes());
                body.extend(head.count.to_le_bytes());
                body.extend(head.entries.to_le_bytes());
                body.extend_from_slice(message);
            }
            Message::Word(word) => body.extend([WORD, *word as u8]),
        }
        body
    }
}

/// Reads a message; `None` if it is one of chitchat's, or nonsense.
pub(crate) fn read(body: &[u8]) -> Option<Result<Message<'_>, Refusal>> {
    let mut reader = Reader::new(body);
    if reader.array()? != START {
        return None;
    }
    let kind = reader.u8().filter(|&kind| kind >= FIRST_KIND)?;
    Some(read_rest(kind, reader).ok_or(Refusal::Malformed))
}

fn read_rest(kind: u8, mut reader: Reader<'_>) -> Option<Message<'_>> {
    let message = match kind {
        ASK => Message::Ask(Ask {
            snapshot: reader.u64()?,
            next: reader.u32()?,
        }),
        PART => {
            let head = Head {
                snapshot: reader.u64()?,
                number: reader.u32()?,
                count: reader.u32()?,
                entries: reader.u64()?,
            };
            return (head.number < head.count).then_some(Message::Part(head, reader.rest));
        }
        WORD => Message::Word(match reader.u8()? {
            1 => Word::NotActive,
            2 => Word::Full,
            3 => Word::Making,
            _ => return None,
        }),
        _ => return None,
    };
    reader.rest.is_empty().then_some(message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed check panics")]

    use super::*;

    #[test]
    fn every_message_is_read_as_it_was_written_and_in_no_other_way() {
        let head = Head {
            snapshot: 7,
            number: 1,
            count: 2,
            entries: 3,
        };
        let ask = Ask {
            snapshot: 5,
            next: 6,
        };
        for message in [
            Message::Ask(ask),
            Message::Part(head, b"inner"),
            Message::Word(Word::NotActive),
            Message::Word(Word::Full),
            Message::Word(Word::Making),
        ] {
            let body = message.encode();
            assert_eq!(read(&body).unwrap().unwrap(), message);
            if !matches!(message, Message::Part(..)) {
                assert!(read(&[&body[..], b"x"].concat()).unwrap().is_err());
            }
            assert!(read(&body[..body.len().min(27) - 1]).is_none_or(|read| read.is_err()));
        }
        // A number beyond the count, an unknown word, an unknown kind.
        let beyond = Head { number: 2, ..head };
        for body in [
            Message::Part(beyond, b"").encode(),
            [&START[..], &[WORD, 9]].concat(),
            [&START[..], &[99]].concat(),
        ] {
            assert_eq!(read(&body), Some(Err(Refusal::Malformed)));
        }
        // chitchat's own.
        assert_eq!(read(&[&START[..], &[2, 0]].concat()), None);
        assert_eq!(read(b"GET / HTTP/1.1"), None);
    }
}
