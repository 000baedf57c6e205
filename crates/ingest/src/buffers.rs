//! Pooled memory, so that a request of usual size needs no allocations for its bytes.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Buf, Bytes};
use remote_write::{DecompressError, Scratch};

use crate::answer::Rejection;
use crate::bounds::Held;

/// Idle buffers of each kind that are kept.
const MAX_IDLE: usize = 64;
/// A buffer that has grown beyond this is given back to the system, bytes.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// A pool of buffers; clones share it. Memory kept idle is at most 64 × 4 MiB of each kind.
#[derive(Clone, Default)]
pub(crate) struct BufferPool {
    inner: Arc<Idle>,
}

/// Each kind of bytes by itself. Decoded requests are ten times as large as what arrives and leaves, and
/// needed one after the other, while many others wait for the network: among these, each of them would
/// find memory that has long left the processor's caches, and all memory would become as large as theirs.
#[derive(Default)]
struct Idle {
    arrived: Shelf<Vec<u8>>,
    decoded: Shelf<Vec<u8>>,
    compressed: Shelf<Vec<u8>>,
    scratches: Shelf<Scratch>,
}

/// What a buffer is used for.
#[derive(Clone, Copy)]
enum Use {
    /// What arrives from the network.
    Arrived,
    /// A message that is scanned.
    Decoded,
    /// What is left of it: at first with room for what cannot be compressed at all.
    Compressed,
}

impl Idle {
    fn shelf(&self, of: Use) -> &Shelf<Vec<u8>> {
        match of {
            Use::Arrived => &self.arrived,
            Use::Decoded => &self.decoded,
            Use::Compressed => &self.compressed,
        }
    }
}

/// Idle memory of one kind: a stack, so that the items at the bottom are those that are not needed.
struct Shelf<T>(Mutex<Stack<T>>);

struct Stack<T> {
    items: Vec<T>,
    /// The fewest items since [`Shelf::give_back_unneeded`].
    fewest: usize,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(Mutex::new(Stack {
            items: Vec::new(),
            fewest: 0,
        }))
    }
}

/// A buffer that returns to its pool when dropped. Its content is what an earlier user left: the
/// length too, so that it need not be zeroed again.
struct PooledBuffer {
    bytes: Vec<u8>,
    of: Use,
    pool: Arc<Idle>,
}

/// Memory for a body before more than its first bytes have arrived, whatever its declared length.
const FIRST_RESERVATION: usize = 256 << 10;

/// A protobuf message, or a compressed one, in memory of the pool that is counted as it grows.
pub struct Message {
    buffer: PooledBuffer,
    /// Where it is in the buffer: what was cut off lies before it.
    begin: usize,
    end: usize,
    /// Of what the request holds. What a buffer had more than that when it came from the pool is
    /// bounded by the pool.
    counted: usize,
}

/// Scan memory that returns to its pool when dropped.
pub(crate) struct PooledScratch {
    /// Made when it is needed: the random keys of its tables take time.
    scratch: Option<Scratch>,
    pool: Arc<Idle>,
}

impl BufferPool {
    fn buffer(&self, of: Use) -> PooledBuffer {
        let bytes = self.inner.shelf(of).pop().unwrap_or_default();
        PooledBuffer {
            bytes,
            of,
            pool: Arc::clone(&self.inner),
        }
    }

    /// Releases memory that was not needed since the last call.
    pub(crate) fn give_back_unneeded(&self) {
        for of in [Use::Arrived, Use::Decoded, Use::Compressed] {
            self.inner.shelf(of).give_back_unneeded();
        }
        self.inner.scratches.give_back_unneeded();
    }

    /// An empty one, for what arrives.
    pub(crate) fn message(&self) -> Message {
        self.message_of(Use::Arrived)
    }

    /// An empty one, for what is decompressed.
    pub(crate) fn decoded(&self) -> Message {
        self.message_of(Use::Decoded)
    }

    /// An empty one, for what is compressed.
    pub(crate) fn compressed(&self) -> Message {
        self.message_of(Use::Compressed)
    }

    fn message_of(&self, of: Use) -> Message {
        Message {
            buffer: self.buffer(of),
            begin: 0,
            end: 0,
            counted: 0,
        }
    }

