//! What needs attention about a fleet. Pure: no page is fetched here.

use std::collections::{BTreeMap, BTreeSet};

use admin_api::Severity;
use explanation::list;
use fleet_client::short;
use serde::Serialize;

use super::{Cluster, Instance, Seen};

/// Names that a finding lists.
const NAMED: usize = 5;

/// Something about the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// The distributors that it is about; empty for all.
    pub(super) instances: Vec<String>,
    /// A sentence without its full stop.
    pub(super) what: String,
    /// What to do; may be empty.
    pub(super) remedy: String,
}

/// How bad it is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Critical,
    Warning,
    /// Nothing needs to be done.
    Note,
}

impl Finding {
    pub(super) fn is_note(&self) -> bool {
        self.level == Level::Note
    }
}

/// Everything, the worst first.
pub(super) fn judge(seen: &[Seen]) -> Vec<Finding> {
    let mut findings = unreachable(seen);
    findings.extend(conditions(seen));
    findings.extend(versions(seen));
    findings.extend(members(seen));
    findings.extend(elections(seen));
    findings.sort_by_key(|finding| finding.level);
    findings
}

fn answered(seen: &[Seen]) -> impl Iterator<Item = (String, &Instance)> {
    seen.iter()
        .filter_map(|(target, instance)| Some((short(target).to_owned(), instance.as_ref().ok()?)))
}

fn unreachable(seen: &[Seen]) -> Vec<Finding> {
    let failed = seen.iter().filter_map(|(target, instance)| {
        let error = instance.as_ref().err()?;
        Some((error.clone(), short(target).to_owned()))
    });
    grouped(failed)
        .into_iter()
        .map(|(error, instances)| Finding {
            level: Level::Critical,
            instances,
            what: format!("Its pages cannot be read: {error}"),
            remedy: "Check whether it runs and can be reached from here; what it knows is missing \
                     below"
                .to_owned(),
        })
        .collect()
}

/// What the distributors themselves report, once for all that report the same.
fn conditions(seen: &[Seen]) -> Vec<Finding> {
    let all = answered(seen).flat_map(|(target, instance)| {
        let conditions = instance.conditions.iter();
        conditions
            .map(|condition| {
                let level = match condition.severity {
                    Severity::Critical => Level::Critical,
                    Severity::Warning => Level::Warning,
                };
                let what = (level, condition.what.clone(), condition.remedy.clone());
                (what, target.clone())
            })
            .collect::<Vec<_>>()
    });
    let mut found: Vec<Finding> = grouped(all)
        .into_iter()
        .map(|((level, what, remedy), instances)| Finding {
            level,
            instances,
            what,
            remedy,
        })
        .collect();
    // Each reports this itself; of a program whose page does not, it is told all the same.
    let silent = answered(seen).filter(|(_, instance)| instance.conditions.is_empty());
    found.extend(silent.filter_map(|(target, instance)| {
        Some(Finding {
            level: Level::Critical,
            instances: vec![target],
            what: format!("Not ready: {}", instance.not_ready.as_ref()?),
            remedy: String::new(),
        })
    }));
    found
}

fn versions(seen: &[Seen]) -> Option<Finding> {
    let builds = grouped(answered(seen).map(|(target, instance)| {
        let build = format!("{} ({})", instance.version, instance.revision);
        (build, target)
    }));
    if builds.len() < 2 {
        return None;
    }
    let named: Vec<String> = builds
        .iter()
        .map(|(build, instances)| format!("{build}: {}", list(instances, NAMED)))
        .collect();
    Some(Finding {
        level: Level::Warning,
        instances: Vec::new(),
        what: format!(
            "The distributors have different versions: {}",
            named.join("; ")
        ),
        remedy: "This is normal during a roll-out; otherwise finish it".to_owned(),
    })
}

