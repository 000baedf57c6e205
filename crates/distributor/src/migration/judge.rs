//! What two looks at a fleet mean: which step it is on, and whether the next one is safe. Pure.
//!
//! What changes by itself all the time (who is elected, which keys gossip has) counts only if both
//! looks show it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::seen::{Cluster, Comparison, Details, Gossip, Look, NEW_STORE, Seen, Step, short};

/// A comparison that is older says nothing about now; one is made every 10 s.
const OLD: Duration = Duration::from_secs(15);

/// How many things of a kind are named.
const NAMED: usize = 3;

/// What two members need to see each other.
const REACHABLE: &str = "check memberlist.join_members, cluster_label and encryption_keys on both sides, and that \
                         port 7946 is open for UDP and TCP";

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
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
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

fn whereabouts(now: &Look, findings: &mut Findings) -> (Place, Option<String>, Option<Step>) {
    let mut repair = None;
    let mut by_step = BTreeMap::<Step, Vec<&str>>::new();
    let mut old_stores = BTreeMap::<&str, Vec<&str>>::new();
    let mut is_elsewhere = false;
    for (target, seen) in now.seen() {
        let Some((step, old)) = seen.stores.step() else {
            is_elsewhere = true;
            findings.stop(
                Some(target),
                format!("{}, which is no step of this migration", seen.stores),
                "give it the configuration of the others; all steps are in docs/migrate-to-memberlist.md",
            );
            continue;
        };
        by_step.entry(step).or_default().push(target);
        if let Some(old) = old {
            old_stores.entry(old).or_default().push(target);
        }
    }
    let foreign: Vec<&str> = now
        .seen()
        .filter(|(_, seen)| seen.details.is_none())
        .map(|(target, _)| target)
        .collect();
    if !foreign.is_empty() && foreign.len() < now.seen().count() {
        findings.stop(
            None,
            format!("some are no distributors of ours, and gossip in another way: {}", list(&foreign)),
            "replace them before the migration: they can share Consul or etcd with ours, but not memberlist",
        );
    }
    if old_stores.len() > 1 {
        let what: Vec<String> = old_stores
            .iter()
            .map(|(store, targets)| format!("{store} on {}", list(targets)))
            .collect();
        findings.stop(
            None,
            format!("they use different old stores: {}", what.join("; ")),
            "a fleet shares one store: configure the same on all, and check that all of them belong to this fleet",
        );
    }
    let old = old_stores.keys().next().map(|store| (*store).to_owned());
    let steps: Vec<Step> = by_step.keys().copied().collect();
    let place = match (is_elsewhere, steps.as_slice()) {
        (false, [step]) => Place::At(*step),
        (false, [first, second]) if second.0 == first.0 + 1 => Place::Between(*first, *second),
        _ => Place::Scattered,
    };
    match &place {
        Place::Between(first, second) => {
            let (behind, ahead) = (&by_step[first], &by_step[second]);
            findings.stop(
                None,
                format!(
                    "{} of {} are on step {}, and {} on step {}: a roll-out is under way, or was left halfway",
                    ahead.len(),
                    ahead.len() + behind.len(),
                    second.0,
                    list(behind),
                    first.0
                ),
                format!(
                    "roll it out to {} too (or back, on {})",
                    list(behind),
                    list(ahead)
                ),
            );
        }
        Place::Scattered if steps.len() > 1 => repair = scattered(&by_step, findings),
        _ => {}
    }
    (place, old, repair)
}

/// Not two neighbouring steps. The step to bring them to is one that reads the store to which all
/// have written, and writes to both.
fn scattered(by_step: &BTreeMap<Step, Vec<&str>>, findings: &mut Findings) -> Option<Step> {
    let what: Vec<String> = by_step
        .iter()
        .map(|(step, targets)| format!("step {} on {}", step.0, list(targets)))
        .collect();
    let what = what.join("; ");
    let differ =
        by_step.keys().any(|step| step.reads_old()) && by_step.keys().any(|step| !step.reads_old());
    let unmirrored = by_step.keys().any(|step| !step.mirrors());
    let writes_old = by_step.keys().all(|step| step.0 <= 3);
    let writes_new = by_step.keys().all(|step| step.0 >= 2);
    if differ && unmirrored {
        findings.stop(
            None,
            format!(
                "DANGER: some read the old store, some memberlist, and not all write to both, so they can elect \
                 different replicas: samples are doubled or lost ({what})"
            ),
            match (writes_old, writes_new) {
                (false, true) => "bring all to step 3 at once, those that are behind first: all have written to memberlist",
                (true, _) => "bring all to step 2 at once, those that are ahead first: all have written to the old store",
                (false, false) => {
                    "bring all to step 2 at once: no store has all elections, so some will be made anew"
                }
            },
        );
        return Some(Step(if !writes_old && writes_new { 3 } else { 2 }));
    } else {
        findings.stop(
            None,
            format!("they are not on neighbouring steps: {what}"),
            "bring all to one step before the next",
        );
    }
    None
}

