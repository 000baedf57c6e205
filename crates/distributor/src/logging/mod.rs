//! Structured logs on standard error, one line per event: logfmt or JSON, both with `ts`, `level`,
//! `msg` and the event's fields. Logging never waits for the reader of standard error.

mod queue;

use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use distributor_config::{LogFormat, LogLevel, ServerConfig};
use kv_core::is_treacherous;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;

use queue::Queue;
pub(crate) use queue::dropped;

/// How long the end of the process may wait for the reader of the log.
const FLUSH: Duration = Duration::from_secs(1);

/// Why a process cannot log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There can be no thread.
    #[error("the thread that writes the log: {0}")]
    Thread(#[from] io::Error),
    /// The process has a subscriber already.
    #[error(transparent)]
    Taken(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// What becomes of spans; see [`crate::traces`].
pub type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The log of the process. Dropping it waits until all lines are written, unless standard error is
/// not read for a second.
#[must_use = "dropping it waits for what is written until then only"]
pub struct Log {
    queue: Arc<Queue>,
    filter: reload::Handle<Targets, Layered<Option<SpanLayer>, Registry>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// From now on, lines of at least this level are written.
    pub fn set_level(&self, level: LogLevel) {
        // Fails only when the process's subscriber is gone, which it never is.
        let _ = self.filter.reload(filter(level));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.flush(FLUSH);
    }
}

/// Makes the process log as configured, panics as well, and gives its spans to `spans`. For the
/// binary: libraries and tests leave the choice of a subscriber to their process.
///
/// # Errors
/// When the process has a subscriber already, or can have no more threads.
pub fn init(server: &ServerConfig, spans: Option<SpanLayer>) -> Result<Log, LogError> {
    let format = server.log_format;
    // Not through the lock of the standard library, which others would wait for.
    let write = |bytes: &[u8]| rustix::io::write(io::stderr(), bytes);
    let queue = Queue::start(write, move |dropped| {
        let fields = Fields {
            message: "log lines were dropped: standard error was not read fast enough".into(),
            others: vec![("lines", dropped.into())],
        };
        fields.line(format, &now(), Level::WARN)
    })?;
    let writer = Arc::clone(&queue);
    let (filter, handle) = reload::Layer::new(filter(server.log_level));
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Lines(format))
        .with_writer(move || Writing(Arc::clone(&writer)))
        .with_filter(filter);
    tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(spans).with(lines),
    )?;
    // The standard hook writes to standard error itself, and would wait.
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let payload = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(
            location = location.as_deref().unwrap_or("unknown"),
            "a bug: panicked: {payload}"
        );
    }));
    Ok(Log {
        queue,
        filter: handle,
    })
}

/// One line on its way: the subscriber writes each as a whole.
struct Writing(Arc<Queue>);

impl io::Write for Writing {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn now() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

/// chitchat warns about normal events of gossip ("Node to reset …" whenever a member receives a
/// whole map again), in its own terms. Its lines are logged at debug, for debugging chitchat
/// itself; kv-memberlist logs what an operator needs to know about gossip.
const INNER_WORKINGS: &str = "chitchat";

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let inner = if level >= LevelFilter::DEBUG {
        level
    } else {
        LevelFilter::ERROR
    };
    Targets::new()
        .with_default(level)
        .with_target(INNER_WORKINGS, inner.min(level))
}

/// The level that a line is written with.
fn level_of(metadata: &Metadata<'_>) -> Level {
    let is_inner = metadata.target().starts_with(INNER_WORKINGS);
    match *metadata.level() {
        level if is_inner && level > Level::ERROR => Level::DEBUG,
        level => level,
    }
}

struct Lines(LogFormat);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = fields.line(self.0, &now(), level_of(event.metadata()));
        writer.write_str(&line)
    }
}

/// The fields of one event, in their order; the message apart.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, serde_json::Value)>,
}

