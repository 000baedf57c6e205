//! What one part says is amiss.

use admin_api::Severity;

use super::condition::Component;

/// Something found; see [`Condition`](super::Condition).
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) severity: Severity,
    pub(super) component: Component,
    /// What it is recognised by among those of its component.
    pub(super) kind: &'static str,
    pub(super) what: String,
    /// When it began, if its part knows; else when it was first found.
    pub(super) since_ms: Option<i64>,
    pub(super) remedy: String,
    /// Its part writes lines of its own when it begins and ends.
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

    /// Its part writes lines of its own.
    pub(super) fn told(self) -> Self {
        Self {
            tells_itself: true,
            ..self
        }
    }
}

/// It becomes a part of a sentence.
pub(super) fn without_end(text: &str) -> &str {
    // What senders are told besides.
    let text = text.trim_end_matches(['\n', '.']);
    text.strip_suffix("; retry later").unwrap_or(text)
}
