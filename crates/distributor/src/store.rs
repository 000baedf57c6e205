//! The one place that turns configuration into a store.

use std::sync::Arc;

use futures::future::BoxFuture;
use ha_tracker::ReplicaDesc;
use kv_core::{InMemoryStore, KvMetrics, MetricsStore, PrefixStore, Store, StoreRole};
use kv_memberlist::{Keyring, Memberlist, MemberlistConfig};
use kv_multi::{MultiConfig, MultiHandle, MultiStore, Part};
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
    /// Two stores make no multi store.
    #[error("multi: {0}")]
    Multi(#[from] kv_multi::ConfigError),
    /// A part of a multi store is none that there is.
    #[error("multi: there is no store {0:?} to make a multi store of")]
    NoSuchStore(String),
    /// Not in this binary.
    #[error("this build has no {0} store; build it with the cargo feature of that name")]
    NotBuilt(&'static str),
}

/// The store of the elections, as the tracker sees it: keys below the prefix, every call measured.
pub(crate) struct Backend {
    pub(crate) store: Arc<dyn Store<ReplicaDesc>>,
    /// The gossip that it, or one part of it, is built on.
    pub(crate) gossip: Option<Memberlist>,
    /// The switch between its two parts, if it has two.
    pub(crate) multi: Option<(MultiStore<ReplicaDesc>, MultiHandle<ReplicaDesc>)>,
}

impl Backend {
    /// A store of the caller's own.
    pub(crate) fn given(
        store: Arc<dyn Store<ReplicaDesc>>,
        config: &Config,
        registry: &mut Registry,
    ) -> Self {
        let open = Open::new(config, registry);
        Self {
            store: open.decorated(store, StoreRole::Primary),
            gossip: None,
            multi: None,
        }
    }
}

/// Whether a store of this kind can be made as configured. Listens nowhere and connects to nothing.
pub(crate) fn check(config: &Config, kind: StoreKind) -> Result<(), String> {
    let checked = match client(&config.distributor.ha_tracker.kvstore, kind) {
        Some(client) => client.map(drop),
        None => keyring(&config.memberlist).map(drop),
    };
    checked.map_err(|error| error.to_string())
}

/// The configured store. Waits for no server and no other member.
pub(crate) async fn backend(
    config: &Config,
    registry: &mut Registry,
) -> Result<Backend, StoreConfigError> {
    let kvstore = &config.distributor.ha_tracker.kvstore;
    let mut open = Open::new(config, registry);
    if kvstore.store != StoreKind::Multi {
        return Ok(Backend {
            store: open.store(kvstore.store, StoreRole::Primary).await?.0,
            gossip: open.gossip,
            multi: None,
        });
    }
    let settings = &kvstore.multi;
    let single = |name: &str| {
        StoreKind::single(name).ok_or_else(|| StoreConfigError::NoSuchStore(name.to_owned()))
    };
    let primary = single(&settings.primary)?;
    let secondary = single(&settings.secondary)?;
    let (primary, primary_usable) = open.store(primary, StoreRole::Primary).await?;
    let (secondary, secondary_usable) = open.store(secondary, StoreRole::Secondary).await?;
    let multi = MultiConfig {
        mirror_enabled: settings.mirror_enabled,
        mirror_timeout: settings.mirror_timeout,
        ..MultiConfig::default()
    };
    let (store, handle) = kv_multi::start(
        Part::when(primary, primary_usable),
        Part::when(secondary, secondary_usable),
        multi,
        KV_NAME,
        open.registry,
    )?;
    Ok(Backend {
        store: Arc::new(MetricsStore::new(
            Arc::new(store.clone()),
            open.metrics,
            StoreRole::Primary,
            KV_NAME,
        )),
        gossip: open.gossip,
        multi: Some((store, handle)),
    })
}

/// Makes stores.
struct Open<'a> {
    config: &'a Config,
    registry: &'a mut Registry,
    metrics: KvMetrics,
    gossip: Option<Memberlist>,
}

impl<'a> Open<'a> {
    fn new(config: &'a Config, registry: &'a mut Registry) -> Self {
        Self {
            config,
            metrics: KvMetrics::register(registry),
            registry,
            gossip: None,
        }
    }

    /// A store, and the wait until it can be used.
    async fn store(
        &mut self,
        kind: StoreKind,
        role: StoreRole,
    ) -> Result<(Arc<dyn Store<ReplicaDesc>>, BoxFuture<'static, ()>), StoreConfigError> {
        if let Some(client) = client(&self.config.distributor.ha_tracker.kvstore, kind) {
            let at_once = Box::pin(std::future::ready(()));
            return Ok((self.decorated(client?, role), at_once));
        }
        let (store, gossip) = memberlist(&self.config.memberlist, self.registry).await?;
        let joined = Box::pin(gossip.ready());
        self.gossip = Some(gossip);
        Ok((self.decorated(store, role), joined))
    }

    fn decorated(
        &self,
        store: Arc<dyn Store<ReplicaDesc>>,
        role: StoreRole,
    ) -> Arc<dyn Store<ReplicaDesc>> {
        let measured = MetricsStore::new(store, self.metrics.clone(), role, KV_NAME);
        let prefix = &self.config.distributor.ha_tracker.kvstore.prefix;
        Arc::new(PrefixStore::new(Arc::new(measured), prefix))
    }
}

/// A store that needs nothing but its client; `None` for gossip, in which this process takes part.
fn client(
    config: &KvStoreConfig,
    kind: StoreKind,
) -> Option<Result<Arc<dyn Store<ReplicaDesc>>, StoreConfigError>> {
    Some(match kind {
        StoreKind::Memberlist => return None,
        StoreKind::Multi => Err(StoreConfigError::NoSuchStore("multi".to_owned())),
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
) -> Result<(Arc<dyn Store<ReplicaDesc>>, Memberlist), StoreConfigError> {
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
    Ok((Arc::new(store), gossip))
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
