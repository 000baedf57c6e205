//! The answer to a push request, independent of the protocol. Each protocol renders it.

use std::time::Duration;

use http::StatusCode;
use remote_write::{Counts, Version};

use crate::cause::Cause;
use crate::instance_limit::InstanceLimit;

/// Default time that a sender should wait before it tries again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest wait that a sender is asked for, even if the downstream or a rate limit asks for more: a
/// replica that waits seems silent to the HA tracker, and must not lose its election because of
/// this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Mimir's id of a tenant's ingestion rate limit.
const INGESTION_RATE_ID: &str = "err-mimir-tenant-max-ingestion-rate";

/// Of a body that is too large.
const MESSAGE_SIZE_ID: &str = "err-mimir-distributor-max-write-message-size";

/// The message with the id that Mimir's texts, and its runbooks, have for the same cause.
pub(crate) fn with_id(message: &str, id: &str) -> String {
    format!("{message} ({id})")
}

/// The answer to a push request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushAnswer {
    /// The outcome of the request.
    pub outcome: Outcome,
    /// The written counts for senders of 2.0; `None` for senders of 1.0, and if the downstream
    /// confirms nothing.
    pub written: Option<Written>,
}

/// The outcome of a push request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was not deduplicated is stored.
    Stored,
    /// Everything was deduplicated: other replicas are elected.
    Deduplicated {
        /// The elected replica, and what a failover is waiting for; for people.
        message: String,
    },
    /// This instance refused it, or a part of it.
    Rejected(Rejection),
    /// A downstream did not store it.
    Downstream(DownstreamAnswer),
}

/// Why this instance refuses a request, or a part of it. Messages are for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It would be refused again: the sender should drop it.
    #[error("{message}")]
    Refused {
        /// What is wrong with it.
        cause: Cause,
        /// One line.
        message: String,
    },
    /// The tenant sends more than its rate limit.
    #[error("{message}")]
    Limited {
        /// When to try again.
        wait: Duration,
        /// One line.
        message: String,
    },
    /// A limit of this instance is reached, possibly by other requests: the sender should try
    /// again.
    #[error("{message}")]
    Overloaded {
        /// Which one.
        limit: InstanceLimit,
        /// When to try again.
        wait: Duration,
        /// One line.
        message: String,
    },
    /// It may succeed later: the sender should try again.
    #[error("{message}")]
    Unavailable {
        /// When to try again.
        wait: Duration,
        /// The sender's mistake, if there is one.
        cause: Option<Cause>,
        /// One line.
        message: String,
    },
}

/// What a downstream answered that did not store a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownstreamAnswer {
    /// Its status: 429 or 5xx if the sender should try again, another 4xx if it should not.
    pub status: StatusCode,
    /// When to try again; `None` if not.
    pub wait: Option<Duration>,
    /// One line for people, with what the downstream said.
    pub message: String,
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

impl Rejection {
    /// Permanently, because the request is not valid.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::refused(Cause::Malformed, message)
    }

    /// For good.
    pub fn refused(cause: Cause, message: impl Into<String>) -> Self {
        Self::Refused {
            cause,
            message: message.into(),
        }
    }

    /// For good, since its body has more than `distributor.max_recv_msg_size` bytes. The message gets
    /// the id that Mimir has for it.
    pub fn too_large(message: &str) -> Self {
        Self::refused(Cause::TooLarge, with_id(message, MESSAGE_SIZE_ID))
    }

    /// Temporarily, through no fault of the sender.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable {
            wait: RETRY_AFTER,
            cause: None,
            message: message.into(),
        }
    }

    /// Temporarily, because the tenant exceeds its limit. The message gets the id that Mimir has
    /// for it.
    pub fn limited(wait: Duration, message: &str) -> Self {
        Self::Limited {
            wait,
            message: with_id(message, INGESTION_RATE_ID),
        }
    }

    /// Temporarily, because this instance has reached a limit. The message gets the id that Mimir
    /// has for it.
    pub fn overloaded(limit: InstanceLimit, wait: Duration, message: &str) -> Self {
        Self::Overloaded {
            limit,
            wait,
            message: with_id(message, limit.id()),
        }
    }

    /// Temporarily, because its body did not arrive completely.
    pub fn body_not_received(message: impl Into<String>) -> Self {
        Self::Unavailable {
            wait: RETRY_AFTER,
            cause: Some(Cause::BodyNotReceived),
            message: message.into(),
        }
    }

    /// The sender's mistake, if there is one.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Refused { cause, .. } => Some(*cause),
            Self::Limited { .. } => Some(Cause::RateLimited),
            Self::Overloaded { .. } => None,
            Self::Unavailable { cause, .. } => *cause,
        }
    }

    /// One line for people.
    pub fn message(&self) -> &str {
        match self {
            Self::Refused { message, .. }
            | Self::Limited { message, .. }
            | Self::Overloaded { message, .. }
            | Self::Unavailable { message, .. } => message,
        }
    }

    fn into_message(self) -> String {
        match self {
            Self::Refused { message, .. }
            | Self::Limited { message, .. }
            | Self::Overloaded { message, .. }
            | Self::Unavailable { message, .. } => message,
        }
    }

    /// Its status over HTTP, as [`PushAnswer::status`].
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Refused { cause, .. } => match cause {
                Cause::NoTenant | Cause::Unauthenticated => StatusCode::UNAUTHORIZED,
                Cause::TenantNotAllowed => StatusCode::FORBIDDEN,
                Cause::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                Cause::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                _ => StatusCode::BAD_REQUEST,
            },
            Self::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded { .. } | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn wait(&self) -> Option<Duration> {
        match self {
            Self::Refused { .. } => None,
            Self::Limited { wait, .. }
            | Self::Overloaded { wait, .. }
            | Self::Unavailable { wait, .. } => Some(*wait),
        }
    }
}

