//! One downstream: its connection pool, its headers, and what its answers mean.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kv_core::TRACES;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tls_files::ReloadingClient;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};
use url::Url;
use watched_files::Reload;

use super::auth::{self, Authorization};
use super::body::{self, Drain};
use super::endpoints::{self, Endpoints, SendError};
use super::error::DownstreamError;
use super::exchange::Outgoing;
use super::forward::Forward;
use super::outage::{DownstreamOutage, Outage};
use crate::answer::{DownstreamAnswer, Outcome, PushAnswer, RETRY_AFTER, Rejection, Written};
use crate::config::DownstreamConfig;

/// Headers of the sender that are forwarded unchanged.
const PASSED_ON: [HeaderName; 5] = [
    HeaderName::from_static("x-prometheus-remote-write-version"),
    HeaderName::from_static("retry-attempt"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

const OUR_USER_AGENT: &str = concat!("ha-distributor/", env!("CARGO_PKG_VERSION"));

/// The names of the counts in a 2.0 answer.
pub const WRITTEN_SAMPLES: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-samples-written");
/// Of native histograms.
pub const WRITTEN_HISTOGRAMS: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
/// Of exemplars.
pub const WRITTEN_EXEMPLARS: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    name: Arc<str>,
    status_code: u32,
}

/// `cortex_distributor_downstream_request_duration_seconds`.
#[derive(Clone)]
pub(super) struct DownstreamMetrics {
    durations: Family<Labels, Histogram, fn() -> Histogram>,
}

impl DownstreamMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let durations =
            Family::<Labels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                Histogram::new([
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                    25.0,
                ])
            });
        registry.register(
            "cortex_distributor_downstream_request_duration_seconds",
            "Time until the downstream answered, by its status code (0: it did not)",
            durations.clone(),
        );
        Self { durations }
    }
}

pub(super) struct Downstream {
    name: Arc<str>,
    /// Request line and `host`, as they begin every request.
    begin: String,
    /// From the URL.
    url_authorization: Option<HeaderValue>,
    endpoints: Endpoints,
    drain: Drain,
    authorization: Arc<Authorization>,
    tls_files: Arc<ReloadingClient>,
    headers: HeaderMap,
    tenant_header: Option<HeaderName>,
    timeout: Duration,
    in_flight: Semaphore,
    metrics: DownstreamMetrics,
    outage: Outage,
    write_context: WriteContext,
}

/// Writes the context of the current span into the headers of a request.
pub type WriteContext = fn(&mut HeaderMap);

