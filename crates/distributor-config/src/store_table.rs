//! The part of the table about the key-value store. Names and defaults are dskit's.

use super::kind::Kind;
use super::setting::Setting;

/// The settings below `distributor.ha_tracker.kvstore`.
pub(super) static STORES: &[Setting] = &[
    Setting::new(
        "distributor.ha_tracker.kvstore.store",
        "distributor.ha-tracker.store",
        Kind::OneOf(&["consul", "etcd", "inmemory", "memberlist", "multi"]),
        "memberlist",
        "Store of the elections: memberlist, which is gossip between the distributors, consul, \
         etcd, inmemory, which serves a single process, or multi, which is two of them, to move \
         from one to the other.",
    )
    .basic(),
    Setting::new(
        "distributor.ha_tracker.kvstore.prefix",
        "distributor.ha-tracker.prefix",
        Kind::Text,
        "ha-tracker/",
        "What every key in the store begins with.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.consul.host",
        "distributor.ha-tracker.consul.hostname",
        Kind::Text,
        "localhost:8500",
        "Consul: host and port of the agent; with https:// in front, TLS.",
    )
    .basic()
    .nonzero(),
    Setting::new(
        "distributor.ha_tracker.kvstore.consul.acl_token",
        "distributor.ha-tracker.consul.acl-token",
        Kind::Text,
        "",
        "Consul: ACL token, which must allow key:write below the prefix.",
    )
    .secret(),
    Setting::new(
        "distributor.ha_tracker.kvstore.consul.http_client_timeout",
        "distributor.ha-tracker.consul.client-timeout",
        Kind::Duration,
        "20s",
        "Consul: how long a call may take, its retries included.",
    )
    .nonzero(),
    Setting::new(
        "distributor.ha_tracker.kvstore.consul.consistent_reads",
        "distributor.ha-tracker.consul.consistent-reads",
        Kind::Bool,
        "false",
        "Consul: have every answer confirmed by a quorum of its servers. When false, a watch \
         takes any server's answer, and what a compare-and-swap reads comes from the leader.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.consul.watch_rate_limit",
        "distributor.ha-tracker.consul.watch-rate-limit",
        Kind::Float,
        "1",
        "Consul: how often per second the watch may ask, each time for all keys. 0 for no \
         limit.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.consul.watch_burst_size",
        "distributor.ha-tracker.consul.watch-burst-size",
        Kind::Unsigned,
        "1",
        "Consul: how often the watch may ask at once before watch_rate_limit holds it back.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.consul.cas_retry_delay",
        "distributor.ha-tracker.consul.cas-retry-delay",
        Kind::Duration,
        "1s",
        "Consul: pause before a compare-and-swap that lost against another is tried again; \
         half of it longer or shorter.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.etcd.endpoints",
        "distributor.ha-tracker.etcd.endpoints",
        Kind::List,
        "",
        "etcd: members of the cluster, each as host:port or a URL.",
    )
    .basic(),
    Setting::new(
        "distributor.ha_tracker.kvstore.etcd.dial_timeout",
        "distributor.ha-tracker.etcd.dial-timeout",
        Kind::Duration,
        "10s",
        "etcd: how long connecting and each attempt of a call may take; a call with its \
         retries takes at most twice as long.",
    )
    .nonzero(),
    Setting::new(
        "distributor.ha_tracker.kvstore.etcd.max_retries",
        "distributor.ha-tracker.etcd.max-retries",
        Kind::Unsigned,
        "10",
        "etcd: how often a call is tried.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.etcd.tls_enabled",
        "distributor.ha-tracker.etcd.tls-enabled",
        Kind::Bool,
        "false",
        "etcd: connect with TLS.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.etcd.tls_cert_path",
        "distributor.ha-tracker.etcd.tls-cert-path",
        Kind::Path,
        "",
        "etcd: PEM file with the client certificate chain.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.etcd.tls_key_path",
        "distributor.ha-tracker.etcd.tls-key-path",
        Kind::Path,
        "",
        "etcd: PEM file with the client's private key.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.etcd.tls_ca_path",
        "distributor.ha-tracker.etcd.tls-ca-path",
        Kind::Path,
        "",
        "etcd: PEM file with the authorities to trust instead of the system's.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.etcd.tls_server_name",
        "distributor.ha-tracker.etcd.tls-server-name",
        Kind::Text,
        "",
        "etcd: name to verify in the certificate instead of the endpoint's host.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.etcd.tls_insecure_skip_verify",
        "distributor.ha-tracker.etcd.tls-insecure-skip-verify",
        Kind::Bool,
        "false",
        "etcd: accept any certificate.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.etcd.username",
        "distributor.ha-tracker.etcd.username",
        Kind::Text,
        "",
        "etcd: user, if etcd has authentication on.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.etcd.password",
        "distributor.ha-tracker.etcd.password",
        Kind::Text,
        "",
        "etcd: password of the user.",
    )
    .secret(),
    Setting::new(
        "distributor.ha_tracker.kvstore.multi.primary",
        "distributor.ha-tracker.multi.primary",
        Kind::Text,
        "",
        "Multi: the store that is read and decides: consul, etcd, inmemory or memberlist, each \
         with its own settings. multi_kv_config.primary of the runtime configuration overrides it.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.multi.secondary",
        "distributor.ha-tracker.multi.secondary",
        Kind::Text,
        "",
        "Multi: the other store, which is written to if mirroring is enabled.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.multi.mirror_enabled",
        "distributor.ha-tracker.multi.mirror-enabled",
        Kind::Bool,
        "false",
        "Multi: also write to the secondary what the primary stores, and copy what the secondary \
         lacks. multi_kv_config.mirror_enabled of the runtime configuration overrides it.",
    ),
    Setting::new(
        "distributor.ha_tracker.kvstore.multi.mirror_timeout",
        "distributor.ha-tracker.multi.mirror-timeout",
        Kind::Duration,
        "2s",
        "Multi: how long one write to the secondary may take. Nobody waits for it but a switch \
         of the primary.",
    )
    .nonzero(),
];
