//! What two looks at a fleet mean: which step it is on, and whether the next one is safe. Pure.
//!
//! What changes by itself all the time (who is elected, which keys gossip has) counts only if both
//! looks show it.

mod agreement;
mod mirroring;
mod whereabouts;

use std::collections::BTreeSet;

use super::seen::{Look, Seen, Step, short};
use agreement::{elections, gossip};
use mirroring::mirroring;
use whereabouts::whereabouts;

/// How many things of a kind are named.
const NAMED: usize = 3;

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// The next step is not safe.
    Stop,
    /// It is, but this should be known before.
    Warn,
    /// Nothing is wrong.
    Note,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Warn => "warn",
            Self::Note => "note",
        }
    }
}

/// Something that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// Where; `None` for the fleet.
    pub(super) target: Option<String>,
    pub(super) what: String,
    /// What to do about it.
    pub(super) to_do: String,
}

/// Where the fleet is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// All that answer are on one step.
    At(Step),
    /// Between two neighbours: a roll-out is under way, or was left.
    Between(Step, Step),
    /// Anything else.
    Scattered,
}

/// What to think of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) place: Place,
    /// The store to move away from, if anybody still knows it.
    pub(super) old: Option<String>,
    /// The worst first.
    pub(super) findings: Vec<Finding>,
    /// A step to bring all to, if they are too far apart.
    pub(super) repair: Option<Step>,
    /// `multi_kv_config` leads the fleet.
    pub(super) is_overridden: bool,
}

impl Verdict {
    /// Whether the next step can be taken, or there is none left.
    pub(super) fn is_safe(&self) -> bool {
        let stops = |finding: &Finding| finding.severity == Severity::Stop;
        matches!(self.place, Place::At(_)) && !self.findings.iter().any(stops)
    }

    /// The step that comes next; `None` in the end, and where no step can be next.
    pub(super) fn next(&self) -> Option<Step> {
        match self.place {
            Place::At(step) if step < Step::LAST => Some(Step(step.0 + 1)),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

/// Names of clusters come from whoever sends samples: none of them is to write on the terminal what
/// is not text.
pub(super) fn clean(text: &str) -> String {
    kv_core::visible(text).into_owned()
}

impl Findings {
    fn add(
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

    fn stop(&mut self, target: Option<&str>, what: impl Into<String>, to_do: impl Into<String>) {
        self.add(Severity::Stop, target, what, to_do);
    }
}

/// Judges `now`, `before` being an earlier look at the same targets, of which there should be
/// `expected`.
pub(super) fn judge(before: &Look, now: &Look, expected: Option<usize>) -> Verdict {
    let mut findings = Findings::default();
    if let Some(expected) = expected
        && expected != now.targets.len()
    {
        findings.stop(
            None,
            format!(
                "there are {} targets instead of {expected}",
                now.targets.len()
            ),
            "name every distributor of the fleet in --targets, or correct --expect",
        );
    }
    availability(now, &mut findings);
    let (place, old, repair) = whereabouts(now, &mut findings);
    elections(before, now, &mut findings);
    gossip(before, now, &mut findings);
    for (target, seen) in now.seen() {
        if let Some((step, _)) = seen.stores.step() {
            mirroring(target, step, before.of(target), seen, &mut findings);
        }
    }
    remarks(now, &place, &mut findings);
    findings.0.sort_by_key(|finding| finding.severity);
    Verdict {
        place,
        old,
        findings: findings.0,
        repair,
        is_overridden: now.seen().any(|(_, seen)| seen.is_overridden()),
    }
}

fn availability(now: &Look, findings: &mut Findings) {
    for (target, seen) in &now.targets {
        match seen {
            Err(error) => findings.stop(
                Some(target),
                format!("does not answer: {error}"),
                "check the address (that of its HTTP server, with https:// if it has TLS), start it, or wait for \
                 it; leave it out of --targets only if it is gone for good",
            ),
            Ok(Seen {
                not_ready: Some(why),
                ..
            }) => findings.stop(
                Some(target),
                format!("is not ready: {why}"),
                "wait; if it stays so, its log says why",
            ),
            Ok(seen) if seen.is_runtime_broken => findings.stop(
                Some(target),
                "could not load its runtime configuration: what was loaded before is in effect",
                "correct the file; its log names the mistake",
            ),
            Ok(_) => {}
        }
    }
}

/// Comma-separated, at most [`NAMED`].
pub(super) fn list<T: AsRef<str>>(all: &[T]) -> String {
    list_of(all, all.len())
}

/// The first of `total`.
fn list_of<T: AsRef<str>>(all: &[T], total: usize) -> String {
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

/// What is worth knowing, and stops nobody.
fn remarks(now: &Look, place: &Place, findings: &mut Findings) {
    if now.targets.len() == 1 {
        findings.add(
            Severity::Warn,
            None,
            "there is one target only",
            "name all distributors of the fleet: whether they agree cannot be told from one",
        );
    }
    let overridden: Vec<&str> = now
        .seen()
        .filter(|(_, seen)| seen.is_overridden())
        .map(|(target, _)| target)
        .collect();
    if !overridden.is_empty() && *place == Place::At(Step::LAST) {
        findings.add(
            Severity::Note,
            None,
            format!("multi_kv_config is still in the runtime configuration of {}", list(&overridden)),
            "take it away when you will not go back: it would take effect at once with store: multi",
        );
    } else if !overridden.is_empty() && matches!(place, Place::At(step) if *step > Step(0)) {
        findings.add(
            Severity::Note,
            None,
            format!(
                "multi_kv_config of the runtime configuration makes this step on {}",
                list(&overridden)
            ),
            "keep it until step 5 is rolled out: without it they return to what is configured",
        );
    }
    let versions: BTreeSet<&str> = now.seen().map(|(_, seen)| seen.version.as_str()).collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        findings.add(
            Severity::Note,
            None,
            format!("they run different versions: {}", list(&versions)),
            "finish the upgrade before the migration, if there is one",
        );
    }
}
