//! What two snapshots come to.

use super::findings::{Finding, Severity};
use crate::steps::Step;

/// Where the fleet is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// All that answer are on one step.
    At(Step),
    /// Between two neighbours: a roll-out is under way, or was left.
    Between(Step, Step),
    /// Anything else.
    Scattered,
}

/// What to think of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) place: Place,
    /// The store to move away from, if any distributor still knows it.
    pub(crate) old: Option<String>,
    /// The worst first.
    pub(crate) findings: Vec<Finding>,
    /// A step to bring all to, if they are too far apart.
    pub(crate) repair: Option<Step>,
    /// `multi_kv_config` leads the fleet.
    pub(crate) is_overridden: bool,
}

impl Verdict {
    /// Whether the next step can be taken, or there is none left.
    pub(crate) fn is_safe(&self) -> bool {
        let stops = |finding: &Finding| finding.severity == Severity::Stop;
        matches!(self.place, Place::At(_)) && !self.findings.iter().any(stops)
    }

    /// The step that comes next; `None` in the end, and where no step can be next.
    pub(crate) fn next(&self) -> Option<Step> {
        match self.place {
            Place::At(step) if step < Step::LAST => Some(Step(step.0 + 1)),
            _ => None,
        }
    }
}