impl Fields {
    fn line(self, format: LogFormat, ts: &str, level: Level) -> String {
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        let head = [("ts", ts), ("level", level), ("msg", self.message.as_str())]
            .map(|(key, value)| (key, serde_json::Value::from(value)));
        let fields = head.into_iter().chain(self.others);
        let mut line = match format {
            LogFormat::Json => {
                // A map would lose the order.
                let members: Vec<String> = fields
                    .map(|(key, value)| format!("\"{key}\":{}", json(&value)))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
            LogFormat::Logfmt => {
                let pairs: Vec<String> = fields
                    .map(|(key, value)| format!("{key}={}", logfmt(&value)))
                    .collect();
                pairs.join(" ")
            }
        };
        line.push('\n');
        line
    }

    fn add(&mut self, field: &Field, value: impl Into<serde_json::Value>) {
        self.others.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }
}

/// Unquoted if that is unambiguous, or else quoted as in JSON, which keeps it on one line.
fn logfmt(value: &serde_json::Value) -> String {
    let needs_quotes = |c: char| c <= ' ' || matches!(c, '"' | '=' | '\\') || is_treacherous(c);
    match value.as_str() {
        Some(text) if !text.is_empty() && !text.contains(needs_quotes) => text.to_owned(),
        _ => json(value),
    }
}

/// JSON in which control characters and invisible characters are escaped as well.
fn json(value: &serde_json::Value) -> String {
    let mut text = value.to_string();
    if text.contains(is_treacherous) {
        text = text.chars().fold(String::new(), |mut escaped, c| {
            // All of them have four digits. Writing to a string cannot fail.
            let _ = match is_treacherous(c) {
                true => write!(escaped, "\\u{:04x}", u32::from(c)),
                false => escaped.write_char(c),
            };
            escaped
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn example() -> Fields {
        Fields {
            message: "elected a replica".into(),
            others: vec![
                ("tenant", "t1".into()),
                ("cluster", "eu west\n\"1\"".into()),
                ("old", "".into()),
                ("silent_ms", 30_012.into()),
            ],
        }
    }

    /// What is written of events at every level of this crate and of chitchat.
    fn written(level: LogLevel) -> String {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer()
            .event_format(Lines(LogFormat::Logfmt))
            .with_writer(move || writer.clone())
            .with_filter(filter(level));
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "chitchat::state", "Node to reset");
            tracing::info!(target: "chitchat::state", "resetting for node id");
            tracing::error!(target: "chitchat", "please report");
            tracing::info!("a member is active");
            tracing::debug!("details");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_daily_work_of_gossip_is_for_debugging() {
        let text = written(LogLevel::Info);
        assert!(!text.contains("reset"), "{text}");
        assert!(text.contains("level=error msg=\"please report\""), "{text}");
        assert!(
            text.contains("level=info msg=\"a member is active\""),
            "{text}"
        );
        let text = written(LogLevel::Debug);
        assert!(text.contains("level=debug msg=\"Node to reset\""), "{text}");
        assert!(text.contains("level=debug msg=details"), "{text}");
        assert!(!text.contains("level=warn"), "{text}");
        assert_eq!(written(LogLevel::Error).lines().count(), 1);
    }

    #[test]
    fn logfmt_quotes_what_is_ambiguous() {
        assert_eq!(
            example().line(LogFormat::Logfmt, "2026-01-01T00:00:00Z", Level::INFO),
            "ts=2026-01-01T00:00:00Z level=info msg=\"elected a replica\" tenant=t1 \
             cluster=\"eu west\\n\\\"1\\\"\" old=\"\" silent_ms=30012\n"
        );
    }

    #[test]
    fn names_from_outside_command_no_terminal() {
        let name = "a\u{9b}31m\u{1b}[2J\u{7f}\u{202e}\u{2028}\u{200b}東京";
        for format in [LogFormat::Logfmt, LogFormat::Json] {
            let fields = Fields {
                message: format!("elected {name}"),
                others: vec![("cluster", name.into())],
            };
            let line = fields.line(format, "2026-01-01T00:00:00Z", Level::INFO);
            assert_eq!(line.trim_end().find(is_treacherous), None, "{line:?}");
            let shown = r"a\u009b31m\u001b[2J\u007f\u202e\u2028\u200b東京";
            assert_eq!(line.matches(shown).count(), 2, "{line}");
            if format == LogFormat::Json {
                let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(parsed["cluster"], name);
            }
        }
        // One that no other rule quotes.
        assert_eq!(logfmt(&"\u{9b}".into()), r#""\u009b""#);
    }

    #[test]
    fn json_keeps_the_order_and_one_line() {
        let line = example().line(LogFormat::Json, "2026-01-01T00:00:00Z", Level::WARN);
        assert!(line.starts_with("{\"ts\":\"2026-01-01T00:00:00Z\",\"level\":\"warn\",\"msg\":"));
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["cluster"], "eu west\n\"1\"");
        assert_eq!(parsed["silent_ms"], 30_012);
        assert_eq!(line.matches('\n').count(), 1);
    }
}