impl Downstream {
    pub(super) fn new(
        config: &DownstreamConfig,
        metrics: DownstreamMetrics,
    ) -> Result<Self, DownstreamError> {
        let fail = |what: &str, source: Box<dyn std::error::Error + Send + Sync>| {
            DownstreamError::new(config.label(), what, source)
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let parsed = name
                .parse::<HeaderName>()
                .map_err(|error| fail(name, error.into()))?;
            let mut value =
                HeaderValue::from_str(value.expose()).map_err(|error| fail(name, error.into()))?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        let tenant_header =
            match config.tenant_header.as_str() {
                "" => None,
                name => Some(name.parse().map_err(|error: header::InvalidHeaderName| {
                    fail("tenant_header", error.into())
                })?),
            };
        let max_concurrency = usize::try_from(config.max_concurrency)
            .unwrap_or(usize::MAX)
            .clamp(1, Semaphore::MAX_PERMITS);
        let tls = config.tls.client_config();
        let (tls_files, tls) = tls.map_err(|error| fail("tls", error.into()))?;
        let settings = endpoints::Settings {
            tls,
            max_idle: max_concurrency,
            timeout: config.remote_timeout,
        };
        let name: Arc<str> = config.label().into();
        let url = config.url.expose();
        let endpoints = Endpoints::new(Arc::clone(&name), url, settings, endpoints::system())
            .map_err(|error| fail("client", error.into()))?;
        let url = Url::parse(url).map_err(|error| fail("url", error.into()))?;
        Ok(Self {
            name,
            begin: begin(&url),
            url_authorization: auth::of_url(&url),
            endpoints,
            drain: Drain::new(),
            authorization: Authorization::new(config)
                .map_err(|error| fail("authentication", error.into()))?,
            tls_files,
            headers,
            tenant_header,
            timeout: config.remote_timeout,
            in_flight: Semaphore::new(max_concurrency),
            metrics,
            outage: Outage::default(),
            write_context: |_| (),
        })
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> u64 {
        self.in_flight.available_permits() as u64
    }

    pub(super) fn writing_context(self, write_context: WriteContext) -> Self {
        Self {
            write_context,
            ..self
        }
    }

    /// Sends once, within the timeout, waiting for a free slot included. Never retries: the sender
    /// does.
    pub(super) async fn send(&self, forward: &Forward<'_>) -> PushAnswer {
        let span = tracing::trace_span!(
            target: TRACES,
            "downstream",
            otel.kind = "client",
            otel.status_code = field::Empty,
            downstream = &*self.name,
            http.request.body.size = forward.body.len(),
            http.response.status_code = field::Empty,
        );
        self.send_measured(forward).instrument(span).await
    }

    async fn send_measured(&self, forward: &Forward<'_>) -> PushAnswer {
        let start = Instant::now();
        let deadline = forward.deadline.min(start + self.timeout);
        let answer = match tokio::time::timeout_at(deadline, self.send_once(forward)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!(
                "no answer within {:?}",
                deadline.saturating_duration_since(start)
            )),
        };
        let status_code = answer
            .as_ref()
            .map_or(0, |(status, _)| u32::from(status.as_u16()));
        let span = Span::current();
        span.record("http.response.status_code", status_code);
        if !(200..500).contains(&status_code) {
            span.record("otel.status_code", "ERROR");
        }
        let labels = Labels {
            name: Arc::clone(&self.name),
            status_code,
        };
        self.metrics
            .durations
            .get_or_create(&labels)
            .observe(start.elapsed().as_secs_f64());
        let answer = match answer {
            Ok((_, answer)) => answer,
            Err(what) => Rejection::unavailable(format!(
                "downstream {:?} failed: {what}; retry later",
                self.name
            ))
            .into(),
        };
        // A refusal of the data is an answer as well.
        if answer.status().is_server_error() {
            self.outage.failed(&self.name, answer.message());
        } else {
            self.outage.answered();
        }
        answer
    }

    /// Its files, each with the setting that names them.
    pub(super) fn files(&self) -> [(String, Arc<dyn Reload>); 2] {
        let name = |of: &str| format!("distributor.downstream[{}].{of}", self.name);
        [
            (name("tls"), Arc::clone(&self.tls_files) as _),
            (name("authentication"), Arc::clone(&self.authorization) as _),
        ]
    }

    pub(super) fn outage(&self) -> Option<DownstreamOutage> {
        self.outage.now()
    }

    async fn send_once(&self, forward: &Forward<'_>) -> Result<(StatusCode, PushAnswer), String> {
        let _slot = self
            .in_flight
            .acquire()
            .await
            .map_err(|closed| closed.to_string())?;
        let mut headers = self.request_headers(forward)?;
        (self.write_context)(&mut headers);
        let request = Outgoing {
            head: self.head(&headers, forward.body.len()),
            body: forward.body.clone(),
        };
        let sent = self.endpoints.send(&request).await;
        let mut response = sent.map_err(|error| match error {
            SendError::Request(error) => error.to_string(),
            SendError::Resolve { host, error } => format!("cannot resolve {host}: {error}"),
        })?;
        let status = response.status;
        let answer = if status.is_success() {
            let answer = self.interpret(status, &response.headers, &[]);
            self.drain.drain(response);
            answer
        } else {
            let message = body::message(&mut response).await;
            self.interpret(status, &response.headers, &message)
        };
        Ok((status, answer))
    }

    /// The head of a request with these headers, whose body has so many bytes.
    fn head(&self, headers: &HeaderMap, length: usize) -> Vec<u8> {
        let names_and_values = headers.iter();
        let size = names_and_values.map(|(name, value)| name.as_str().len() + value.len() + 4);
        let mut head = Vec::with_capacity(self.begin.len() + size.sum::<usize>() + 64);
        head.extend_from_slice(self.begin.as_bytes());
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(part);
            }
        }
        // Writing to memory cannot fail.
        let _ = write!(head, "content-length: {length}\r\n\r\n");
        head
    }

    fn request_headers(&self, forward: &Forward<'_>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::with_capacity(PASSED_ON.len() + self.headers.len() + 6);
        for name in &PASSED_ON {
            if let Some(value) = forward.headers.get(name) {
                headers.insert(name, value.clone());
            }
        }
        headers
            .entry(&PASSED_ON[0])
            .or_insert(HeaderValue::from_static(forward.version.header()));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(forward.version.content_type()),
        );
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(USER_AGENT, user_agent(forward.headers.get(USER_AGENT)));
        if let Some(name) = &self.tenant_header {
            let tenant = HeaderValue::from_str(forward.tenant).map_err(|e| e.to_string())?;
            headers.insert(name, tenant);
        }
        if let Some(value) = self
            .authorization
            .header()
            .or(self.url_authorization.clone())
        {
            headers.insert(header::AUTHORIZATION, value);
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        Ok(headers)
    }

    fn interpret(&self, status: StatusCode, headers: &HeaderMap, message: &[u8]) -> PushAnswer {
        let outcome = match status.is_success() {
            true => Outcome::Stored,
            false => {
                let wait = headers.get(header::RETRY_AFTER).and_then(retry_after);
                self.not_stored(status, wait.unwrap_or(RETRY_AFTER), &one_line(message))
            }
        };
        PushAnswer {
            outcome,
            written: written(headers),
        }
    }

    /// The meaning of a status that is not a success; `wait` is the time before a retry, if there
    /// is one.
    fn not_stored(&self, status: StatusCode, wait: Duration, said: &str) -> Outcome {
        let name = &self.name;
        let number = status.as_u16();
        let answered = |wait, message| {
            Outcome::Downstream(DownstreamAnswer {
                status,
                wait,
                message,
            })
        };
        let unavailable = |message| {
            Outcome::Rejected(Rejection::Unavailable {
                wait,
                cause: None,
                message,
            })
        };
        match number {
            429 => answered(
                Some(wait),
                format!("downstream {name:?} answered 429: {said}"),
            ),
            500..=599 => answered(
                Some(wait),
                format!("downstream {name:?} answered {number}: {said}; retry later"),
            ),
            // The status concerns the address or the credentials, not the data: the configuration
            // can be corrected, whereas a sender would drop the samples after a 4xx.
            300..=399 | 401 | 403 | 404 | 405 | 407 | 408 | 421 => unavailable(format!(
                "downstream {name:?} answered {number}: {said}; check its URL and credentials \
                 (distributor.downstream), the samples are not lost: retry later"
            )),
            400..=499 => answered(
                None,
                format!("downstream {name:?} answered {number}: {said}"),
            ),
            _ => unavailable(format!(
                "downstream {name:?} answered with the unexpected status {number}; retry later"
            )),
        }
    }
}

