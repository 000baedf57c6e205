//! What a fleet goes through, as data: the steps of the guide, in which order they are taken, and
//! how each configures a distributor.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::{MemberConfig, merge};

/// The store to move away from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldStore {
    /// A Consul agent.
    Consul,
    /// An etcd server.
    Etcd,
}

impl OldStore {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consul => "consul",
            Self::Etcd => "etcd",
        }
    }
}

impl FromStr for OldStore {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Consul, Self::Etcd]
            .into_iter()
            .find(|store| store.name() == name)
            .ok_or_else(|| format!("{name:?} is no store to migrate from: consul or etcd"))
    }
}

/// How the distributors gossip: `memberlist.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Their own.
    Chitchat,
    /// That of Mimir's rings.
    Memberlist,
}

impl Protocol {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chitchat => "chitchat",
            Self::Memberlist => "memberlist",
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Chitchat, Self::Memberlist]
            .into_iter()
            .find(|protocol| protocol.name() == name)
            .ok_or_else(|| format!("{name:?} is no gossip protocol: chitchat or memberlist"))
    }
}

/// The new store.
pub(crate) const NEW_STORE: &str = "memberlist";

/// One of the states of a distributor: from 0, the old store alone, to 5, the new store alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step(u8);

/// What [`Step`] means where both stores are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Multi {
    pub(crate) primary: &'static str,
    pub(crate) secondary: &'static str,
    pub(crate) mirror_enabled: bool,
}

impl Step {
    /// The old store alone.
    pub const FIRST: Self = Self(0);
    /// The new store alone.
    pub const LAST: Self = Self(5);

    /// # Errors
    /// There is no such step.
    pub fn new(number: u8) -> Result<Self, String> {
        let step = Self(number);
        if step > Self::LAST {
            return Err(format!("there is no step {number}: 0 to {}", Self::LAST));
        }
        Ok(step)
    }

    /// From 0 to 5.
    pub fn number(self) -> u8 {
        self.0
    }

    /// In the words of the guide.
    pub(crate) fn title(self) -> &'static str {
        match self.0 {
            0 => "old store alone",
            1 => "multi, mirroring off",
            2 => "mirroring to memberlist",
            3 => "memberlist is primary",
            4 => "mirroring off",
            _ => "memberlist alone",
        }
    }

    /// The two stores and their roles; `None` where there is one store alone.
    pub(crate) fn multi(self, old: OldStore) -> Option<Multi> {
        let (primary, secondary) = match self.0 {
            1 | 2 => (old.name(), NEW_STORE),
            3 | 4 => (NEW_STORE, old.name()),
            _ => return None,
        };
        Some(Multi {
            primary,
            secondary,
            mirror_enabled: matches!(self.0, 2 | 3),
        })
    }

    /// The store that is read.
    pub(crate) fn primary(self, old: OldStore) -> &'static str {
        if self.0 < 3 { old.name() } else { NEW_STORE }
    }

    /// Whether the distributors gossip.
    pub(crate) fn gossips(self) -> bool {
        self > Self::FIRST
    }

    /// Whether elections are read from gossip.
    pub(crate) fn reads_gossip(self) -> bool {
        self.0 >= 3
    }

    /// Whether the old store is written to, or was just now and is to be left alone.
    pub(crate) fn needs_old_store(self) -> bool {
        self.0 < 4
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a distributor gets from one step to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// With another configuration.
    Restart,
    /// By its runtime configuration.
    RuntimeFile,
}

/// From one step to its neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) from: Step,
    pub(crate) to: Step,
    pub(crate) way: Way,
    pub(crate) protocol: Protocol,
}

/// Where a walk leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk {
    /// Whether steps 2 to 4 are taken by the runtime configuration.
    pub(crate) runtime: bool,
    /// Back to the first step from here.
    pub(crate) rollback_at: Option<Step>,
    /// How the distributors gossip.
    pub(crate) protocol: Protocol,
    /// From the last step back to the first, and forwards again with this protocol.
    pub(crate) change_to: Option<Protocol>,
}