    pub(crate) fn scratch(&self) -> PooledScratch {
        PooledScratch {
            scratch: self.inner.scratches.pop(),
            pool: Arc::clone(&self.inner),
        }
    }
}

impl Message {
    /// What there is of it.
    pub fn bytes(&self) -> &[u8] {
        let bytes = self.buffer.bytes.get(self.begin..self.end);
        bytes.unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes = self.buffer.bytes.get_mut(self.begin..self.end);
        bytes.unwrap_or_default()
    }

    fn length(&self) -> usize {
        self.end - self.begin
    }

    /// Leaves only this part of it, which is not moved.
    pub fn cut(&mut self, range: Range<usize>) {
        let end = self.begin.saturating_add(range.end).min(self.end);
        self.begin = self.begin.saturating_add(range.start).min(end);
        self.end = end;
    }

    /// Part of what the request holds, bytes.
    pub(crate) fn counted(&self) -> u64 {
        self.counted as u64
    }

    /// Makes room for the message to have `needed` bytes, which are less than `most`.
    fn make_room(
        &mut self,
        needed: usize,
        most: usize,
        held: &mut Held<'_>,
    ) -> Result<(), Rejection> {
        if self.begin + needed <= self.buffer.bytes.capacity() {
            let uncounted = needed.saturating_sub(self.counted);
            held.grow(uncounted as u64)?;
            self.counted += uncounted;
            return Ok(());
        }
        // In proportion to what is there, so that it is not copied often.
        let capacity = needed
            .saturating_mul(2)
            .max(FIRST_RESERVATION)
            .min(most)
            .max(needed);
        held.grow(capacity as u64)?;
        let mut grown = Vec::with_capacity(capacity);
        grown.extend_from_slice(self.bytes());
        (self.begin, self.end) = (0, grown.len());
        self.buffer.bytes = grown;
        held.shrink(self.counted as u64);
        self.counted = capacity;
        Ok(())
    }

    /// Bytes that are copied to larger memory before so many more are appended.
    pub(crate) fn moved_by(&self, more: usize) -> usize {
        if self.end + more <= self.buffer.bytes.capacity() {
            return 0;
        }
        self.length()
    }

    /// Appends a part of a message that is to have `most` bytes.
    pub(crate) fn append(
        &mut self,
        more: &[u8],
        most: usize,
        held: &mut Held<'_>,
    ) -> Result<(), Rejection> {
        self.make_room(self.length() + more.len(), most, held)?;
        let room = self.buffer.bytes.len().saturating_sub(self.end);
        let (over_old, beyond) = more.split_at(more.len().min(room));
        let end = self.end + over_old.len();
        if let Some(old) = self.buffer.bytes.get_mut(self.end..end) {
            old.copy_from_slice(over_old);
        }
        self.buffer.bytes.extend_from_slice(beyond);
        self.end += more.len();
        Ok(())
    }

    /// Makes room for so many bytes more, and lets them be read with [`Message::append_from`].
    pub(crate) fn reserve(&mut self, more: usize, held: &mut Held<'_>) -> Result<(), Rejection> {
        let needed = self.length() + more;
        self.make_room(needed, needed, held)
    }

