//! The body of a request that is read from its connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use ingest::Pusher;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that are read at once at most.
const PART: usize = 256 << 10;

/// The first part came with the head, the others are read when they are asked for, each into memory of
/// the push path's pool.
pub(super) struct DirectBody<'a, S> {
    pusher: &'a Pusher,
    stream: &'a mut S,
    first: Bytes,
    /// Bytes that have not arrived.
    missing: u64,
}

impl<'a, S> DirectBody<'a, S> {
    /// Of so many bytes, `first` included.
    pub(super) fn new(pusher: &'a Pusher, stream: &'a mut S, first: Bytes, length: u64) -> Self {
        Self {
            pusher,
            stream,
            missing: length.saturating_sub(first.len() as u64),
            first,
        }
    }

    /// Whether all of it has arrived.
    pub(super) fn has_arrived(&self) -> bool {
        self.missing == 0
    }
}

impl<S: AsyncRead + Unpin> Body for DirectBody<'_, S> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.first)))));
        }
        if this.missing == 0 {
            return Poll::Ready(None);
        }
        let room = PART.min(usize::try_from(this.missing).unwrap_or(PART));
        let mut part = this.pusher.message();
        let mut buffer = ReadBuf::new(part.room(room));
        let read = Pin::new(&mut *this.stream).poll_read(context, &mut buffer);
        let length = buffer.filled().len();
        Poll::Ready(match std::task::ready!(read) {
            Ok(()) if length == 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(()) => {
                part.filled(length);
                this.missing -= length as u64;
                Some(Ok(Frame::data(part.part(0..length))))
            }
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.missing == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.first.len() as u64 + self.missing)
    }
}