/// Clusters for which distributors name different replicas.
fn disagreements(look: &Look) -> BTreeSet<(&str, &str)> {
    let mut named = BTreeMap::<(&str, &str), &str>::new();
    let mut differ = BTreeSet::new();
    for (_, seen) in look.seen() {
        for ((tenant, cluster), replica) in seen.elected.iter().flatten() {
            let key = (tenant.as_str(), cluster.as_str());
            if named.entry(key).or_insert(replica) != replica {
                differ.insert(key);
            }
        }
    }
    differ
}

/// All clusters that anybody tracks.
fn tracked(look: &Look) -> BTreeSet<&Cluster> {
    let elected = look.seen().filter_map(|(_, seen)| seen.elected.as_ref());
    elected.flat_map(BTreeMap::keys).collect()
}

fn elections(before: &Look, now: &Look, findings: &mut Findings) {
    let (was, is) = (disagreements(before), disagreements(now));
    let lasting: Vec<String> = was
        .intersection(&is)
        .map(|(tenant, cluster)| format!("{tenant}/{cluster}"))
        .collect();
    if !lasting.is_empty() {
        findings.stop(
            None,
            format!(
                "they accept different replicas of {} clusters: {}",
                lasting.len(),
                list(&lasting)
            ),
            "look at /distributor/ha_tracker of each; they must share one store, or mirror to each other's",
        );
    }
    // Not known to some that are ready, for longer than news take.
    let known_before = tracked(before);
    let known = tracked(now);
    for (target, seen) in now.seen().filter(|(_, seen)| seen.not_ready.is_none()) {
        let (Some(elected), Some(was)) = (&seen.elected, before.of(target)) else {
            continue;
        };
        let was = was.elected.as_ref();
        let lacks = |cluster: &&&Cluster| {
            !elected.contains_key(**cluster) && was.is_some_and(|was| !was.contains_key(**cluster))
        };
        let lacking: Vec<String> = known_before
            .intersection(&known)
            .filter(lacks)
            .map(|(tenant, cluster)| format!("{tenant}/{cluster}"))
            .collect();
        if !lacking.is_empty() {
            findings.stop(
                Some(target),
                format!(
                    "does not know {} clusters that others track: {}",
                    lacking.len(),
                    list(&lacking)
                ),
                "check that its store, prefix and gossip cluster are those of the others",
            );
        }
    }
}

fn gossip(before: &Look, now: &Look, findings: &mut Findings) {
    let gossiping: Vec<_> = now
        .seen()
        .filter_map(|(target, seen)| Some((target, seen, seen.gossip.as_ref()?)))
        .collect();
    let mut own_names = BTreeSet::new();
    for (target, _, gossip) in &gossiping {
        if !own_names.insert(gossip.own_name.as_str()) {
            findings.stop(
                Some(target),
                format!("is the same process as another target ({})", gossip.own_name),
                "name each distributor once, by an address that always leads to the same one (not a load balancer's)",
            );
        }
    }
    for (target, _, gossip) in &gossiping {
        let active: BTreeSet<&str> = gossip.active().map(|member| member.name.as_str()).collect();
        if !active.contains(gossip.own_name.as_str()) {
            findings.stop(
                Some(target),
                "is not an active member of the gossip cluster yet",
                format!("wait; if it stays so: {REACHABLE}"),
            );
            continue;
        }
        let unseen: Vec<&str> = gossiping
            .iter()
            .filter(|(_, _, other)| !active.contains(other.own_name.as_str()))
            .map(|(other, _, _)| *other)
            .collect();
        if !unseen.is_empty() {
            findings.stop(
                Some(target),
                format!("gossips, but does not see {} as active", list(&unseen)),
                REACHABLE,
            );
        }
    }
    let strangers: BTreeMap<&str, &str> = gossiping
        .iter()
        .flat_map(|(_, _, gossip)| gossip.active())
        .filter(|member| !own_names.contains(member.name.as_str()))
        .map(|member| (member.name.as_str(), member.address.as_str()))
        .collect();
    // One that has just left is shown as active for a moment.
    let strangers: Vec<String> = strangers
        .into_iter()
        .filter(|(name, _)| {
            let knows = |seen: &Seen| {
                let members = seen.gossip.iter().flat_map(Gossip::active);
                members.into_iter().any(|member| member.name == *name)
            };
            before.seen().any(|(_, seen)| knows(seen))
        })
        .map(|(name, address)| format!("{name} ({address})"))
        .collect();
    // Those that do not answer may be among them.
    let silent = now.targets.len() - now.seen().count();
    if strangers.len() > silent {
        findings.stop(
            None,
            format!(
                "the gossip cluster has {} active members that are none of the targets: {}",
                strangers.len(),
                list(&strangers)
            ),
            "add their HTTP addresses to --targets: they may be on another step",
        );
    }
    same_keys(before, &gossiping, findings);
}

