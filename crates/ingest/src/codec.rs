//! Decodes and scans the body of a request, and makes the block that is forwarded.

use bytes::Bytes;
use remote_write::{Scan, Scratch};
use tokio::time::Instant;

use crate::answer::Rejection;
use crate::bounds::{Held, LongWork, Turn, is_long};
use crate::buffers::{BufferPool, Message};
use crate::judge;
use crate::request::{Block, PushBody};

/// Decompresses, scans and compresses, in memory of a pool, and large bodies in turn.
pub(crate) struct Codec {
    buffers: BufferPool,
    long_work: LongWork,
    /// Of a body, compressed and decoded each, bytes.
    limit: u64,
}

/// The content of a request, once it is scanned.
pub(crate) struct Content {
    pub(crate) message: Message,
    /// The compressed body, which is forwarded if nothing changes.
    block: Option<Block>,
}

impl Content {
    /// The body as it came is not needed any more: what is forwarded differs from it.
    pub(crate) fn forget_block(&mut self) {
        self.block = None;
    }

    /// It is to wait: in memory of about its own size.
    pub(crate) fn keep_block(&mut self) {
        self.block = self.block.take().map(Block::kept);
    }

    /// The compressed body as it came; `None` if it came otherwise.
    pub(crate) fn block(&self) -> Option<&[u8]> {
        self.block.as_ref().map(Block::bytes)
    }
}

impl Codec {
    /// For bodies of at most so many bytes, compressed and decoded each.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            buffers: BufferPool::default(),
            long_work: LongWork::new(),
            limit,
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// An empty message, for what arrives.
    pub(crate) fn message(&self) -> Message {
        self.buffers.message()
    }

    /// An empty message, for what is decompressed.
    pub(crate) fn decoded(&self) -> Message {
        self.buffers.decoded()
    }

    /// Gives back to the system what was not needed since the last call.
    pub(crate) fn give_back_unneeded(&self) {
        self.buffers.give_back_unneeded();
    }

    /// Waits for a turn to work on so many bytes of a body that has arrived.
    pub(crate) async fn turn(
        &self,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Turn<'_>, Rejection> {
        self.long_work.turn(bytes, deadline).await
    }

    /// Appends a part of a body that is to have `most` bytes. A large one that has to be copied to
    /// larger memory waits for its turn: many that grow at once would delay everything else.
    pub(crate) async fn append(
        &self,
        message: &mut Message,
        part: &[u8],
        most: usize,
        held: &mut Held<'_>,
        deadline: Instant,
    ) -> Result<(), Rejection> {
        let turn = self.turn(message.moved_by(part.len()), deadline).await?;
        turn.run(|| message.append(part, most, held))
    }

    /// Decodes a body, and scans it with `scan`, which may edit the message in place.
    pub(crate) async fn scan(
        &self,
        body: PushBody,
        held: &mut Held<'_>,
        deadline: Instant,
        scan: impl FnOnce(&mut [u8], &mut Scratch) -> Result<Scan, Rejection>,
    ) -> Result<(Scan, Content), Rejection> {
        let size = body.plausible_size().min(self.limit) as usize;
        let body = match is_long(size) {
            true => body.kept(),
            false => body,
        };
        // Before memory is allocated: while it waits for a turn, a request uses only the memory of
        // its body.
        let turn = self.turn(size, deadline).await?;
        turn.run(|| {
            let mut content = self.decode(body, held)?;
            let mut memory = self.buffers.scratch();
            let scan = scan(content.message.bytes_mut(), memory.get())?;
            // Counted before anything is forwarded.
            held.grow(noted_bytes(&scan))?;
            Ok((scan, content))
        })
    }

    fn decode(&self, body: PushBody, held: &mut Held<'_>) -> Result<Content, Rejection> {
        let uncounted = body.len().saturating_sub(held.bytes());
        held.grow(uncounted)?;
        match body {
            PushBody::Snappy(block) => {
                let mut message = self.decoded();
                message.decompress(block.bytes(), self.limit, held)?;
                Ok(Content {
                    message,
                    block: Some(block),
                })
            }
            PushBody::Plain(message) => Ok(Content {
                message,
                block: None,
            }),
        }
    }

    /// The remaining series as a snappy block; all other memory of the request is released.
    pub(crate) async fn block(
        &self,
        content: Content,
        scan: &Scan,
        held: &mut Held<'_>,
        deadline: Instant,
    ) -> Result<Bytes, Rejection> {
        let Content { message, block } = content;
        if let Some(block) = block.filter(|_| !scan.modified) {
            drop(message);
            let block = block.keep();
            held.shrink_to(block.len() as u64 + noted_bytes(scan));
            return Ok(block);
        }
        let turn = self.turn(scan.length, deadline).await?;
        let mut block = self.buffers.compressed();
        let edited = message.bytes().get(..scan.length).unwrap_or_default();
        turn.run(|| block.compress(edited, held))?;
        drop(message);
        held.shrink_to(block.counted() + noted_bytes(scan));
        Ok(block.freeze())
    }
}

/// What is noted of a request until it is answered, bytes.
fn noted_bytes(scan: &Scan) -> u64 {
    (scan.allocated_bytes() + scan.groups.len() * judge::BYTES_PER_GROUP) as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bounds::{Budget, LONG_WORK};

    #[tokio::test(start_paused = true)]
    async fn a_large_message_waits_for_its_turn_to_grow_and_a_small_one_does_not() {
        let codec = Codec::new(100 << 20);
        let budget = Budget::new(0);
        let now = Instant::now();
        let part = vec![7; LONG_WORK + 1];
        let mut large = codec.message();
        let mut held = budget.hold();
        // The first part of a message moves nothing.
        let first = codec.append(&mut large, &part, part.len(), &mut held, now);
        first.await.unwrap();

        let soon = now + Duration::from_millis(1);
        let mut turns = Vec::new();
        while let Ok(turn) = codec.turn(LONG_WORK + 1, soon).await {
            turns.push(turn);
        }
        let mut small = codec.message();
        for _ in 0..3 {
            let appended = codec.append(&mut small, b"part", 100, &mut held, now);
            appended.await.unwrap();
        }
        assert_eq!(small.bytes(), b"partpartpart");
        let most = 3 * part.len();
        let refused = codec.append(&mut large, &part, most, &mut held, soon).await;
        refused.unwrap_err();
        assert_eq!(large.bytes(), part);

        turns.pop();
        let later = Instant::now() + Duration::from_secs(1);
        let appended = codec.append(&mut large, &part, most, &mut held, later);
        appended.await.unwrap();
        assert_eq!(large.bytes(), part.repeat(2));
    }
}
