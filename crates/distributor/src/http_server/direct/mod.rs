//! Push requests of HTTP/1.1 as senders send them, straight from the connection to the push path and
//! back: one read, one write, and memory of the push path's pool. A connection that waits for its
//! client has no buffer.
//!
//! What is different in any way goes to the usual server, with what has been read: another path or
//! method, another version of HTTP, a body without a length, `Expect`, requests that are sent before
//! the one before is answered, and everything that is wrong.

mod body;
mod head;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ingest::Message;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::Instrument as _;

use super::push::{Push, Reply};
use crate::intake::Intake;
use crate::listener::{Client, Direct, Next};
use crate::metrics::{Protocol, RequestMetrics, Status};
use crate::traces;
use body::DirectBody;
use head::{Begun, Head};

/// Bytes that the first read of a request takes: head and body of a usual one.
const FIRST_READ: usize = 64 << 10;
/// A head that is longer is left to the usual server.
const MOST_HEAD: usize = 16 << 10;

/// Serves push requests.
pub(super) struct DirectPush {
    intake: Arc<Intake>,
    requests: RequestMetrics,
    /// Where push requests are sent, and the labels of those paths in metrics.
    paths: Vec<String>,
    labels: Vec<&'static str>,
}

impl DirectPush {
    /// For these paths, which are those of routes, and for the same below `prefix`.
    pub(super) fn new(
        intake: Arc<Intake>,
        requests: RequestMetrics,
        routes: &[&'static str],
        prefix: &str,
    ) -> Self {
        let mut direct = Self {
            intake,
            requests,
            paths: Vec::new(),
            labels: Vec::new(),
        };
        let mut add = |path: String, route| {
            direct.paths.push(path);
            direct.labels.push(admin::label_of(route));
        };
        for route in routes {
            add((*route).to_owned(), route);
            if !prefix.is_empty() {
                add(format!("{prefix}{route}"), route);
            }
        }
        direct
    }
}

impl Direct for DirectPush {
    async fn serve<S>(&self, stream: &mut S, client: Client<'_>) -> Next
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut connection = Connection {
            direct: self,
            stream,
            client,
            idle: None,
            since: Instant::now(),
            date: Date::default(),
            reply: Vec::new(),
        };
        loop {
            match connection.next().await {
                Ok(Step::Request(head, bytes)) => match connection.answer(head, bytes).await {
                    Ok(None) => {}
                    Ok(Some(next)) => return next,
                    // The client is gone.
                    Err(_) => return Next::Close,
                },
                Ok(Step::Other(bytes)) => return Next::Continue(bytes),
                Ok(Step::Close) | Err(_) => return Next::Close,
            }
        }
    }
}

/// What comes next from a client.
enum Step {
    /// A request, with all bytes that were read of it, and perhaps of what follows.
    Request(Head, Message),
    Other(Bytes),
    Close,
}

struct Connection<'a, S> {
    direct: &'a DirectPush,
    stream: &'a mut S,
    client: Client<'a>,
    /// Fires at the end of the idle timeout, or before: it is set again only when it fires.
    idle: Option<Pin<Box<Sleep>>>,
    /// When the last answer ended, or the connection began.
    since: Instant,
    date: Date,
    reply: Vec<u8>,
}

