//! All pairs of a member, as they are exchanged: each with its length in front, 4 bytes, big-endian.

use bytes::{Buf as _, Bytes};

use crate::codec::Error;

/// Appends a pair's bytes.
///
/// # Errors
/// When they are longer than the length field can say.
pub fn append(state: &mut Vec<u8>, pair: &[u8]) -> Result<(), Error> {
    let Ok(length) = u32::try_from(pair.len()) else {
        return Err(Error::Unsendable {
            what: "a key-value pair",
            size: pair.len(),
            rule: "it must be below 4 GiB",
        });
    };
    state.extend_from_slice(&length.to_be_bytes());
    state.extend_from_slice(pair);
    Ok(())
}

/// The bytes of the pairs of a state, one after the other, in the memory of the state. An error is the
/// last item.
#[derive(Debug, Clone)]
pub struct Pairs {
    rest: Bytes,
}

impl Pairs {
    /// The pairs of `state`.
    pub fn new(state: Bytes) -> Self {
        Self { rest: state }
    }
}

impl Iterator for Pairs {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.rest.try_get_u32().ok().map(|length| length as usize);
        match length {
            Some(length) if length <= self.rest.len() => Some(Ok(self.rest.split_to(length))),
            _ => {
                self.rest.clear();
                Some(Err(Error::Truncated {
                    what: "a state of keys",
                }))
            }
        }
    }
}
