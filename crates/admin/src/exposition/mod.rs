//! [`Exposition`]: `/metrics`, rendered once for all requests of about the same time.

mod classic;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use kv_core::lock;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::accept;
use crate::lending::{Readers, Renderer, Rendering, TIME_TO_READ};
use classic::Classic;

/// Only a rendering with more bytes is used for later requests: a small one is so cheap that each
/// request gets current values.
const LARGE: u64 = 256 << 10;
/// A large rendering is used for requests within this time after it was begun.
const SHARED_FOR: Duration = Duration::from_secs(1);
/// Or within this many times the time that it took: with very many series, rendering takes at most
/// a third of one core, however many requests there are.
const SHARED_FOR_TIMES: u32 = 3;
/// Renderings of one format in memory: the newest, and one that is still being read.
const RENDERINGS: usize = 2;
/// Most readers of plain text at a time. For each, the text is expanded, and its connection buffers
/// some of it.
const READERS: usize = 256;
/// Most readers of gzip, as used by Prometheus: they share the memory.
const GZIP_READERS: usize = 16_384;

/// The OpenMetrics text of all metrics.
///
/// # Errors
/// A metric cannot be written, which is a mistake in it.
pub fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode_to(&mut text, registry)?;
    Ok(text)
}

fn encode_to(text: &mut impl fmt::Write, registry: &Registry) -> fmt::Result {
    prometheus_client::encoding::text::encode(text, registry)
}

/// The metrics of a process, for all scrapers.
#[derive(Clone)]
pub struct Exposition(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    /// One is made at a time.
    turn: Arc<Semaphore>,
    readers: Readers,
    formats: [Mutex<Renderings>; 2],
}

/// The formats of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Classic,
    OpenMetrics,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There are too many readers.
    Busy,
    /// It could not be rendered.
    Failed,
}

type Made = Result<Arc<Rendering>, Refusal>;

/// The renderings of one format.
#[derive(Default)]
struct Renderings {
    /// The rendering for requests that arrive now.
    newest: Option<Newest>,
    /// Renderings that may still be in memory, by age.
    alive: Vec<(Instant, Weak<Rendering>)>,
    /// The rendering in progress; requests wait for it.
    making: Option<Shared<BoxFuture<'static, Made>>>,
}

struct Newest {
    rendering: Arc<Rendering>,
    until: Instant,
}

impl Exposition {
    /// Exposes everything in this registry.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self(Arc::new(Inner {
            registry,
            turn: Arc::new(Semaphore::new(1)),
            readers: Readers::new(READERS, GZIP_READERS),
            formats: Default::default(),
        }))
    }

    /// The answer for a client with these headers.
    pub(crate) async fn answer(&self, headers: &HeaderMap) -> Result<Response, Refusal> {
        let format = if accept::wants_openmetrics(headers) {
            Format::OpenMetrics
        } else {
            Format::Classic
        };
        let rendering = self.0.get(format).await?;
        self.0
            .readers
            .lend(&rendering, format.content_type(), headers)
            .ok_or(Refusal::Busy)
    }
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            Self::OpenMetrics => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
            }
        }
    }

    fn render(self, registry: &Registry) -> Result<Rendering, fmt::Error> {
        let mut renderer = Renderer::new();
        if self == Self::Classic {
            let mut classic = Classic::new(renderer);
            encode_to(&mut classic, registry)?;
            renderer = classic.into_inner();
        } else {
            encode_to(&mut renderer, registry)?;
        }
        renderer.finish().map_err(|_| fmt::Error)
    }
}

