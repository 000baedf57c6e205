//! Problems and notes about a fleet, as texts for an operator.

use serde::Serialize;

use crate::snapshot::short;

/// Most items of a list that are named.
const NAMED: usize = 3;

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// The next step is not safe.
    Stop,
    /// It is safe, but this should be known first.
    Warn,
    /// Nothing is wrong.
    Note,
}

/// Something that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// Where; `None` for the fleet.
    pub(crate) target: Option<String>,
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) to_do: String,
}

/// All that was found.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

/// Names of clusters come from senders and must not control the terminal.
pub(crate) fn clean(text: &str) -> String {
    kv_core::visible(text).into_owned()
}

impl Findings {
    pub(super) fn add(
        &mut self,
        severity: Severity,
        target: Option<&str>,
        what: impl Into<String>,
        to_do: impl Into<String>,
    ) {
        self.0.push(Finding {
            severity,
            target: target.map(str::to_owned),
            what: clean(&what.into()),
            to_do: to_do.into(),
        });
    }

    pub(super) fn stop(
        &mut self,
        target: Option<&str>,
        what: impl Into<String>,
        to_do: impl Into<String>,
    ) {
        self.add(Severity::Stop, target, what, to_do);
    }
}

/// Comma-separated, at most [`NAMED`].
pub(crate) fn list<T: AsRef<str>>(all: &[T]) -> String {
    list_of(all, all.len())
}

/// The first of `total`.
pub(super) fn list_of<T: AsRef<str>>(all: &[T], total: usize) -> String {
    let named: Vec<&str> = all
        .iter()
        .take(NAMED)
        .map(|one| short(one.as_ref()))
        .collect();
    match total.saturating_sub(named.len()) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
