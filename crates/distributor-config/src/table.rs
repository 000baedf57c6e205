//! The rows of the program's own settings, with their whole names. `schema.rs` joins them with those
//! of the crates that are configured.

use settings::{Kind, Setting};

use crate::subtables::DOWNSTREAM;

/// The flags that say what to do instead of how to do it.
pub(crate) static CONTROL: &[Setting] = &[
    Setting::new(
        "",
        "config.file",
        Kind::List,
        "",
        "YAML file with the configuration. Several, with commas or by repeating the flag, are \
         merged; later ones win.",
    )
    .basic(),
    Setting::new(
        "",
        "config.expand-env",
        Kind::Bool,
        "false",
        "Replace ${VAR}, ${VAR:default} and $VAR in the YAML files by the environment's value; \
         $$ stands for one $.",
    )
    .basic(),
    Setting::new(
        "",
        "config.check",
        Kind::Bool,
        "false",
        "Check the configuration and the files that it names, report every mistake, and exit: \
         status 0, or 64 with mistakes.",
    )
    .basic(),
    Setting::new(
        "",
        "help",
        Kind::Bool,
        "false",
        "Print the basic flags and exit.",
    )
    .basic(),
    Setting::new(
        "",
        "help-all",
        Kind::Bool,
        "false",
        "Print all flags and exit.",
    )
    .basic(),
    Setting::new(
        "",
        "version",
        Kind::Bool,
        "false",
        "Print the version and exit.",
    )
    .basic(),
];

/// What precedes the stores' settings.
pub(crate) static BEFORE_STORES: &[Setting] = &[
    Setting::new(
        "multitenancy_enabled",
        "auth.multitenancy-enabled",
        Kind::Bool,
        "true",
        "Take the tenant of a request from its X-Scope-OrgID header. When false, every request \
         belongs to no_auth_tenant.",
    )
    .basic(),
    Setting::new(
        "no_auth_tenant",
        "auth.no-auth-tenant",
        Kind::Text,
        "anonymous",
        "Tenant of every request when multitenancy is off.",
    )
    .nonzero(),
    Setting::new(
        "server.http_listen_address",
        "server.http-listen-address",
        Kind::Address,
        "",
        "Address of the HTTP server; empty for all.",
    ),
    Setting::new(
        "server.http_listen_port",
        "server.http-listen-port",
        Kind::Port,
        "8080",
        "Port of the HTTP server; 0 for a free one.",
    )
    .basic(),
    Setting::new(
        "server.grpc_listen_address",
        "server.grpc-listen-address",
        Kind::Address,
        "",
        "Address of the gRPC server; empty for all.",
    ),
    Setting::new(
        "server.grpc_listen_port",
        "server.grpc-listen-port",
        Kind::Port,
        "9095",
        "Port of the gRPC server; 0 for a free one.",
    )
    .basic(),
    Setting::new(
        "server.http_tls_config.cert_file",
        "server.http-tls-cert-path",
        Kind::Path,
        "",
        "PEM file with the certificate chain of the HTTP server; TLS is off without it.",
    ),
    Setting::new(
        "server.http_tls_config.key_file",
        "server.http-tls-key-path",
        Kind::Path,
        "",
        "PEM file with the private key of the HTTP server.",
    ),
    Setting::new(
        "server.http_tls_config.client_ca_file",
        "server.http-tls-ca-path",
        Kind::Path,
        "",
        "PEM file with the authorities that client certificates are verified against.",
    ),
    Setting::new(
        "server.http_tls_config.client_auth_type",
        "server.http-tls-client-auth",
        Kind::OneOf(CLIENT_AUTH_TYPES),
        "NoClientCert",
        "Whether HTTP clients must show a certificate: NoClientCert, VerifyClientCertIfGiven or \
         RequireAndVerifyClientCert.",
    ),
    Setting::new(
        "server.grpc_tls_config.cert_file",
        "server.grpc-tls-cert-path",
        Kind::Path,
        "",
        "PEM file with the certificate chain of the gRPC server; TLS is off without it.",
    ),
    Setting::new(
        "server.grpc_tls_config.key_file",
        "server.grpc-tls-key-path",
        Kind::Path,
        "",
        "PEM file with the private key of the gRPC server.",
    ),
    Setting::new(
        "server.grpc_tls_config.client_ca_file",
        "server.grpc-tls-ca-path",
        Kind::Path,
        "",
        "PEM file with the authorities that client certificates are verified against.",
    ),
    Setting::new(
        "server.grpc_tls_config.client_auth_type",
        "server.grpc-tls-client-auth",
        Kind::OneOf(CLIENT_AUTH_TYPES),
        "NoClientCert",
        "Whether gRPC clients must show a certificate: NoClientCert, VerifyClientCertIfGiven or \
         RequireAndVerifyClientCert.",
    ),
    Setting::new(
        "server.http_listen_conn_limit",
        "server.http-conn-limit",
        Kind::Unsigned,
        "0",
        "Most connections to the HTTP server at the same time; beyond, an idle one is closed for a new \
         one. 0 = as many as the process may have descriptors for, a part kept for other uses.",
    ),
    Setting::new(
        "server.grpc_listen_conn_limit",
        "server.grpc-conn-limit",
        Kind::Unsigned,
        "0",
        "The same for the gRPC server.",
    ),
    Setting::new(
        "server.http_server_idle_timeout",
        "server.http-idle-timeout",
        Kind::Duration,
        "2m",
        "An HTTP/1.1 connection is closed when it has no request for so long. Keep it above the time \
         for which senders keep idle connections (Go's default is 90 s).",
    )
    .nonzero(),
    Setting::new(
        "server.graceful_shutdown_timeout",
        "server.graceful-shutdown-timeout",
        Kind::Duration,
        "30s",
        "How long requests in flight may take once the process was told to stop.",
    ),
    Setting::new(
        "server.log_level",
        "log.level",
        Kind::OneOf(&["debug", "info", "warn", "error"]),
        "info",
        "Log only what is at least this severe: debug, info, warn or error.",
    )
    .basic(),
    Setting::new(
        "server.log_format",
        "log.format",
        Kind::OneOf(&["logfmt", "json"]),
        "logfmt",
        "Format of the log: logfmt or json.",
    )
    .basic(),
    Setting::new(
        "distributor.ha_tracker.enable_ha_tracker",
        "distributor.ha-tracker.enable",
        Kind::Bool,
        "false",
        "Deduplicate the samples of HA pairs, for the tenants whose accept_ha_samples is true.",
    )
    .basic(),
    Setting::new(
        "distributor.ha_tracker.enable_elected_replica_metric",
        "distributor.ha-tracker.enable-elected-replica-metric",
        Kind::Bool,
        "false",
        "Expose cortex_ha_tracker_elected_replica_status, with the elected replica as a label.",
    ),
];