impl Inner {
    fn renderings(&self, format: Format) -> MutexGuard<'_, Renderings> {
        let index = usize::from(format == Format::OpenMetrics);
        let [classic, openmetrics] = &self.formats;
        let renderings = if index == 0 { classic } else { openmetrics };
        lock(renderings)
    }

    async fn get(self: &Arc<Self>, format: Format) -> Made {
        let making = {
            let mut renderings = self.renderings(format);
            if let Some(rendering) = renderings.shareable(&self.readers) {
                return Ok(rendering);
            }
            match &renderings.making {
                Some(making) => making.clone(),
                None => {
                    let making = self.make(format);
                    renderings.making = Some(making.clone());
                    making
                }
            }
        };
        making.await
    }

    /// Renders in a task of its own, because the first request may be cancelled before it is done.
    fn make(self: &Arc<Self>, format: Format) -> Shared<BoxFuture<'static, Made>> {
        let inner = Arc::clone(self);
        let task = tokio::spawn(async move {
            let made = inner.render(format).await;
            let mut renderings = inner.renderings(format);
            renderings.making = None;
            let (rendering, until) = made?;
            renderings
                .alive
                .push((Instant::now(), Arc::downgrade(&rendering)));
            renderings.newest = Some(Newest {
                rendering: Arc::clone(&rendering),
                until,
            });
            drop(renderings);
            tokio::spawn(async move {
                tokio::time::sleep_until(until).await;
                inner.renderings(format).forget_old();
            });
            Ok(rendering)
        });
        task.map(|ended| ended.unwrap_or(Err(Refusal::Failed)))
            .boxed()
            .shared()
    }

    async fn render(&self, format: Format) -> Result<(Arc<Rendering>, Instant), Refusal> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let began = Instant::now();
        let registry = Arc::clone(&self.registry);
        let rendering = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            format.render(&registry)
        })
        .await;
        let rendering = rendering.map_err(|_| Refusal::Failed)?;
        let rendering = rendering.map_err(|fmt::Error| Refusal::Failed)?;
        let shared_for = if rendering.plain() > LARGE {
            SHARED_FOR.max(began.elapsed() * SHARED_FOR_TIMES)
        } else {
            Duration::ZERO
        };
        Ok((Arc::new(rendering), began + shared_for))
    }
}

impl Renderings {
    /// The rendering to use now; `None` if a new one is needed.
    fn shareable(&mut self, readers: &Readers) -> Option<Arc<Rendering>> {
        self.forget_old();
        if let Some(newest) = &self.newest {
            return Some(Arc::clone(&newest.rendering));
        }
        let (made, oldest) = match self.alive.as_slice() {
            [(made, oldest), ..] if self.alive.len() >= RENDERINGS => (*made, oldest.upgrade()?),
            _ => return None,
        };
        if made.elapsed() >= TIME_TO_READ {
            readers.cut_off_readers_of(&oldest);
            return None;
        }
        // Values that are a few seconds old are better than none, and better than using more
        // memory.
        self.alive.last()?.1.upgrade()
    }

