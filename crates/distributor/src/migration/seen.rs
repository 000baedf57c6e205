//! What one look at a fleet has seen: plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, SystemTime};

/// The store to end on.
pub(super) const NEW_STORE: &str = "memberlist";

/// One of the steps of `docs/migrate-to-memberlist.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step(pub(super) u8);

impl Step {
    pub(super) const LAST: Self = Self(5);

    /// What it is, in the words of the guide.
    pub(super) fn title(self) -> &'static str {
        match self.0 {
            0 => "the old store alone",
            1 => "multi store, mirroring off",
            2 => "mirroring to memberlist",
            3 => "memberlist is the primary",
            4 => "mirroring off",
            _ => "memberlist alone",
        }
    }

    /// What makes it, in lines of YAML: settings of `distributor.ha_tracker`, or of the runtime
    /// configuration if that is how the fleet is led and the step can be taken so.
    pub(super) fn settings(self, old: &str, at_run_time: bool) -> String {
        let overridden = |primary: &str, mirror_enabled: bool| {
            format!("multi_kv_config:\n  primary: {primary}\n  mirror_enabled: {mirror_enabled}")
        };
        match self.0 {
            1 | 2 if at_run_time => return overridden(old, self.mirrors()),
            3 | 4 if at_run_time => return overridden(NEW_STORE, self.mirrors()),
            _ => {}
        }
        let multi = |primary: &str, secondary: &str, mirror_enabled: bool| {
            format!(
                "store: multi\n  multi: {{primary: {primary}, secondary: {secondary}, \
                 mirror_enabled: {mirror_enabled}}}\n  {old}: ...\n  memberlist: {{join_members: [...]}}"
            )
        };
        let store = match self.0 {
            0 => format!("store: {old}"),
            1 => multi(old, NEW_STORE, false),
            2 => multi(old, NEW_STORE, true),
            3 => multi(NEW_STORE, old, true),
            4 => multi(NEW_STORE, old, false),
            _ => format!("store: {NEW_STORE}\n  memberlist: {{join_members: [...]}}"),
        };
        format!("kvstore:\n  {store}")
    }

    /// Whether the old store decides.
    pub(super) fn reads_old(self) -> bool {
        self.0 < 3
    }

    pub(super) fn mirrors(self) -> bool {
        matches!(self.0, 2 | 3)
    }
}

/// Where a distributor keeps its elections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stores {
    /// It deduplicates nothing.
    NoTracker,
    /// In one store.
    Alone(String),
    /// In two.
    Multi {
        primary: String,
        secondary: String,
        mirror_enabled: bool,
    },
}

impl Stores {
    /// The step, and the name of the old store where it is known; `None` if this is no step of a
    /// migration to memberlist.
    pub(super) fn step(&self) -> Option<(Step, Option<&str>)> {
        match self {
            Self::NoTracker => None,
            Self::Alone(store) if store == NEW_STORE => Some((Step::LAST, None)),
            Self::Alone(store) if store == "inmemory" => None,
            Self::Alone(store) => Some((Step(0), Some(store))),
            Self::Multi {
                primary, secondary, ..
            } if primary == "inmemory" || secondary == "inmemory" => None,
            Self::Multi {
                primary,
                secondary,
                mirror_enabled,
            } => match (primary == NEW_STORE, secondary == NEW_STORE) {
                (false, true) => Some((Step(1 + u8::from(*mirror_enabled)), Some(primary))),
                (true, false) => Some((Step(4 - u8::from(*mirror_enabled)), Some(secondary))),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTracker => f.write_str("has the HA tracker off"),
            Self::Alone(store) => write!(f, "keeps its elections in {store} alone"),
            Self::Multi {
                primary,
                secondary,
                mirror_enabled,
            } => {
                let mirroring = if *mirror_enabled { "on" } else { "off" };
                write!(
                    f,
                    "keeps its elections in {primary}, with {secondary} as the secondary and mirroring {mirroring}"
                )
            }
        }
    }
}

/// A difference between the two stores of a distributor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) key: String,
    /// `missing`, `older`, `newer` or `extra`.
    pub(super) reason: String,
    /// Both stores name the same replica.
    pub(super) same_replica: bool,
}

/// What a distributor found when it compared its two stores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Comparison {
    pub(super) missing: u64,
    pub(super) older: u64,
    pub(super) newer: u64,
    pub(super) extra: u64,
    pub(super) undecodable: u64,
    /// How old it is.
    pub(super) age: Duration,
    /// Some of them.
    pub(super) named: Vec<Difference>,
}