/// What gossip has must be the same everywhere.
fn same_keys(before: &Look, gossiping: &[(&str, &Seen, &Gossip)], findings: &mut Findings) {
    let known_before: BTreeSet<&String> = before
        .seen()
        .filter_map(|(_, seen)| seen.gossip.as_ref())
        .flat_map(|gossip| &gossip.keys)
        .collect();
    for (target, seen, gossip) in gossiping {
        let was = before.of(target).and_then(|seen| seen.gossip.as_ref());
        let Some(was) = was.filter(|_| seen.not_ready.is_none()) else {
            continue;
        };
        let everywhere_else = |key: &&&String| {
            gossiping
                .iter()
                .any(|(_, _, other)| other.keys.contains(**key))
        };
        let lacking: Vec<&String> = known_before
            .iter()
            .filter(|key| !gossip.keys.contains(**key) && !was.keys.contains(**key))
            .filter(everywhere_else)
            .copied()
            .collect();
        if !lacking.is_empty() {
            findings.stop(
                Some(target),
                format!(
                    "its /memberlist lacks {} keys that others have: {}",
                    lacking.len(),
                    list(&lacking)
                ),
                "wait a moment; if it stays so, it is cut off: look at the members on its /memberlist page",
            );
        }
    }
}

/// What a distributor with a multi store says about it.
fn mirroring(
    target: &str,
    step: Step,
    before: Option<&Seen>,
    seen: &Seen,
    findings: &mut Findings,
) {
    let Some(details) = &seen.details else {
        // Nobody here can say whether the secondary is complete.
        let severity = match step.0 {
            2 => Severity::Stop,
            _ => Severity::Warn,
        };
        findings.add(
            severity,
            Some(target),
            "has no page /distributor/multi_kv: whether its two stores hold the same cannot be told from here",
            "a distributor of Grafana Mimir copies nothing: wait until every cluster was written after mirroring \
             was enabled, compare the keys of both stores, and take step 3 at your own judgement",
        );
        rising(target, step, before, seen, None, findings);
        return;
    };
    if seen.is_overridden() && step == Step(0) {
        findings.stop(
            Some(target),
            "has a multi_kv_config in its runtime configuration, which would take effect with the first restart to step 1",
            "take multi_kv_config away",
        );
    }
    if let Some(refused) = &details.refused {
        findings.stop(
            Some(target),
            format!("refuses its runtime configuration: {refused}"),
            "correct multi_kv_config; what was in effect before still is",
        );
    }
    if !step.mirrors() {
        return;
    }
    rising(
        target,
        step,
        before,
        seen,
        details.last_error.as_deref(),
        findings,
    );
    match &details.comparison {
        Some(Err(error)) => cannot_compare(target, step, error, findings),
        Some(Ok(comparison)) if comparison.age > OLD => {
            let age = comparison.age.as_secs();
            let problem = format!("the last comparison that succeeded is {age} s old");
            cannot_compare(target, step, &problem, findings);
        }
        Some(Ok(comparison)) => differences(target, step, details, comparison, findings),
        None => {}
    }
}

fn cannot_compare(target: &str, step: Step, error: &str, findings: &mut Findings) {
    let to_do = match step.reads_old() {
        true => {
            "mend the store that does not answer; if it is the old one and it is gone for good, and nothing was \
             behind before, take step 3: memberlist has all that there was"
        }
        false => "mend the old store to keep the way back; going on needs it no more",
    };
    behind(
        target,
        step,
        format!("cannot compare its stores: {error}"),
        to_do,
        findings,
    );
}

