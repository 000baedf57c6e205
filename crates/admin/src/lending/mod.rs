//! Bounds the memory of large answers, however slowly they are read.
//!
//! A large answer is rendered once, compressed, and *lent*: readers share its pieces and take the
//! next one when their connection has room; for readers without gzip, the pieces are expanded one
//! by one. So a reader of gzip costs little more than its place, and a thousand stalled readers use
//! no more memory than one; there are fewer places for other readers. When no place is free, a
//! reader that is stalled loses its place (its answer ends with an error), or one that has had it
//! for longer than any scrape takes; otherwise the new request is refused and must retry.

mod rendering;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::num::NonZero;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use flate2::bufread::GzDecoder;
use http_body::{Frame, SizeHint};
use kv_core::lock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::accept;
use rendering::PieceReader;
pub(crate) use rendering::{Renderer, Rendering};

/// A reader that keeps reading keeps its place for this long, however many wait for one. Prometheus
/// gives up a scrape after 10 s by default.
pub(crate) const TIME_TO_READ: Duration = Duration::from_secs(10);
/// A reader that takes nothing for this long loses its place if another one needs it.
const STALLED: Duration = Duration::from_secs(2);

/// The current readers.
#[derive(Debug)]
pub(crate) struct Readers {
    plain: Places,
    gzip: Places,
}

/// The readers of one encoding.
#[derive(Debug)]
struct Places {
    /// Most at once.
    most: usize,
    /// Ordered by the time they began.
    readers: Mutex<VecDeque<Place>>,
    /// For readers whose answers are expanded.
    turns: Option<Turns>,
}

#[derive(Debug)]
struct Place {
    since: Instant,
    reader: Weak<Seat>,
}

/// Bytes that are expanded in one turn of a runtime's worker (about a fifth of a millisecond), and
/// the most that a reader takes before other tasks get their turn. A fast reader would otherwise
/// occupy the worker until tokio's budget is used up, and a few of them would delay every push.
const TURN: usize = 64 << 10;
/// Longest wait for a turn. A reader can have a turn while its connection has no room, and must not
/// stop the others.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// The turns of readers whose answer is expanded: they use at most half of the processors. A push
/// is handled in several steps, and each step queues behind every reader that is ready.
#[derive(Clone, Debug)]
struct Turns(Arc<Semaphore>);

/// Ends when other tasks have had their turn and the reader has its own.
type WaitForTurn = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

impl Turns {
    fn new(processors: usize) -> Self {
        Self(Arc::new(Semaphore::new((processors / 2).max(1))))
    }

    /// The turn, or nothing after [`LONGEST_WAIT`].
    async fn next(self) -> Option<OwnedSemaphorePermit> {
        let turn = timeout(LONGEST_WAIT, self.0.acquire_owned());
        turn.await.ok()?.ok()
    }
}

/// The source of a body; `None` at its end, or after it has lost its place.
type Seat = Mutex<Option<Reader>>;

struct Reader {
    rendering: Arc<Rendering>,
    state: State,
    /// When it took something last.
    read: Instant,
}

enum State {
    /// The index of the next piece.
    Compressed(usize),
    /// Made with the first piece: it needs some 50 kB.
    Expanding(Option<Box<GzDecoder<PieceReader>>>),
}

/// The body of an answer that is lent.
struct Lent {
    seat: Arc<Seat>,
    /// Remaining bytes.
    left: u64,
    /// Bytes that may still be taken in this turn.
    turn: usize,
    turns: Option<Turns>,
    waits: Option<WaitForTurn>,
}

impl Readers {
    /// Places for this many readers of plain text, each of which costs about 150 kB, and for this
    /// many readers of gzip.
    pub(crate) fn new(plain: usize, gzip: usize) -> Self {
        let places = |most, turns| Places {
            most,
            readers: Mutex::default(),
            turns,
        };
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            plain: places(plain, Some(Turns::new(processors))),
            gzip: places(gzip, None),
        }
    }

    /// Lends `rendering` to the client with these headers; `None` if active readers have all
    /// places.
    pub(crate) fn lend(
        &self,
        rendering: &Arc<Rendering>,
        content_type: &'static str,
        headers: &HeaderMap,
    ) -> Option<Response> {
        let gzip = accept::takes_gzip(headers);
        let rendering = Arc::clone(rendering);
        let body = if gzip {
            let left = rendering.compressed();
            self.gzip.take(rendering, State::Compressed(0), left)
        } else {
            let left = rendering.plain();
            self.plain.take(rendering, State::Expanding(None), left)
        };
        let mut response = Response::new(Body::new(body?));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Some(response)
    }

    /// Ends all readers of `rendering`.
    pub(crate) fn cut_off_readers_of(&self, rendering: &Arc<Rendering>) {
        for places in [&self.plain, &self.gzip] {
            places.lock().retain(|place| {
                let reads_it = place
                    .with(|reader| Arc::ptr_eq(&reader.rendering, rendering))
                    .unwrap_or(false);
                if reads_it {
                    place.cut_off();
                }
                !reads_it
            });
        }
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Place>> {
        lock(&self.readers)
    }

    fn take(&self, rendering: Arc<Rendering>, state: State, left: u64) -> Option<Lent> {
        let now = Instant::now();
        let mut readers = self.lock();
        readers.retain(|place| place.reader.strong_count() > 0);
        if readers.len() >= self.most {
            let index = least_worth(&readers, now)?;
            readers.remove(index)?.cut_off();
        }
        let seat = Arc::new(Mutex::new(Some(Reader {
            rendering,
            state,
            read: now,
        })));
        readers.push_back(Place {
            since: now,
            reader: Arc::downgrade(&seat),
        });
        Some(Lent {
            seat,
            left,
            turn: TURN,
            turns: self.turns.clone(),
            waits: None,
        })
    }
}