impl Comparison {
    /// What a switch to the secondary would lose.
    pub(super) fn behind(&self) -> u64 {
        self.missing + self.older
    }
}

/// What it says about mirroring, as far as its page tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Details {
    pub(super) pending_keys: u64,
    pub(super) last_error: Option<String>,
    /// Why `multi_kv_config` is not in effect.
    pub(super) refused: Option<String>,
    /// `multi_kv_config` changes something.
    pub(super) is_overridden: bool,
    /// `off`, `running` or `complete`.
    pub(super) backfill: String,
    pub(super) backfill_pending_keys: u64,
    /// What differs between the stores, or why that is not known.
    pub(super) comparison: Option<Result<Comparison, String>>,
}

/// A member of the gossip cluster, as another sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) state: String,
}

/// What it says about gossip.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Gossip {
    pub(super) own_name: String,
    pub(super) members: Vec<Member>,
    pub(super) keys: BTreeSet<String>,
}

impl Gossip {
    pub(super) fn active(&self) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(|member| member.state == "active")
    }
}

/// Tenant and cluster.
pub(super) type Cluster = (String, String);

/// One distributor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) stores: Stores,
    pub(super) version: String,
    /// Its runtime configuration could not be loaded.
    pub(super) is_runtime_broken: bool,
    /// What `/ready` says if it is not.
    pub(super) not_ready: Option<String>,
    /// Writes to the secondary since it started.
    pub(super) writes: u64,
    /// Failed ones.
    pub(super) errors: u64,
    /// `None` of a distributor that has no such page, such as one of Mimir.
    pub(super) details: Option<Details>,
    pub(super) gossip: Option<Gossip>,
    /// The elected replicas; `None` as for `details`.
    pub(super) elected: Option<BTreeMap<Cluster, String>>,
}

/// A target without what nearly all have.
pub(super) fn short(target: &str) -> &str {
    target.strip_prefix("http://").unwrap_or(target)
}

impl Seen {
    /// `multi_kv_config` changes something, or would with a multi store.
    pub(super) fn is_overridden(&self) -> bool {
        self.details
            .as_ref()
            .is_some_and(|details| details.is_overridden)
    }
}

/// All of them, at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) at: SystemTime,
    /// Address, and what was seen there or why nothing was.
    pub(super) targets: Vec<(String, Result<Seen, String>)>,
}

impl Look {
    /// Those that answered.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&str, &Seen)> {
        self.targets
            .iter()
            .filter_map(|(target, seen)| Some((target.as_str(), seen.as_ref().ok()?)))
    }

    pub(super) fn of(&self, target: &str) -> Option<&Seen> {
        self.seen()
            .find(|(known, _)| *known == target)
            .map(|(_, seen)| seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multi(primary: &str, secondary: &str, mirror_enabled: bool) -> Stores {
        Stores::Multi {
            primary: primary.to_owned(),
            secondary: secondary.to_owned(),
            mirror_enabled,
        }
    }

    #[test]
    fn stores_are_steps() {
        let alone = |store: &str| Stores::Alone(store.to_owned());
        for (stores, step) in [
            (alone("consul"), Some((Step(0), Some("consul")))),
            (
                multi("etcd", "memberlist", false),
                Some((Step(1), Some("etcd"))),
            ),
            (
                multi("etcd", "memberlist", true),
                Some((Step(2), Some("etcd"))),
            ),
            (
                multi("memberlist", "etcd", true),
                Some((Step(3), Some("etcd"))),
            ),
            (
                multi("memberlist", "etcd", false),
                Some((Step(4), Some("etcd"))),
            ),
            (alone("memberlist"), Some((Step(5), None))),
            (alone("inmemory"), None),
            (multi("inmemory", "memberlist", true), None),
            (multi("consul", "etcd", true), None),
            (Stores::NoTracker, None),
        ] {
            assert_eq!(stores.step(), step, "{stores:?}");
        }
    }

    #[test]
    fn settings_make_the_step() {
        assert_eq!(Step(0).settings("etcd", true), "kvstore:\n  store: etcd");
        let multi = "multi: {primary: memberlist, secondary: etcd, mirror_enabled: true}";
        assert!(Step(3).settings("etcd", false).contains(multi));
        assert_eq!(
            Step(3).settings("etcd", true),
            "multi_kv_config:\n  primary: memberlist\n  mirror_enabled: true"
        );
    }
}
