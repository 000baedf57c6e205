//! How values become the bytes that a store keeps.

use std::marker::PhantomData;

/// Largest decoded value, bytes. A replica description has a few hundred; the bound is for values
/// that other programs may have written under our prefix.
const MAX_DECODED: usize = 1 << 20;

/// Turns values into stored bytes and back.
pub trait Codec<V>: Send + Sync + 'static {
    /// Identifies the encoding to other members of a gossip cluster and on admin pages.
    fn id(&self) -> &'static str;

    /// The bytes to store.
    fn encode(&self, value: &V) -> Vec<u8>;

    /// The value of stored bytes.
    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError>;
}

/// Why stored bytes are not a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Not a snappy block.
    #[error("not a snappy block ({0})")]
    Snappy(#[from] snap::Error),
    /// The block declares a size larger than any valid value.
    #[error("declares {claimed} decoded bytes, more than the limit of {MAX_DECODED}")]
    TooLarge {
        /// Decoded size that the block declares, bytes.
        claimed: usize,
    },
    /// Not a protobuf message of the expected kind.
    #[error("not the expected protobuf message ({0})")]
    Protobuf(#[from] prost::DecodeError),
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

    fn encode(&self, value: &V) -> Vec<u8> {
        let raw = value.encode_to_vec();
        let mut out = vec![0; snap::raw::max_compress_len(raw.len())];
        // It can only fail for an output too small or an input beyond 4 GiB; neither is possible.
        let written = snap::raw::Encoder::new()
            .compress(&raw, &mut out)
            .unwrap_or(0);
        out.truncate(written);
        out
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let claimed = snap::raw::decompress_len(bytes)?;
        if claimed > MAX_DECODED {
            return Err(CodecError::TooLarge { claimed });
        }
        let raw = snap::raw::Decoder::new().decompress_vec(bytes)?;
        Ok(V::decode(raw.as_slice())?)
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
        assert_eq!(CODEC.encode(&value), stored);
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

    proptest::proptest! {
        #[test]
        fn what_is_encoded_is_decoded(name: String, at: i64) {
            let value = Pair { name, at };
            proptest::prop_assert_eq!(CODEC.decode(&CODEC.encode(&value)).unwrap(), value);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = CODEC.decode(&bytes);
        }
    }
}
