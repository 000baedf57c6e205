//! The one place that turns configuration into a store.

use std::sync::Arc;

use ha_tracker::ReplicaDesc;
use kv_core::{InMemoryStore, KvMetrics, MetricsStore, PrefixStore, Store, StoreRole};
use prometheus_client::registry::Registry;

use crate::config::{KvStoreConfig, StoreKind};
use crate::tls::TlsError;

/// The `kv_name` label of the tracker's store.
const KV_NAME: &str = "distributor-hatracker";

/// Why no store can be made as configured.
#[derive(Debug, thiserror::Error)]
pub enum StoreConfigError {
    /// The Consul settings cannot work.
    #[cfg(feature = "consul")]
    #[error("{0}")]
    Consul(#[from] kv_consul::ConfigError),
    /// The etcd settings cannot work.
    #[cfg(feature = "etcd")]
    #[error("{0}")]
    Etcd(#[from] kv_etcd::ConfigError),
    /// The store cannot hold any key with this prefix.
    #[error("{store} cannot hold keys that begin with {prefix:?}: {reason}; change kvstore.prefix")]
    Prefix {
        /// Name of the store.
        store: &'static str,
        /// `kvstore.prefix`.
        prefix: String,
        /// The store's rule.
        reason: &'static str,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[source] TlsError),
    /// Not in this binary.
    #[error("this build has no {0} store; build it with the cargo feature of that name")]
    NotBuilt(&'static str),
}

/// The configured backend. Connects to nothing yet.
pub(crate) fn backend(
    config: &KvStoreConfig,
) -> Result<Arc<dyn Store<ReplicaDesc>>, StoreConfigError> {
    match config.store {
        StoreKind::Inmemory => Ok(Arc::new(InMemoryStore::default())),
        #[cfg(feature = "consul")]
        StoreKind::Consul => consul(config),
        #[cfg(not(feature = "consul"))]
        StoreKind::Consul => Err(StoreConfigError::NotBuilt("consul")),
        #[cfg(feature = "etcd")]
        StoreKind::Etcd => etcd(config),
        #[cfg(not(feature = "etcd"))]
        StoreKind::Etcd => Err(StoreConfigError::NotBuilt("etcd")),
    }
}

#[cfg(feature = "consul")]
fn consul(config: &KvStoreConfig) -> Result<Arc<dyn Store<ReplicaDesc>>, StoreConfigError> {
    if let Some(reason) = kv_consul::refusal(&config.prefix) {
        return Err(StoreConfigError::Prefix {
            store: "consul",
            prefix: config.prefix.clone(),
            reason,
        });
    }
    let settings = &config.consul;
    let tls = if settings.host.expose().starts_with("https://") {
        let defaults = crate::config::ClientTls::default();
        Some(crate::tls::client_config(&defaults).map_err(StoreConfigError::Tls)?)
    } else {
        None
    };
    let consul = kv_consul::ConsulConfig {
        host: settings.host.expose().to_owned(),
        acl_token: settings
            .acl_token
            .as_ref()
            .map(|token| token.expose().to_owned()),
        http_client_timeout: settings.http_client_timeout,
        consistent_reads: settings.consistent_reads,
        watch_rate_limit: settings.watch_rate_limit,
        watch_burst_size: saturating(settings.watch_burst_size),
        cas_retry_delay: settings.cas_retry_delay,
        tls,
    };
    Ok(Arc::new(kv_consul::open(&consul, ha_tracker::CODEC)?))
}

#[cfg(feature = "etcd")]
fn etcd(config: &KvStoreConfig) -> Result<Arc<dyn Store<ReplicaDesc>>, StoreConfigError> {
    let settings = &config.etcd;
    let tls = match settings.tls() {
        Some(tls) => Some(crate::tls::client_config(&tls).map_err(StoreConfigError::Tls)?),
        None => None,
    };
    let credentials = (!settings.username.is_empty()).then(|| kv_etcd::Credentials {
        user: settings.username.clone(),
        password: settings
            .password
            .as_ref()
            .map(|password| password.expose().to_owned())
            .unwrap_or_default(),
    });
    let etcd = kv_etcd::EtcdConfig {
        endpoints: settings
            .endpoints
            .iter()
            .map(|endpoint| endpoint.expose().to_owned())
            .collect(),
        dial_timeout: settings.dial_timeout,
        max_retries: saturating(settings.max_retries),
        tls,
        credentials,
    };
    Ok(Arc::new(kv_etcd::open(&etcd, ha_tracker::CODEC)?))
}

#[cfg(any(feature = "consul", feature = "etcd"))]
fn saturating(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The tracker's view of a backend: keys below the prefix, every call measured.
pub(crate) fn decorate(
    backend: Arc<dyn Store<ReplicaDesc>>,
    prefix: &str,
    registry: &mut Registry,
) -> Arc<dyn Store<ReplicaDesc>> {
    let metrics = KvMetrics::register(registry);
    let measured = MetricsStore::new(backend, metrics, StoreRole::Primary, KV_NAME);
    Arc::new(PrefixStore::new(Arc::new(measured), prefix))
}
