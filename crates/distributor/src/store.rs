//! The one place that turns configuration into a store.

use std::sync::Arc;
use std::time::Duration;

use distributor_config::{Config, KvStoreConfig, StoreKind};
use futures::future::BoxFuture;
use ha_tracker::ReplicaDesc;
use kv_core::{InMemoryStore, KvMetrics, MetricsStore, PrefixStore, Store, StoreRole};
use kv_memberlist::{Memberlist, MemberlistConfig};
use kv_multi::{MultiHandle, MultiStore, Part};
use prometheus_client::registry::Registry;
#[cfg(any(feature = "consul", feature = "etcd"))]
use tls_files::{ClientFiles, ReloadingClient};
use watched_files::Reload;

/// The `kv_name` label of the tracker's store.
const KV_NAME: &str = "distributor-hatracker";
/// Time in which a write has reached all members of a fleet that gossips.
const GOSSIP_SETTLES: Duration = Duration::from_secs(1);

/// Why the store cannot be opened as configured.
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
    /// An encryption key of gossip is not valid.
    #[error("memberlist.encryption_keys: {0}")]
    EncryptionKeys(#[from] kv_memberlist::KeyError),
    /// Gossip cannot start.
    #[error("memberlist: {0}")]
    Memberlist(#[from] kv_memberlist::StartError),
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[source] tls_files::TlsError),
    /// The two stores cannot be combined into a multi store.
    #[error("multi: {0}")]
    Multi(#[from] kv_multi::ConfigError),
    /// The multi store names a store that does not exist.
    #[error("multi: unknown store {0:?}; expected consul, etcd, inmemory or memberlist")]
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
    /// Files of TLS, with the section that names them.
    pub(crate) files: Vec<(&'static str, Arc<dyn Reload>)>,
    /// The two of a multi store, with their names.
    pub(crate) parts: Vec<(String, Arc<dyn Store<ReplicaDesc>>)>,
    /// For the records of failovers without loss; `None` if this store cannot have them.
    pub(crate) records: Option<Records>,
}

/// The same store below another prefix, beside that of the elections.
pub(crate) struct Records {
    pub(crate) store: Arc<dyn Store<ReplicaDesc>>,
    /// A write is known to all after this time.
    pub(crate) settle: Duration,
}

/// A store that needs only a client, and the files that it uses.
struct Client {
    store: Arc<dyn Store<ReplicaDesc>>,
    files: Option<(&'static str, Arc<dyn Reload>)>,
}

impl Backend {
    /// A store of the caller's own.
    pub(crate) fn given(
        store: Arc<dyn Store<ReplicaDesc>>,
        config: &Config,
        registry: &mut Registry,
    ) -> Self {
        let open = Open::new(config, registry);
        let store = open.measured(store, StoreRole::Primary);
        Self {
            records: open.records(&store),
            store: open.prefixed(store),
            gossip: None,
            multi: None,
            files: Vec::new(),
            parts: Vec::new(),
        }
    }
}

/// Whether a store of this kind can be made as configured: for [`distributor_config::load`]. Listens
/// nowhere and connects to nothing.
///
/// # Errors
/// Why not.
pub fn check(config: &Config, kind: StoreKind) -> Result<(), String> {
    let checked = match client(&config.distributor.ha_tracker.kvstore, kind) {
        Some(client) => client.map(drop),
        None => config.memberlist.keyring().map(drop).map_err(Into::into),
    };
    checked.map_err(|error| error.to_string())
}

/// The configured store. Does not wait for a server or another member.
pub(crate) async fn backend(
    config: &Config,
    registry: &mut Registry,
) -> Result<Backend, StoreConfigError> {
    let kvstore = &config.distributor.ha_tracker.kvstore;
    let mut open = Open::new(config, registry);
    if kvstore.store != StoreKind::Multi {
        let (store, _) = open.store(kvstore.store, StoreRole::Primary).await?;
        return Ok(Backend {
            records: open.records(&store),
            store: open.prefixed(store),
            gossip: open.gossip,
            multi: None,
            files: open.files,
            parts: Vec::new(),
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
    let (primary, secondary) = (open.prefixed(primary), open.prefixed(secondary));
    let parts = vec![
        (settings.primary.clone(), Arc::clone(&primary)),
        (settings.secondary.clone(), Arc::clone(&secondary)),
    ];
    let (store, handle) = kv_multi::start(
        Part::when(primary, primary_usable),
        Part::when(secondary, secondary_usable),
        settings.mirroring.clone(),
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
        files: open.files,
        parts,
        records: None,
    })
}

/// Makes stores.
struct Open<'a> {
    config: &'a Config,
    registry: &'a mut Registry,
    metrics: KvMetrics,
    gossip: Option<Memberlist>,
    files: Vec<(&'static str, Arc<dyn Reload>)>,
}

impl<'a> Open<'a> {
    fn new(config: &'a Config, registry: &'a mut Registry) -> Self {
        Self {
            config,
            metrics: KvMetrics::register(registry),
            registry,
            gossip: None,
            files: Vec::new(),
        }
    }

    /// A store without a prefix, and the wait until it can be used.
    async fn store(
        &mut self,
        kind: StoreKind,
        role: StoreRole,
    ) -> Result<(Arc<dyn Store<ReplicaDesc>>, BoxFuture<'static, ()>), StoreConfigError> {
        if let Some(client) = client(&self.config.distributor.ha_tracker.kvstore, kind) {
            let at_once = Box::pin(std::future::ready(()));
            let Client { store, files } = client?;
            self.files.extend(files);
            return Ok((self.measured(store, role), at_once));
        }
        let (store, gossip) = memberlist(&self.config.memberlist, self.registry).await?;
        let joined = Box::pin(gossip.ready());
        let files = gossip.tls_files();
        self.files
            .extend(files.map(|files| ("memberlist.tls", files)));
        self.gossip = Some(gossip);
        Ok((self.measured(store, role), joined))
    }

    fn measured(
        &self,
        store: Arc<dyn Store<ReplicaDesc>>,
        role: StoreRole,
    ) -> Arc<dyn Store<ReplicaDesc>> {
        let metrics = self.metrics.clone();
        Arc::new(MetricsStore::new(store, metrics, role, KV_NAME))
    }

    fn prefixed(&self, store: Arc<dyn Store<ReplicaDesc>>) -> Arc<dyn Store<ReplicaDesc>> {
        let prefix = &self.config.distributor.ha_tracker.kvstore.prefix;
        Arc::new(PrefixStore::new(store, prefix))
    }

    /// `None` with a prefix beside which there is no other.
    fn records(&self, store: &Arc<dyn Store<ReplicaDesc>>) -> Option<Records> {
        let kvstore = &self.config.distributor.ha_tracker.kvstore;
        let prefix = ha_failover::records_prefix(&kvstore.prefix)?;
        let store = PrefixStore::new(Arc::clone(store), &prefix);
        Some(Records {
            store: Arc::new(store),
            settle: match kvstore.store {
                StoreKind::Memberlist => GOSSIP_SETTLES,
                _ => Duration::ZERO,
            },
        })
    }
}

/// A store that needs only a client; `None` for gossip, of which this process is a member.
#[cfg_attr(
    not(any(feature = "consul", feature = "etcd")),
    allow(unused_variables, reason = "stores without a server have no settings")
)]
fn client(config: &KvStoreConfig, kind: StoreKind) -> Option<Result<Client, StoreConfigError>> {
    Some(match kind {
        StoreKind::Memberlist => return None,
        StoreKind::Multi => Err(StoreConfigError::NoSuchStore("multi".to_owned())),
        StoreKind::Inmemory => Ok(Client {
            store: Arc::new(InMemoryStore::default()),
            files: None,
        }),
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

async fn memberlist(
    config: &MemberlistConfig,
    registry: &mut Registry,
) -> Result<(Arc<dyn Store<ReplicaDesc>>, Memberlist), StoreConfigError> {
    let (store, gossip) = kv_memberlist::start(config.clone(), ha_tracker::CODEC, registry).await?;
    Ok((Arc::new(store), gossip))
}

#[cfg(feature = "consul")]
fn consul(config: &KvStoreConfig) -> Result<Client, StoreConfigError> {
    let tls = config.consul.has_tls().then(ClientFiles::default);
    let (_, tls) = client_config(tls)?.unzip();
    let store = kv_consul::open(&config.consul, tls, ha_tracker::CODEC)?;
    Ok(Client {
        store: Arc::new(store),
        files: None,
    })
}

#[cfg(feature = "etcd")]
fn etcd(config: &KvStoreConfig) -> Result<Client, StoreConfigError> {
    let etcd = &config.etcd;
    let tls = etcd.tls_enabled.then_some(ClientFiles {
        ca_file: etcd.tls_ca_path.as_deref(),
        cert_file: etcd.tls_cert_path.as_deref(),
        key_file: etcd.tls_key_path.as_deref(),
        server_name: etcd.tls_server_name.as_deref(),
        accepts_any: etcd.tls_insecure_skip_verify,
    });
    let (files, tls) = client_config(tls)?.unzip();
    let store = kv_etcd::open(etcd, tls, ha_tracker::CODEC)?;
    let files = files.filter(|files| !files.files().is_empty());
    Ok(Client {
        store: Arc::new(store),
        files: files.map(|files| ("distributor.ha_tracker.kvstore.etcd.tls", files as _)),
    })
}

#[cfg(any(feature = "consul", feature = "etcd"))]
fn client_config(
    files: Option<ClientFiles<'_>>,
) -> Result<Option<(Arc<ReloadingClient>, rustls::ClientConfig)>, StoreConfigError> {
    let config = files.map(|files| ReloadingClient::new(&files));
    config.transpose().map_err(StoreConfigError::Tls)
}
