//! The exporter: OpenTelemetry's SDK, over our own HTTP client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use kv_core::{LogThrottle, TRACES};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector, HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tls_files::ClientFiles;
use tokio::runtime::Handle;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;

use super::settings::Settings;
use crate::logging::SpanLayer;

/// `service.name`, unless the environment names the service.
const SERVICE: &str = "ha-distributor";
/// How long the end of the process may wait for the receiver.
const FLUSH: Duration = Duration::from_secs(3);

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Certificates or keys.
    #[error("traces: {0}")]
    Tls(#[from] tls_files::TlsError),
    /// The client for HTTP.
    #[error("traces: {0}")]
    Client(#[from] reqwest::Error),
    /// The exporter; names the variable.
    #[error("traces: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// Sends spans in the background, from a queue of `OTEL_BSP_MAX_QUEUE_SIZE` (2,048); what finds it
/// full is dropped. Dropping it sends what is left, for at most three seconds.
#[derive(Debug)]
#[must_use = "dropping it ends the sending"]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Connects to nothing yet. Must be called on a runtime with several threads.
    ///
    /// # Errors
    /// Files cannot be used, or a variable of the environment is wrong.
    pub fn start(settings: &Settings) -> Result<Self, TraceError> {
        let files = ClientFiles {
            ca_file: settings.ca_file.as_deref(),
            cert_file: settings.cert_file.as_deref(),
            key_file: settings.key_file.as_deref(),
            ..ClientFiles::default()
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls_files::client_config(&files)?)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(settings.timeout)
            .build()?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client {
                client,
                runtime: Handle::current(),
                complaints: Arc::default(),
            })
            .build()?;
        let mut resource = Resource::builder();
        if !settings.names_service {
            resource = resource.with_service_name(SERVICE);
        }
        let version = opentelemetry::KeyValue::new("service.version", crate::VERSION);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.with_attribute(version).build())
            .with_batch_exporter(exporter)
            .build();
        Ok(Self(provider))
    }

    /// Makes spans of OpenTelemetry from ours, and of nothing else.
    pub fn layer(&self) -> SpanLayer {
        let layer = tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TRACES, LevelFilter::TRACE));
        Box::new(layer)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Makes a span a part of the trace that these headers name, if they name one.
pub(super) fn continue_trace(span: &Span, headers: &HeaderMap) {
    let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    if context.span().span_context().is_valid() {
        // It fails if spans are not sent, and then there is nothing to continue.
        let _ = span.set_parent(context);
    }
}

/// As [`super::write_context`].
pub(super) fn write_context(headers: &mut HeaderMap) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return;
    }
    TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
    if headers
        .get("tracestate")
        .is_some_and(http::HeaderValue::is_empty)
    {
        headers.remove("tracestate");
    }
}

/// The exporter calls it on a thread of its own; the requests run on our runtime.
struct Client {
    client: reqwest::Client,
    runtime: Handle,
    complaints: Arc<LogThrottle>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let receiver = request.uri().to_string();
        let sending = send(self.client.clone(), request);
        let sent = match self.runtime.spawn(sending).await {
            Ok(sent) => sent.map_err(HttpError::from),
            Err(ended) => Err(ended.into()),
        };
        let problem = match &sent {
            Ok(answer) if answer.status().is_success() => return sent,
            Ok(answer) => format!("answered {}", answer.status()),
            Err(error) => chain(error.as_ref()),
        };
        if let Some(suppressed) = self.complaints.admit() {
            tracing::warn!(receiver, suppressed, "traces cannot be sent: {problem}");
        }
        sent
    }
}

async fn send(
    client: reqwest::Client,
    request: http::Request<Bytes>,
) -> Result<http::Response<Bytes>, reqwest::Error> {
    let answer = client.execute(request.try_into()?).await?;
    let mut response = http::Response::new(Bytes::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    *response.body_mut() = answer.bytes().await?;
    Ok(response)
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
