//! Structured logs on standard error: logfmt or JSON.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use crate::config::{LogFormat, LogLevel, ServerConfig};

/// Makes the process log as configured. For the binary: libraries and tests leave the choice of a
/// subscriber to their process.
///
/// # Errors
/// When the process has a subscriber already.
pub fn init(server: &ServerConfig) -> Result<(), tracing::subscriber::SetGlobalDefaultError> {
    let level = match server.log_level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let lines = match server.log_format {
        LogFormat::Logfmt => tracing_logfmt::builder()
            .with_target(false)
            .with_span_name(false)
            .layer()
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_target(false)
            .with_writer(std::io::stderr)
            .boxed(),
    };
    tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(lines.with_filter(level)),
    )
}
