//! Expands compressed streams within limits.

use std::fmt::Display;
use std::io::{self, Read};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use tokio::time::Instant;

use crate::answer::Rejection;
use crate::bounds::Held;
use crate::buffers::Message;
use crate::codec::Codec;

/// Memory is taken in parts of so many bytes, then of as many as there are.
const FIRST_PART: usize = 64 << 10;
/// Messages larger than this must not exceed the ratio of realistic data, bytes.
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

/// How a message is compressed as a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// Frames of snappy, not one block.
    SnappyFrames,
}

/// The message, decompressed: off the threads that answer others, as soon as it is large. Each wait for
/// a turn takes at most `timeout`.
pub(crate) async fn expand(
    codec: &Codec,
    timeout: Duration,
    compression: Compression,
    message: Message,
    held: &mut Held<'_>,
) -> Result<Message, Rejection> {
    let mut decoding = Decoding::new(compression, message.bytes(), codec.decoded(), codec.limit());
    let turn = |bytes| codec.turn(bytes, Instant::now() + timeout);
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
    fn new(compression: Compression, message: &'m [u8], into: Message, limit: u64) -> Self {
        Self {
            decoder: match compression {
                Compression::Gzip => Box::new(MultiGzDecoder::new(message)),
                Compression::SnappyFrames => Box::new(snap::read::FrameDecoder::new(message)),
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
    fn next_part(&mut self, held: &mut Held<'_>) -> Result<bool, Rejection> {
        let there = self.into.bytes().len();
        let most = self.limit.min(self.plausible);
        // One byte more than it may be shows that it is too large.
        let left = usize::try_from(most).unwrap_or(usize::MAX) - there + 1;
        let part = there.max(FIRST_PART).min(left);
        self.into.reserve(part, held)?;
        let read = self
            .into
            .append_from(&mut self.decoder, part)
            .map_err(|error| corrupt(&error))?;
        let length = self.into.bytes().len() as u64;
        if length > self.limit {
            return Err(message_too_large("more", self.limit));
        }
        if length > self.plausible {
            return Err(Rejection::malformed(format!(
                "the message of {} bytes decompresses to more than {} bytes, which a batch of \
                 series never does; fix the client, or compress less",
                self.compressed, self.plausible,
            )));
        }
        Ok(read == part)
    }
}

fn corrupt(error: &io::Error) -> Rejection {
    Rejection::malformed(format!(
        "the message cannot be decompressed: {error}; fix the client"
    ))
}

/// Of a message of so many bytes, compressed or not.
pub fn message_too_large(bytes: impl Display, limit: u64) -> Rejection {
    Rejection::too_large(&format!(
        "the message has {bytes} bytes, more than the limit of {limit} bytes \
             (distributor.max_recv_msg_size); send smaller batches or raise the limit"
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression as Level;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::bounds::Budget;
    use crate::buffers::BufferPool;
    use crate::cause::Cause;

    const LIMIT: u64 = 10 << 20;

    type Compress = fn(&[u8]) -> Vec<u8>;

    fn decode_within(
        compression: Compression,
        message: &[u8],
        held: &mut Held<'_>,
    ) -> Result<Vec<u8>, Rejection> {
        let into = BufferPool::default().message();
        let mut decoding = Decoding::new(compression, message, into, LIMIT);
        while decoding.next_part(held)? {}
        Ok(decoding.into.bytes().to_vec())
    }

    /// A decoded message, and its reserved memory.
    fn decode(compression: Compression, message: &[u8]) -> (Result<Vec<u8>, Rejection>, u64) {
        let budget = Budget::new(0);
        let mut held = budget.hold();
        let decoded = decode_within(compression, message, &mut held);
        (decoded, held.bytes())
    }

    fn gzip(message: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(message).unwrap();
        encoder.finish().unwrap()
    }

    fn snappy(message: &[u8]) -> Vec<u8> {
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(message).unwrap();
        encoder.into_inner().unwrap()
    }

    /// Either way to compress, and how to undo it.
    const BOTH: [(Compression, Compress); 2] = [
        (Compression::Gzip, gzip),
        (Compression::SnappyFrames, snappy),
    ];

    #[test]
    fn what_is_compressed_comes_back() {
        let lengths = [0, 1, FIRST_PART - 1, FIRST_PART, FIRST_PART + 1, 5 << 20];
        for (compression, compress) in BOTH {
            for length in lengths {
                let message: Vec<u8> = (0..length).map(|n| (n / 100) as u8).collect();
                let (decoded, taken) = decode(compression, &compress(&message));
                assert_eq!(decoded.unwrap(), message, "{compression:?}, {length}");
                let most = (2 * length).max(FIRST_PART) as u64 + FIRST_PART as u64;
                assert!((length as u64..=most).contains(&taken), "{length}: {taken}");
            }
        }
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_is_allowed() {
        for (compression, compress) in BOTH {
            let bomb = compress(&vec![0; 50 << 20]);
            let (decoded, held) = decode(compression, &bomb);
            let error = decoded.unwrap_err();
            assert_eq!(error.cause(), Some(Cause::TooLarge));
            assert!(error.message().contains("max_recv_msg_size"), "{error}");
            assert!(held <= LIMIT + 1, "{held}");
            // The instance's bound is asked first.
            let budget = Budget::new(100 << 20);
            let mut others = budget.hold();
            others.grow(74 << 20).unwrap();
            let error = decode_within(compression, &bomb, &mut budget.hold()).unwrap_err();
            assert!(matches!(error, Rejection::Overloaded { .. }), "{error:?}");
            assert_eq!(budget.held(), others.bytes());
        }
    }

    #[test]
    fn what_no_honest_client_sends_is_not_expanded() {
        let mut encoder = GzEncoder::new(Vec::new(), Level::best());
        encoder.write_all(&vec![0; LIMIT as usize]).unwrap();
        let bomb = encoder.finish().unwrap();
        let (decoded, held) = decode(Compression::Gzip, &bomb);
        let error = decoded.unwrap_err();
        assert_eq!(error.cause(), Some(Cause::Malformed));
        assert!(
            error.message().contains("a batch of series never does"),
            "{error}"
        );
        assert!(held <= FREE_EXPANSION + 1, "{held}");
        // Small messages are always expanded.
        let little = vec![0; FREE_EXPANSION as usize];
        assert_eq!(decode(Compression::Gzip, &gzip(&little)).0.unwrap(), little);
    }

    #[test]
    fn what_is_not_compressed_as_said_is_the_clients_mistake() {
        let message = vec![7; 100_000];
        for (compression, compress) in BOTH {
            let good = compress(&message);
            let mut damaged = good.clone();
            damaged[good.len() / 2] ^= 0xff;
            let cut = good[..good.len() - 5].to_vec();
            for bad in [damaged, cut, b"neither".to_vec(), vec![0xff; 40]] {
                let error = decode(compression, &bad).0.unwrap_err();
                assert_eq!(error.cause(), Some(Cause::Malformed), "{compression:?}");
                assert!(error.message().contains("fix the client"), "{error}");
            }
        }
    }
}
