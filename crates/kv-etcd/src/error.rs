//! What went wrong with a call, and what follows from it.

use std::error::Error as _;
use std::fmt::Write as _;

use kv_core::Failure;
use tonic::{Code, ConnectError, Status};

/// A failed attempt of a call.
#[derive(Debug, thiserror::Error)]
#[error("{member}: {text}")]
pub(crate) struct CallError {
    /// The member, as `host:port`.
    pub(crate) member: String,
    pub(crate) text: String,
    pub(crate) cause: Cause,
}

/// Kinds of failures, as far as it matters for what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No connection, so nothing was sent.
    Unreachable,
    /// There was no answer, or one that does not say whether the call took effect.
    Unanswered,
    /// The member did nothing, for now.
    NotNow,
    /// The member did nothing, because the client must log in, or log in again.
    Unauthenticated,
    /// The member no longer has this revision.
    Compacted,
    /// The cluster has not reached this revision.
    Future,
    /// The member did nothing and never will.
    Refused,
    /// The member did nothing: the request is larger than it accepts.
    TooLarge,
}

impl Cause {
    /// Whether the call may succeed at another member.
    pub(crate) fn moves_on(self) -> bool {
        matches!(self, Cause::Unreachable | Cause::Unanswered | Cause::NotNow)
    }

    /// By the errors of etcd's `rpctypes`. Codes are not sufficient: "no leader" and "request timed
    /// out" are both `Unavailable`, but only the former had no effect.
    fn of(status: &Status) -> Self {
        let says = |text: &str| status.message().contains(text);
        let mut source = status.source();
        while let Some(error) = source {
            if error.is::<ConnectError>() {
                return Cause::Unreachable;
            }
            source = error.source();
        }
        match status.code() {
            Code::Unavailable if says("etcdserver: no leader") => Cause::NotNow,
            Code::Unavailable if says("not supported for learner") => Cause::NotNow,
            Code::FailedPrecondition if says("etcdserver: not leader") => Cause::NotNow,
            Code::ResourceExhausted if says("too many requests") => Cause::NotNow,
            Code::ResourceExhausted if says("space exceeded") => Cause::Refused,
            Code::ResourceExhausted if says("larger than max") => Cause::TooLarge,
            Code::InvalidArgument if says("request is too large") => Cause::TooLarge,
            Code::Unauthenticated => Cause::Unauthenticated,
            // After a log-in: etcd has forgotten the token, or it is older than the last change of
            // a user or role.
            Code::InvalidArgument if says("user name is empty") => Cause::Unauthenticated,
            _ if says("revision of auth store is old") || says("revision in header is old") => {
                Cause::Unauthenticated
            }
            Code::OutOfRange if says("has been compacted") => Cause::Compacted,
            Code::OutOfRange if says("is a future revision") => Cause::Future,
            Code::OutOfRange
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unimplemented => Cause::Refused,
            _ => Cause::Unanswered,
        }
    }
}

impl CallError {
    pub(crate) fn new(member: &str, cause: Cause, text: impl Into<String>) -> Self {
        Self {
            member: member.to_owned(),
            text: text.into(),
            cause,
        }
    }

    pub(crate) fn from_status(member: &str, status: &Status) -> Self {
        Self::new(member, Cause::of(status), describe(status))
    }

    /// For a call that may be repeated safely.
    pub(crate) fn into_failure(self) -> Failure {
        match self.cause {
            Cause::Refused | Cause::TooLarge => Failure::permanent(self),
            _ => Failure::transient(self),
        }
    }

    /// For a conditional write: repeating one that took effect would look like a conflict.
    pub(crate) fn into_write_failure(self) -> Failure {
        match self.cause {
            Cause::Unreachable | Cause::NotNow | Cause::Unauthenticated => Failure::transient(self),
            Cause::Unanswered => {
                Failure::permanent(format!("{self}; the write may or may not have taken place"))
            }
            Cause::TooLarge => Failure::invalid_value(self),
            Cause::Compacted | Cause::Future | Cause::Refused => Failure::permanent(self),
        }
    }
}

/// The code and message of a server's answer, or the errors that kept it from arriving.
fn describe(status: &Status) -> String {
    let mut text = String::new();
    let mut source = status.source();
    while let Some(error) = source {
        let part = error.to_string();
        // Many wrappers repeat the text of the error that they wrap.
        if part != "transport error" && !text.contains(&part) {
            let separator = if text.is_empty() { "" } else { ": " };
            let _ = write!(text, "{separator}{part}");
        }
        source = error.source();
    }
    if text.is_empty() {
        text = format!("{:?}: {}", status.code(), status.message());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_errors_of_etcd() {
        for (code, message, cause) in [
            (Code::Unavailable, "etcdserver: no leader", Cause::NotNow),
            (
                Code::Unavailable,
                "etcdserver: request timed out",
                Cause::Unanswered,
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                Cause::Unanswered,
            ),
            (
                Code::Unavailable,
                "etcdserver: server stopped",
                Cause::Unanswered,
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: not leader",
                Cause::NotNow,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                Cause::NotNow,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                Cause::Refused,
            ),
            (
                Code::ResourceExhausted,
                "h2 protocol error",
                Cause::Unanswered,
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                Cause::Unauthenticated,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: revision of auth store is old",
                Cause::Unauthenticated,
            ),
            (
                Code::Unknown,
                "auth: revision in header is old",
                Cause::Unauthenticated,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                Cause::Refused,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                Cause::TooLarge,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                Cause::Refused,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                Cause::Compacted,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
                Cause::Future,
            ),
            (Code::Unknown, "context canceled", Cause::Unanswered),
        ] {
            let status = Status::new(code, message);
            assert_eq!(Cause::of(&status), cause, "{code:?}: {message}");
            let text = CallError::from_status("a:1", &status).to_string();
            assert_eq!(text, format!("a:1: {code:?}: {message}"));
        }
    }
}
