//! [`Sink`]: a remote-write receiver that remembers all and fails on demand.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use remote_write::Version;
use tokio::sync::watch;

use crate::checker::Checker;
use crate::decode::decode;
use crate::http_server::{ResetConnection, Server};
use crate::sender::SAMPLES_WRITTEN;
use crate::series::{Labels, MetricMetadata, Sample, Series};

const HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// Largest request after decompression, bytes.
const MAX_DECODED: usize = 256 << 20;

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Not stored; answered with this status, `Retry-After` if given, and body.
    Status {
        /// Status code.
        status: u16,
        /// Value of `Retry-After`.
        retry_after: Option<String>,
        /// Text.
        body: String,
    },
    /// Stored, and answered this much later.
    Delay(Duration),
    /// Stored, and answered once the sender of this channel is dropped.
    Hold(watch::Receiver<()>),
    /// Not stored and never answered.
    Hang,
    /// Not stored; the connection is reset.
    Reset,
    /// Stored, then the connection is reset: the sender cannot know.
    StoreThenReset,
    /// Answered with this status, and stored if that is success; but the body has no end.
    Endless {
        /// Status code.
        status: u16,
        /// Whether the body stands still after its first bytes; else it goes on as fast as it is
        /// read.
        is_silent: bool,
    },
}

impl Fault {
    /// [`Fault::Hold`], and what to drop to let go.
    pub fn hold() -> (watch::Sender<()>, Self) {
        let (gate, closed) = watch::channel(());
        (gate, Self::Hold(closed))
    }

    /// [`Fault::Status`] without anything else.
    pub fn status(status: u16) -> Self {
        Self::Status {
            status,
            retry_after: None,
            body: "a fault of the test".to_owned(),
        }
    }
}

/// One stored request.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// By its content type.
    pub version: Version,
    /// `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// Path and query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as it came, compressed.
    pub body: Bytes,
    /// Its series, in order.
    pub series: Vec<Series>,
    /// Its metadata: the separate list of 1.0; empty in 2.0, where it stands with the series.
    pub metadata: Vec<MetricMetadata>,
}

/// A receiver of remote write 1.0 and 2.0 on loopback, on any path.
///
/// Answers like a receiver in order: 200 for 1.0, 204 with the counts in headers for 2.0, 400 and
/// 415 for what it cannot read (which is remembered as well: see [`Sink::refused`]).
#[derive(Debug)]
pub struct Sink {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    stored: Vec<ReceivedRequest>,
    refused: Vec<String>,
    attempts: u64,
    next: VecDeque<Fault>,
    always: Option<Fault>,
    /// Tenants whose requests are only counted.
    ignored: BTreeMap<String, u64>,
}