/// The secondary is not what it should be. On the way there that forbids the switch to it; after the
/// switch it only means that there is no way back.
fn behind(
    target: &str,
    step: Step,
    what: impl Into<String>,
    to_do: impl Into<String>,
    findings: &mut Findings,
) {
    if step.reads_old() {
        findings.stop(Some(target), what, to_do);
    } else {
        let what = format!(
            "{}; going back to step 2 is not safe meanwhile",
            what.into()
        );
        findings.add(Severity::Warn, Some(target), what, to_do);
    }
}

fn rising(
    target: &str,
    step: Step,
    before: Option<&Seen>,
    seen: &Seen,
    last: Option<&str>,
    findings: &mut Findings,
) {
    // A counter that is lower has begun anew.
    let base = before
        .map(|before| before.errors)
        .filter(|errors| *errors <= seen.errors)
        .unwrap_or(0);
    let more = seen.errors - base;
    let last = last
        .map(|last| format!("; the last: {last}"))
        .unwrap_or_default();
    if more > 0 {
        let store = match step.reads_old() {
            true => NEW_STORE,
            false => "the old store",
        };
        behind(
            target,
            step,
            format!("{more} writes to {store} failed just now{last}"),
            format!("look at {store}: until it takes the writes again, the two stores grow apart"),
            findings,
        );
    } else if seen.errors > 0 {
        findings.add(
            Severity::Note,
            Some(target),
            format!(
                "{} writes to the secondary failed earlier, none now{last}",
                seen.errors
            ),
            "nothing, as long as the stores do not differ: what was left out is copied",
        );
    }
}

fn differences(
    target: &str,
    step: Step,
    details: &Details,
    comparison: &Comparison,
    findings: &mut Findings,
) {
    let keys = |reasons: &[&str], total: u64| -> String {
        let keys: Vec<&String> = comparison
            .named
            .iter()
            .filter(|difference| reasons.contains(&difference.reason.as_str()))
            .map(|difference| &difference.key)
            .collect();
        match keys.is_empty() {
            true => String::new(),
            false => format!(
                ": {}",
                list_of(&keys, usize::try_from(total).unwrap_or(usize::MAX))
            ),
        }
    };
    if comparison.behind() > 0 {
        behind(
            target,
            step,
            format!(
                "its secondary is behind in {} keys ({} missing, {} older){}",
                comparison.behind(),
                comparison.missing,
                comparison.older,
                keys(&["missing", "older"], comparison.behind())
            ),
            "wait: they are copied; if the number does not fall, /distributor/multi_kv and the log say why",
            findings,
        );
    } else if details.backfill != "complete" {
        behind(
            target,
            step,
            format!(
                "copies what its secondary lacks; {} keys to go",
                details.backfill_pending_keys
            ),
            "wait until it is complete",
            findings,
        );
    }
    let newer: Vec<_> = comparison
        .named
        .iter()
        .filter(|difference| difference.reason == "newer")
        .collect();
    let all_are_harmless = newer.len() as u64 == comparison.newer
        && newer.iter().all(|difference| difference.same_replica);
    if comparison.newer > 0 && !all_are_harmless {
        behind(
            target,
            step,
            format!(
                "its secondary has {} newer elections of other replicas{}",
                comparison.newer,
                keys(&["newer"], comparison.newer)
            ),
            "find who writes there: a distributor that is none of the targets, and uses it as its primary",
            findings,
        );
    } else if comparison.newer > 0 {
        findings.add(
            Severity::Note,
            Some(target),
            format!(
                "its secondary has {} newer elections, of the same replicas",
                comparison.newer
            ),
            "nothing",
        );
    }
    if comparison.extra > 0 {
        findings.add(
            Severity::Warn,
            Some(target),
            format!(
                "its secondary has {} keys that the primary has not{}",
                comparison.extra,
                keys(&["extra"], comparison.extra)
            ),
            match step.reads_old() {
                true => "a switch would bring these clusters back; they are cleaned up within an hour",
                false => "left over in the old store; going back to it would bring these clusters back for an hour",
            },
        );
    }
    if comparison.undecodable > 0 {
        findings.add(
            Severity::Warn,
            Some(target),
            format!("{} values in its stores cannot be decoded", comparison.undecodable),
            "they are neither compared nor copied; its log names the keys: remove what is no election",
        );
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
