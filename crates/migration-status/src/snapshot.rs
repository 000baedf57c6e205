//! The state of a fleet at one time: plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use admin_api::{BackfillState, MemberState, Reason};

use crate::steps::Stores;

/// A difference between the two stores of a distributor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) key: String,
    pub(crate) reason: Reason,
    /// Both stores name the same replica.
    pub(crate) same_replica: bool,
}

/// A distributor's comparison of its two stores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Comparison {
    pub(crate) missing: u64,
    pub(crate) older: u64,
    pub(crate) newer: u64,
    pub(crate) extra: u64,
    pub(crate) undecodable: u64,
    /// How old it is.
    pub(crate) age: Duration,
    /// Some of them.
    pub(crate) named: Vec<Difference>,
}

impl Comparison {
    /// The entries that a switch to the secondary would lose.
    pub(crate) fn behind(&self) -> u64 {
        self.missing + self.older
    }
}

/// Its mirroring, as far as its page shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Details {
    pub(crate) pending_keys: u64,
    pub(crate) last_error: Option<String>,
    /// Why `multi_kv_config` is not in effect.
    pub(crate) refused: Option<String>,
    /// `multi_kv_config` changes something.
    pub(crate) is_overridden: bool,
    /// `None` if it is not told.
    pub(crate) backfill: Option<BackfillState>,
    pub(crate) backfill_pending_keys: u64,
    /// What differs between the stores, or why that is not known.
    pub(crate) comparison: Option<Result<Comparison, String>>,
}

/// A member of the gossip cluster, as another sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) state: MemberState,
}

/// Its gossip.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Gossip {
    pub(crate) own_name: String,
    pub(crate) members: Vec<Member>,
    pub(crate) keys: BTreeSet<String>,
}

impl Gossip {
    pub(crate) fn active(&self) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(|member| member.state == MemberState::Active)
    }
}

/// Tenant and cluster.
pub(crate) type Cluster = (String, String);

/// One distributor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DistributorState {
    pub(crate) stores: Stores,
    pub(crate) version: String,
    /// Its runtime configuration could not be loaded.
    pub(crate) is_runtime_broken: bool,
    /// What `/ready` says if it is not.
    pub(crate) not_ready: Option<String>,
    /// Writes to the secondary since it started.
    pub(crate) writes: u64,
    /// Failed ones.
    pub(crate) errors: u64,
    /// `None` of a distributor that has no such page, such as one of Mimir.
    pub(crate) details: Option<Details>,
    pub(crate) gossip: Option<Gossip>,
    /// The elected replicas; `None` as for `details`.
    pub(crate) elected: Option<BTreeMap<Cluster, String>>,
}

/// A target without what nearly all have.
pub(crate) fn short(target: &str) -> &str {
    target.strip_prefix("http://").unwrap_or(target)
}

impl DistributorState {
    /// `multi_kv_config` changes something, or would with a multi store.
    pub(crate) fn is_overridden(&self) -> bool {
        self.details
            .as_ref()
            .is_some_and(|details| details.is_overridden)
    }
}

/// All distributors at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) at: SystemTime,
    /// Address, and the state seen there or the error.
    pub(crate) targets: Vec<(String, Result<DistributorState, String>)>,
}

impl Snapshot {
    /// Those that answered.
    pub(crate) fn answered(&self) -> impl Iterator<Item = (&str, &DistributorState)> {
        self.targets
            .iter()
            .filter_map(|(target, state)| Some((target.as_str(), state.as_ref().ok()?)))
    }

    /// The same, as if the gossip cluster had no members besides the targets: in a ring that is shared,
    /// others are no part of the fleet.
    pub(crate) fn of_targets_alone(mut self) -> Self {
        let names: BTreeSet<String> = self
            .answered()
            .filter_map(|(_, state)| Some(state.gossip.as_ref()?.own_name.clone()))
            .collect();
        let answers = self.targets.iter_mut().map(|(_, state)| state);
        for gossip in answers.flatten().filter_map(|state| state.gossip.as_mut()) {
            gossip.members.retain(|member| names.contains(&member.name));
        }
        self
    }

    pub(crate) fn of(&self, target: &str) -> Option<&DistributorState> {
        self.answered()
            .find(|(known, _)| *known == target)
            .map(|(_, state)| state)
    }
}