impl From<Rejection> for PushAnswer {
    fn from(rejection: Rejection) -> Self {
        Self::of(Outcome::Rejected(rejection))
    }
}

impl PushAnswer {
    /// The written counts are unknown.
    pub(crate) fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            written: None,
        }
    }

    /// The status that remote write has for it, whose protocol is HTTP; 200 also where 2.0 has 204. The
    /// log names it for requests of every protocol.
    pub fn status(&self) -> StatusCode {
        self.outcome.status()
    }

    /// One line for people; empty on plain success.
    pub fn message(&self) -> &str {
        match &self.outcome {
            Outcome::Stored => "",
            Outcome::Deduplicated { message } => message,
            Outcome::Rejected(rejection) => rejection.message(),
            Outcome::Downstream(answer) => &answer.message,
        }
    }

    /// As [`PushAnswer::message`].
    pub fn into_message(self) -> String {
        match self.outcome {
            Outcome::Stored => String::new(),
            Outcome::Deduplicated { message } => message,
            Outcome::Rejected(rejection) => rejection.into_message(),
            Outcome::Downstream(answer) => answer.message,
        }
    }

    /// The sender's mistake, if there is one.
    pub fn cause(&self) -> Option<Cause> {
        match &self.outcome {
            Outcome::Stored | Outcome::Deduplicated { .. } => None,
            Outcome::Rejected(rejection) => rejection.cause(),
            Outcome::Downstream(answer) => answer
                .status
                .is_client_error()
                .then_some(Cause::DownstreamRefused),
        }
    }

    /// When the sender is asked to try again, whole seconds, rounded up; `None` if it is not.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let wait = self.wait()?.min(MAX_RETRY_AFTER);
        Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    /// The same, as it was asked for.
    pub(crate) fn wait(&self) -> Option<Duration> {
        match &self.outcome {
            Outcome::Stored | Outcome::Deduplicated { .. } => None,
            Outcome::Rejected(rejection) => rejection.wait(),
            Outcome::Downstream(answer) => answer.wait,
        }
    }

    /// With counts as senders of this version get them: a failure has some as well.
    #[must_use]
    pub fn counted_for(self, version: Version) -> Self {
        let written = match version {
            Version::V1 => None,
            Version::V2 if self.status().is_success() => self.written,
            Version::V2 => Some(self.written.unwrap_or_default()),
        };
        Self { written, ..self }
    }
}

impl Outcome {
    /// As [`PushAnswer::status`].
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Stored => StatusCode::OK,
            Self::Deduplicated { .. } => StatusCode::ACCEPTED,
            Self::Rejected(rejection) => rejection.status(),
            Self::Downstream(answer) => answer.status,
        }
    }

    /// Whether the sender is to send the request again.
    pub(crate) fn is_retryable(&self) -> bool {
        let status = self.status();
        status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
    }

    /// The same, if it is one to try again, after this time.
    #[must_use]
    pub(crate) fn after(self, wait: Duration) -> Self {
        match self {
            Self::Rejected(Rejection::Unavailable { cause, message, .. }) => {
                Self::Rejected(Rejection::Unavailable {
                    wait,
                    cause,
                    message,
                })
            }
            Self::Rejected(Rejection::Overloaded { limit, message, .. }) => {
                Self::Rejected(Rejection::Overloaded {
                    limit,
                    wait,
                    message,
                })
            }
            Self::Rejected(Rejection::Limited { message, .. }) => {
                Self::Rejected(Rejection::Limited { wait, message })
            }
            Self::Downstream(answer) if answer.wait.is_some() => {
                Self::Downstream(DownstreamAnswer {
                    wait: Some(wait),
                    ..answer
                })
            }
            other => other,
        }
    }
}
