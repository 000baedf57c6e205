//! [`PageRenderer`]: renders large pages.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use tokio::sync::Semaphore;

use crate::answer::{busy, text};
use crate::lending::{Readers, Renderer};

/// Pages that are rendered at a time, so that they use a bounded number of cores.
const AT_ONCE: usize = 1;
/// Most requests that wait for their turn.
const WAITING: usize = 16;
/// Most pages being read, as plain text and with gzip; each is in memory, compressed.
const READERS: usize = 32;
const GZIP_READERS: usize = 128;

/// Renders large pages outside the threads that serve pushes, a bounded number at a time.
pub(crate) struct PageRenderer {
    turns: Arc<Semaphore>,
    places: Semaphore,
    readers: Readers,
}

impl Default for PageRenderer {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            places: Semaphore::new(AT_ONCE + WAITING),
            readers: Readers::new(READERS, GZIP_READERS),
        }
    }
}

impl PageRenderer {
    /// Answers with the output of `write`.
    pub(super) async fn answer(
        &self,
        headers: &HeaderMap,
        content_type: &'static str,
        write: impl FnOnce(&mut Renderer) -> fmt::Result + Send + 'static,
    ) -> Response {
        let Ok(_place) = self.places.try_acquire() else {
            return busy("too many pages are being rendered at the moment");
        };
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return busy("shutting down");
        };
        let made = tokio::task::spawn_blocking(move || {
            // Held until it is rendered, even if the request is cancelled.
            let _turn = turn;
            let mut renderer = Renderer::new();
            write(&mut renderer).ok()?;
            renderer.finish().ok()
        });
        let Ok(Some(rendering)) = made.await else {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the page could not be written",
            );
        };
        self.readers
            .lend(&Arc::new(rendering), content_type, headers)
            .unwrap_or_else(|| busy("too many pages are being read at the moment"))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::sync::mpsc;

    use axum::http::header::RETRY_AFTER;
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn pages_are_made_one_at_a_time_and_a_bounded_number_waits() {
        let renderer = PageRenderer::default();
        let headers = HeaderMap::new();
        let (go_on, wait) = mpsc::channel::<()>();
        let first = renderer.answer(&headers, "text/plain", move |page| {
            wait.recv().unwrap();
            page.write_str("first")
        });
        let mut first = Box::pin(first);
        assert!(first.as_mut().now_or_never().is_none());
        let mut waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                Box::pin(renderer.answer(&headers, "text/plain", |page| page.write_str("next")))
            })
            .collect();
        for next in &mut waiting {
            assert!(next.as_mut().now_or_never().is_none());
        }
        let refused = renderer.answer(&headers, "text/plain", |_| Ok(())).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key(RETRY_AFTER));
        go_on.send(()).unwrap();
        assert_eq!(first.await.status(), StatusCode::OK);
        for next in waiting {
            assert_eq!(next.await.status(), StatusCode::OK);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pages_that_are_not_read_are_bounded() {
        let renderer = PageRenderer::default();
        let headers = HeaderMap::new();
        let page = || renderer.answer(&headers, "text/plain", |page| page.write_str("x"));
        let mut unread = Vec::new();
        for _ in 0..READERS {
            unread.push(page().await);
        }
        assert_eq!(page().await.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(unread.pop());
        assert_eq!(page().await.status(), StatusCode::OK);
        tokio::time::advance(crate::lending::TIME_TO_READ).await;
        for _ in 0..READERS {
            assert_eq!(page().await.status(), StatusCode::OK);
        }
    }
}