    /// Appends what can be read, at most so many bytes, which have been reserved; how many there
    /// were. Fewer mean the end.
    pub(crate) fn append_from(&mut self, source: &mut impl Read, most: usize) -> io::Result<usize> {
        let begin = self.end;
        let end = begin + most;
        if self.buffer.bytes.len() < end {
            self.buffer.bytes.resize(end, 0);
        }
        while self.end < end {
            let room = self.buffer.bytes.get_mut(self.end..end);
            match source.read(room.unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end - begin)
    }

    /// Room for so many bytes after those that there are, for [`Message::filled`]. It is not counted:
    /// for what the first read of a request brings.
    pub fn room(&mut self, more: usize) -> &mut [u8] {
        let end = self.end + more;
        if self.buffer.bytes.len() < end {
            self.buffer.bytes.resize(end, 0);
        }
        let room = self.buffer.bytes.get_mut(self.end..end);
        room.unwrap_or_default()
    }

    /// So many bytes have been written into the beginning of [`Message::room`].
    pub fn filled(&mut self, more: usize) {
        self.end = (self.end + more).min(self.buffer.bytes.len());
    }

    /// Replaces an empty message by the content of a snappy block.
    pub(crate) fn decompress(
        &mut self,
        block: &[u8],
        limit: u64,
        held: &mut Held<'_>,
    ) -> Result<(), Rejection> {
        let size = remote_write::plausible_size(block).min(limit);
        self.reserve(size as usize, held)?;
        self.end = remote_write::decompress_reusing(block, limit, &mut self.buffer.bytes)
            .map_err(|error| refuse_block(&error))?;
        Ok(())
    }

    /// Replaces an empty message by a snappy block of this content.
    pub(crate) fn compress(&mut self, raw: &[u8], held: &mut Held<'_>) -> Result<(), Rejection> {
        self.reserve(snap::raw::max_compress_len(raw.len()), held)?;
        self.end = remote_write::compress_reusing(raw, &mut self.buffer.bytes);
        // It may wait for the downstream, and is much smaller than it could have been.
        if self.buffer.bytes.capacity() > MAX_KEPT_BYTES {
            self.buffer.bytes.truncate(self.end);
            self.buffer.bytes.shrink_to_fit();
            self.counted = self.counted.min(self.buffer.bytes.capacity());
        }
        Ok(())
    }

    /// Shareable: without a copy if it is at least half of its memory, so that what waits for something
    /// holds no more than twice what is counted.
    pub fn keep(self) -> Bytes {
        if 2 * self.length() < self.buffer.bytes.capacity() {
            return Bytes::copy_from_slice(self.bytes());
        }
        self.freeze()
    }

    /// Shareable without a copy; the memory returns to the pool with the last reference.
    pub fn freeze(self) -> Bytes {
        let range = self.begin..self.end;
        Bytes::from_owner(self.buffer).slice(range)
    }
}

fn refuse_block(error: &DecompressError) -> Rejection {
    match error {
        DecompressError::TooLarge { .. } => Rejection::too_large(&format!(
            "{error} (distributor.max_recv_msg_size); send smaller batches (max_samples_per_send) or \
             raise the limit"
        )),
        _ => Rejection::malformed(format!("{error}; fix the sender")),
    }
}

/// What is read of it is cut off.
impl Buf for Message {
    fn remaining(&self) -> usize {
        self.length()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes()
    }

    fn advance(&mut self, count: usize) {
        self.cut(count..self.length());
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes", self.length())
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        if self.bytes.capacity() <= MAX_KEPT_BYTES {
            self.pool
                .shelf(self.of)
                .push(std::mem::take(&mut self.bytes));
        }
    }
}

impl PooledScratch {
    pub(crate) fn get(&mut self) -> &mut Scratch {
        self.scratch.get_or_insert_default()
    }
}

impl Drop for PooledScratch {
    fn drop(&mut self) {
        if let Some(mut scratch) = self.scratch.take() {
            scratch.trim(MAX_KEPT_BYTES);
            self.pool.scratches.push(scratch);
        }
    }
}

impl<T> Shelf<T> {
    fn lock(&self) -> MutexGuard<'_, Stack<T>> {
        kv_core::lock(&self.0)
    }

    fn pop(&self) -> Option<T> {
        let mut stack = self.lock();
        let item = stack.items.pop();
        stack.fewest = stack.fewest.min(stack.items.len());
        item
    }

    fn push(&self, item: T) {
        let mut stack = self.lock();
        if stack.items.len() < MAX_IDLE {
            stack.items.push(item);
        }
    }