fn members(seen: &[Seen]) -> Vec<Finding> {
    let gossips: Vec<_> = answered(seen)
        .filter_map(|(target, instance)| Some((target, instance.gossip.as_ref()?)))
        .collect();
    let views = grouped(
        gossips
            .iter()
            .map(|(target, gossip)| (gossip.active.clone(), target.clone())),
    );
    let mut findings = Vec::new();
    if views.len() > 1 {
        let named: Vec<String> = views
            .iter()
            .map(|(active, instances)| {
                format!("{} active on {}", active.len(), list(instances, NAMED))
            })
            .collect();
        findings.push(Finding {
            level: Level::Critical,
            instances: Vec::new(),
            what: format!(
                "The distributors see different members: {}",
                named.join("; ")
            ),
            remedy: "Apart from the seconds after a start or an end, elections differ between the \
                     parts, and samples are doubled or lost: compare cluster_label, \
                     encryption_keys and join_members, and check the network between them"
                .to_owned(),
        });
    }
    let known: BTreeSet<&str> = gossips
        .iter()
        .map(|(_, gossip)| gossip.own_name.as_str())
        .collect();
    let active = gossips.iter().flat_map(|(_, gossip)| &gossip.active);
    let strangers: BTreeSet<String> = active
        .filter(|name| !known.contains(name.as_str()))
        .cloned()
        .collect();
    // Those that do not answer are named already.
    if !strangers.is_empty() && seen.iter().all(|(_, instance)| instance.is_ok()) {
        let strangers: Vec<String> = strangers.into_iter().collect();
        findings.push(Finding {
            level: Level::Note,
            instances: Vec::new(),
            what: format!(
                "Members that no target of this command is: {}",
                list(&strangers, NAMED)
            ),
            remedy: "Add them to --targets to see them".to_owned(),
        });
    }
    findings
}

/// Replicas, each with the distributors on which it is elected.
type Views = Vec<(String, Vec<String>)>;

/// Of each cluster, who is elected on which distributors; only where they differ.
fn differing(seen: &[Seen]) -> Vec<(Cluster, Views)> {
    let mut clusters: BTreeMap<&Cluster, Vec<(String, String)>> = BTreeMap::new();
    let mut count = 0;
    for (target, instance) in answered(seen) {
        count += 1;
        for (cluster, replica) in &instance.elected {
            let views = clusters.entry(cluster).or_default();
            views.push((replica.clone(), target.clone()));
        }
    }
    let differ = clusters.into_iter().filter(|(_, views)| {
        let first = views.first().map(|(replica, _)| replica);
        views.len() < count || views.iter().any(|(replica, _)| Some(replica) != first)
    });
    differ
        .map(|(cluster, views)| (cluster.clone(), grouped(views.into_iter())))
        .collect()
}

/// Whether any election differs.
pub(super) fn elections_differ(seen: &[Seen]) -> bool {
    !differing(seen).is_empty()
}

fn elections(seen: &[Seen]) -> Option<Finding> {
    let differing = differing(seen);
    if differing.is_empty() {
        return None;
    }
    let named = differing
        .iter()
        .take(NAMED)
        .map(|((tenant, cluster), views)| {
            let views: Vec<String> = views
                .iter()
                .map(|(replica, instances)| format!("{replica:?} on {}", list(instances, NAMED)))
                .collect();
            format!("{tenant}/{cluster}: {}", views.join(", "))
        });
    let named: Vec<String> = named.collect();
    Some(Finding {
        level: Level::Critical,
        instances: Vec::new(),
        what: format!(
            "{} election(s) differ between the distributors, at two readings: {}",
            differing.len(),
            named.join("; ")
        ),
        remedy: "Until they agree, samples of these clusters are doubled or lost. Check the store \
                 and the members above; distributor explain shows one cluster"
            .to_owned(),
    })
}

/// Values of equal keys together, in the order of the keys.
fn grouped<K: Ord>(all: impl Iterator<Item = (K, String)>) -> Vec<(K, Vec<String>)> {
    let mut groups: BTreeMap<K, Vec<String>> = BTreeMap::new();
    for (key, value) in all {
        groups.entry(key).or_default().push(value);
    }
    groups.into_iter().collect()
}
