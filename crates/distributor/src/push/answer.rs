//! What a push request is answered with, over HTTP now and over other protocols later.

use std::time::Duration;

use http::StatusCode;
use remote_write::Counts;

use super::Cause;

/// How long a sender should wait before it tries again, where nothing better is known.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest wait that a sender is asked for, whatever the downstream or a rate limit would like: a
/// replica that waits looks silent to the HA tracker, and must not lose its election by it.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The answer to a push request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushAnswer {
    /// HTTP status.
    pub status: StatusCode,
    /// One line for people; empty on plain success.
    pub message: String,
    /// What 2.0 senders are told was written.
    pub written: Option<Written>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// What the sender did wrong; `None` if nothing.
    pub cause: Option<Cause>,
}

/// The `X-Prometheus-Remote-Write-*-Written` counts of remote write 2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// What a sender is told when it shall try again: whole seconds, rounded up.
pub(crate) fn retry_after_seconds(wait: Duration) -> u64 {
    let wait = wait.min(MAX_RETRY_AFTER);
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl From<Counts> for Written {
    fn from(counts: Counts) -> Self {
        Self {
            samples: counts.samples,
            histograms: counts.histograms,
            exemplars: counts.exemplars,
        }
    }
}

impl Written {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            samples: self.samples.saturating_add(other.samples),
            histograms: self.histograms.saturating_add(other.histograms),
            exemplars: self.exemplars.saturating_add(other.exemplars),
        }
    }

    pub(crate) fn at_most(self, other: Self) -> Self {
        Self {
            samples: self.samples.min(other.samples),
            histograms: self.histograms.min(other.histograms),
            exemplars: self.exemplars.min(other.exemplars),
        }
    }
}

impl PushAnswer {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            written: None,
            retry_after: None,
            cause: Cause::of_status(status),
        }
    }

    /// The same, for a better known reason than its status.
    pub(crate) fn because(self, cause: Cause) -> Self {
        Self {
            cause: Some(cause),
            ..self
        }
    }

    /// The request can never succeed; the sender should drop it.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The request may succeed later; the sender should try again.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(RETRY_AFTER),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }

    /// Whether the sender is to send the request again.
    pub(crate) fn is_retryable(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }
}
