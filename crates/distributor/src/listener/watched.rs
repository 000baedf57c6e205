//! A connection with time limits for its client, and the service behind it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tower_service::Service;

use super::connections::{Activity, Answering, Place};

/// How long a client may take until its first bytes say which protocol it speaks.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a client may take to send a request's head, from its first byte. Of HTTP/1.1 alone: one
/// of HTTP/2 answers pings meanwhile.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What a client of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// … and the head of the frame that has to follow.
const FRAME_HEAD: usize = 9;
/// A connection without any traffic is probed after so long, so often, and given up after so many
/// probes without an answer: a peer that vanished does not keep its place.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// What holds for the socket of each connection.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    // The parts of an answer over HTTP/2 are several writes: none waits for the client's
    // acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_INTERVAL)
        .with_retries(PROBES);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// The error of a connection that is closed for another one, or finds no place.
pub(super) fn gives_way() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "all connections are taken",
    )
}

/// What a client has begun with.
enum Spoken {
    /// So many bytes, all of them those of [`PREFACE`] as far as it goes.
    Begin(usize),
    Http1,
    Http2,
}

/// A connection that is closed when its client does not send in time, or to make room for another
/// one.
pub(super) struct Watched<S> {
    stream: S,
    place: Place,
    gives_way: Pin<Box<WaitForCancellationFutureOwned>>,
    spoken: Spoken,
    /// Of HTTP/1.1: bytes came since this many requests had been answered, perhaps a part of a head.
    head_after: Option<u64>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, place: Place) -> Self {
        let gives_way = place.activity().gives_way().clone().cancelled_owned();
        Self {
            stream,
            place,
            gives_way: Box::pin(gives_way),
            spoken: Spoken::Begin(0),
            head_after: None,
            deadline: Some(Box::pin(tokio::time::sleep(FIRST_BYTES_TIMEOUT))),
        }
    }

    pub(super) fn activity(&self) -> &Arc<Activity> {
        self.place.activity()
    }

    /// Notes what the client sent.
    fn note(&mut self, bytes: &[u8]) {
        if let Spoken::Begin(before) = self.spoken {
            let expected = PREFACE.get(before..).unwrap_or_default();
            let common = expected.len().min(bytes.len());
            if bytes.get(..common) != expected.get(..common) {
                self.spoken = Spoken::Http1;
                self.deadline = None;
            } else if before + bytes.len() >= PREFACE.len() + FRAME_HEAD {
                self.spoken = Spoken::Http2;
                self.deadline = None;
            } else {
                self.spoken = Spoken::Begin(before + bytes.len());
            }
        }
        let activity = self.place.activity();
        if matches!(self.spoken, Spoken::Http1) && self.head_after.is_none() && !activity.is_busy()
        {
            self.head_after = Some(activity.requests());
        }
    }

    /// Whether the client's time is up; called when there is nothing to read.
    fn is_too_slow(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(requests) = self.head_after {
            if self.place.activity().requests() > requests {
                // The head was complete.
                self.head_after = None;
                self.deadline = None;
            } else if self.deadline.is_none() {
                self.deadline = Some(Box::pin(tokio::time::sleep(HEAD_TIMEOUT)));
            }
        }
        let deadline = self.deadline.as_mut();
        deadline.is_some_and(|deadline| deadline.as_mut().poll(context).is_ready())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            let new = buffer.filled().get(before..).unwrap_or_default();
            if !new.is_empty() {
                this.note(new);
            }
            return Poll::Ready(read);
        }
        if this.gives_way.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(gives_way()));
        }
        if this.is_too_slow(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The service of one connection, which knows while it answers.
#[derive(Clone)]
pub(super) struct Counted<S> {
    inner: S,
    activity: Arc<Activity>,
    address: SocketAddr,
}

impl<S> Counted<S> {
    /// For the client at this address, of the connection `stream`.
    pub(super) fn new<C>(inner: S, stream: &Watched<C>, address: SocketAddr) -> Self {
        Self {
            inner,
            activity: Arc::clone(stream.place.activity()),
            address,
        }
    }
}

impl<S, B> Service<http::Request<B>> for Counted<S>
where
    S: Service<http::Request<B>, Response = Response>,
{
    type Response = http::Response<CountedBody>;
    type Error = S::Error;
    type Future = CountedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.address));
        CountedFuture {
            answering: Some(self.activity.answer()),
            inner: self.inner.call(request),
        }
    }
}

pin_project! {
    /// An answer on its way.
    pub(super) struct CountedFuture<F> {
        answering: Option<Answering>,
        #[pin]
        inner: F,
    }
}

impl<F, E> Future for CountedFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<http::Response<CountedBody>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = std::task::ready!(this.inner.poll(context));
        let answering = this.answering.take();
        Poll::Ready(answer.map(|answer| {
            answer.map(|body| CountedBody {
                body,
                _answering: answering,
            })
        }))
    }
}

/// The rest of an answer: the connection is busy until it is sent.
pub(super) struct CountedBody {
    body: Body,
    _answering: Option<Answering>,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