/// The reader that loses its place, if any.
fn least_worth(readers: &VecDeque<Place>, now: Instant) -> Option<usize> {
    let read = |place: &Place| place.with(|reader| reader.read).unwrap_or(place.since);
    let (stalled, last_read) = readers
        .iter()
        .map(read)
        .enumerate()
        .min_by_key(|(_, read)| *read)?;
    if now.saturating_duration_since(last_read) >= STALLED {
        return Some(stalled);
    }
    let oldest = readers.front()?;
    (now.saturating_duration_since(oldest.since) >= TIME_TO_READ).then_some(0)
}

impl Place {
    /// Does nothing if it has read to its end.
    fn with<R>(&self, ask: impl FnOnce(&Reader) -> R) -> Option<R> {
        let seat = self.reader.upgrade()?;
        let reader = lock(&seat);
        reader.as_ref().map(ask)
    }

    fn cut_off(&self) {
        if let Some(seat) = self.reader.upgrade() {
            *lock(&seat) = None;
        }
    }
}

impl Reader {
    fn next(&mut self) -> io::Result<Bytes> {
        self.read = Instant::now();
        match &mut self.state {
            State::Compressed(index) => {
                let piece = self.rendering.piece(*index).unwrap_or_default();
                *index += 1;
                Ok(piece)
            }
            State::Expanding(decoder) => {
                let decoder = decoder.get_or_insert_with(|| {
                    let pieces = PieceReader::new(Arc::clone(&self.rendering));
                    Box::new(GzDecoder::new(pieces))
                });
                let mut piece = Vec::with_capacity(TURN);
                decoder.take(TURN as u64).read_to_end(&mut piece)?;
                Ok(piece.into())
            }
        }
    }
}

impl Lent {
    /// Ready if it may take its next piece; the returned guard must be kept in the meantime.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Option<OwnedSemaphorePermit>> {
        if self.turn > 0 {
            return Poll::Ready(None);
        }
        let waits = self.waits.get_or_insert_with(|| {
            let turns = self.turns.clone();
            Box::pin(async move {
                tokio::task::yield_now().await;
                turns?.next().await
            })
        });
        let turn = std::task::ready!(waits.as_mut().poll(context));
        self.waits = None;
        self.turn = TURN;
        Poll::Ready(turn)
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let turn = std::task::ready!(self.poll_turn(context));
        let next = {
            let mut seat = lock(&self.seat);
            let next = match seat.as_mut() {
                Some(reader) => reader.next(),
                None => Err(io::Error::other("read too slowly while others waited")),
            };
            let read = next.as_ref().map_or(0, |piece| piece.len() as u64);
            // This is the end: the source can be dropped before the connection drops this body.
            if read == 0 || read >= self.left {
                *seat = None;
            }
            next
        };
        drop(turn);
        Poll::Ready(Some(match next {
            Ok(piece) if piece.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(piece) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                self.turn = self.turn.saturating_sub(piece.len());
                Ok(Frame::data(piece))
            }
            Err(error) => Err(error),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use http_body::Body as _;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_all_at_once_lets_others_have_their_turn() {
        let mut renderer = Renderer::new();
        let text = "some text\n".repeat(100_000);
        renderer.write_str(&text).unwrap();
        let rendering = Arc::new(renderer.finish().unwrap());
        let readers = Readers::new(1, 1);
        let response = readers.lend(&rendering, "text/plain", &HeaderMap::new());
        let mut body = std::pin::pin!(response.unwrap().into_body());
        let mut context = Context::from_waker(std::task::Waker::noop());
        let (mut read, mut in_turn) = (Vec::new(), 0);
        while !body.is_end_stream() {
            match body.as_mut().poll_frame(&mut context) {
                Poll::Ready(frame) => {
                    let piece = frame.unwrap().unwrap().into_data().unwrap();
                    in_turn += piece.len();
                    read.extend_from_slice(&piece);
                }
                Poll::Pending => {
                    assert!(in_turn > 0, "waits for nothing");
                    in_turn = 0;
                }
            }
            assert!(in_turn <= TURN, "{in_turn}");
        }
        assert_eq!(read, text.as_bytes());
    }
}
