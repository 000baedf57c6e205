//! Compressed messages of a push, as Mimir's `grpc_compression` makes them.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::push::Message;

/// What the client does to its messages; absent with those that are as they are.
const HEADER: &str = "grpc-encoding";
/// What we can undo, told to a client that does something else.
const ACCEPTED: &str = "identity,gzip,snappy";
/// Memory is taken in parts of so many bytes, then of as many as there are.
const FIRST_PART: usize = 64 << 10;

/// How the messages of a call are compressed, if their flag says that they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    /// Frames of snappy, not one block.
    Snappy,
}

impl Encoding {
    /// Of a call with these headers.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Status> {
        let Some(value) = headers.get(HEADER) else {
            return Ok(None);
        };
        match value.as_bytes() {
            b"identity" => Ok(None),
            b"gzip" => Ok(Some(Self::Gzip)),
            b"snappy" => Ok(Some(Self::Snappy)),
            other => {
                let mut status = Status::unimplemented(format!(
                    "{HEADER} {:?} is not supported; use one of {ACCEPTED} (in Mimir: \
                     grpc_compression gzip, snappy or empty)",
                    String::from_utf8_lossy(other)
                ));
                let accepted = MetadataValue::from_static(ACCEPTED);
                status
                    .metadata_mut()
                    .insert("grpc-accept-encoding", accepted);
                Err(status)
            }
        }
    }

    /// Appends the message to `into`. `more` is asked before so many bytes more are taken, and there
    /// are not many more than `limit`.
    pub(super) fn decode(
        self,
        message: &[u8],
        into: &mut Message,
        limit: u64,
        more: impl FnMut(u64) -> Result<(), Status>,
    ) -> Result<(), Status> {
        match self {
            Self::Gzip => read(MultiGzDecoder::new(message), into, limit, more),
            Self::Snappy => read(snap::read::FrameDecoder::new(message), into, limit, more),
        }
    }
}

fn read(
    mut decoder: impl Read,
    into: &mut Message,
    limit: u64,
    mut more: impl FnMut(u64) -> Result<(), Status>,
) -> Result<(), Status> {
    loop {
        let part = into.bytes().len().max(FIRST_PART);
        more(part as u64)?;
        let read = into
            .append_from(&mut decoder, part)
            .map_err(|error| corrupt(&error))?;
        if into.bytes().len() as u64 > limit {
            return Err(too_large("more", limit));
        }
        if read < part {
            return Ok(());
        }
    }
}

fn corrupt(error: &io::Error) -> Status {
    Status::invalid_argument(format!(
        "the message cannot be decompressed: {error}; fix the client"
    ))
}

/// A message of so many bytes, compressed or not.
pub(super) fn too_large(bytes: impl std::fmt::Display, limit: u64) -> Status {
    Status::new(
        Code::OutOfRange,
        format!(
            "the message has {bytes} bytes, more than the limit of {limit} bytes \
             (distributor.max_recv_msg_size); send smaller batches or raise the limit"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::push::BufferPool;

    const LIMIT: u64 = 10 << 20;

    type Compress = fn(&[u8]) -> Vec<u8>;

    /// A message that is decoded, and what was taken for it.
    fn decode(encoding: Encoding, message: &[u8]) -> (Result<Vec<u8>, Status>, u64) {
        let mut taken = 0;
        let mut into = BufferPool::default().message();
        let decoded = encoding.decode(message, &mut into, LIMIT, |bytes| {
            taken += bytes;
            Ok(())
        });
        (decoded.map(|()| into.bytes().to_vec()), taken)
    }

    fn gzip(message: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(message).unwrap();
        encoder.finish().unwrap()
    }

    fn snappy(message: &[u8]) -> Vec<u8> {
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(message).unwrap();
        encoder.into_inner().unwrap()
    }

    /// Either way to compress, and how to undo it.
    const BOTH: [(Encoding, Compress); 2] = [(Encoding::Gzip, gzip), (Encoding::Snappy, snappy)];

    #[test]
    fn what_is_compressed_comes_back() {
        let lengths = [0, 1, FIRST_PART - 1, FIRST_PART, FIRST_PART + 1, 5 << 20];
        for (encoding, compress) in BOTH {
            for length in lengths {
                let message: Vec<u8> = (0..length).map(|n| (n / 100) as u8).collect();
                let (decoded, taken) = decode(encoding, &compress(&message));
                assert_eq!(decoded.unwrap(), message, "{encoding:?}, {length}");
                let most = (2 * length).max(FIRST_PART) as u64 + FIRST_PART as u64;
                assert!((length as u64..=most).contains(&taken), "{length}: {taken}");
            }
        }
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_is_allowed() {
        for (encoding, compress) in BOTH {
            let bomb = compress(&vec![0; 50 << 20]);
            let (decoded, taken) = decode(encoding, &bomb);
            let error = decoded.unwrap_err();
            assert_eq!(error.code(), Code::OutOfRange);
            assert!(error.message().contains("max_recv_msg_size"), "{error}");
            assert!(taken < 3 * LIMIT, "{taken}");
            // The instance's bound is asked first.
            let mut into = BufferPool::default().message();
            let error = encoding.decode(&bomb, &mut into, LIMIT, |bytes| match bytes {
                0..=100_000 => Ok(()),
                _ => Err(Status::unavailable("full")),
            });
            assert_eq!(error.unwrap_err().code(), Code::Unavailable);
        }
    }

    #[test]
    fn what_is_not_compressed_as_said_is_the_clients_mistake() {
        let message = vec![7; 100_000];
        for (encoding, compress) in BOTH {
            let good = compress(&message);
            let mut damaged = good.clone();
            damaged[good.len() / 2] ^= 0xff;
            let cut = good[..good.len() - 5].to_vec();
            for bad in [damaged, cut, b"neither".to_vec(), vec![0xff; 40]] {
                let error = decode(encoding, &bad).0.unwrap_err();
                assert_eq!(error.code(), Code::InvalidArgument, "{encoding:?}");
                assert!(error.message().contains("fix the client"), "{error}");
            }
        }
    }

    #[test]
    fn others_are_told_what_there_is() {
        let of = |value: &'static str| {
            let headers = [(HEADER.parse().unwrap(), value.parse().unwrap())];
            Encoding::of(&headers.into_iter().collect())
        };
        assert_eq!(Encoding::of(&HeaderMap::new()).unwrap(), None);
        assert_eq!(of("identity").unwrap(), None);
        assert_eq!(of("gzip").unwrap(), Some(Encoding::Gzip));
        assert_eq!(of("snappy").unwrap(), Some(Encoding::Snappy));
        let error = of("s2").unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
        assert_eq!(
            error.metadata().get("grpc-accept-encoding").unwrap(),
            ACCEPTED
        );
    }
}
