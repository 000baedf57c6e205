//! A key with its value, as it is sent.

use bytes::Bytes;
use prost::Message as _;

use crate::codec::Error;

/// A key with its value: all of it in an exchange of states, what has changed of it in a broadcast.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyValuePair {
    /// Not empty. All that use the ring share one namespace.
    #[prost(string, tag = "1")]
    pub key: String,
    /// As the codec writes it; for all of dskit's that are merged, see [`value`](super::value).
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The name of the codec.
    #[prost(string, tag = "3")]
    pub codec: String,
    /// Whether the key was deleted. Its last value is sent nevertheless.
    #[prost(bool, tag = "4")]
    pub deleted: bool,
    /// When it was deleted, in Unix milliseconds. dskit sends 0 for a key that was not.
    #[prost(int64, tag = "5")]
    pub update_time_ms: i64,
}

impl KeyValuePair {
    /// Reads a pair. Fields that are not known are passed over.
    ///
    /// # Errors
    /// When it is malformed or its key is empty.
    pub fn read(bytes: Bytes) -> Result<Self, Error> {
        const WHAT: &str = "a key-value pair";
        let malformed = |why| Error::Malformed { what: WHAT, why };
        let pair = Self::decode(bytes).map_err(|_| malformed("it is not the protobuf message"))?;
        if pair.key.is_empty() {
            return Err(malformed("its key is empty"));
        }
        Ok(pair)
    }

    /// The pair's bytes: what a user message carries.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}