impl Walk {
    /// All legs: forwards to the last step, or forwards to `rollback_at` and back to the first.
    pub(crate) fn legs(self) -> Vec<Leg> {
        let turn = self.rollback_at.or(self.change_to.map(|_| Step::LAST));
        let furthest = turn.unwrap_or(Step::LAST).0;
        let backwards = if turn.is_some() { 0..furthest } else { 0..0 };
        let stations = (0..=furthest).chain(backwards.rev());
        let mut legs = self.between(stations, self.protocol);
        if let Some(protocol) = self.change_to {
            legs.extend(self.between(0..=Step::LAST.0, protocol));
        }
        legs
    }

    fn between(self, stations: impl Iterator<Item = u8>, protocol: Protocol) -> Vec<Leg> {
        let stations: Vec<Step> = stations.map(Step).collect();
        let has_file = |step: Step| (1..=4).contains(&step.0);
        let leg = |pair: &[Step]| Leg {
            from: pair[0],
            to: pair[1],
            way: match self.runtime && has_file(pair[0]) && has_file(pair[1]) {
                true => Way::RuntimeFile,
                false => Way::Restart,
            },
            protocol,
        };
        stations.windows(2).map(leg).collect()
    }
}

/// The name of the runtime configuration's file, in a distributor's own folder.
pub(crate) const RUNTIME_FILE: &str = "runtime.yaml";

/// What does not depend on the step.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) old: OldStore,
    /// The old store's section below `kvstore`.
    pub(crate) old_section: Value,
    /// URL of the downstream.
    pub(crate) downstream: String,
    /// Whether steps 2 to 4 are taken by the runtime configuration.
    pub(crate) runtime: bool,
    /// The tracker's limits.
    pub(crate) limits: Value,
    /// `mirror_timeout`
    pub(crate) mirror_timeout: String,
    /// A member of another fleet that is in the ring.
    pub(crate) beside: Option<SocketAddr>,
    /// What the Helm chart renders for each step, from 0; none if it has no part in this.
    pub(crate) rendered: Vec<String>,
}

impl Surroundings {
    /// The files of a distributor.
    pub(crate) fn member(
        &self,
        step: Step,
        protocol: Protocol,
        memberlist: &Value,
    ) -> MemberConfig {
        let rendered = self.rendered.get(usize::from(step.0));
        match rendered {
            None => self.config(step, protocol, memberlist).to_string().into(),
            Some(rendered) => MemberConfig {
                yaml: rendered.clone(),
                overlay: Some(self.overlay(step, memberlist).to_string()),
            },
        }
    }

    /// What stands in for a cluster around a rendered configuration: addresses, and times that fit a
    /// test. Nothing of it says on which step a distributor is.
    fn overlay(&self, step: Step, memberlist: &Value) -> Value {
        let mut kvstore = json!({});
        if step < Step::LAST {
            kvstore[self.old.name()] = self.old_section.clone();
        }
        if step.multi(self.old).is_some() {
            kvstore["multi"] = json!({"mirror_timeout": self.mirror_timeout});
        }
        let mut gossip = memberlist.clone();
        merge(&mut gossip, &haste());
        json!({
            "shutdown_delay": "0s",
            "limits": self.limits,
            "distributor": {
                "downstream": [{"url": self.downstream}],
                "ha_tracker": {"kvstore": kvstore},
            },
            (NEW_STORE): gossip,
            // Of the chart's own, which is empty here.
            "runtime_config": {"file": ""},
        })
    }

    /// The configuration of a distributor, `memberlist` being the section that places it among the
    /// others.
    pub(crate) fn config(&self, step: Step, protocol: Protocol, memberlist: &Value) -> Value {
        let is_overridden = self.runtime && (1..=4).contains(&step.0);
        let configured = if is_overridden { Step(1) } else { step };
        let mut kvstore = match configured.multi(self.old) {
            None => json!({"store": configured.primary(self.old)}),
            Some(multi) => json!({
                "store": "multi",
                "multi": {
                    "primary": multi.primary,
                    "secondary": multi.secondary,
                    "mirror_enabled": multi.mirror_enabled,
                    "mirror_timeout": self.mirror_timeout,
                },
            }),
        };
        if configured < Step::LAST {
            kvstore[self.old.name()] = self.old_section.clone();
        }
        let mut config = json!({
            "limits": {"accept_ha_samples": true},
            "distributor": {
                "downstream": [{"url": self.downstream}],
                "ha_tracker": {"enable_ha_tracker": true},
            },
        });
        merge(&mut config, &json!({"limits": self.limits}));
        if configured.gossips() {
            // As in the guide: those to join stand with the store, the rest is shared.
            let mut shared = memberlist.clone();
            if let Some(section) = shared.as_object_mut()
                && let Some(mut join) = section.remove("join_members")
            {
                if let (Some(join), Some(beside)) = (join.as_array_mut(), self.beside) {
                    join.push(beside.to_string().into());
                }
                kvstore[NEW_STORE] = json!({"join_members": join});
            }
            merge(&mut shared, &haste());
            merge(&mut shared, &json!({"protocol": protocol.name()}));
            config[NEW_STORE] = shared;
        }
        config["distributor"]["ha_tracker"]["kvstore"] = kvstore;
        if is_overridden {
            config["runtime_config"] = json!({"file": RUNTIME_FILE, "period": "200ms"});
        }
        config
    }

