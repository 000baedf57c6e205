//! The body of a request that is read from its connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use ingest::{Message, Pusher};
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of a piece at most, unless what came with the head has more.
const PIECE: usize = 512 << 10;
/// Bytes that a piece has room for before any have arrived.
const FIRST: usize = 256 << 10;

/// Begins with what came with the head. What follows is read when it is asked for, into memory of the
/// push path's pool: what is already there at once, so that a body in one piece is not copied.
pub(super) struct DirectBody<'a, S> {
    pusher: &'a Pusher,
    stream: &'a mut S,
    first: Option<Message>,
    /// Bytes that have not arrived.
    missing: u64,
}

impl<'a, S> DirectBody<'a, S> {
    /// Of so many bytes, `first` included.
    pub(super) fn new(pusher: &'a Pusher, stream: &'a mut S, first: Message, length: u64) -> Self {
        Self {
            pusher,
            stream,
            missing: length.saturating_sub(first.remaining() as u64),
            first: Some(first).filter(Message::has_remaining),
        }
    }

    /// Whether all of it has arrived.
    pub(super) fn has_arrived(&self) -> bool {
        self.missing == 0
    }
}

impl<S: AsyncRead + Unpin> Body for DirectBody<'_, S> {
    type Data = Message;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Message>>>> {
        let this = self.get_mut();
        let mut piece = match this.first.take() {
            Some(first) => first,
            None if this.missing == 0 => return Poll::Ready(None),
            None => this.pusher.message(),
        };
        loop {
            let there = piece.remaining();
            let missing = usize::try_from(this.missing).unwrap_or(usize::MAX);
            // In proportion to what is there.
            let room = missing
                .min(there.max(FIRST))
                .min(PIECE.saturating_sub(there));
            if room == 0 {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let mut buffer = ReadBuf::new(piece.room(room));
            let read = Pin::new(&mut *this.stream).poll_read(context, &mut buffer);
            let length = buffer.filled().len();
            match read {
                Poll::Ready(Ok(())) if length > 0 => {
                    piece.filled(length);
                    this.missing -= length as u64;
                }
                // What has arrived comes first.
                _ if there > 0 => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Poll::Ready(Ok(())) => {
                    return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.missing == 0
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, Buf::remaining);
        SizeHint::with_exact(first as u64 + self.missing)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::poll_immediate;
    use http_body_util::BodyExt as _;
    use ingest::{Downstreams, IngestConfig};
    use prometheus_client::registry::Registry;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn pusher() -> Pusher {
        let downstreams = Downstreams::default();
        let config = IngestConfig::default();
        Pusher::new(&config, None, downstreams, &mut Registry::default())
    }

    /// What came with a head before it.
    fn arrived(pusher: &Pusher, head: &[u8], body: &[u8]) -> Message {
        let mut message = pusher.message();
        let length = head.len() + body.len();
        message.room(length)[..length].copy_from_slice(&[head, body].concat());
        message.filled(length);
        message.cut(head.len()..length);
        message
    }

    /// The next piece, if there is one now.
    async fn next(body: &mut DirectBody<'_, DuplexStream>) -> Option<Option<io::Result<Vec<u8>>>> {
        let frame = poll_immediate(body.frame()).await?;
        Some(frame.map(|frame| Ok(frame?.into_data().unwrap().bytes().to_vec())))
    }

    #[tokio::test]
    async fn what_is_there_comes_in_one_piece_and_no_more_than_the_body_is_read() {
        let pusher = pusher();
        let text: Vec<u8> = (0..PIECE as u32 + 100).map(|n| (n / 3) as u8).collect();
        for (length, of_first) in [
            (70_000, 100),
            (PIECE, 0),
            (PIECE + 50, 64),
            (300, 300),
            (9, 0),
        ] {
            let (mut sender, mut stream) = duplex(2 * PIECE);
            sender.write_all(&text[of_first..]).await.unwrap();
            let first = arrived(&pusher, b"head", &text[..of_first]);
            let mut body = DirectBody::new(&pusher, &mut stream, first, length as u64);
            assert_eq!(body.size_hint().exact(), Some(length as u64));
            let mut read = Vec::new();
            while let Some(piece) = next(&mut body).await.unwrap() {
                let piece = piece.unwrap();
                assert_eq!(piece.len(), (length - read.len()).min(PIECE));
                read.extend(piece);
                assert_eq!(body.is_end_stream(), read.len() == length);
            }
            assert!(read == text[..length] && body.has_arrived());
            let mut beyond = vec![0; text.len() - length];
            stream.read_exact(&mut beyond).await.unwrap();
            assert!(beyond == text[length..]);
        }
    }

    #[tokio::test]
    async fn what_is_late_comes_later_and_an_early_end_is_an_error() {
        let pusher = pusher();
        let (mut sender, mut stream) = duplex(100);
        let first = arrived(&pusher, b"", b"abc");
        let mut body = DirectBody::new(&pusher, &mut stream, first, 9);
        assert_eq!(next(&mut body).await.unwrap().unwrap().unwrap(), b"abc");
        assert!(next(&mut body).await.is_none());
        sender.write_all(b"def").await.unwrap();
        assert_eq!(next(&mut body).await.unwrap().unwrap().unwrap(), b"def");
        assert!(next(&mut body).await.is_none() && !body.is_end_stream());
        sender.write_all(b"g").await.unwrap();
        drop(sender);
        assert_eq!(next(&mut body).await.unwrap().unwrap().unwrap(), b"g");
        let error = next(&mut body).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(!body.has_arrived());
    }
}
