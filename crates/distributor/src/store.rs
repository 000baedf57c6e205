//! The one place that turns configuration into a store.

use std::sync::Arc;

use ha_tracker::ReplicaDesc;
use kv_core::{InMemoryStore, KvMetrics, MetricsStore, PrefixStore, Store, StoreRole};
use kv_memberlist::{Keyring, Memberlist, MemberlistConfig};
use prometheus_client::registry::Registry;

use crate::config::{Config, KvStoreConfig, MemberlistSettings, StoreKind};
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
    /// An encryption key of gossip is none.
    #[error("memberlist.encryption_keys: {0}")]
    EncryptionKeys(#[from] kv_memberlist::KeyError),
    /// Gossip cannot start.
    #[error("{0}")]
    Memberlist(#[from] kv_memberlist::StartError),
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

/// The store of the elections, and the gossip below it if there is any.
pub(crate) struct Backend {
    pub(crate) store: Arc<dyn Store<ReplicaDesc>>,
    pub(crate) gossip: Option<Memberlist>,
}

impl Backend {
    pub(crate) fn of(store: Arc<dyn Store<ReplicaDesc>>) -> Self {
        Self {
            store,
            gossip: None,
        }
    }
}

/// Whether the configured backend can be made. Listens nowhere and connects to nothing.
pub(crate) fn check(config: &Config) -> Result<(), StoreConfigError> {
    match client(&config.distributor.ha_tracker.kvstore) {
        Some(client) => client.map(|_| ()),
        None => keyring(&config.memberlist).map(|_| ()),
    }
}

/// The configured backend. Waits for no server and no other member.
pub(crate) async fn backend(
    config: &Config,
    registry: &mut Registry,
) -> Result<Backend, StoreConfigError> {
    match client(&config.distributor.ha_tracker.kvstore) {
        Some(client) => client.map(Backend::of),
        None => memberlist(&config.memberlist, registry).await,
    }
}

/// A store that needs nothing but its client; `None` for gossip, in which this process takes part.
fn client(config: &KvStoreConfig) -> Option<Result<Arc<dyn Store<ReplicaDesc>>, StoreConfigError>> {
    Some(match config.store {
        StoreKind::Memberlist => return None,
        StoreKind::Inmemory => Ok(Arc::new(InMemoryStore::default())),
        #[cfg(feature = "consul")]
        StoreKind::Consul => consul(config),
        #[cfg(not(feature = "consul"))]
        StoreKind::Consul => Err(StoreConfigError::NotBuilt("consul")),
        #[cfg(feature = "etcd")]
        StoreKind::Etcd => etcd(config),
        #[cfg(not(feature = "etcd"))]
        StoreKind::Etcd => Err(StoreConfigError::NotBuilt("etcd")),
    })
}

fn keyring(settings: &MemberlistSettings) -> Result<Keyring, StoreConfigError> {
    let keys: Vec<String> = settings
        .encryption_keys
        .iter()
        .map(|key| key.expose().to_owned())
        .collect();
    Ok(Keyring::parse(&keys)?)
}

async fn memberlist(
    settings: &MemberlistSettings,
    registry: &mut Registry,
) -> Result<Backend, StoreConfigError> {
    let config = MemberlistConfig {
        node_name: settings.node_name.clone(),
        randomize_node_name: settings.randomize_node_name,
        bind_addr: settings.bind_addr.clone(),
        bind_port: settings.bind_port,
        advertise_addr: settings.advertise_addr,
        advertise_port: settings.advertise_port,
        join_members: settings.join_members.clone(),
        cluster_label: settings.cluster_label.clone(),
        cluster_label_verification_disabled: settings.cluster_label_verification_disabled,
        gossip_interval: settings.gossip_interval,
        rejoin_interval: settings.rejoin_interval,
        min_join_backoff: settings.min_join_backoff,
        max_join_backoff: settings.max_join_backoff,
        max_join_retries: saturating(settings.max_join_retries),
        abort_if_cluster_join_fails: settings.abort_if_cluster_join_fails,
        abort_if_cluster_fast_join_fails: settings.abort_if_cluster_fast_join_fails,
        leave_timeout: settings.leave_timeout,
        left_ingesters_timeout: settings.left_ingesters_timeout,
        obsolete_entries_timeout: settings.obsolete_entries_timeout,
        message_history_buffer_bytes: usize::try_from(settings.message_history_buffer_bytes)
            .unwrap_or(usize::MAX),
        compression_enabled: settings.compression_enabled,
        encryption_keys: keyring(settings)?,
    };
    let (store, gossip) = kv_memberlist::start(config, ha_tracker::CODEC, registry).await?;
    Ok(Backend {
        store: Arc::new(store),
        gossip: Some(gossip),
    })
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
