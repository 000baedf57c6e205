//! Stands for the program that opens the stores, as far as it needs no files.

use rustls::{ClientConfig, RootCertStore};

use crate::{Config, SecretUrl, StoreKind};

/// What [`TryStore`](crate::TryStore) asks.
pub(super) fn try_store(config: &Config, kind: StoreKind) -> Result<(), String> {
    match kind {
        StoreKind::Consul => try_consul(config),
        StoreKind::Etcd => try_etcd(config),
        StoreKind::Inmemory | StoreKind::Memberlist | StoreKind::Multi => Ok(()),
    }
}

fn try_consul(config: &Config) -> Result<(), String> {
    let kvstore = &config.distributor.ha_tracker.kvstore;
    if let Some(reason) = kv_consul::refusal(&kvstore.prefix) {
        let prefix = &kvstore.prefix;
        return Err(format!(
            "consul cannot hold keys that begin with {prefix:?}: {reason}; change kvstore.prefix"
        ));
    }
    let consul = kv_consul::ConsulConfig {
        host: kvstore.consul.host.expose().to_owned(),
        acl_token: kvstore
            .consul
            .acl_token
            .as_ref()
            .map(|token| token.expose().to_owned()),
        watch_rate_limit: kvstore.consul.watch_rate_limit,
        watch_burst_size: u32::try_from(kvstore.consul.watch_burst_size).unwrap(),
        tls: Some(tls()),
        ..kv_consul::ConsulConfig::default()
    };
    let opened = kv_consul::open(&consul, ha_tracker::CODEC);
    opened.map(drop).map_err(|error| error.to_string())
}

fn try_etcd(config: &Config) -> Result<(), String> {
    let settings = &config.distributor.ha_tracker.kvstore.etcd;
    let mut etcd = kv_etcd::EtcdConfig::new(settings.endpoints.iter().map(SecretUrl::expose));
    etcd.tls = settings.tls_enabled.then(tls);
    let opened = kv_etcd::open(&etcd, ha_tracker::CODEC);
    opened.map(drop).map_err(|error| error.to_string())
}

fn tls() -> ClientConfig {
    let provider = rustls::crypto::ring::default_provider();
    ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}
