//! The body of a downstream's answer. It is read for its text, and to its end so that the
//! connection can be reused; but only within limits of size and time. The status alone decides.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::exchange::Answer;

/// Longest text of a refusal that is forwarded, bytes.
pub(super) const MAX_MESSAGE: usize = 1024;
/// A longer body is not read to its end: a new connection costs less.
const MAX_BODY: usize = 64 << 10;
/// How long a body may take after its head.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// Bodies read to their end at the same time, beside the requests; the connections of others are
/// closed.
const MAX_DRAINED: usize = 64;

/// Reads the rest after the answer is known.
pub(super) struct Drain(Arc<Semaphore>);

impl Drain {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_DRAINED)))
    }

    /// In a task of its own. A connection whose body has no end in time is closed.
    pub(super) fn drain(&self, mut response: Answer) {
        let mut left = MAX_BODY;
        // Nearly always all of it has arrived.
        while let Some(chunk) = response.chunk().now_or_never() {
            match chunk {
                Ok(Some(chunk)) if chunk.len() <= left => left -= chunk.len(),
                // Too long, broken, or the end, at which its connection is free.
                _ => return,
            }
        }
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let _place = place;
            let read = async {
                while let Ok(Some(chunk)) = response.chunk().await
                    && chunk.len() <= left
                {
                    left -= chunk.len();
                }
            };
            let _ = timeout(BODY_TIMEOUT, read).await;
        });
    }
}

/// The beginning of the body, as far as it arrives in time.
pub(super) async fn message(response: &mut Answer) -> Vec<u8> {
    let mut message = Vec::new();
    let read = async {
        while message.len() < MAX_MESSAGE
            && let Ok(Some(chunk)) = response.chunk().await
        {
            message.extend_from_slice(&chunk[..chunk.len().min(MAX_MESSAGE - message.len())]);
        }
    };
    let _ = timeout(BODY_TIMEOUT, read).await;
    message
}