    /// The runtime configuration of a distributor whose configuration is that of step 1.
    pub(crate) fn runtime_file(&self, step: Step) -> Value {
        let Some(multi) = step.multi(self.old) else {
            return json!({});
        };
        let mut wanted = json!({});
        if multi.primary == NEW_STORE {
            wanted["primary"] = multi.primary.into();
        }
        if multi.mirror_enabled || multi.primary == NEW_STORE {
            wanted["mirror_enabled"] = multi.mirror_enabled.into();
        }
        match wanted == json!({}) {
            true => wanted,
            false => json!({"multi_kv_config": wanted}),
        }
    }
}

/// Gossip that searches for members more often than by default, and leaves sooner, since whole
/// steps last seconds here.
fn haste() -> Value {
    json!({
        "min_join_backoff": "200ms",
        "max_join_backoff": "1s",
        "rejoin_interval": "500ms",
        // Who was killed a moment ago is waited for until then.
        "leave_timeout": "2s",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(runtime: bool) -> Surroundings {
        Surroundings {
            old: OldStore::Etcd,
            old_section: json!({"endpoints": ["127.0.0.1:2379"]}),
            downstream: "http://127.0.0.1:1".to_owned(),
            runtime,
            beside: None,
            limits: json!({"ha_tracker_failover_timeout": "20s"}),
            mirror_timeout: "1s".to_owned(),
            rendered: Vec::new(),
        }
    }

    fn kvstore(runtime: bool, step: u8) -> Value {
        let place = json!({"bind_port": 1, "join_members": ["127.0.0.1:2"]});
        let config = surroundings(runtime).config(Step(step), Protocol::Chitchat, &place);
        config["distributor"]["ha_tracker"]["kvstore"].clone()
    }

    fn numbers(legs: &[Leg]) -> Vec<(u8, u8)> {
        legs.iter().map(|leg| (leg.from.0, leg.to.0)).collect()
    }

    fn walk(runtime: bool, rollback_at: Option<Step>) -> Walk {
        Walk {
            runtime,
            rollback_at,
            protocol: Protocol::Chitchat,
            change_to: None,
        }
    }

    #[test]
    fn the_walk_takes_one_step_at_a_time() {
        let forwards = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)];
        assert_eq!(numbers(&walk(false, None).legs()), forwards);
        let there_and_back = [(0, 1), (1, 2), (2, 3), (3, 2), (2, 1), (1, 0)];
        assert_eq!(numbers(&walk(false, Some(Step(3))).legs()), there_and_back);
        assert_eq!(walk(false, Some(Step(5))).legs().len(), 10);
        assert_eq!(
            numbers(&walk(false, Some(Step(1))).legs()),
            [(0, 1), (1, 0)]
        );
        let restarts = walk(false, Some(Step(5))).legs();
        assert!(restarts.iter().all(|leg| leg.way == Way::Restart));
    }

    #[test]
    fn the_protocol_changes_where_there_is_no_gossip() {
        let legs = Walk {
            change_to: Some(Protocol::Memberlist),
            ..walk(false, None)
        }
        .legs();
        assert_eq!(legs.len(), 15);
        let by = |leg: &Leg| leg.protocol == Protocol::Memberlist;
        let first = legs.iter().position(by).unwrap();
        assert_eq!((first, legs[first].from), (10, Step::FIRST));
        assert!(legs[first..].iter().all(by));
        assert_eq!(legs[14].to, Step::LAST);
    }

    #[test]
    fn the_runtime_file_goes_between_the_steps_that_have_one() {
        let ways = |walk: Walk| walk.legs().iter().map(|leg| leg.way).collect::<Vec<_>>();
        let by_file = Way::RuntimeFile;
        assert_eq!(
            ways(walk(true, None)),
            [Way::Restart, by_file, by_file, by_file, Way::Restart]
        );
        let back = ways(walk(true, Some(Step(2))));
        assert_eq!(back, [Way::Restart, by_file, by_file, Way::Restart]);
    }

    #[test]
    fn the_steps_are_those_of_the_guide() {
        let multi = |primary, secondary, mirror_enabled| {
            Some(Multi {
                primary,
                secondary,
                mirror_enabled,
            })
        };
        let steps: Vec<_> = (0..=5)
            .map(|step| Step(step).multi(OldStore::Consul))
            .collect();
        let expected = [
            None,
            multi("consul", "memberlist", false),
            multi("consul", "memberlist", true),
            multi("memberlist", "consul", true),
            multi("memberlist", "consul", false),
            None,
        ];
        assert_eq!(steps, expected);
        let primaries: Vec<_> = (0..=5)
            .map(|step| Step(step).primary(OldStore::Etcd))
            .collect();
        assert_eq!(primaries[..3], ["etcd"; 3]);
        assert_eq!(primaries[3..], ["memberlist"; 3]);
        assert!(Step::new(6).is_err());
    }

    #[test]
    fn the_ends_know_one_store_alone() {
        let first = kvstore(false, 0);
        let expected = json!({"store": "etcd", "etcd": {"endpoints": ["127.0.0.1:2379"]}});
        assert_eq!(first, expected);
        let last = kvstore(false, 5);
        let join = json!({"join_members": ["127.0.0.1:2"]});
        assert_eq!(last, json!({"store": "memberlist", "memberlist": join}));
        for runtime in [false, true] {
            let config = surroundings(runtime).config(
                Step::FIRST,
                Protocol::Chitchat,
                &json!({"bind_port": 1}),
            );
            assert_eq!(config.get("memberlist"), None);
            assert_eq!(config.get("runtime_config"), None);
        }
    }

    #[test]
    fn each_step_is_configured_or_overridden() {
        assert_eq!(kvstore(false, 3)["multi"]["primary"], "memberlist");
        assert_eq!(kvstore(false, 4)["multi"]["mirror_enabled"], false);
        assert_eq!(kvstore(true, 3), kvstore(false, 1));
        let with_file = surroundings(true);
        let files: Vec<Value> = (0..=5)
            .map(|step| with_file.runtime_file(Step(step)))
            .collect();
        let expected = [
            json!({}),
            json!({}),
            json!({"multi_kv_config": {"mirror_enabled": true}}),
            json!({"multi_kv_config": {"primary": "memberlist", "mirror_enabled": true}}),
            json!({"multi_kv_config": {"primary": "memberlist", "mirror_enabled": false}}),
            json!({}),
        ];
        assert_eq!(files, expected);
    }

    #[test]
    fn what_is_rendered_says_which_step_it_is() {
        let rendered = (0..=5).map(|step| format!("rendered: {step}")).collect();
        let surroundings = Surroundings {
            rendered,
            ..surroundings(false)
        };
        for step in 0..=5 {
            let place = json!({"bind_port": 1, "join_members": ["127.0.0.1:2"]});
            let member = surroundings.member(Step(step), Protocol::Chitchat, &place);
            assert_eq!(member.yaml, format!("rendered: {step}"));
            let overlay = member.overlay.unwrap();
            for decides in ["\"store\"", "\"primary\"", "\"mirror_enabled\""] {
                assert!(!overlay.contains(decides), "{overlay}");
            }
        }
    }

    #[test]
    fn those_to_join_stand_with_the_store() {
        let place = json!({"bind_port": 1, "join_members": ["a:1"]});
        let config = surroundings(false).config(Step(2), Protocol::Chitchat, &place);
        assert_eq!(config["memberlist"]["bind_port"], 1);
        assert_eq!(config["memberlist"].get("join_members"), None);
        let section = &config["distributor"]["ha_tracker"]["kvstore"]["memberlist"];
        assert_eq!(section["join_members"], json!(["a:1"]));
    }
}
