//! Requests that are answered, and those that were, with dskit's names.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, LabelValueEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tonic::Code;

/// The status that Mimir has for a request whose client hung up.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// `cortex_request_duration_seconds` and `cortex_inflight_requests`.
#[derive(Debug, Clone)]
pub(crate) struct RequestMetrics {
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    in_flight: InFlight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    route: &'static str,
    status_code: Status,
    /// Whether it was one of WebSocket: dskit has the label on all requests.
    ws: &'static str,
}

/// What a request is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP, with the method.
    Http(&'static str),
    /// gRPC.
    Grpc,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    /// With this code of HTTP.
    Http(u16),
    /// With this code of gRPC: by its name, as Mimir sets dskit to.
    Grpc(Code),
}

/// A request that is being answered, until this is dropped.
pub(crate) struct Underway<'a> {
    durations: &'a Family<Labels, Histogram, fn() -> Histogram>,
    in_flight: Arc<AtomicI64>,
    begun: Instant,
    /// With the status of a cancelled request.
    labels: Labels,
}

/// How many requests are being answered, by method and route; it takes no lock.
#[derive(Debug, Clone, Default)]
struct InFlight(Arc<papaya::HashMap<(&'static str, &'static str), Arc<AtomicI64>>>);

impl RequestMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let durations =
            Family::<Labels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                Histogram::new([
                    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0,
                    100.0,
                ])
            });
        registry.register(
            "cortex_request_duration_seconds",
            "Time (in seconds) spent serving HTTP and gRPC requests",
            durations.clone(),
        );
        let in_flight = InFlight::default();
        registry.register_collector(Box::new(in_flight.clone()));
        Self {
            durations,
            in_flight,
        }
    }

    /// A request has come.
    pub(crate) fn begin(&self, protocol: Protocol, route: &'static str) -> Underway<'_> {
        let (method, hung_up) = match protocol {
            Protocol::Http(method) => (method, Status::Http(CLIENT_CLOSED_REQUEST)),
            Protocol::Grpc => ("gRPC", Status::Grpc(Code::Cancelled)),
        };
        Underway {
            durations: &self.durations,
            in_flight: self.in_flight.enter(method, route),
            begun: Instant::now(),
            labels: Labels {
                method,
                route,
                status_code: hung_up,
                ws: "false",
            },
        }
    }
}

impl Underway<'_> {
    /// It is answered.
    pub(crate) fn end(mut self, status: Status) {
        self.labels.status_code = status;
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let took_s = self.begun.elapsed().as_secs_f64();
        self.durations.get_or_create(&self.labels).observe(took_s);
    }
}

impl InFlight {
    fn enter(&self, method: &'static str, route: &'static str) -> Arc<AtomicI64> {
        let all = self.0.pin();
        let labels = (method, route);
        let count = match all.get(&labels) {
            Some(count) => Arc::clone(count),
            None => Arc::clone(all.get_or_insert_with(labels, Arc::default)),
        };
        count.fetch_add(1, Ordering::Relaxed);
        count
    }
}

impl Collector for InFlight {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "cortex_inflight_requests",
            "Current number of inflight requests",
            None,
            MetricType::Gauge,
        )?;
        for ((method, route), count) in &self.0.pin() {
            metric
                .encode_family(&[("method", *method), ("route", *route)])?
                .encode_gauge(&count.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}

impl EncodeLabelValue for Status {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Http(status) => status.encode(encoder),
            Self::Grpc(code) => code_name(*code).encode(encoder),
        }
    }
}

/// As gRPC's library for Go names it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[tokio::test]
    async fn requests_are_counted_while_and_after_they_are_answered() {
        let mut registry = Registry::default();
        let metrics = RequestMetrics::register(&mut registry);
        let shows = |line: &str| {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        };
        let push = metrics.begin(Protocol::Http("POST"), "api_v1_push");
        let other = metrics.begin(Protocol::Http("POST"), "api_v1_push");
        let call = metrics.begin(Protocol::Grpc, "/distributor.Distributor/Push");
        shows(r#"cortex_inflight_requests{method="POST",route="api_v1_push"} 2"#);
        push.end(Status::Http(202));
        drop(other);
        shows(r#"cortex_inflight_requests{method="POST",route="api_v1_push"} 0"#);
        shows(r#"cortex_inflight_requests{method="gRPC",route="/distributor.Distributor/Push"} 1"#);
        call.end(Status::Grpc(Code::AlreadyExists));
        let count = |method: &str, route: &str, status: &str| {
            shows(&format!(
                "cortex_request_duration_seconds_count{{method=\"{method}\",route=\"{route}\",\
                 status_code=\"{status}\",ws=\"false\"}} 1"
            ));
        };
        count("POST", "api_v1_push", "202");
        count("POST", "api_v1_push", "499");
        count("gRPC", "/distributor.Distributor/Push", "AlreadyExists");
    }
}
