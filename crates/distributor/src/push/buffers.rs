//! Memory that requests reuse, so that a request of usual size allocates nothing for its bytes.

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
