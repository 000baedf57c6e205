//! The schema: the settings of all crates under their prefixes, in the order of the reference.

use std::sync::LazyLock;

use ha_failover::{FailoverConfig, FailoverLimits};
use ha_tracker::{HaLimits, TrackerConfig};
use ingest::{
    BasicAuth, ClientTls, DownstreamConfig, IngestConfig, InstanceLimits, PushLimits,
    RetryAfterHeader,
};
use kv_consul::ConsulConfig;
use kv_etcd::EtcdConfig;
use kv_memberlist::MemberlistConfig;
use kv_multi::MultiConfig;
use settings::Setting;

use crate::model::{
    Config, HaTrackerConfig, KvStoreConfig, MultiSettings, RuntimeConfigSource, ServerConfig,
    ServerTls,
};
use crate::table::downstreams;

/// What every environment variable of ours begins with.
pub(crate) const ENVIRONMENT_PREFIX: &str = "HA_DISTRIBUTOR_";

/// The section of gossip, as in Mimir's files.
pub(crate) const MEMBERLIST: &str = "memberlist";
/// Where the section may stand as well; Mimir has no such place. It is nearer to the store
/// there: what it sets wins over the same in [`MEMBERLIST`] of the same file.
pub(crate) const MEMBERLIST_IN_KVSTORE: &str = "distributor.ha_tracker.kvstore.memberlist";
/// The section of the answers that ask for another attempt.
pub(crate) const RETRY_AFTER_HEADER: &str = "distributor.retry_after_header";
/// The section of the tracker.
const HA_TRACKER: &str = "distributor.ha_tracker";
/// The section of a store.
pub(crate) const CONSUL: &str = "distributor.ha_tracker.kvstore.consul";
/// The section of a store.
pub(crate) const ETCD: &str = "distributor.ha_tracker.kvstore.etcd";
/// The section of a store.
pub(crate) const MULTI_KV: &str = "distributor.ha_tracker.kvstore.multi";

/// Every setting of the process. Sections stay together: the reference and `/config` follow this
/// order.
pub(crate) fn all_settings() -> &'static [Setting] {
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let (http, listeners) = split(ServerConfig::SETTINGS, "http_listen_conn_limit");
        let (samples, ingestion) = split(PushLimits::SETTINGS, "ingestion_rate");
        [
            Config::SETTINGS.to_vec(),
            own("server", http),
            tls("http", "HTTP"),
            tls("grpc", "gRPC"),
            own("server", listeners),
            own(HA_TRACKER, HaTrackerConfig::SETTINGS),
            joined(
                HA_TRACKER,
                "distributor.ha-tracker",
                TrackerConfig::SETTINGS,
            ),
            own("distributor.ha_tracker.kvstore", KvStoreConfig::SETTINGS),
            of_store(
                CONSUL,
                "distributor.ha-tracker.consul",
                "Consul",
                ConsulConfig::SETTINGS,
            ),
            of_store(
                ETCD,
                "distributor.ha-tracker.etcd",
                "etcd",
                EtcdConfig::SETTINGS,
            ),
            of_store(
                MULTI_KV,
                "distributor.ha-tracker.multi",
                "Multi",
                MultiSettings::SETTINGS,
            ),
            mirroring(),
            joined(
                "distributor.ha_failover",
                "distributor.ha-failover",
                FailoverConfig::SETTINGS,
            ),
            joined("distributor", "distributor", IngestConfig::SETTINGS),
            joined(
                "distributor.instance_limits",
                "distributor.instance-limits",
                InstanceLimits::SETTINGS,
            ),
            joined(
                RETRY_AFTER_HEADER,
                "distributor.retry-after-header",
                RetryAfterHeader::SETTINGS,
            ),
            vec![downstreams(downstream())],
            joined("limits", "distributor", samples),
            elections(),
            joined("limits", "distributor.ha-tracker", FailoverLimits::SETTINGS),
            joined("limits", "distributor", ingestion),
            own("runtime_config", RuntimeConfigSource::SETTINGS),
            joined(MEMBERLIST, "memberlist", MemberlistConfig::SETTINGS),
        ]
        .concat()
    });
    &SETTINGS
}

/// The settings of one entry of `distributor.downstream`.
pub(crate) fn downstream() -> &'static [Setting] {
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let (request, rest) = split(DownstreamConfig::SETTINGS, "bearer_token");
        let (bearer, places) = split(rest, "max_concurrency");
        [
            request.to_vec(),
            own("basic_auth", BasicAuth::SETTINGS),
            bearer.to_vec(),
            own("tls", ClientTls::SETTINGS),
            places.to_vec(),
        ]
        .concat()
    });
    &SETTINGS
}

