//! Compressed messages of a push, as Mimir's `grpc_compression` makes them.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::push::refusal;
use crate::app::Shared;
use crate::push::{Held, Message};

/// What the client does to its messages; absent with those that are as they are.
const HEADER: &str = "grpc-encoding";
/// What we can undo, told to a client that does something else.
const ACCEPTED: &str = "identity,gzip,snappy";
/// Memory is taken in parts of so many bytes, then of as many as there are.
const FIRST_PART: usize = 64 << 10;
/// A message of more than this has to be one that its compressed bytes can honestly become, bytes.
const FREE_EXPANSION: u64 = 4 << 20;
/// What gzip makes of batches of series is 10 to 60 times smaller. It could be 1,000 times, of
/// nothing but repetitions: those would cost us as much work as they spare the client.
const MAX_EXPANSION: u64 = 256;
/// Undoing gzip takes about ten times as long as undoing snappy: beyond so many bytes (about half a
/// millisecond) it waits for a turn. Many requests that each take a little of a worker's time delay
/// others as much as one that takes much of it.
const SHORT_WORK: usize = 128 << 10;
/// As many compressed bytes are never short work.
const SHORT_INPUT: usize = 32 << 10;

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

    /// The message, decompressed: off the threads that answer others, as soon as it is large.
    pub(super) async fn decode(
        self,
        shared: &Shared,
        message: Message,
        held: &mut Held<'_>,
    ) -> Result<Message, Status> {
        let mut decoding = Decoding::new(
            self,
            message.bytes(),
            shared.pusher.message(),
            shared.config.distributor.max_recv_msg_size,
        );
        let turn = |bytes| async move { shared.pusher.turn(bytes).await.map_err(refusal) };
        let mut is_long = message.bytes().len() > SHORT_INPUT;
        let mut turn_now = turn(if is_long { usize::MAX } else { 0 }).await?;
        while turn_now.run(|| decoding.next_part(held))? {
            if !is_long && decoding.into.bytes().len() > SHORT_WORK {
                is_long = true;
                turn_now = turn(usize::MAX).await?;
            }
        }
        let decoded = decoding.into;
        held.shrink(message.counted());
        Ok(decoded)
    }
}

/// A message on its way from one memory to the other.
struct Decoding<'m> {
    decoder: Box<dyn Read + Send + 'm>,
    into: Message,
    limit: u64,
    /// Largest that its compressed bytes can honestly become, and how many these are.
    plausible: u64,
    compressed: usize,
}

impl<'m> Decoding<'m> {
    fn new(encoding: Encoding, message: &'m [u8], into: Message, limit: u64) -> Self {
        Self {
            decoder: match encoding {
                Encoding::Gzip => Box::new(MultiGzDecoder::new(message)),
                Encoding::Snappy => Box::new(snap::read::FrameDecoder::new(message)),
            },
            into,
            limit,
            plausible: (message.len() as u64)
                .saturating_mul(MAX_EXPANSION)
                .max(FREE_EXPANSION),
            compressed: message.len(),
        }
    }

    /// Decompresses as much again as there is; whether there is more.
    fn next_part(&mut self, held: &mut Held<'_>) -> Result<bool, Status> {
        let there = self.into.bytes().len();
        let most = self.limit.min(self.plausible);
        // One byte more than it may be shows that it is too large.
        let left = usize::try_from(most).unwrap_or(usize::MAX) - there + 1;
        let part = there.max(FIRST_PART).min(left);
        self.into.reserve(part, held).map_err(refusal)?;
        let read = self
            .into
            .append_from(&mut self.decoder, part)
            .map_err(|error| corrupt(&error))?;
        let length = self.into.bytes().len() as u64;
        if length > self.limit {
            return Err(too_large("more", self.limit));
        }
        if length > self.plausible {
            return Err(Status::invalid_argument(format!(
                "the message of {} bytes decompresses to more than {} bytes, which no batch of \
                 series does; fix the client, or send it less compressed",
                self.compressed, self.plausible,
            )));
        }
        Ok(read == part)
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
    use crate::push::{Budget, BufferPool};

    const LIMIT: u64 = 10 << 20;

    type Compress = fn(&[u8]) -> Vec<u8>;

    fn decode_within(
        encoding: Encoding,
        message: &[u8],
        held: &mut Held<'_>,
    ) -> Result<Vec<u8>, Status> {
        let into = BufferPool::default().message();
        let mut decoding = Decoding::new(encoding, message, into, LIMIT);
        while decoding.next_part(held)? {}
        Ok(decoding.into.bytes().to_vec())
    }

    /// A message that is decoded, and what was held for it.
    fn decode(encoding: Encoding, message: &[u8]) -> (Result<Vec<u8>, Status>, u64) {
        let budget = Budget::new(0);
        let mut held = budget.hold();
        let decoded = decode_within(encoding, message, &mut held);
        (decoded, held.bytes())
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
            let (decoded, held) = decode(encoding, &bomb);
            let error = decoded.unwrap_err();
            assert_eq!(error.code(), Code::OutOfRange);
            assert!(error.message().contains("max_recv_msg_size"), "{error}");
            assert!(held <= LIMIT + 1, "{held}");
            // The instance's bound is asked first.
            let budget = Budget::new(100 << 20);
            let mut others = budget.hold();
            others.grow(74 << 20).unwrap();
            let error = decode_within(encoding, &bomb, &mut budget.hold()).unwrap_err();
            assert_eq!(error.code(), Code::Unavailable);
            assert_eq!(budget.held(), others.bytes());
        }
    }

    #[test]
    fn what_no_honest_client_sends_is_not_expanded() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; LIMIT as usize]).unwrap();
        let bomb = encoder.finish().unwrap();
        let (decoded, held) = decode(Encoding::Gzip, &bomb);
        let error = decoded.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("no batch of series"), "{error}");
        assert!(held <= FREE_EXPANSION + 1, "{held}");
        // Little is expanded whatever it is.
        let little = vec![0; FREE_EXPANSION as usize];
        assert_eq!(decode(Encoding::Gzip, &gzip(&little)).0.unwrap(), little);
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
