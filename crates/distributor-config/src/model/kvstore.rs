//! The typed configuration of the key-value store. Names follow dskit's YAML.

use kv_consul::ConsulConfig;
use kv_etcd::EtcdConfig;
use kv_multi::MultiConfig;
use settings::{Kind, Report, settings, words};

settings! {
    /// `distributor.ha_tracker.kvstore.*`.
    #[serde(deny_unknown_fields)]
    pub struct KvStoreConfig {
        /// Store of the elections: memberlist (gossip between the distributors), consul, etcd,
        /// inmemory (for a single process) or multi (two of these, to move from one to the other).
        #[setting(
            flag = "distributor.ha-tracker.store",
            kind = Kind::OneOf(StoreKind::WORDS),
            default = "memberlist",
            basic
        )]
        pub store: StoreKind,
        /// Prefix of every key in the store.
        #[setting(
            flag = "distributor.ha-tracker.prefix",
            kind = Kind::Text,
            default = "ha-tracker/"
        )]
        pub prefix: String;
        /// How to reach Consul.
        pub consul: ConsulConfig = ConsulConfig::default(),
        /// How to reach etcd.
        pub etcd: EtcdConfig = EtcdConfig::default(),
        /// The two stores of a multi store.
        pub multi: MultiSettings = MultiSettings::default(),
    }
}

impl KvStoreConfig {
    /// Why failovers without loss cannot have their records in this store; `None` if they can.
    pub fn lossless_refusal(&self) -> Option<String> {
        if self.store == StoreKind::Multi {
            return Some(
                "its records cannot be moved from one store to another, and \
                 distributor.ha_tracker.kvstore.store is multi; set classic until the fleet has one \
                 store"
                    .to_owned(),
            );
        }
        ha_failover::records_prefix(&self.prefix)
            .is_none()
            .then(|| {
                format!(
                    "its records stand beside the elections, and \
                 distributor.ha_tracker.kvstore.prefix is {:?}, which does not end with one slash \
                 after a name; set ha-tracker/ in all distributors of the fleet, or classic",
                    self.prefix
                )
            })
    }

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

words! {
    /// `kvstore.store`.
    pub enum StoreKind {
        /// Consul.
        Consul = "consul",
        /// etcd.
        Etcd = "etcd",
        /// For one process only.
        Inmemory = "inmemory",
        /// Gossip, set up by [`MemberlistConfig`](kv_memberlist::MemberlistConfig).
        Memberlist = "memberlist",
        /// Two of the others, set up by [`MultiSettings`].
        Multi = "multi",
    }
}

impl StoreKind {
    /// Those that a multi store can be made of.
    pub const SINGLE: [Self; 4] = [Self::Consul, Self::Etcd, Self::Inmemory, Self::Memberlist];

    /// The store of this name, if a multi store can be made of it.
    pub fn single(name: &str) -> Option<Self> {
        Self::SINGLE.into_iter().find(|kind| kind.as_str() == name)
    }
}

settings! {
    /// `kvstore.multi.*`.
    pub struct MultiSettings {
        /// The store that is read and decides: consul, etcd, inmemory or memberlist, each with its
        /// own settings. multi_kv_config.primary of the runtime configuration overrides it.
        #[setting(flag = "primary", kind = Kind::Text, default = "")]
        pub primary: String,
        /// The other store, which is written to if mirroring is enabled.
        #[setting(flag = "secondary", kind = Kind::Text, default = "")]
        pub secondary: String;
        /// Whether and how the secondary is written to.
        #[serde(flatten)]
        pub mirroring: MultiConfig = MultiConfig::default(),
    }
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
                "got {:?}, the same as {}; the two must differ",
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
                "got \"multi\", but a multi store cannot contain another multi store; must be \
                 one of {choices}"
            ),
        ),
        other if StoreKind::single(other).is_none() => {
            report.bad(setting, format!("got {other:?}; must be one of {choices}"));
        }
        _ => {}
    }
}
