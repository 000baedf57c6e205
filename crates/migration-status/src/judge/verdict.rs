//! The result of judging two snapshots.

use super::findings::{Finding, Severity};
use crate::steps::Step;

/// The position of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// All distributors that answer are on one step.
    At(Step),
    /// Between two neighbouring steps: a rollout is in progress, or was not completed.
    Between(Step, Step),
    /// Anything else.
    Scattered,
}

/// The verdict about the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) place: Place,
    /// The old store, if any distributor still uses it.
    pub(crate) old: Option<String>,
    /// The worst first.
    pub(crate) findings: Vec<Finding>,
    /// A step to bring all to, if they are too far apart.
    pub(crate) repair: Option<Step>,
    /// The fleet is controlled by `multi_kv_config`.
    pub(crate) is_overridden: bool,
}

impl Verdict {
    /// Whether the next step can be taken, or there is none left.
    pub(crate) fn is_safe(&self) -> bool {
        let stops = |finding: &Finding| finding.severity == Severity::Stop;
        matches!(self.place, Place::At(_)) && !self.findings.iter().any(stops)
    }

    /// The next step; `None` after the last one, and if there is no valid next step.
    pub(crate) fn next(&self) -> Option<Step> {
        match self.place {
            Place::At(step) if step < Step::LAST => Some(Step(step.0 + 1)),
            _ => None,
        }
    }
}
