//! The typed configuration of the key-value store. Names follow dskit's YAML.

use kv_consul::ConsulConfig;
use kv_etcd::EtcdConfig;
use kv_multi::MultiConfig;
use serde::{Deserialize, Serialize};
use settings::Report;

/// `distributor.ha_tracker.kvstore.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvStoreConfig {
    /// Which store.
    pub store: StoreKind,
    /// Prefix of every key, default `ha-tracker/`.
    pub prefix: String,
    /// How to reach Consul.
    pub consul: ConsulConfig,
    /// How to reach etcd.
    pub etcd: EtcdConfig,
    /// Which two stores make a multi store.
    pub multi: MultiSettings,
}

impl KvStoreConfig {
    /// The stores whose settings are used: one, or primary and secondary of a multi store, as far
    /// as they are stores.
    pub fn in_use(&self) -> Vec<StoreKind> {
        match self.store {
            StoreKind::Multi => [&self.multi.primary, &self.multi.secondary]
                .into_iter()
                .filter_map(|name| StoreKind::single(name))
                .collect(),
            single => vec![single],
        }
    }
}

/// `kvstore.store`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// `consul`.
    Consul,
    /// `etcd`.
    Etcd,
    /// `inmemory`: one process only.
    Inmemory,
    /// `memberlist`: gossip, set up by [`MemberlistConfig`](kv_memberlist::MemberlistConfig).
    Memberlist,
    /// `multi`: two of the others, set up by [`MultiSettings`].
    Multi,
}

impl StoreKind {
    /// Those that a multi store can be made of.
    pub const SINGLE: [Self; 4] = [Self::Consul, Self::Etcd, Self::Inmemory, Self::Memberlist];

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consul => "consul",
            Self::Etcd => "etcd",
            Self::Inmemory => "inmemory",
            Self::Memberlist => "memberlist",
            Self::Multi => "multi",
        }
    }

    /// The store of this name, if a multi store can be made of it.
    pub fn single(name: &str) -> Option<Self> {
        Self::SINGLE.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// `kvstore.multi.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MultiSettings {
    /// Name of the store that is read.
    pub primary: String,
    /// Name of the other.
    pub secondary: String,
    /// Whether and how the other is written to.
    #[serde(flatten)]
    pub mirroring: MultiConfig,
}

impl MultiSettings {
    /// There must be two stores, and two different ones.
    pub(crate) fn check(&self, report: &mut Report<'_>) {
        let primary = "the store that is used now";
        check_part(report, "primary", &self.primary, primary);
        let secondary = "the store to move to, such as memberlist";
        check_part(report, "secondary", &self.secondary, secondary);
        self.mirroring.check(report);
        if self.primary == self.secondary && report.is_empty() {
            let problem = format!(
                "got {:?}, which is {} too; the two must differ",
                self.secondary,
                report.path("primary")
            );
            report.bad("secondary", problem);
        }
    }
}

fn check_part(report: &mut Report<'_>, setting: &'static str, value: &str, which: &str) {
    let choices = StoreKind::SINGLE.map(StoreKind::as_str).join(", ");
    match value {
        "" => report.missing(
            setting,
            format!("is missing, and kvstore.store is multi; name {which}: one of {choices}"),
        ),
        "multi" => report.bad(
            setting,
            format!(
                "got \"multi\", but a multi store cannot be made of multi stores; must be one of \
                 {choices}"
            ),
        ),
        other if StoreKind::single(other).is_none() => {
            report.bad(setting, format!("got {other:?}; must be one of {choices}"));
        }
        _ => {}
    }
}
