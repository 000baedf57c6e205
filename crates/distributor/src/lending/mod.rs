//! What goes out in large answers is bounded, however slowly it is read.
//!
//! A large answer is made once, compressed, and *lent*: readers share its pieces, take the next one
//! when their connection has room, and those who did not ask for gzip have theirs expanded piece by
//! piece. So a reader costs little more than its place, and a hundred that do not read hold no more
//! than one that does. When places are short, the reader that has had one for longest loses it (its
//! answer ends with an error), if it had the time in which any scrape ends; else the newcomer is
//! told to come back.

mod rendering;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use flate2::bufread::GzDecoder;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::http_server::accept;
use rendering::{PIECE, PieceReader};
pub(crate) use rendering::{Renderer, Rendering};

/// A reader keeps its place for as long, however many want one. Prometheus gives up a scrape after
/// 10 s unless told otherwise.
pub(crate) const TIME_TO_READ: Duration = Duration::from_secs(10);

/// Those who read answers at this moment.
#[derive(Debug)]
pub(crate) struct Readers {
    /// Most at once.
    places: usize,
    /// By the time they began.
    readers: Mutex<VecDeque<Place>>,
}

#[derive(Debug)]
struct Place {
    since: Instant,
    reader: Weak<Seat>,
}

/// What a body reads from; nothing once it is through, or has lost its place.
type Seat = Mutex<Option<Reader>>;

struct Reader {
    rendering: Arc<Rendering>,
    state: State,
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
    /// Bytes to come.
    left: u64,
}

impl Readers {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places,
            readers: Mutex::default(),
        }
    }

    /// Lends `rendering` to the client with these headers; `None` if all places are taken, and none
    /// for long enough.
    pub(crate) fn lend(
        &self,
        rendering: &Arc<Rendering>,
        content_type: &'static str,
        headers: &HeaderMap,
    ) -> Option<Response> {
        let gzip = accept::takes_gzip(headers);
        let body = self.take_place(Arc::clone(rendering), gzip)?;
        let mut response = Response::new(Body::new(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Some(response)
    }

    fn take_place(&self, rendering: Arc<Rendering>, gzip: bool) -> Option<Lent> {
        let now = Instant::now();
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|place| place.reader.strong_count() > 0);
        if readers.len() >= self.places {
            let oldest = readers.front()?;
            if now.saturating_duration_since(oldest.since) < TIME_TO_READ {
                return None;
            }
            oldest.cut_off();
            readers.pop_front();
        }
        let (left, state) = if gzip {
            (rendering.compressed(), State::Compressed(0))
        } else {
            (rendering.plain(), State::Expanding(None))
        };
        let seat = Arc::new(Mutex::new(Some(Reader { rendering, state })));
        readers.push_back(Place {
            since: now,
            reader: Arc::downgrade(&seat),
        });
        Some(Lent { seat, left })
    }

    /// Ends what still reads `rendering`.
    pub(crate) fn cut_off_readers_of(&self, rendering: &Arc<Rendering>) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|place| {
            let reads_it = place.reads(rendering);
            if reads_it {
                place.cut_off();
            }
            !reads_it
        });
    }
}

impl Place {
    fn reads(&self, rendering: &Arc<Rendering>) -> bool {
        self.reader.upgrade().is_some_and(|seat| {
            let reader = seat.lock().unwrap_or_else(PoisonError::into_inner);
            reader
                .as_ref()
                .is_some_and(|reader| Arc::ptr_eq(&reader.rendering, rendering))
        })
    }

    fn cut_off(&self) {
        if let Some(seat) = self.reader.upgrade() {
            *seat.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

impl Reader {
    fn next(&mut self) -> io::Result<Bytes> {
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
                let mut piece = Vec::with_capacity(PIECE);
                decoder.take(PIECE as u64).read_to_end(&mut piece)?;
                Ok(piece.into())
            }
        }
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let next = {
            let mut seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner);
            let next = match seat.as_mut() {
                Some(reader) => reader.next(),
                None => Err(io::Error::other("read too slowly: others waited")),
            };
            let read = next.as_ref().map_or(0, |piece| piece.len() as u64);
            // Nothing more comes: what it came from can go before the connection lets go of this.
            if read == 0 || read >= self.left {
                *seat = None;
            }
            next
        };
        Poll::Ready(Some(match next {
            Ok(piece) if piece.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(piece) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
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
