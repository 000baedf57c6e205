//! The answers of the push path as gRPC has them.

use http::StatusCode;
use ingest::{Cause, Outcome, PushAnswer, Rejection};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::details::{ErrorCause, details};

/// Why there is nothing to push.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) rejection: Rejection,
    /// Where gRPC has a status of its own for it.
    status: Option<Status>,
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self {
            rejection,
            status: None,
        }
    }
}

impl Refused {
    /// The client is told `status`, and the log of `rejection`.
    pub(super) fn with_status(rejection: Rejection, status: Status) -> Self {
        Self {
            rejection,
            status: Some(status),
        }
    }

    /// For the log, and for the client.
    pub(super) fn into_parts(self) -> (PushAnswer, Status) {
        let answer = PushAnswer::from(self.rejection);
        let status = self.status.unwrap_or_else(|| status_of(answer.clone()));
        (answer, status)
    }
}

/// The same text as over HTTP. That all was deduplicated is an error here, since it is one between
/// Mimir's components.
pub(super) fn status_of(answer: PushAnswer) -> Status {
    let code = match &answer.outcome {
        Outcome::Stored => Code::Ok,
        Outcome::Deduplicated { .. } => Code::AlreadyExists,
        Outcome::Rejected(rejection) => code_of_rejection(rejection),
        Outcome::Downstream(answer) => code_of_downstream(answer.status),
    };
    let wait = answer.retry_after_seconds();
    let cause = cause_of(&answer.outcome);
    let message = answer.into_message();
    let mut status = match cause {
        Some(cause) => Status::with_details(code, &message, details(code, &message, cause)),
        None => Status::new(code, message),
    };
    if let Some(seconds) = wait {
        let seconds = MetadataValue::from(seconds);
        status.metadata_mut().insert("retry-after", seconds);
    }
    status
}

fn code_of_rejection(rejection: &Rejection) -> Code {
    match rejection {
        Rejection::Refused { cause, .. } => match cause {
            Cause::NoTenant | Cause::Unauthenticated => Code::Unauthenticated,
            Cause::TenantNotAllowed => Code::PermissionDenied,
            Cause::TooLarge => Code::OutOfRange,
            Cause::UnsupportedMediaType | Cause::TooManyHaClusters => Code::FailedPrecondition,
            _ => Code::InvalidArgument,
        },
        Rejection::Limited { .. } => Code::ResourceExhausted,
        Rejection::Overloaded { .. } | Rejection::Unavailable { .. } => Code::Unavailable,
    }
}

/// Mimir's cause of it; `None` where Mimir has none.
fn cause_of(outcome: &Outcome) -> Option<ErrorCause> {
    match outcome {
        Outcome::Stored => None,
        Outcome::Deduplicated { .. } => Some(ErrorCause::ReplicasDidNotMatch),
        Outcome::Rejected(rejection) => match rejection {
            Rejection::Refused { cause, .. } => match cause {
                Cause::NoTenant
                | Cause::Unauthenticated
                | Cause::TenantNotAllowed
                | Cause::UnsupportedMediaType => None,
                Cause::TooManyHaClusters => Some(ErrorCause::TooManyClusters),
                _ => Some(ErrorCause::BadData),
            },
            Rejection::Limited { .. } => Some(ErrorCause::IngestionRateLimited),
            Rejection::Overloaded { .. } => Some(ErrorCause::InstanceLimit),
            Rejection::Unavailable { .. } => Some(ErrorCause::ServiceUnavailable),
        },
        Outcome::Downstream(answer) => match code_of_downstream(answer.status) {
            Code::InvalidArgument | Code::OutOfRange => Some(ErrorCause::BadData),
            Code::ResourceExhausted => Some(ErrorCause::IngestionRateLimited),
            Code::Unavailable => Some(ErrorCause::ServiceUnavailable),
            _ => None,
        },
    }
}

