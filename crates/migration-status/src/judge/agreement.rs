//! Checks whether all distributors agree about elections, members of the gossip cluster, and its
//! keys.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::{Findings, list};
use crate::snapshot::{Cluster, DistributorState, Gossip, Snapshot};

/// What two members need to see each other.
const REACHABLE: &str = "check memberlist.join_members, cluster_label and encryption_keys on both sides, and that \
                         port 7946 is open for UDP and TCP";

/// Clusters for which distributors name different replicas.
fn disagreements(snapshot: &Snapshot) -> BTreeSet<(&str, &str)> {
    let mut named = BTreeMap::<(&str, &str), &str>::new();
    let mut differ = BTreeSet::new();
    for (_, state) in snapshot.answered() {
        for ((tenant, cluster), replica) in state.elected.iter().flatten() {
            let key = (tenant.as_str(), cluster.as_str());
            if named.entry(key).or_insert(replica) != replica {
                differ.insert(key);
            }
        }
    }
    differ
}

/// All clusters that any distributor tracks.
fn tracked(snapshot: &Snapshot) -> BTreeSet<&Cluster> {
    let elected = snapshot
        .answered()
        .filter_map(|(_, state)| state.elected.as_ref());
    elected.flat_map(BTreeMap::keys).collect()
}

pub(crate) fn elections(before: &Snapshot, now: &Snapshot, findings: &mut Findings) {
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
            "compare /distributor/ha_tracker of each; they must share one store, or mirror to each other's",
        );
    }
    // Clusters unknown to some ready distributors for longer than propagation takes.
    let known_before = tracked(before);
    let known = tracked(now);
    for (target, state) in now
        .answered()
        .filter(|(_, state)| state.not_ready.is_none())
    {
        let (Some(elected), Some(was)) = (&state.elected, before.of(target)) else {
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
                "check that it has the same store, prefix and gossip cluster as the others",
            );
        }
    }
}

pub(crate) fn gossip(before: &Snapshot, now: &Snapshot, findings: &mut Findings) {
    let gossiping: Vec<_> = now
        .answered()
        .filter_map(|(target, state)| Some((target, state, state.gossip.as_ref()?)))
        .collect();
    let mut own_names = BTreeSet::new();
    for (target, _, gossip) in &gossiping {
        if !own_names.insert(gossip.own_name.as_str()) {
            findings.stop(
                Some(target),
                format!("is the same process as another target ({})", gossip.own_name),
                "name each distributor once, by an address that always reaches the same one (not a load balancer's)",
            );
        }
    }
    for (target, _, gossip) in &gossiping {
        let active: BTreeSet<&str> = gossip.active().map(|member| member.name.as_str()).collect();
        if !active.contains(gossip.own_name.as_str()) {
            findings.stop(
                Some(target),
                "is not an active member of the gossip cluster yet",
                format!("wait; if this lasts: {REACHABLE}"),
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
            let knows = |state: &DistributorState| {
                let members = state.gossip.iter().flat_map(Gossip::active);
                members.into_iter().any(|member| member.name == *name)
            };
            before.answered().any(|(_, state)| knows(state))
        })
        .map(|(name, address)| format!("{name} ({address})"))
        .collect();
    // Those that do not answer may be among them.
    let silent = now.targets.len() - now.answered().count();
    if strangers.len() > silent {
        findings.stop(
            None,
            format!(
                "the gossip cluster has {} none of the targets: {}",
                match strangers.len() {
                    1 => "1 active member that is".to_owned(),
                    number => format!("{number} active members that are"),
                },
                list(&strangers)
            ),
            "add their HTTP addresses to --targets: they may be on another step; or set --shared-ring, if the ring is Mimir's",
        );
    }
    same_keys(before, &gossiping, findings);
}

/// What gossip has must be the same everywhere.
fn same_keys(
    before: &Snapshot,
    gossiping: &[(&str, &DistributorState, &Gossip)],
    findings: &mut Findings,
) {
    let known_before: BTreeSet<&String> = before
        .answered()
        .filter_map(|(_, state)| state.gossip.as_ref())
        .flat_map(|gossip| &gossip.keys)
        .collect();
    for (target, state, gossip) in gossiping {
        let was = before.of(target).and_then(|state| state.gossip.as_ref());
        let Some(was) = was.filter(|_| state.not_ready.is_none()) else {
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
                "wait a moment; if this lasts, it is cut off: check the members on its /memberlist page",
            );
        }
    }
}