impl Sink {
    /// Starts one on this port; 0 for any free one.
    ///
    /// # Errors
    /// The port cannot be had.
    pub async fn bind(port: u16) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::bind(port, move |request| {
            let shared = Arc::clone(&shared);
            async move { handle(&shared, request).await }
        })
        .await?;
        Ok(Self { server, state })
    }

    /// [`Sink::bind`] to a free port. For tests.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        Self::start_on(0).await
    }

    /// [`Sink::bind`] for tests: a receiver that comes back after it was dropped.
    ///
    /// # Panics
    /// When the port cannot be had.
    #[expect(clippy::expect_used, reason = "for tests")]
    pub async fn start_on(port: u16) -> Self {
        Self::bind(port).await.expect("a port to listen on")
    }

    /// Whether it ended by itself, which is a bug.
    pub fn has_failed(&self) -> bool {
        self.server.has_failed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The URL to write to.
    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.server.address)
    }

    /// The next `count` requests fail so; several calls queue up.
    pub fn fail_next(&self, count: usize, fault: &Fault) {
        self.state()
            .next
            .extend(std::iter::repeat_n(fault.clone(), count));
    }

    /// Every request fails so, after those of [`Sink::fail_next`], until [`Sink::heal`].
    pub fn fail(&self, fault: Fault) {
        self.state().always = Some(fault);
    }

    /// No more faults.
    pub fn heal(&self) {
        let mut state = self.state();
        state.next.clear();
        state.always = None;
    }

    /// From now on, requests of this tenant are taken without being read: for load beside what is
    /// checked.
    pub fn ignore(&self, tenant: &str) {
        self.state().ignored.insert(tenant.to_owned(), 0);
    }

    /// How many requests of an ignored tenant were taken.
    pub fn ignored(&self, tenant: &str) -> u64 {
        let state = self.state();
        state.ignored.get(tenant).copied().unwrap_or_default()
    }

    /// Requests that arrived, whatever became of them.
    pub fn attempts(&self) -> u64 {
        self.state().attempts
    }

    /// Why requests were refused as malformed.
    pub fn refused(&self) -> Vec<String> {
        self.state().refused.clone()
    }

    /// The stored requests, in order.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.state().stored.clone()
    }

    /// Forgets what is stored, and hands it over.
    pub fn take(&self) -> Vec<ReceivedRequest> {
        std::mem::take(&mut self.state().stored)
    }

    /// Forgets what is stored; the checker takes its samples.
    pub fn drain_into(&self, checker: &mut Checker) {
        for request in self.take() {
            for series in &request.series {
                checker.store_series(series);
            }
        }
    }

    /// Every stored float sample by series, in the order of arrival.
    pub fn samples(&self) -> BTreeMap<Labels, Vec<Sample>> {
        let mut samples: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
        for series in self.series() {
            samples
                .entry(series.labels)
                .or_default()
                .extend(series.samples);
        }
        samples
    }

    /// Every stored series of every request, in the order of arrival.
    pub fn series(&self) -> Vec<Series> {
        self.requests()
            .into_iter()
            .flat_map(|request| request.series)
            .collect()
    }

    /// Every stored metadata entry, of either version.
    pub fn metadata(&self) -> Vec<MetricMetadata> {
        let of = |request: ReceivedRequest| {
            let with_series = request
                .series
                .into_iter()
                .filter_map(|series| series.metadata);
            request.metadata.into_iter().chain(with_series)
        };
        self.requests().into_iter().flat_map(of).collect()
    }

    /// The points (series and time, floats and histograms alike) stored more than once, with how
    /// often each was.
    pub fn duplicates(&self) -> BTreeMap<(Labels, i64), usize> {
        let mut seen: BTreeMap<(Labels, i64), usize> = BTreeMap::new();
        for series in self.series() {
            let floats = series.samples.iter().map(|sample| sample.timestamp);
            let histograms = series
                .histograms
                .iter()
                .map(|histogram| histogram.timestamp);
            for timestamp in floats.chain(histograms) {
                *seen.entry((series.labels.clone(), timestamp)).or_default() += 1;
            }
        }
        seen.retain(|_, times| *times > 1);
        seen
    }
}

/// A panic elsewhere leaves lists that are whole.
fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

type Body = BoxBody<Bytes, Infallible>;
type Reply = Result<Response<Body>, ResetConnection>;

