//! [`Sink`]: a remote-write receiver that remembers all and fails on demand.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use prost::Message as _;
use tokio::sync::watch;

use crate::series::{MetricMetadata, Sample, Series, from_v1, from_v2};
use crate::serve::{ResetConnection, Server};
use crate::{Labels, Version, v1, v2};

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

/// An in-test receiver of remote write 1.0 and 2.0, on any path.
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
}

impl Sink {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self::start_on(0).await
    }

    /// Starts one on this port: a receiver that comes back after it was dropped.
    pub async fn start_on(port: u16) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::start(port, move |request| {
            let shared = Arc::clone(&shared);
            async move { handle(&shared, request).await }
        })
        .await;
        Self { server, state }
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
        self.state
            .lock()
            .unwrap()
            .next
            .extend(std::iter::repeat_n(fault.clone(), count));
    }

    /// Every request fails so, after those of [`Sink::fail_next`], until [`Sink::heal`].
    pub fn fail(&self, fault: Fault) {
        self.state.lock().unwrap().always = Some(fault);
    }

    /// No more faults.
    pub fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        state.next.clear();
        state.always = None;
    }

    /// Requests that arrived, whatever became of them.
    pub fn attempts(&self) -> u64 {
        self.state.lock().unwrap().attempts
    }

    /// Why requests were refused as malformed.
    pub fn refused(&self) -> Vec<String> {
        self.state.lock().unwrap().refused.clone()
    }

    /// The stored requests, in order.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.state.lock().unwrap().stored.clone()
    }

    /// Forgets what is stored, and hands it over.
    pub fn take(&self) -> Vec<ReceivedRequest> {
        std::mem::take(&mut self.state.lock().unwrap().stored)
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

type Body = BoxBody<Bytes, Infallible>;
type Reply = Result<Response<Body>, ResetConnection>;

async fn handle(state: &Mutex<State>, request: Request<Incoming>) -> Reply {
    let fault = {
        let mut state = state.lock().unwrap();
        state.attempts += 1;
        state.next.pop_front().or_else(|| state.always.clone())
    };
    let (head, body) = request.into_parts();
    // The sender went away in the middle: nobody is there to be answered.
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
            let mut response = reply(StatusCode::from_u16(*status).unwrap(), body.clone());
            if let Some(after) = retry_after {
                response
                    .headers_mut()
                    .insert("retry-after", after.parse().unwrap());
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
    let received = match decode(&head, body) {
        Ok(received) => received,
        Err((status, problem)) => {
            state.lock().unwrap().refused.push(problem.clone());
            return Ok(reply(status, problem));
        }
    };
    let response = success(&received);
    state.lock().unwrap().stored.push(received);
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
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn decode(
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
    let bytes = snap::raw::Decoder::new()
        .decompress_vec(&body)
        .map_err(|e| bad(format!("snappy: {e}")))?;
    let (series, metadata) = match version {
        Version::V1 => {
            from_v1(v1::WriteRequest::decode(bytes.as_slice()).map_err(|e| bad(e.to_string()))?)
        }
        Version::V2 => {
            let request = v2::Request::decode(bytes.as_slice()).map_err(|e| bad(e.to_string()))?;
            (from_v2(&request).map_err(bad)?, Vec::new())
        }
    };
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
    for (kind, written) in [
        ("samples", count(|series| series.samples.len())),
        ("histograms", count(|series| series.histograms.len())),
        ("exemplars", count(|series| series.exemplars.len())),
    ] {
        let name = format!("x-prometheus-remote-write-{kind}-written");
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        response.headers_mut().insert(name, written.into());
    }
    response
}
