//! A problem that a component reports.

use admin_api::Severity;

use super::condition::Component;

/// A problem; see [`Condition`](super::Condition).
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) severity: Severity,
    pub(super) component: Component,
    /// Identifies it among the problems of its component.
    pub(super) kind: &'static str,
    pub(super) what: String,
    /// When it began, if the component knows; otherwise the time when it was first found counts.
    pub(super) since_ms: Option<i64>,
    pub(super) remedy: String,
    /// The component itself logs its beginning and its end.
    pub(super) tells_itself: bool,
}

impl Found {
    pub(super) fn new(
        severity: Severity,
        component: Component,
        kind: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            component,
            kind,
            what: what.into(),
            since_ms: None,
            remedy: remedy.into(),
            tells_itself: false,
        }
    }

    /// It began at this time, Unix ms.
    pub(super) fn since(self, since_ms: i64) -> Self {
        Self {
            since_ms: Some(since_ms),
            ..self
        }
    }

    /// The component logs it itself.
    pub(super) fn told(self) -> Self {
        Self {
            tells_itself: true,
            ..self
        }
    }
}

/// Removes the end, so that it can be part of a sentence.
pub(super) fn without_end(text: &str) -> &str {
    // This part is meant for senders.
    let text = text.trim_end_matches(['\n', '.']);
    text.strip_suffix("; retry later").unwrap_or(text)
}
