//! The downstream of the demo: a remote-write receiver on a loopback port that checks what it gets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::checker::Checker;
use super::payload;
use crate::downstream::WRITTEN_SAMPLES;

/// Largest request after decompression, bytes.
const MAX_DECODED: u64 = 16 << 20;

/// A running sink. Dropping it stops it.
pub(super) struct Sink {
    address: SocketAddr,
    checker: Arc<Mutex<Checker>>,
    stop: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Sink {
    pub(super) async fn start(checker: Checker) -> io::Result<Self> {
        let checker = Arc::new(Mutex::new(checker));
        let app = Router::new()
            .route("/api/v1/push", post(push))
            .with_state(Arc::clone(&checker));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let server =
            axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
        Ok(Self {
            address,
            checker,
            stop,
            task: tokio::spawn(async move { server.await }),
        })
    }

    /// Where it takes remote write.
    pub(super) fn url(&self) -> String {
        format!("http://{}/api/v1/push", self.address)
    }

    /// What it has seen. Do not hold it across an await.
    pub(super) fn checker(&self) -> MutexGuard<'_, Checker> {
        locked(&self.checker)
    }

    /// Whether it ended by itself.
    pub(super) fn has_failed(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

/// A panic of another request leaves counts that are still true.
fn locked(checker: &Mutex<Checker>) -> MutexGuard<'_, Checker> {
    checker.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn push(
    State(checker): State<Arc<Mutex<Checker>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let version = match remote_write::version_of_content_type(content_type) {
        Ok(version) => version,
        Err(error) => {
            return (StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string()).into_response();
        }
    };
    let all = match payload::decode(version, &body, MAX_DECODED) {
        Ok(all) => all,
        Err(error) => return (StatusCode::BAD_REQUEST, error).into_response(),
    };
    let mut samples = 0;
    let mut checker = locked(&checker);
    for series in &all {
        samples += series.timestamps.len();
        let labels = series.labels.iter();
        checker.store(
            labels.map(|(name, value)| (name.as_str(), value.as_str())),
            series.timestamps.iter().copied(),
        );
    }
    (
        StatusCode::NO_CONTENT,
        [(WRITTEN_SAMPLES, samples.to_string())],
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use remote_write::Version;
    use tokio::sync::mpsc;

    use super::*;
    use crate::demo::payload::{REPLICA_LABEL, SERIES};
    use crate::demo::sender::{Sender, SenderConfig};
    use crate::demo::stage::client;

    /// What the demo would show of a distributor that deduplicates nothing.
    #[tokio::test]
    async fn senders_without_a_distributor_are_seen_to_double() {
        let interval = Duration::from_millis(20);
        let sink = Sink::start(Checker::new(20, REPLICA_LABEL)).await.unwrap();
        let (troubles, mut told) = mpsc::channel(8);
        let mut senders =
            [("r1", Version::V1, 2), ("r2", Version::V2, 12)].map(|(name, version, offset_ms)| {
                let config = SenderConfig {
                    name,
                    version,
                    interval,
                    offset: Duration::from_millis(offset_ms),
                    urls: vec![sink.url()],
                    tenant: "t",
                };
                let mut sender = Sender::new(config, client().unwrap(), troubles.clone());
                sender.start();
                sender
            });
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while sink.checker().counts().doubled() < 3 * SERIES as u64 {
            looks.tick().await;
        }
        for sender in &mut senders {
            sender.finish().await;
            let counts = sender.counts();
            assert_eq!((counts.accepted, counts.deduplicated), (counts.sent, 0));
        }
        let checker = sink.checker();
        let counts = checker.counts();
        assert_eq!(counts.labelled, counts.stored);
        assert_eq!(counts.repeated, 0);
        let acknowledged = senders.iter().flat_map(Sender::acknowledged);
        assert_eq!(checker.lost(acknowledged), 0);
        assert!(told.try_recv().is_err(), "no trouble");
    }
}