    fn give_back_unneeded(&self) {
        let mut stack = self.lock();
        let unneeded = stack.fewest.min(stack.items.len());
        let unneeded: Vec<T> = stack.items.drain(..unneeded).collect();
        stack.fewest = stack.items.len();
        drop(stack);
        // After the lock: it is up to 256 MiB.
        drop(unneeded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Budget;

    #[test]
    fn frozen_memory_returns_to_the_pool_with_its_last_reference() {
        let pool = BufferPool::default();
        let budget = Budget::new(0);
        let mut message = pool.message();
        message.append(b"abcdef", 6, &mut budget.hold()).unwrap();
        message.end = 3;
        let first = message.freeze();
        let second = first.clone();
        drop(first);
        assert_eq!(&second[..], b"abc");
        assert!(pool.inner.arrived.lock().items.is_empty());
        drop(second);
        assert_eq!(pool.buffer(Use::Arrived).bytes, b"abcdef");
    }

    #[test]
    fn each_kind_of_bytes_gets_its_own_memory_again() {
        let pool = BufferPool::default();
        let budget = Budget::new(0);
        let raw = vec![7; 100_000];
        let mut arrived = pool.message();
        arrived.append(b"ab", 2, &mut budget.hold()).unwrap();
        let mut compressed = pool.compressed();
        compressed.compress(&raw, &mut budget.hold()).unwrap();
        let mut decoded = pool.decoded();
        let block = compressed.freeze();
        decoded
            .decompress(&block, 1 << 20, &mut budget.hold())
            .unwrap();
        assert_eq!(decoded.bytes(), raw);
        let memory = [
            arrived.bytes().as_ptr(),
            decoded.bytes().as_ptr(),
            block.as_ptr(),
        ];
        drop((decoded, block, arrived));
        let mut again = [pool.message(), pool.decoded(), pool.compressed()];
        assert_eq!(
            memory,
            again.each_mut().map(|message| message.room(1).as_ptr())
        );
    }

    #[test]
    fn what_is_small_does_not_hold_memory_that_is_not() {
        let pool = BufferPool::default();
        let read = || {
            let mut message = pool.message();
            message.room(1000)[..6].copy_from_slice(b"abcdef");
            message.filled(6);
            message
        };
        let part = |mut message: Message, range| {
            message.cut(range);
            message.keep()
        };
        let small = part(read(), 1..3);
        assert_eq!(&small[..], b"bc");
        assert_eq!(pool.inner.arrived.lock().items.len(), 1);
        assert!(part(read(), 4..4).is_empty());
        let mut whole = read();
        whole.filled(994);
        let half = part(whole, 100..900);
        assert_eq!(half.len(), 800);
        assert!(pool.inner.arrived.lock().items.is_empty());
        drop(half);
        assert_eq!(pool.inner.arrived.lock().items.len(), 1);
    }

    #[test]
    fn a_message_overwrites_what_an_earlier_one_left() {
        let pool = BufferPool::default();
        let budget = Budget::new(0);
        let mut text = Vec::new();
        for number in 0..100u8 {
            text.extend([number; 3]);
        }
        // Pieces that end before, at and after the end of what the buffer had.
        for pieces in [300, 7, 100, 1, 299, 150] {
            for length in [300, 10, 200, 0, 250, 300] {
                let mut held = budget.hold();
                let mut appended = pool.message();
                for piece in text[..length].chunks(pieces) {
                    appended.append(piece, length, &mut held).unwrap();
                }
                assert_eq!(appended.counted(), held.bytes());
                assert_eq!(appended.bytes(), &text[..length]);
                drop(appended);
                let mut read = pool.message();
                let mut source = &text[..length];
                loop {
                    read.reserve(pieces, &mut held).unwrap();
                    if read.append_from(&mut source, pieces).unwrap() < pieces {
                        break;
                    }
                }
                assert_eq!(read.bytes(), &text[..length]);
            }
        }
        assert_eq!(pool.inner.arrived.lock().items.len(), 1);
    }

    #[test]
    fn memory_of_unusual_requests_is_not_kept() {
        let pool = BufferPool::default();
        let mut buffer = pool.buffer(Use::Arrived);
        buffer.bytes.reserve(MAX_KEPT_BYTES + 1);
        drop(buffer);
        assert_eq!(pool.buffer(Use::Arrived).bytes.capacity(), 0);
        let many: Vec<_> = (0..2 * MAX_IDLE)
            .map(|_| pool.buffer(Use::Arrived))
            .collect();
        drop(many);
        assert_eq!(pool.inner.arrived.lock().items.len(), MAX_IDLE);
    }
    #[test]
    fn memory_that_is_not_needed_any_more_is_given_back() {
        let pool = BufferPool::default();
        let idle = || pool.inner.arrived.lock().items.len();
        let burst: Vec<_> = (0..10).map(|_| pool.buffer(Use::Arrived)).collect();
        drop(burst);
        // Needed since the beginning: all ten.
        pool.give_back_unneeded();
        assert_eq!(idle(), 10);
        let few: Vec<_> = (0..3).map(|_| pool.buffer(Use::Arrived)).collect();
        drop(few);
        pool.give_back_unneeded();
        assert_eq!(idle(), 3);
        pool.give_back_unneeded();
        assert_eq!(idle(), 0);
    }
}
