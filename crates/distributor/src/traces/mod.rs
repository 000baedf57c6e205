//! Traces of pushes: a span for each, with those of its store calls and its requests to downstreams
//! below it. They go to a receiver of OTLP if the environment names one; otherwise no span is made,
//! and the trace context of a sender is forwarded as it came.

#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "otlp")]
mod settings;

use http::HeaderMap;
use kv_core::TRACES;
use tracing::{Span, field};

#[cfg(feature = "otlp")]
pub use otlp::{TraceError, Traces};
#[cfg(feature = "otlp")]
pub use settings::{Problem, Settings};

/// The span of a push request with these headers, below that of its sender. `protocol` is `http` or
/// `grpc`.
pub(crate) fn push_span(protocol: &'static str, headers: &HeaderMap) -> Span {
    let span = tracing::trace_span!(
        target: TRACES,
        parent: None,
        "push",
        otel.kind = "server",
        otel.status_code = field::Empty,
        network.protocol.name = protocol,
        tenant = field::Empty,
        http.response.status_code = field::Empty,
    );
    #[cfg(feature = "otlp")]
    if !span.is_disabled() {
        otlp::continue_trace(&span, headers);
    }
    #[cfg(not(feature = "otlp"))]
    let _ = headers;
    span
}

/// Adds to the current span what became of the push.
pub(crate) fn record_push(tenant: &str, status: http::StatusCode) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    span.record("tenant", tenant);
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// Writes the context of the current span over that of the sender, if there is a span.
pub(crate) fn write_context(headers: &mut HeaderMap) {
    #[cfg(feature = "otlp")]
    otlp::write_context(headers);
    #[cfg(not(feature = "otlp"))]
    let _ = headers;
}