    fn forget_old(&mut self) {
        if let Some(newest) = &self.newest
            && newest.until <= Instant::now()
        {
            self.newest = None;
        }
        self.alive.retain(|(_, alive)| alive.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::HeaderValue;
    use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
    use http_body_util::BodyExt;
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
    use prometheus_client::metrics::MetricType;
    use prometheus_client::metrics::gauge::ConstGauge;

    use super::*;

    /// A large metric that counts how often it is written.
    #[derive(Debug, Default)]
    struct Counted(Arc<AtomicUsize>);

    const SERIES: i64 = 20_000;

    impl Collector for Counted {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let written = self.0.fetch_add(1, Ordering::Relaxed) + 1;
            let mut metric =
                encoder.encode_descriptor("written", "Times", None, MetricType::Gauge)?;
            for series in 0..SERIES {
                let labels = [("series", series.to_string())];
                ConstGauge::new(written as i64).encode(metric.encode_family(&labels)?)?;
            }
            Ok(())
        }
    }

    fn exposition() -> (Exposition, Arc<AtomicUsize>) {
        let written = Arc::default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Counted(Arc::clone(&written))));
        (Exposition::new(Arc::new(registry)), written)
    }

    fn headers(accept: &'static str, encoding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static(accept)),
            (ACCEPT_ENCODING, HeaderValue::from_static(encoding)),
        ])
    }

    async fn body(response: Response) -> Result<Vec<u8>, axum::Error> {
        Ok(response.into_body().collect().await?.to_bytes().into())
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_at_once_share_one_rendering_in_their_encodings() {
        let (exposition, written) = exposition();
        let plain = headers("*/*", "identity");
        let gzip = headers("*/*", "gzip");
        let both = [&plain, &gzip].into_iter().cycle().take(16);
        let answers = futures::future::join_all(both.map(|headers| exposition.answer(headers)));
        let mut bodies = Vec::new();
        for answer in answers.await {
            let answer = answer.unwrap();
            let is_gzip = answer.headers().contains_key(CONTENT_ENCODING);
            // Said by the server, from the body's size.
            assert!(!answer.headers().contains_key(CONTENT_LENGTH));
            let exact = http_body::Body::size_hint(answer.body()).exact();
            let body = body(answer).await.unwrap();
            assert_eq!(exact, Some(body.len() as u64));
            bodies.push(if is_gzip {
                let mut text = Vec::new();
                std::io::Read::read_to_end(
                    &mut flate2::read::GzDecoder::new(body.as_slice()),
                    &mut text,
                )
                .unwrap();
                text
            } else {
                body
            });
        }
        assert_eq!(written.load(Ordering::Relaxed), 1);
        let text = String::from_utf8(bodies[0].clone()).unwrap();
        assert_eq!(text.lines().count() as i64, SERIES + 2);
        assert!(bodies.iter().all(|body| *body == bodies[0]));
        tokio::time::advance(SHARED_FOR * 2).await;
        exposition.answer(&plain).await.unwrap();
        assert_eq!(written.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_format_is_what_the_client_asks_for() {
        let (exposition, _) = exposition();
        for (accept, content_type, last) in [
            ("*/*", "text/plain; version=0.0.4", "} 1"),
            (
                "application/openmetrics-text;version=1.0.0",
                "application/openmetrics-text; version=1.0.0",
                "# EOF",
            ),
        ] {
            let answer = exposition.answer(&headers(accept, "")).await.unwrap();
            let got = answer.headers()["content-type"].to_str().unwrap();
            assert!(got.starts_with(content_type), "{got}");
            let text = String::from_utf8(body(answer).await.unwrap()).unwrap();
            assert!(text.trim_end().ends_with(last), "{accept}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_readers_hold_a_bounded_number_of_renderings() {
        let (exposition, written) = exposition();
        let plain = headers("*/*", "identity");
        let mut unread = Vec::new();
        for _ in 0..READERS - 2 {
            unread.push(exposition.answer(&plain).await.unwrap());
            tokio::time::advance(TIME_TO_READ / READERS as u32).await;
        }
        // All within each reader's time limit: none is cut off, and there are no further
        // renderings.
        assert_eq!(written.load(Ordering::Relaxed), RENDERINGS);
        tokio::time::advance(TIME_TO_READ).await;
        let answer = exposition.answer(&plain).await.unwrap();
        assert_eq!(written.load(Ordering::Relaxed), RENDERINGS + 1);
        assert!(body(answer).await.unwrap().ends_with(b" 3\n"));
        // The readers of the oldest have been cut off, those of the next one have not.
        let first = unread.remove(0);
        assert!(body(first).await.is_err());
        let last = unread.pop().unwrap();
        assert!(body(last).await.unwrap().ends_with(b" 2\n"));
        let alive = |exposition: &Exposition| {
            let mut renderings = exposition.0.renderings(Format::Classic);
            renderings.forget_old();
            renderings.alive.len()
        };
        assert_eq!(alive(&exposition), RENDERINGS);
        // Nothing stays in memory once all have gone.
        drop(unread);
        tokio::time::sleep(SHARED_FOR * 2).await;
        assert_eq!(alive(&exposition), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn readers_are_bounded_and_who_does_not_read_gives_way() {
        let (exposition, _) = exposition();
        let (plain, gzip) = (headers("*/*", "identity"), headers("*/*", "gzip"));
        let mut readers = Vec::new();
        for _ in 0..READERS {
            readers.push(exposition.answer(&plain).await.unwrap().into_body());
        }
        let refused = exposition.answer(&plain).await.unwrap_err();
        assert_eq!(refused, Refusal::Busy);
        // Readers of gzip have their own places.
        body(exposition.answer(&gzip).await.unwrap()).await.unwrap();
        // All except the third continue to read.
        for _ in 0..4 {
            tokio::time::advance(Duration::from_secs(1)).await;
            for (index, reader) in readers.iter_mut().enumerate() {
                if index != 2 {
                    reader.frame().await.unwrap().unwrap();
                }
            }
        }
        let third = readers.remove(2);
        readers.push(exposition.answer(&plain).await.unwrap().into_body());
        assert!(third.collect().await.is_err());
        let refused = exposition.answer(&plain).await.unwrap_err();
        assert_eq!(refused, Refusal::Busy);
        for reader in readers {
            reader.collect().await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_hangs_up_does_not_make_it_be_made_again() {
        let (exposition, written) = exposition();
        let plain = headers("*/*", "identity");
        for _ in 0..5 {
            let asked = exposition.answer(&plain);
            assert!(asked.now_or_never().is_none());
        }
        exposition.answer(&plain).await.unwrap();
        assert_eq!(written.load(Ordering::Relaxed), 1);
    }
}
