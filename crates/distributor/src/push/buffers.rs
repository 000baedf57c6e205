//! Memory that requests reuse, so that a request of usual size allocates nothing for its bytes.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use remote_write::Scratch;

/// Idle buffers of each kind that are kept.
const MAX_IDLE: usize = 64;
/// A buffer that has grown beyond this is given back to the system, bytes.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// A pool of buffers; clones share it. Memory kept idle is at most 64 × 4 MiB of each kind.
#[derive(Clone, Default)]
pub(crate) struct BufferPool {
    inner: Arc<Idle>,
}

#[derive(Default)]
struct Idle {
    bytes: Mutex<Vec<Vec<u8>>>,
    scratches: Mutex<Vec<Scratch>>,
}

/// A buffer that returns to its pool when dropped. Its content is what an earlier user left: the
/// length too, so that it need not be zeroed again.
pub(crate) struct PooledBuffer {
    pub(crate) bytes: Vec<u8>,
    pool: Arc<Idle>,
}

/// A protobuf message in memory of the pool.
pub struct Message {
    pub(crate) buffer: PooledBuffer,
    pub(crate) length: usize,
}

/// Scan memory that returns to its pool when dropped.
pub(crate) struct PooledScratch {
    pub(crate) scratch: Scratch,
    pool: Arc<Idle>,
}

impl BufferPool {
    pub(crate) fn buffer(&self) -> PooledBuffer {
        let bytes = pop(&self.inner.bytes).unwrap_or_default();
        PooledBuffer {
            bytes,
            pool: Arc::clone(&self.inner),
        }
    }

    /// An empty one.
    pub(crate) fn message(&self) -> Message {
        Message {
            buffer: self.buffer(),
            length: 0,
        }
    }

    pub(crate) fn scratch(&self) -> PooledScratch {
        let scratch = pop(&self.inner.scratches).unwrap_or_default();
        PooledScratch {
            scratch,
            pool: Arc::clone(&self.inner),
        }
    }
}

impl PooledBuffer {
    /// The first `len` bytes, shareable without a copy; the memory returns to the pool with the
    /// last reference.
    pub(crate) fn freeze(self, len: usize) -> Bytes {
        let mut frozen = Bytes::from_owner(self);
        frozen.truncate(len);
        frozen
    }
}

impl Message {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.bytes.get(..self.length).unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.bytes.get_mut(..self.length).unwrap_or_default()
    }

    pub(crate) fn append(&mut self, more: &[u8]) {
        let room = self.buffer.bytes.len().saturating_sub(self.length);
        let (over_old, beyond) = more.split_at(more.len().min(room));
        let end = self.length + over_old.len();
        if let Some(old) = self.buffer.bytes.get_mut(self.length..end) {
            old.copy_from_slice(over_old);
        }
        self.buffer.bytes.extend_from_slice(beyond);
        self.length += more.len();
    }

    /// Appends what can be read, at most so many bytes; how many there were. Fewer mean the end.
    pub(crate) fn append_from(&mut self, source: &mut impl Read, most: usize) -> io::Result<usize> {
        let begin = self.length;
        let end = begin + most;
        if self.buffer.bytes.len() < end {
            self.buffer.bytes.resize(end, 0);
        }
        while self.length < end {
            let room = self.buffer.bytes.get_mut(self.length..end);
            match source.read(room.unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => self.length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.length - begin)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes", self.length)
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
            push(&self.pool.bytes, std::mem::take(&mut self.bytes));
        }
    }
}

impl Drop for PooledScratch {
    fn drop(&mut self) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.trim(MAX_KEPT_BYTES);
        push(&self.pool.scratches, scratch);
    }
}

fn pop<T>(idle: &Mutex<Vec<T>>) -> Option<T> {
    idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn push<T>(idle: &Mutex<Vec<T>>, item: T) {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    if idle.len() < MAX_IDLE {
        idle.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_memory_returns_to_the_pool_with_its_last_reference() {
        let pool = BufferPool::default();
        let mut buffer = pool.buffer();
        buffer.bytes.extend_from_slice(b"abcdef");
        let first = buffer.freeze(3);
        let second = first.clone();
        drop(first);
        assert_eq!(&second[..], b"abc");
        assert!(pool.inner.bytes.lock().unwrap().is_empty());
        drop(second);
        assert_eq!(pool.buffer().bytes, b"abcdef");
    }

    #[test]
    fn a_message_overwrites_what_an_earlier_one_left() {
        let pool = BufferPool::default();
        let mut text = Vec::new();
        for number in 0..100u8 {
            text.extend([number; 3]);
        }
        // Pieces that end before, at and after the end of what the buffer had.
        for pieces in [300, 7, 100, 1, 299, 150] {
            for length in [300, 10, 200, 0, 250, 300] {
                let mut appended = pool.message();
                for piece in text[..length].chunks(pieces) {
                    appended.append(piece);
                }
                assert_eq!(appended.bytes(), &text[..length]);
                drop(appended);
                let mut read = pool.message();
                let mut source = &text[..length];
                while read.append_from(&mut source, pieces).unwrap() == pieces {}
                assert_eq!(read.bytes(), &text[..length]);
            }
        }
        assert_eq!(pool.inner.bytes.lock().unwrap().len(), 1);
    }

    #[test]
    fn memory_of_unusual_requests_is_not_kept() {
        let pool = BufferPool::default();
        let mut buffer = pool.buffer();
        buffer.bytes.reserve(MAX_KEPT_BYTES + 1);
        drop(buffer);
        assert_eq!(pool.buffer().bytes.capacity(), 0);
        let many: Vec<_> = (0..2 * MAX_IDLE).map(|_| pool.buffer()).collect();
        drop(many);
        assert_eq!(pool.inner.bytes.lock().unwrap().len(), MAX_IDLE);
    }
}
