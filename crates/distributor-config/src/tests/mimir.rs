//! Files written for Mimir.

use std::time::Duration;

use expect_test::expect;

use super::{Process, from_yaml, yaml_mistakes};
use crate::StoreKind;

/// What a real installation has: all components in one file.
const WHOLE: &str = "\
target: all,alertmanager,overrides-exporter
multitenancy_enabled: true
no_auth_tenant: anonymous
shutdown_delay: 0s
api:
  prometheus_http_prefix: /prometheus
server:
  http_listen_port: 8080
  http_server_read_timeout: 30s
  http_server_write_timeout: 30s
  grpc_listen_port: 9095
  grpc_server_max_recv_msg_size: 104857600
  grpc_server_max_concurrent_streams: 1000
  log_level: warn
  log_format: json
  register_instrumentation: true
  cluster_validation: {label: mimir}
distributor:
  pool: {health_check_ingesters: true}
  retry_after_header: {enabled: true}
  max_recv_msg_size: 104857600
  remote_timeout: 2s
  ha_tracker:
    enable_ha_tracker: true
    ha_tracker_update_timeout: 20s
    ha_tracker_update_timeout_jitter_max: 6s
    ha_tracker_failover_timeout: 40s
    kvstore:
      store: inmemory
      prefix: ha-tracker/
      consul: {host: 'consul:8500'}
      etcd: {endpoints: ['etcd:2379']}
      memberlist: {join_members: [gossip:7946]}
  ring: {kvstore: {store: memberlist}}
  instance_limits: {max_ingestion_rate: 0, max_inflight_push_requests: 2000}
ingester_client: {grpc_client_config: {grpc_compression: ''}}
ingester: {ring: {replication_factor: 3}}
querier: {max_concurrent: 20}
query_range: {cache_results: true}
frontend: {parallelize_shardable_queries: true}
frontend_worker: {grpc_client_config: {max_send_msg_size: 419430400}}
query_scheduler: {max_outstanding_requests_per_tenant: 800}
limits:
  accept_ha_samples: true
  ha_cluster_label: cluster
  ha_replica_label: __replica__
  ingestion_rate: 10000
  ingestion_burst_size: 200000
  ingestion_rate_strategy: global
  max_global_series_per_user: 1500000
  max_label_names_per_series: 30
  max_cache_freshness: 10m
  max_query_parallelism: 240
  out_of_order_time_window: 5m
  ruler_max_rules_per_rule_group: 20
  compactor_blocks_retention_period: 1y
  store_gateway_tenant_shard_size: 3
  alertmanager_notification_rate_limit: 0
blocks_storage: {backend: s3, tsdb: {dir: /data/tsdb}}
compactor: {data_dir: /data}
store_gateway: {sharding_ring: {replication_factor: 3}}
ruler: {rule_path: /data}
ruler_storage: {backend: s3}
alertmanager: {data_dir: /data}
alertmanager_storage: {backend: s3}
common: {storage: {backend: s3, s3: {secret_access_key: hunter2}}}
tenant_federation: {enabled: true}
activity_tracker: {filepath: /active-query-tracker/activity.log}
usage_stats: {installation_mode: helm}
vault: {enabled: false}
overrides_exporter: {ring: {enabled: true}}
ingest_storage: {enabled: false}
block_builder: {}
memberlist:
  abort_if_cluster_join_fails: false
  join_members: [dns+mimir-gossip-ring:7946]
runtime_config:
  file: /var/mimir/runtime.yaml
  period: 5s
";

#[test]
fn a_whole_file_loads_with_one_warning() {
    let loaded = Process {
        files: &[("mimir.yaml", WHOLE)],
        ..Process::default()
    }
    .loaded();
    assert!(loaded.config.distributor.ha_tracker.enable_ha_tracker);
    assert_eq!(
        loaded.config.limits.elections.update_timeout,
        Duration::from_secs(20)
    );
    assert_eq!(
        loaded.config.limits.elections.failover_timeout,
        Duration::from_secs(40)
    );
    assert_eq!(loaded.config.runtime_config.files.len(), 1);
    expect![[r#"
        target is "all,alertmanager,overrides-exporter" (mimir.yaml:1), but this program runs the distributor only: what else is in all, alertmanager, overrides-exporter must run elsewhere; set it to distributor
        no downstream is configured (distributor.downstream): accepted samples are counted and DROPPED; set the URL of a remote-write backend
        distributor.ha_tracker.kvstore.consul is set, but not used: kvstore.store is inmemory, so elections are not shared with what uses that store; set kvstore.store, or remove the section
        distributor.ha_tracker.kvstore.etcd is set, but not used: kvstore.store is inmemory, so elections are not shared with what uses that store; set kvstore.store, or remove the section
        ignored settings of Mimir that have no effect in this program: api, server.http_server_read_timeout, server.http_server_write_timeout, server.grpc_server_max_recv_msg_size, server.grpc_server_max_concurrent_streams, server.register_instrumentation, server.cluster_validation, distributor.pool, distributor.ring, ingester_client, ingester, querier, query_range, frontend, frontend_worker, query_scheduler, limits.max_global_series_per_user, limits.max_label_names_per_series, limits.max_cache_freshness, limits.max_query_parallelism, limits.out_of_order_time_window, limits.ruler_max_rules_per_rule_group, limits.compactor_blocks_retention_period, limits.store_gateway_tenant_shard_size, limits.alertmanager_notification_rate_limit, blocks_storage, compactor, store_gateway, ruler, ruler_storage, alertmanager, alertmanager_storage, common, tenant_federation, activity_tracker, usage_stats, vault, overrides_exporter, ingest_storage, block_builder"#]].assert_eq(&loaded.warnings.join("\n"));
}

#[test]
fn the_snippet_of_the_migration_guide_with_the_store_of_one_process() {
    let config = from_yaml(
        "\
distributor:
  ha_tracker:
    enable_ha_tracker: true
    kvstore:
      store: inmemory
      multi:
        primary: consul
        secondary: memberlist
        # Mirroring is disabled by default, we'll enable it in Step 2
        mirror_enabled: false
      consul:
        # Your existing Consul configuration
        host: \"consul.default.svc.cluster.local:8500\"
      memberlist:
        join_members:
          - mimir-gossip-ring.default.svc.cluster.local:7946
",
    );
    assert!(config.distributor.ha_tracker.enable_ha_tracker);
    assert_eq!(
        config.distributor.ha_tracker.kvstore.store,
        StoreKind::Inmemory
    );
}

#[test]
fn timeouts_where_mimir_had_them_first() {
    let config = from_yaml(
        "\
limits: {ha_tracker_update_timeout: 4s}
distributor:
  ha_tracker:
    ha_tracker_update_timeout: 5s
    ha_tracker_update_timeout_jitter_max: 1s
    ha_tracker_failover_timeout: 9s
",
    );
    let limits = config.limits;
    assert_eq!(
        limits.elections.update_timeout,
        Duration::from_secs(4),
        "the limit wins"
    );
    assert_eq!(
        limits.elections.update_timeout_jitter_max,
        Duration::from_secs(1)
    );
    assert_eq!(limits.elections.failover_timeout, Duration::from_secs(9));

    let mistakes = yaml_mistakes("distributor: {ha_tracker: {ha_tracker_update_timeout: x}}");
    assert!(mistakes.contains("distributor.ha_tracker.ha_tracker_update_timeout: got \"x\""));
}
