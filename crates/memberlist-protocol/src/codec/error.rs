//! Why bytes are refused.

use super::limits::MAX_DEPTH;

/// Why bytes from another member were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end in the middle of something.
    #[error("{what} ends too early")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// The bytes are not what they should be.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A length is over a limit. Nothing of it was kept.
    #[error("{what} of {size} is over the limit of {limit}")]
    TooLarge {
        /// What has the length.
        what: &'static str,
        /// The length, in bytes or entries; at least this.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Compounds and compressed messages are inside one another too often.
    #[error("messages are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// The digest of a packet does not match its payload.
    #[error("the MD5 digest does not match the payload")]
    Digest,
    /// The CRC of a packet does not match its rest.
    #[error("the CRC does not match the message")]
    Checksum,
    /// The sender is in another ring, by its label.
    #[error("the cluster label is {theirs:?}, not {ours:?}")]
    Label {
        /// The sender's; empty without one.
        theirs: String,
        /// The one that was expected; empty for none.
        ours: String,
    },
    /// The first byte of a connection says neither packet nor stream.
    #[error("the first byte of the connection is {0:#04x}, which is neither a packet nor a stream")]
    UnknownKind(u8),
    /// A message of a type that does not exist.
    #[error("message type {0} is unknown")]
    UnknownType(u8),
    /// A message of a type that belongs elsewhere.
    #[error("message type {kind} does not belong in a {place}")]
    Misplaced {
        /// The type.
        kind: u8,
        /// Where it was found.
        place: &'static str,
    },
    /// A message was compressed in a way that does not exist.
    #[error("compression algorithm {0} is unknown")]
    UnknownCompression(u64),
    /// No key opens the message, or it was changed on the way.
    #[error("the message cannot be decrypted with any of the keys")]
    Sealed,
    /// The ring has a key, and the message is not encrypted.
    #[error("the message is not encrypted, though a key is set")]
    Unsealed,
    /// What was to be written does not fit its length field or key size.
    #[error("{what} of {size} bytes cannot be sent: {rule}")]
    Unsendable {
        /// What was to be written.
        what: &'static str,
        /// Its length.
        size: usize,
        /// What the length must be.
        rule: &'static str,
    },
}

/// What was left out of a packet or a stream whose rest was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejected {
    /// How many messages or nodes.
    pub count: usize,
    /// Why the first one.
    pub first: Option<Error>,
}

impl Rejected {
    pub(super) fn add(&mut self, error: Error) {
        self.count += 1;
        self.first.get_or_insert(error);
    }
}