/// Flags that have another name as well: the other, and the one of the table.
pub(crate) const FLAGS_ALSO: [(&str, &str); 2] = [
    ("h", "help"),
    (
        "distributor.ha-tracker.sample-failover-timeout",
        "distributor.ha-tracker.failover-sample-timeout",
    ),
];

/// The environment variable of a path.
pub(crate) fn environment_name(path: &str) -> String {
    format!(
        "{ENVIRONMENT_PREFIX}{}",
        path.replace('.', "__").to_uppercase()
    )
}

/// The path below [`MEMBERLIST_IN_KVSTORE`] of a setting below [`MEMBERLIST`].
pub(crate) fn path_in_kvstore(path: &str) -> Option<String> {
    let name = path.strip_prefix(MEMBERLIST)?.strip_prefix('.')?;
    Some(format!("{MEMBERLIST_IN_KVSTORE}.{name}"))
}

/// The rows before and from the one called `path`.
fn split(rows: &'static [Setting], path: &str) -> (&'static [Setting], &'static [Setting]) {
    let at = rows.iter().position(|row| row.path == path);
    rows.split_at(at.unwrap_or(rows.len()))
}

/// The program's own rows: their flags are whole, since Mimir's do not follow the paths.
fn own(section: &str, rows: &[Setting]) -> Vec<Setting> {
    let rows = rows.iter().map(|row| Setting {
        path: kept(format!("{section}.{}", row.path)),
        ..*row
    });
    rows.collect()
}

/// The TLS of a listener; the help says of which.
fn tls(protocol: &str, name: &str) -> Vec<Setting> {
    let rows = own(
        &format!("server.{protocol}_tls_config"),
        ServerTls::SETTINGS,
    )
    .into_iter();
    let rows = rows.map(|row| Setting {
        flag: match row.flag {
            "" => "",
            flag => kept(format!("server.{protocol}-tls-{flag}")),
        },
        help: kept(
            row.help
                .replace("the server", &format!("the {name} server"))
                .replace("Whether clients", &format!("Whether {name} clients")),
        ),
        ..row
    });
    rows.collect()
}

/// The rows of a crate under the prefixes of their section.
fn joined(section: &str, flags: &str, rows: &[Setting]) -> Vec<Setting> {
    let rows = rows.iter().map(|row| Setting {
        path: kept(format!("{section}.{}", row.path)),
        flag: kept(format!("{flags}.{}", row.flag)),
        ..*row
    });
    rows.collect()
}

/// A name or text of the schema, which is made once and lives as long as the process.
fn kept(text: String) -> &'static str {
    text.leak()
}

/// [`joined`]; the help says which store it is about.
fn of_store(section: &str, flags: &str, store: &str, rows: &[Setting]) -> Vec<Setting> {
    let rows = joined(section, flags, rows).into_iter();
    let rows = rows.map(|row| Setting {
        help: kept(format!("{store}: {}", continued(row.help))),
        ..row
    });
    rows.collect()
}

/// A sentence as it goes on after a colon: abbreviations keep their capitals.
fn continued(sentence: &str) -> String {
    let mut letters = sentence.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => sentence.to_owned(),
    }
}

/// The settings of the multi store that the runtime configuration overrides.
fn mirroring() -> Vec<Setting> {
    let mut rows = of_store(
        MULTI_KV,
        "distributor.ha-tracker.multi",
        "Multi",
        MultiConfig::SETTINGS,
    );
    for row in &mut rows {
        if row.path.ends_with(".mirror_enabled") {
            row.help = kept(format!(
                "{} multi_kv_config.mirror_enabled of the runtime configuration overrides it.",
                row.help
            ));
        }
    }
    rows
}

/// Limits of the tracker that an earlier Mimir had in the tracker's own section.
const ONCE_OF_THE_TRACKER: [&str; 3] = [
    "ha_tracker_update_timeout",
    "ha_tracker_update_timeout_jitter_max",
    "ha_tracker_failover_timeout",
];

/// The tracker's settings of a tenant.
fn elections() -> Vec<Setting> {
    let mut rows = joined("limits", "distributor.ha-tracker", HaLimits::SETTINGS);
    for (row, name) in rows.iter_mut().zip(HaLimits::SETTINGS) {
        if ONCE_OF_THE_TRACKER.contains(&name.path) {
            row.also = kept(format!("distributor.ha_tracker.{}", name.path));
        }
    }
    rows
}
