//! The steps of a migration to memberlist, and the configurations of the stores that define them.

use std::fmt;

/// The target of the migration.
pub(crate) const NEW_STORE: &str = "memberlist";

/// One of the steps of `docs/migrate-to-memberlist.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step(pub(crate) u8);

impl Step {
    pub(crate) const LAST: Self = Self(5);

    /// Its name in the guide.
    pub(crate) fn title(self) -> &'static str {
        match self.0 {
            0 => "the old store alone",
            1 => "multi store, mirroring off",
            2 => "mirroring to memberlist",
            3 => "memberlist is the primary",
            4 => "mirroring off",
            _ => "memberlist alone",
        }
    }

    /// Its settings, in lines of YAML: of `distributor.ha_tracker`, or of the runtime configuration
    /// if the fleet is controlled by it and the step can be taken in this way.
    pub(crate) fn settings(self, old: &str, at_run_time: bool) -> String {
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
    pub(crate) fn reads_old(self) -> bool {
        self.0 < 3
    }

    pub(crate) fn mirrors(self) -> bool {
        matches!(self.0, 2 | 3)
    }
}

/// The stores of a distributor's elections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stores {
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
    /// The step, and the name of the old store if known; `None` if this is not a step of a
    /// migration to memberlist.
    pub(crate) fn step(&self) -> Option<(Step, Option<&str>)> {
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