async fn handle(state: &Mutex<State>, request: Request<Incoming>) -> Reply {
    let fault = {
        let mut state = locked(state);
        state.attempts += 1;
        state.next.pop_front().or_else(|| state.always.clone())
    };
    let (head, body) = request.into_parts();
    // The sender went away in the middle: there is no one to answer.
    let body = body
        .collect()
        .await
        .map_err(|_| ResetConnection)?
        .to_bytes();
    match &fault {
        Some(Fault::Status {
            status,
            retry_after,
            body,
        }) => {
            let mut response = reply(status_code(*status), body.clone());
            if let Some(Ok(after)) = retry_after.as_ref().map(|after| after.parse()) {
                response.headers_mut().insert("retry-after", after);
            }
            return Ok(response);
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Reset) => return Err(ResetConnection),
        Some(Fault::Endless { status, is_silent }) if *status >= 300 => {
            return Ok(endless(*status, *is_silent));
        }
        Some(Fault::Endless { .. } | Fault::Delay(_) | Fault::Hold(_) | Fault::StoreThenReset)
        | None => {}
    }
    let tenant = head.headers.get("x-scope-orgid");
    if let Some(tenant) = tenant.and_then(|tenant| tenant.to_str().ok())
        && let Some(count) = locked(state).ignored.get_mut(tenant)
    {
        *count += 1;
        return Ok(reply(StatusCode::OK, String::new()));
    }
    let received = match receive(&head, body) {
        Ok(received) => received,
        Err((status, problem)) => {
            locked(state).refused.push(problem.clone());
            return Ok(reply(status, problem));
        }
    };
    let response = success(&received);
    locked(state).stored.push(received);
    match fault {
        Some(Fault::StoreThenReset) => return Err(ResetConnection),
        Some(Fault::Endless { status, is_silent }) => return Ok(endless(status, is_silent)),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        // An error once the sender is gone, which is what is waited for.
        Some(Fault::Hold(mut gate)) => drop(gate.changed().await),
        _ => {}
    }
    Ok(response)
}

/// A fault without a valid status shows as 500.
fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn reply(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Full::from(text).boxed());
    *response.status_mut() = status;
    response
}

/// Text without an end.
fn endless(status: u16, is_silent: bool) -> Response<Body> {
    let chunk = || Ok(Frame::data(Bytes::from_static(&[b'x'; 16 << 10])));
    let chunks = stream::iter(std::iter::repeat_with(chunk));
    let body = if is_silent {
        BodyExt::boxed(StreamBody::new(chunks.take(1).chain(stream::pending())))
    } else {
        BodyExt::boxed(StreamBody::new(chunks))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status_code(status);
    response
}

fn receive(
    head: &http::request::Parts,
    body: Bytes,
) -> Result<ReceivedRequest, (StatusCode, String)> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bad = |what: String| (StatusCode::BAD_REQUEST, what);
    let unsupported = |what: String| (StatusCode::UNSUPPORTED_MEDIA_TYPE, what);
    if header("content-encoding") != Some("snappy") {
        return Err(unsupported(format!(
            "content-encoding {:?}",
            header("content-encoding")
        )));
    }
    let content_type: String = header("content-type")
        .unwrap_or_default()
        .chars()
        .filter(|c| *c != ' ')
        .collect();
    let version = match content_type.as_str() {
        "application/x-protobuf" | "application/x-protobuf;proto=prometheus.WriteRequest" => {
            Version::V1
        }
        "application/x-protobuf;proto=io.prometheus.write.v2.Request" => Version::V2,
        other => return Err(unsupported(format!("content-type {other}"))),
    };
    let (series, metadata) = decode(version, &body, MAX_DECODED).map_err(bad)?;
    Ok(ReceivedRequest {
        version,
        tenant: header("x-scope-orgid").map(str::to_owned),
        path: head.uri.to_string(),
        headers: head.headers.clone(),
        body,
        series,
        metadata,
    })
}

fn success(received: &ReceivedRequest) -> Response<Body> {
    if matches!(received.version, Version::V1) {
        return reply(StatusCode::OK, String::new());
    }
    let count = |of: fn(&Series) -> usize| received.series.iter().map(of).sum::<usize>();
    let mut response = reply(StatusCode::NO_CONTENT, String::new());
    let written = [
        (SAMPLES_WRITTEN, count(|series| series.samples.len())),
        (HISTOGRAMS_WRITTEN, count(|series| series.histograms.len())),
        (EXEMPLARS_WRITTEN, count(|series| series.exemplars.len())),
    ];
    for (name, number) in written {
        response.headers_mut().insert(name, number.into());
    }
    response
}