/// Downstreams speak HTTP.
fn code_of_downstream(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::PAYLOAD_TOO_LARGE => Code::OutOfRange,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Code::InvalidArgument,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            Code::Unavailable
        }
        status if status.is_server_error() => Code::Internal,
        _ => Code::FailedPrecondition,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ingest::{DownstreamAnswer, InstanceLimit};

    use super::*;

    #[test]
    fn each_answer_has_its_code() {
        let rejected = |rejection| Outcome::Rejected(rejection);
        let refused = |cause| rejected(Rejection::refused(cause, "no"));
        let said = |status: u16| {
            Outcome::Downstream(DownstreamAnswer {
                status: StatusCode::from_u16(status).unwrap(),
                wait: None,
                message: "no".to_owned(),
            })
        };
        let limited = Rejection::Limited {
            wait: Duration::from_millis(1500),
            message: "no".to_owned(),
        };
        let limit = InstanceLimit::IngestionRate;
        let wait = Duration::from_millis(10);
        let overloaded = Rejection::Overloaded {
            limit,
            wait,
            message: "no".to_owned(),
        };
        let deduplicated = Outcome::Deduplicated {
            message: "no".to_owned(),
        };
        for (outcome, code, wait) in [
            (deduplicated, Code::AlreadyExists, None),
            (refused(Cause::NoTenant), Code::Unauthenticated, None),
            (refused(Cause::TooLarge), Code::OutOfRange, None),
            (refused(Cause::Malformed), Code::InvalidArgument, None),
            (
                refused(Cause::TooManyHaClusters),
                Code::FailedPrecondition,
                None,
            ),
            (rejected(limited), Code::ResourceExhausted, Some("2")),
            (rejected(overloaded), Code::Unavailable, Some("1")),
            (
                rejected(Rejection::unavailable("no")),
                Code::Unavailable,
                Some("1"),
            ),
            (said(400), Code::InvalidArgument, None),
            (said(413), Code::OutOfRange, None),
            (said(429), Code::ResourceExhausted, None),
            (said(409), Code::FailedPrecondition, None),
            (said(500), Code::Internal, None),
            (said(503), Code::Unavailable, None),
        ] {
            let answer = PushAnswer {
                outcome,
                written: None,
            };
            let status = status_of(answer.clone());
            assert_eq!(status.code(), code, "{answer:?}");
            assert_eq!(status.message(), "no");
            let told = status.metadata().get("retry-after");
            assert_eq!(told.map(|told| told.to_str().unwrap()), wait, "{answer:?}");
        }
    }

    #[test]
    fn each_answer_has_mimirs_cause() {
        let refused = |cause| Outcome::Rejected(Rejection::refused(cause, "no"));
        let said = |status: u16| {
            Outcome::Downstream(DownstreamAnswer {
                status: StatusCode::from_u16(status).unwrap(),
                wait: None,
                message: "no".to_owned(),
            })
        };
        for (outcome, cause) in [
            (Outcome::Stored, None),
            (refused(Cause::NoTenant), None),
            (refused(Cause::UnsupportedMediaType), None),
            (refused(Cause::Malformed), Some(ErrorCause::BadData)),
            (refused(Cause::TooLarge), Some(ErrorCause::BadData)),
            (
                refused(Cause::TooManyHaClusters),
                Some(ErrorCause::TooManyClusters),
            ),
            (
                Outcome::Rejected(Rejection::unavailable("no")),
                Some(ErrorCause::ServiceUnavailable),
            ),
            (said(400), Some(ErrorCause::BadData)),
            (said(429), Some(ErrorCause::IngestionRateLimited)),
            (said(409), None),
            (said(500), None),
            (said(503), Some(ErrorCause::ServiceUnavailable)),
        ] {
            assert_eq!(cause_of(&outcome), cause, "{outcome:?}");
            let answer = PushAnswer {
                outcome,
                written: None,
            };
            assert_eq!(status_of(answer).details().is_empty(), cause.is_none());
        }
    }
}
