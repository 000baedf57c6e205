//! One request and its answer over a connection, by the task that wants it: there is no other one to be
//! woken.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::connections::Pool;
use super::framing::{Framing, Step, read_head};
use super::stream::Stream;

/// Memory for what is read, kept with the connection: most answers are shorter.
const BUFFER: usize = 1024;
/// Longest head of an answer, bytes.
const LONGEST_HEAD: usize = 64 << 10;

/// A request as it is sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Request line and headers, and the empty line.
    pub(super) head: Vec<u8>,
    pub(super) body: Bytes,
}

/// A connection, and what was read of it ahead.
pub(super) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

/// An answer whose head has arrived.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    framing: Framing,
    /// Until the body has ended; then the connection is back in its pool, or closed.
    connection: Option<Connection>,
    /// Bytes of the last chunk, which are still in the connection's buffer.
    taken: usize,
    is_reusable: bool,
    pool: Arc<Pool>,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: vec![0; BUFFER],
            begin: 0,
            end: 0,
        }
    }

    /// Whether nothing has come since the last answer: not its end, and nothing that was not asked for.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.begin == self.end && self.poll_fill(&mut context).is_pending()
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.begin..self.end).unwrap_or_default()
    }

    /// Reads more; how many bytes, 0 at the end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
            let doubled = 2 * self.buffer.len();
            if 2 * self.end > self.buffer.len() {
                self.buffer.resize(doubled, 0);
            }
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let mut room = ReadBuf::new(room);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
        let length = room.filled().len();
        self.end += length;
        Poll::Ready(Ok(length))
    }

    /// Sends a request and waits for the head of its answer, which may come before all is sent.
    pub(super) async fn exchange(
        mut self,
        request: &Outgoing,
        pool: Arc<Pool>,
    ) -> io::Result<Answer> {
        let mut sending = Sending {
            request,
            sent: 0,
            is_flushed: false,
            failed: None,
        };
        let head = poll_fn(|context| {
            sending.poll(&mut self.stream, context);
            loop {
                if let Some((head, length)) = read_head(self.unread())? {
                    self.begin += length;
                    let status = head.status;
                    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                        return Poll::Ready(Ok(head));
                    }
                    continue;
                }
                if self.unread().len() > LONGEST_HEAD {
                    let problem = "the head of its answer is too long";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, problem)));
                }
                match ready!(self.poll_fill(context)) {
                    Ok(1..) => {}
                    // Why nothing could be sent says more than that nothing came.
                    read => {
                        let ended = read.err().unwrap_or_else(ended_early);
                        return Poll::Ready(Err(sending.failed.take().unwrap_or(ended)));
                    }
                }
            }
        })
        .await?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            framing: head.framing,
            connection: Some(self),
            taken: 0,
            is_reusable: head.is_reusable && sending.is_flushed,
            pool,
        })
    }
}

fn ended_early() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the connection was closed before the answer",
    )
}

/// A request on its way.
struct Sending<'a> {
    request: &'a Outgoing,
    sent: usize,
    is_flushed: bool,
    failed: Option<io::Error>,
}

impl Sending<'_> {
    /// Sends what can be sent now. An error is kept: the answer that explains it may be there.
    fn poll(&mut self, stream: &mut Stream, context: &mut Context<'_>) {
        if self.is_flushed || self.failed.is_some() {
            return;
        }
        if let Poll::Ready(Err(error)) = self.poll_all(stream, context) {
            self.failed = Some(error);
        }
    }

    fn poll_all(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Outgoing { head, body } = self.request;
        while self.sent < head.len() + body.len() {
            let of_head = head.get(self.sent..).unwrap_or_default();
            let of_body = body.get(self.sent.saturating_sub(head.len())..);
            let parts = [of_head, of_body.unwrap_or_default()].map(IoSlice::new);
            let parts = if of_head.is_empty() {
                &parts[1..]
            } else {
                &parts[..]
            };
            match ready!(Pin::new(&mut *stream).poll_write_vectored(context, parts))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        ready!(Pin::new(stream).poll_flush(context))?;
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }
}

impl Answer {
    /// The next part of the body, `None` at its end.
    ///
    /// # Errors
    /// The body ended early, or is not framed as HTTP requires.
    pub(super) async fn chunk(&mut self) -> io::Result<Option<&[u8]>> {
        let length = poll_fn(|context| self.poll_chunk(context)).await?;
        let connection = self.connection.as_ref();
        Ok(match length {
            0 => None,
            length => connection.and_then(|connection| connection.unread().get(..length)),
        })
    }

    /// How many bytes the next part has, 0 at the end.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Ok(0));
            };
            connection.begin += std::mem::take(&mut self.taken);
            match self.framing.step(connection.unread())? {
                Step::Data(length) => {
                    self.taken = length;
                    return Poll::Ready(Ok(length));
                }
                Step::Skip(length) => connection.begin += length,
                Step::End => self.end(),
                Step::More => match ready!(connection.poll_fill(context))? {
                    0 if self.framing == Framing::UntilClose => self.end(),
                    0 => return Poll::Ready(Err(ended_early())),
                    _ => {}
                },
            }
        }
    }

    /// The body has ended: another request may have the connection.
    fn end(&mut self) {
        let connection = self.connection.take();
        if let Some(connection) = connection.filter(|_| self.is_reusable) {
            self.pool.put(connection);
        }
    }
}

#[cfg(test)]
mod tests;
