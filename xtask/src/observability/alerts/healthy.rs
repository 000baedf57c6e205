//! A healthy fleet of two distributors, on step 3 of a migration: every series that an alert reads.

/// Series and their values, one per minute for 100 minutes.
pub(in crate::observability) const HEALTHY: &[(&str, &str)] = &[
    (r#"up{@, instance="d0"}"#, "1x100"),
    (r#"up{@, instance="d1"}"#, "1x100"),
    (r#"cortex_build_info{@, instance="d0"}"#, "1x100"),
    (
        r#"process_start_time_seconds{@, instance="d0"}"#,
        "-60x40 2400x60",
    ),
    (r#"process_open_fds{@, instance="d0"}"#, "50x100"),
    (r#"process_max_fds{@, instance="d0"}"#, "1000x100"),
    (
        r#"cortex_runtime_config_last_reload_successful{@, instance="d0"}"#,
        "1x100",
    ),
    (
        r#"cortex_runtime_config_hash{@, instance="d0", sha256="aa"}"#,
        "1x100",
    ),
    (
        r#"cortex_runtime_config_hash{@, instance="d1", sha256="aa"}"#,
        "1x100",
    ),
    (
        r#"cortex_distributor_log_lines_dropped_total{@, instance="d0"}"#,
        "0x100",
    ),
    (
        r#"cortex_distributor_file_reload_successful{@, instance="d0", files="server.http_tls_config"}"#,
        "1x100",
    ),
    (
        r#"ha_failover_released_requests_total{@, instance="d0", reason="passed"}"#,
        "0+60x100",
    ),
    (
        r#"ha_failover_released_requests_total{@, instance="d0", reason="evicted"}"#,
        "0x100",
    ),
    (
        r#"ha_failover_released_requests_total{@, instance="d0", reason="expired"}"#,
        "0x100",
    ),
    (
        r#"ha_failover_released_requests_total{@, instance="d0", reason="lost"}"#,
        "0x100",
    ),
    // A failover, and another one.
    (
        r#"ha_failover_transitions{@, instance="d0"}"#,
        "0x10 1x2 0x40 3x1 0x40",
    ),
    (
        r#"cortex_ha_tracker_elected_replica_timestamp_seconds{@, instance="d0", user="t", cluster="c"}"#,
        "0+60x100",
    ),
    (
        r#"cortex_ha_tracker_elected_replica_timestamp_seconds{@, instance="d1", user="t", cluster="c"}"#,
        "-15+60x100",
    ),
    (
        r#"cortex_ha_tracker_elected_replica_status{@, instance="d0", user="t", cluster="c", replica="a"}"#,
        "1x100",
    ),
    (
        r#"cortex_ha_tracker_elected_replica_status{@, instance="d1", user="t", cluster="c", replica="a"}"#,
        "1x100",
    ),
    (
        r#"cortex_ha_tracker_last_election_timestamp_seconds{@, instance="d0", user="t", cluster="c"}"#,
        "-600x100",
    ),
    (
        r#"cortex_ha_tracker_replicas_seen{@, instance="d0", user="t", cluster="c"}"#,
        "1x100",
    ),
    (
        r#"cortex_ha_tracker_replicas_seen{@, instance="d1", user="t", cluster="c"}"#,
        "2x100",
    ),
    (
        r#"cortex_ha_tracker_replica_clock_ahead_seconds{@, instance="d0", user="t", cluster="c", replica="a"}"#,
        "-0.3x100",
    ),
    (
        r#"cortex_ha_tracker_clock_skew_seconds{@, instance="d0"}"#,
        "0x100",
    ),
    (
        r#"cortex_ha_tracker_replicas_cleanup_delete_failed_total{@, instance="d0"}"#,
        "0x100",
    ),
    (
        r#"cortex_ha_tracker_replica_desc_failed_type_assertions_total{@, instance="d0"}"#,
        "0x100",
    ),
    (
        r#"cortex_distributor_samples_in_total{@, instance="d0", user="t"}"#,
        "0+200x100",
    ),
    (
        r#"cortex_distributor_received_samples_total{@, instance="d0", user="t"}"#,
        "0+100x100",
    ),
    (
        r#"cortex_distributor_deduped_samples_total{@, instance="d0", user="t", cluster="c"}"#,
        "0+100x100",
    ),
    (
        r#"cortex_distributor_non_ha_samples_received_total{@, instance="d0", user="t"}"#,
        "0x100",
    ),
    (
        r#"cortex_distributor_mixed_requests_total{@, instance="d0", user="t"}"#,
        "0x100",
    ),
    (
        r#"cortex_discarded_samples_total{@, instance="d0", user="t", reason="too_many_ha_clusters"}"#,
        "0x100",
    ),
    (
        r#"cortex_discarded_samples_total{@, instance="d0", user="t", reason="rate_limited"}"#,
        "0x100",
    ),
    (
        r#"cortex_request_duration_seconds_count{@, instance="d0", route="api_v1_push", status_code="200"}"#,
        "0+100x100",
    ),
    (
        r#"cortex_request_duration_seconds_count{@, instance="d0", route="api_v1_push", status_code="202"}"#,
        "0+100x100",
    ),
    (
        r#"cortex_request_duration_seconds_count{@, instance="d0", route="api_v1_push", status_code="503"}"#,
        "0+1x100",
    ),
    (
        r#"cortex_distributor_downstream_request_duration_seconds_count{@, instance="d0", name="mimir", status_code="200"}"#,
        "0+100x100",
    ),
    (
        r#"cortex_distributor_downstream_request_duration_seconds_count{@, instance="d0", name="mimir", status_code="0"}"#,
        "0+1x100",
    ),
    (
        r#"cortex_distributor_downstream_request_duration_seconds_count{@, instance="d0", name="mimir", status_code="400"}"#,
        "0x100",
    ),
    (
        r#"cortex_distributor_downstream_request_duration_seconds_bucket{@, instance="d0", name="mimir", status_code="200", le="0.5"}"#,
        "0+100x100",
    ),
    (
        r#"cortex_distributor_downstream_request_duration_seconds_bucket{@, instance="d0", name="mimir", status_code="200", le="+Inf"}"#,
        "0+100x100",
    ),
    (
        r#"cortex_distributor_instance_rejected_requests_total{@, instance="d0", reason="distributor_max_inflight_push_requests"}"#,
        "0x100",
    ),
    (
        r#"cortex_distributor_inflight_push_requests{@, instance="d0"}"#,
        "20x100",
    ),
    (
        r#"cortex_distributor_instance_limits{@, instance="d0", limit="max_inflight_push_requests"}"#,
        "2000x100",
    ),
    (
        r#"cortex_distributor_inflight_push_requests_bytes{@, instance="d0"}"#,
        "20x100",
    ),
    (
        r#"cortex_distributor_instance_limits{@, instance="d0", limit="max_inflight_push_requests_bytes"}"#,
        "2000x100",
    ),
    (
        r#"cortex_tcp_connections{@, instance="d0", protocol="http"}"#,
        "10x100",
    ),
    (
        r#"cortex_tcp_connections_limit{@, instance="d0", protocol="http"}"#,
        "100x100",
    ),
    (
        r#"cortex_kv_request_duration_seconds_count{@, instance="d0", operation="CAS", status_code="200", type="memberlist", role="primary", kv_name="distributor-hatracker"}"#,
        "0+10x100",
    ),
    (
        r#"cortex_kv_request_duration_seconds_count{@, instance="d0", operation="CAS", status_code="500", type="memberlist", role="primary", kv_name="distributor-hatracker"}"#,
        "0x100",
    ),
    (
        r#"cortex_kv_request_duration_seconds_bucket{@, instance="d0", operation="CAS", status_code="200", type="memberlist", role="primary", kv_name="distributor-hatracker", le="0.1"}"#,
        "0+10x100",
    ),
    (
        r#"cortex_kv_request_duration_seconds_bucket{@, instance="d0", operation="CAS", status_code="200", type="memberlist", role="primary", kv_name="distributor-hatracker", le="+Inf"}"#,
        "0+10x100",
    ),
    (
        r#"memberlist_client_cluster_members_count{@, instance="d0"}"#,
        "2x100",
    ),
    (
        r#"memberlist_client_cluster_members_count{@, instance="d1"}"#,
        "2x100",
    ),
    (
        r#"memberlist_client_refused_packets_total{@, instance="d0", reason="label"}"#,
        "0x100",
    ),
    (
        r#"memberlist_client_cluster_node_health_score{@, instance="d0"}"#,
        "0x100",
    ),
    (
        r#"memberlist_client_propagation_delay_seconds_bucket{@, instance="d0", le="0.1"}"#,
        "0+10x100",
    ),
    (
        r#"memberlist_client_propagation_delay_seconds_bucket{@, instance="d0", le="+Inf"}"#,
        "0+10x100",
    ),
    (
        r#"memberlist_client_received_broadcasts_dropped_total{@, instance="d0"}"#,
        "0x100",
    ),
    (
        r#"memberlist_client_gossip_restarts_total{@, instance="d0"}"#,
        "0x100",
    ),
    (
        r#"cortex_multikv_primary_store{@, instance="d0", kv_name="distributor-hatracker", store="memberlist"}"#,
        "1x100",
    ),
    (
        r#"cortex_multikv_primary_store{@, instance="d1", kv_name="distributor-hatracker", store="memberlist"}"#,
        "1x100",
    ),
    (
        r#"cortex_multikv_mirror_enabled{@, instance="d0", kv_name="distributor-hatracker"}"#,
        "1x100",
    ),
    (
        r#"cortex_multikv_mirror_enabled{@, instance="d1", kv_name="distributor-hatracker"}"#,
        "1x100",
    ),
    (
        r#"cortex_multikv_mirror_write_errors_total{@, instance="d0", kv_name="distributor-hatracker"}"#,
        "0x100",
    ),
    (
        r#"cortex_multikv_divergent_keys{@, instance="d0", kv_name="distributor-hatracker", reason="missing"}"#,
        "0x100",
    ),
    (
        r#"cortex_multikv_divergent_keys{@, instance="d0", kv_name="distributor-hatracker", reason="extra"}"#,
        "2x100",
    ),
    (
        r#"cortex_multikv_backfill_pending_keys{@, instance="d0", kv_name="distributor-hatracker"}"#,
        "0x100",
    ),
    (
        r#"cortex_multikv_last_comparison_timestamp_seconds{@, instance="d0", kv_name="distributor-hatracker"}"#,
        "-30+60x100",
    ),
];
