//! What all members of a ring have in common on the wire, and the label that says which ring it is.

use std::fmt;

use super::body::LABEL;
use super::error::Error;
use super::limits::Limits;
use super::seal::SecretKey;

/// The name of a ring, which precedes all that its members send. Empty: nothing precedes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Label(String);

impl Label {
    /// A label of at most 255 bytes.
    ///
    /// # Errors
    /// When it is longer.
    pub fn new(label: impl Into<String>) -> Result<Self, Error> {
        let label = label.into();
        if label.len() > usize::from(u8::MAX) {
            return Err(Error::Unsendable {
                what: "a cluster label",
                size: label.len(),
                rule: "it may have 255 bytes",
            });
        }
        Ok(Self(label))
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Bytes that it takes in a packet.
    pub fn overhead(&self) -> usize {
        if self.0.is_empty() {
            return 0;
        }
        2 + self.0.len()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if !self.0.is_empty() {
            // At most 255.
            out.extend_from_slice(&[LABEL, self.0.len() as u8]);
            out.extend_from_slice(self.0.as_bytes());
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What all members of a ring have in common on the wire, and what is taken from them.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    /// Sent, and expected.
    pub label: Label,
    /// Whether packets and streams with any other label, or without one, are taken as well: while a
    /// ring is given another label.
    pub any_label: bool,
    /// With keys, all that is sent is encrypted by the first one, and all that is received must be
    /// encrypted by any of them. dskit's rings have none.
    pub keys: Vec<SecretKey>,
    /// What is taken at most.
    pub limits: Limits,
}

/// A label in front of something.
pub(super) enum Front<'a> {
    /// More bytes are needed.
    Short,
    /// The label, empty without one, and how many bytes it takes.
    Label(&'a [u8], usize),
}

/// Reads the label in front of a packet or stream.
pub(super) fn read_label(bytes: &[u8]) -> Result<Front<'_>, Error> {
    match bytes {
        [] => Ok(Front::Short),
        [LABEL, 0, ..] => Err(Error::Malformed {
            what: "a cluster label",
            why: "it is empty",
        }),
        [LABEL, length, rest @ ..] => {
            let label = rest.get(..usize::from(*length));
            Ok(label.map_or(Front::Short, |label| Front::Label(label, 2 + label.len())))
        }
        [LABEL] => Ok(Front::Short),
        _ => Ok(Front::Label(&[], 0)),
    }
}

impl Wire {
    /// Whether something with this label is for this ring.
    pub(super) fn check_label(&self, theirs: &[u8]) -> Result<(), Error> {
        if self.any_label || theirs == self.label.as_bytes() {
            return Ok(());
        }
        Err(Error::Label {
            theirs: String::from_utf8_lossy(theirs).into_owned(),
            ours: self.label.as_str().to_owned(),
        })
    }
}