impl<S> Connection<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    /// Waits for the head of a request.
    async fn next(&mut self) -> io::Result<Step> {
        let draining = self.client.draining;
        let mut drained = pin!(draining.cancelled());
        let Some(mut bytes) = poll_fn(|context| {
            match self.poll_first(context) {
                Poll::Ready(read) => return Poll::Ready(read.map(Some)),
                // There is nothing to lose: no request has begun.
                Poll::Pending => {}
            }
            if drained.as_mut().poll(context).is_ready() || self.is_idle(context) {
                return Poll::Ready(Ok(None));
            }
            Poll::Pending
        })
        .await?
        else {
            return Ok(Step::Close);
        };
        loop {
            let read = bytes.bytes();
            if read.is_empty() {
                return Ok(Step::Close);
            }
            match head::read(read, &self.direct.paths) {
                Begun::Push(head) => return Ok(Step::Request(head, bytes)),
                Begun::Incomplete if read.len() < MOST_HEAD => {
                    let before = read.len();
                    tokio::select! {
                        biased;
                        read = poll_fn(|context| poll_more(self.stream, context, &mut bytes)) => read?,
                        () = draining.cancelled() => return Ok(Step::Close),
                    }
                    if bytes.bytes().len() == before {
                        return Ok(Step::Close);
                    }
                }
                Begun::Incomplete | Begun::Other => {
                    return Ok(Step::Other(head::handed_over(read)));
                }
            }
        }
    }

    /// Reads the first bytes of a request, into memory that is taken only when there are some.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Message>> {
        let mut bytes = self.direct.intake.pusher.message();
        let read = std::task::ready!(poll_more(self.stream, context, &mut bytes));
        Poll::Ready(read.map(|()| bytes))
    }

    /// Whether the client has been idle for too long.
    fn is_idle(&mut self, context: &mut Context<'_>) -> bool {
        let end = self.since + self.client.idle_timeout;
        let timer = self.idle.get_or_insert_with(|| Box::pin(sleep_until(end)));
        while timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= end {
                return true;
            }
            timer.as_mut().reset(end);
        }
        false
    }

    /// Answers one request; what happens with the connection then, unless the next request is waited
    /// for.
    async fn answer(&mut self, head: Head, mut bytes: Message) -> io::Result<Option<Next>> {
        let Head {
            path,
            headers,
            length,
            body: body_length,
        } = head;
        let answering = self.client.answer();
        let label = self.direct.labels.get(path).copied().unwrap_or("other");
        let underway = self.direct.requests.begin(Protocol::Http("POST"), label);
        let in_first = usize::try_from(body_length).unwrap_or(usize::MAX);
        let end = length.saturating_add(in_first).min(bytes.bytes().len());
        let beyond = Bytes::copy_from_slice(bytes.bytes().get(end..).unwrap_or_default());
        bytes.cut(length..end);
        let span = traces::push_span("http", &headers);
        let handling = handle(
            &self.direct.intake,
            self.client.address,
            self.stream,
            headers,
            (bytes, body_length),
        );
        let Some(Handled {
            reply,
            has_arrived,
            beyond: later,
        }) = handling.instrument(span).await
        else {
            // Its future was dropped: what was begun is undone.
            return Ok(Some(Next::Close));
        };
        underway.end(Status::Http(reply.status.as_u16()));
        let is_last = !has_arrived || self.client.draining.is_cancelled();
        self.reply.clear();
        reply.write(&mut self.reply, self.date.now(), is_last);
        self.stream.write_all(&self.reply).await?;
        self.stream.flush().await?;
        drop(answering);
        if is_last {
            // Nothing is left to lose.
            let _ = self.stream.shutdown().await;
            return Ok(Some(Next::Close));
        }
        let beyond = match later.is_empty() {
            true => beyond,
            false => [beyond, later].concat().into(),
        };
        if !beyond.is_empty() {
            return Ok(Some(Next::Continue(beyond)));
        }
        self.since = Instant::now();
        Ok(None)
    }
}

struct Handled {
    reply: Reply,
    /// The whole body was read.
    has_arrived: bool,
    /// What the client has sent since.
    beyond: Bytes,
}

/// Receives and pushes one request. `None` if its client hung up meanwhile.
async fn handle<S>(
    intake: &Intake,
    address: SocketAddr,
    stream: &mut S,
    headers: http::HeaderMap,
    (first, length): (Message, u64),
) -> Option<Handled>
where
    S: AsyncRead + Unpin + Send,
{
    let mut push = Push::new(intake, Some(address), &headers);
    let mut body = DirectBody::new(&intake.pusher, stream, first, length);
    let received = match push.receive(headers, &mut body).await {
        Ok(received) => received,
        Err(rejection) => {
            let reply = push.refuse(rejection, &mut body).await;
            let has_arrived = body.has_arrived();
            return Some(Handled {
                reply,
                has_arrived,
                beyond: Bytes::new(),
            });
        }
    };
    let has_arrived = body.has_arrived();
    let mut answer = pin!(push.push(received));
    let mut beyond = None;
    let answer = poll_fn(|context| {
        if let Poll::Ready(answer) = answer.as_mut().poll(context) {
            return Poll::Ready(Some(answer));
        }
        // A client that hangs up is not answered; one that sends its next request already is.
        while beyond.is_none() {
            let mut more = intake.pusher.message();
            match poll_more(stream, context, &mut more) {
                Poll::Ready(Ok(())) if !more.bytes().is_empty() => {
                    beyond = Some(Bytes::copy_from_slice(more.bytes()));
                }
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    })
    .await?;
    Some(Handled {
        reply: push.reply(answer),
        has_arrived,
        beyond: beyond.unwrap_or_default(),
    })
}

/// Appends what the stream has; nothing at its end.
fn poll_more<S: AsyncRead + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    bytes: &mut Message,
) -> Poll<io::Result<()>> {
    let mut buffer = ReadBuf::new(bytes.room(FIRST_READ));
    std::task::ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    let length = buffer.filled().len();
    bytes.filled(length);
    Poll::Ready(Ok(()))
}

/// The date as answers have it, made once a second.
#[derive(Default)]
struct Date {
    seconds: u64,
    text: String,
}

impl Date {
    fn now(&mut self) -> &str {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since.unwrap_or_default().as_secs();
        if self.text.is_empty() || seconds != self.seconds {
            self.seconds = seconds;
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            self.text = httpdate::fmt_http_date(time);
        }
        &self.text
    }
}