/// Ours, with the sender's appended.
fn user_agent(original: Option<&HeaderValue>) -> HeaderValue {
    let ours = HeaderValue::from_static(OUR_USER_AGENT);
    let Some(original) = original else {
        return ours;
    };
    let both = [OUR_USER_AGENT.as_bytes(), b" ", original.as_bytes()].concat();
    HeaderValue::from_bytes(&both).unwrap_or(ours)
}

fn written(headers: &HeaderMap) -> Option<Written> {
    let count = |name: &HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let counts = [&WRITTEN_SAMPLES, &WRITTEN_HISTOGRAMS, &WRITTEN_EXEMPLARS].map(count);
    if counts.iter().all(Option::is_none) {
        return None;
    }
    let [samples, histograms, exemplars] = counts.map(Option::unwrap_or_default);
    Some(Written {
        samples,
        histograms,
        exemplars,
    })
}

/// Seconds; the form with a date, which no remote-write backend sends, counts as not given.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn one_line(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What every request begins with.
fn begin(url: &Url) -> String {
    let query = url
        .query()
        .map_or(String::new(), |query| format!("?{query}"));
    // Without the port if it is that of the scheme.
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!(
        "POST {}{query} HTTP/1.1\r\nhost: {host}{port}\r\naccept: */*\r\n",
        url.path()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_senders_user_agent_is_appended() {
        let original = HeaderValue::from_static("Prometheus/3.5.0");
        let expected = concat!(
            "ha-distributor/",
            env!("CARGO_PKG_VERSION"),
            " Prometheus/3.5.0"
        );
        assert_eq!(user_agent(Some(&original)), expected);
    }

    #[test]
    fn requests_begin_with_path_and_host() {
        let of = |url| begin(&Url::parse(url).unwrap());
        assert_eq!(
            of("http://user:pass@mimir:80/api/v1/push"),
            "POST /api/v1/push HTTP/1.1\r\nhost: mimir\r\naccept: */*\r\n"
        );
        assert_eq!(
            of("https://[::1]:8443/?a=b#c"),
            "POST /?a=b HTTP/1.1\r\nhost: [::1]:8443\r\naccept: */*\r\n"
        );
    }

    #[test]
    fn messages_become_one_line() {
        assert_eq!(one_line(b"  two\n lines\t\xff "), "two lines \u{fffd}");
    }

    #[test]
    fn waits_are_whole_seconds() {
        let parse = |text| retry_after(&HeaderValue::from_static(text));
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse("-1"), None);
        assert_eq!(parse("Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }
}
