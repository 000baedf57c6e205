//! How values become the bytes that a store keeps.

use std::error::Error;
use std::marker::PhantomData;

/// Largest value before compression, bytes, of this crate's codecs. A larger one is refused when it
/// is written, and when it is read: other programs may write under the same prefix.
const MAX_DECODED: usize = 1 << 20;

/// Turns values into stored bytes and back.
///
/// Implement it for a format of your own; [`CodecError::other`] makes its errors. Check it with
/// `kv_core::laws::check_codec` (feature `testing`).
pub trait Codec<V>: Send + Sync + 'static {
    /// Identifies the encoding to other members of a gossip cluster and on admin pages.
    fn id(&self) -> &'static str;

    /// The bytes to store.
    ///
    /// # Errors
    /// The format cannot represent the value. The write then fails with
    /// [`StoreError::InvalidValue`](crate::StoreError::InvalidValue).
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError>;

    /// The value of stored bytes. Never panics, whatever the bytes are.
    ///
    /// # Errors
    /// The bytes are not a value.
    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError>;
}

/// Why stored bytes are not a value, or a value has no bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Not a snappy block.
    #[error("not a snappy block ({0})")]
    Snappy(#[from] snap::Error),
    /// The value is larger than any valid one, or its bytes declare that it is.
    #[error("has or declares {claimed} decoded bytes, more than the limit of {MAX_DECODED}")]
    TooLarge {
        /// Size of the value before compression, bytes.
        claimed: usize,
    },
    /// Not a protobuf message of the expected kind.
    #[error("not the expected protobuf message ({0})")]
    Protobuf(#[from] prost::DecodeError),
    /// An error of another format.
    #[error("{0}")]
    Other(Box<dyn Error + Send + Sync>),
}

impl CodecError {
    /// An error of a codec of your own.
    pub fn other(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(source.into())
    }

    /// Whether the same bytes or value may be good later: never.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

fn check_size(claimed: usize) -> Result<(), CodecError> {
    match claimed > MAX_DECODED {
        true => Err(CodecError::TooLarge { claimed }),
        false => Ok(()),
    }
}

/// A protobuf message, compressed as one snappy block: the encoding of dskit's `codec.Proto`, hence
/// of Mimir and Cortex.
#[derive(Debug)]
pub struct SnappyProtobuf<V> {
    id: &'static str,
    value: PhantomData<fn() -> V>,
}

impl<V> SnappyProtobuf<V> {
    /// A codec with this id, such as `replicaDesc`.
    pub const fn new(id: &'static str) -> Self {
        Self {
            id,
            value: PhantomData,
        }
    }
}

impl<V> Clone for SnappyProtobuf<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for SnappyProtobuf<V> {}

impl<V: prost::Message + Default + 'static> Codec<V> for SnappyProtobuf<V> {
    fn id(&self) -> &'static str {
        self.id
    }

    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError> {
        let raw = value.encode_to_vec();
        check_size(raw.len())?;
        Ok(snap::raw::Encoder::new().compress_vec(&raw)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        check_size(snap::raw::decompress_len(bytes)?)?;
        let raw = snap::raw::Decoder::new().decompress_vec(bytes)?;
        Ok(V::decode(raw.as_slice())?)
    }
}

/// A value as JSON text, for values that people or programs without protobuf read and write as well.
/// Needs the feature `json`.
///
/// ```
/// use kv_core::{Codec, Json};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Limits {
///     requests_per_second: u32,
/// }
///
/// const CODEC: Json<Limits> = Json::new("limits");
///
/// let limits = Limits { requests_per_second: 50 };
/// let bytes = CODEC.encode(&limits)?;
/// assert_eq!(bytes, br#"{"requests_per_second":50}"#);
/// assert_eq!(CODEC.decode(&bytes)?, limits);
/// # Ok::<(), kv_core::CodecError>(())
/// ```
#[cfg(feature = "json")]
#[derive(Debug)]
pub struct Json<V> {
    id: &'static str,
    value: PhantomData<fn() -> V>,
}

#[cfg(feature = "json")]
impl<V> Json<V> {
    /// A codec with this id, such as `limits`.
    pub const fn new(id: &'static str) -> Self {
        Self {
            id,
            value: PhantomData,
        }
    }
}

#[cfg(feature = "json")]
impl<V> Clone for Json<V> {
    fn clone(&self) -> Self {
        *self
    }
}

#[cfg(feature = "json")]
impl<V> Copy for Json<V> {}

#[cfg(feature = "json")]
impl<V: serde::Serialize + serde::de::DeserializeOwned + 'static> Codec<V> for Json<V> {
    fn id(&self) -> &'static str {
        self.id
    }

    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError> {
        let text = serde_json::to_vec(value)
            .map_err(|error| CodecError::other(format!("cannot be written as JSON ({error})")))?;
        check_size(text.len())?;
        Ok(text)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        check_size(bytes.len())?;
        serde_json::from_slice(bytes)
            .map_err(|error| CodecError::other(format!("not the expected JSON ({error})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Pair {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(int64, tag = "2")]
        at: i64,
    }

    const CODEC: SnappyProtobuf<Pair> = SnappyProtobuf::new("pair");

    #[test]
    fn encodes_as_a_snappy_block_of_protobuf() {
        let value = Pair {
            name: "r1".into(),
            at: 1_700_000_000_000,
        };
        // The length, a literal of eleven bytes, the message, as Mimir stores it in etcd and
        // Consul.
        let stored: &[u8] = &[
            0x0b, 0x28, 0x0a, 0x02, b'r', b'1', 0x10, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31,
        ];
        assert_eq!(CODEC.encode(&value).unwrap(), stored);
        assert_eq!(CODEC.decode(stored).unwrap(), value);
    }

    #[test]
    fn refuses_what_is_no_value() {
        assert!(matches!(CODEC.decode(b""), Err(CodecError::Snappy(_))));
        assert!(matches!(
            CODEC.decode(b"\xff\xff"),
            Err(CodecError::Snappy(_))
        ));
        // A block that claims 4 GiB is refused before anything is allocated.
        let bomb = CODEC.decode(b"\xff\xff\xff\xff\x0f\x00").unwrap_err();
        assert!(matches!(bomb, CodecError::TooLarge { .. }), "{bomb}");
        let no_message = snap::raw::Encoder::new()
            .compress_vec(b"\x0a\x05r")
            .unwrap();
        assert!(matches!(
            CODEC.decode(&no_message),
            Err(CodecError::Protobuf(_))
        ));
    }

    #[test]
    fn a_value_that_could_not_be_read_is_not_written() {
        let value = Pair {
            name: "x".repeat(MAX_DECODED),
            at: 0,
        };
        let refused = CODEC.encode(&value).unwrap_err();
        assert!(matches!(refused, CodecError::TooLarge { .. }), "{refused}");
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_is_text_and_says_what_is_wrong_with_it() {
        use std::collections::BTreeMap;

        const TEXT: Json<BTreeMap<String, u32>> = Json::new("map");
        let value = BTreeMap::from([("a".to_owned(), 1)]);
        crate::laws::check_codec(&TEXT, &value);
        assert_eq!(TEXT.encode(&value).unwrap(), br#"{"a":1}"#);
        let error = TEXT.decode(br#"{"a":"#).unwrap_err().to_string();
        assert!(error.starts_with("not the expected JSON (EOF"), "{error}");
        let error = TEXT.decode(&vec![b' '; MAX_DECODED + 1]).unwrap_err();
        assert!(matches!(error, CodecError::TooLarge { .. }), "{error}");
        // Keys of JSON's objects are texts.
        let pairs: Json<BTreeMap<(u8, u8), u8>> = Json::new("pairs");
        let error = pairs.encode(&BTreeMap::from([((1, 2), 3)])).unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("cannot be written as JSON ("), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_is_decoded(name: String, at: i64) {
            let value = Pair { name, at };
            crate::laws::check_codec(&CODEC, &value);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = CODEC.decode(&bytes);
        }
    }
}