/// Which store, and what is common to all.
pub(crate) static KVSTORE: &[Setting] = &[
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
];

/// Which two stores make a multi store; names below its section.
pub(crate) static MULTI: &[Setting] = &[
    Setting::new(
        "primary",
        "primary",
        Kind::Text,
        "",
        "The store that is read and decides: consul, etcd, inmemory or memberlist, each with its \
         own settings. multi_kv_config.primary of the runtime configuration overrides it.",
    ),
    Setting::new(
        "secondary",
        "secondary",
        Kind::Text,
        "",
        "The other store, which is written to if mirroring is enabled.",
    ),
];

/// What follows the stores' settings.
pub(crate) static AFTER_STORES: &[Setting] = &[
    Setting::new(
        "distributor.max_recv_msg_size",
        "distributor.max-recv-msg-size",
        Kind::Size,
        "100MiB",
        "Largest push request, compressed and decoded each.",
    )
    .nonzero(),
    Setting::new(
        "distributor.remote_timeout",
        "distributor.remote-timeout",
        Kind::Duration,
        "20s",
        "How long a push request may wait for the downstream.",
    )
    .nonzero(),
    Setting::new(
        "distributor.instance_limits.max_inflight_push_requests",
        "distributor.instance-limits.max-inflight-push-requests",
        Kind::Unsigned,
        "2000",
        "Push requests that this instance handles at once; more are refused. 0 for no limit.",
    ),
    Setting::new(
        "distributor.instance_limits.max_inflight_push_requests_bytes",
        "distributor.instance-limits.max-inflight-push-requests-bytes",
        Kind::SizeOrAuto,
        "auto",
        "Memory that push requests may hold on this instance, over all of them: compressed and \
         decoded bodies, and what waits for the downstream. auto is half of what the process may \
         use (its control group's limit, or else the machine's memory), at most 2 GiB. 0 for no \
         limit.",
    ),
    Setting::new(
        "distributor.instance_limits.max_ingestion_rate",
        "distributor.instance-limits.max-ingestion-rate",
        Kind::Float,
        "0",
        "Samples per second of this instance, over all tenants. 0 for no limit.",
    ),
    Setting::new(
        "distributor.downstream",
        "distributor.downstream.url",
        Kind::Records(DOWNSTREAM),
        "",
        "Where accepted samples are sent by remote write; every one must accept them. As a flag: \
         the URLs, with commas or by repeating the flag. Without any, samples are counted and \
         dropped.",
    )
    .basic(),
];

/// What a tenant can have of its own: which samples the tracker sees.
pub(crate) static LIMITS: &[Setting] = &[
    Setting::new(
        "limits.accept_ha_samples",
        "distributor.ha-tracker.enable-for-all-users",
        Kind::Bool,
        "false",
        "Deduplicate the samples of this tenant; needs the HA tracker to be enabled.",
    )
    .basic(),
    Setting::new(
        "limits.ha_cluster_label",
        "distributor.ha-tracker.cluster",
        Kind::Text,
        "cluster",
        "Label that names the HA cluster of a series.",
    )
    .basic()
    .nonzero(),
    Setting::new(
        "limits.ha_replica_label",
        "distributor.ha-tracker.replica",
        Kind::Text,
        "__replica__",
        "Label that names the replica of a series; removed from what is accepted.",
    )
    .basic()
    .nonzero(),
];

/// What a tenant can have of its own: how much it may send.
pub(crate) static INGESTION: &[Setting] = &[
    Setting::new(
        "limits.ingestion_rate",
        "distributor.ingestion-rate-limit",
        Kind::Float,
        "0",
        "Samples per second of the tenant, at each instance. 0 for no limit.",
    ),
    Setting::new(
        "limits.ingestion_burst_size",
        "distributor.ingestion-burst-size",
        Kind::Unsigned,
        "0",
        "Samples of the tenant that may come at once when ingestion_rate is set. 0 for the \
         samples of one second.",
    ),
];

/// Where the overrides of tenants come from.
pub(crate) static RUNTIME_CONFIG: &[Setting] = &[
    Setting::new(
        "runtime_config.file",
        "runtime-config.file",
        Kind::List,
        "",
        "YAML files with per-tenant overrides of the limits, read again when they change; later \
         files win.",
    )
    .basic(),
    Setting::new(
        "runtime_config.period",
        "runtime-config.reload-period",
        Kind::Duration,
        "10s",
        "How often to look whether the runtime configuration changed.",
    )
    .nonzero(),
];

const CLIENT_AUTH_TYPES: &[&str] = &[
    "NoClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
];
