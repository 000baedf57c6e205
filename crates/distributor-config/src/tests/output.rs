//! `/config` and `-help`.

use expect_test::expect;
use serde_json::json;

use super::{Process, from_yaml};
use crate::{Invocation, Mode, render_json, render_yaml};

const CHANGED: &str = "\
server: {http_listen_port: 1, http_listen_address: 127.0.0.1}
distributor:
  remote_timeout: 90s
  downstream: [{url: 'http://u:p@a/', headers: {A: b}, basic_auth: {username: ''}}]
limits: {ingestion_rate: 1.5, ha_tracker_sample_failover_timeout: 500ms}
runtime_config: {file: 'a.yaml,b.yaml'}
";

#[test]
fn full_yaml() {
    expect![[r#"
        multitenancy_enabled: true
        no_auth_tenant: anonymous
        senders_credentials_file: ""
        pages_credentials_file: ""
        target: distributor
        shutdown_delay: 0s
        server:
          http_listen_address: 127.0.0.1
          http_listen_port: 1
          grpc_listen_address: ""
          grpc_listen_port: 9095
          http_tls_config:
            cert_file: ""
            key_file: ""
            client_ca_file: ""
            cert: ""
            key: ""
            client_ca: ""
            client_auth_type: NoClientCert
          grpc_tls_config:
            cert_file: ""
            key_file: ""
            client_ca_file: ""
            cert: ""
            key: ""
            client_ca: ""
            client_auth_type: NoClientCert
          http_listen_conn_limit: 0
          grpc_listen_conn_limit: 0
          http_server_idle_timeout: 2m0s
          http_path_prefix: ""
          graceful_shutdown_timeout: 30s
          profiling_enabled: false
          log_level: info
          log_format: logfmt
        distributor:
          ha_tracker:
            enable_ha_tracker: false
            enable_forget: false
            enable_elected_replica_metric: false
            enable_replica_metrics: false
            enable_handover: false
            kvstore:
              store: memberlist
              prefix: ha-tracker/
              consul:
                host: "localhost:8500"
                acl_token: ""
                http_client_timeout: 20s
                consistent_reads: false
                watch_rate_limit: 1
                watch_burst_size: 1
                cas_retry_delay: 1s
              etcd:
                endpoints: []
                dial_timeout: 10s
                max_retries: 10
                tls_enabled: false
                tls_cert_path: ""
                tls_key_path: ""
                tls_ca_path: ""
                tls_server_name: ""
                tls_insecure_skip_verify: false
                username: ""
                password: ""
              multi:
                primary: ""
                secondary: ""
                mirror_enabled: false
                mirror_timeout: 2s
          ha_failover:
            max_hold_bytes: 536870912
          max_recv_msg_size: 104857600
          remote_timeout: 1m30s
          accept_unknown_content_types: true
          instance_limits:
            max_inflight_push_requests: 2000
            max_inflight_push_requests_bytes: auto
            max_ingestion_rate: 0
          retry_after_header:
            enabled: false
            min_backoff: 6s
            max_backoff: 1m36s
          downstream:
            - name: "a:80"
              url: "http://********@a/"
              remote_timeout: 20s
              headers:
                A: "********"
              tenant_header: X-Scope-OrgID
              basic_auth:
                username: ""
                password: ""
                password_file: ""
              bearer_token: ""
              bearer_token_file: ""
              tls:
                ca_file: ""
                cert_file: ""
                key_file: ""
                server_name: ""
                insecure_skip_verify: false
              max_concurrency: 256
        limits:
          accept_ha_samples: false
          ha_cluster_label: cluster
          ha_replica_label: __replica__
          ha_tracker_per_sample_dedupe: false
          ha_max_clusters: 100
          ha_tracker_update_timeout: 15s
          ha_tracker_update_timeout_jitter_max: 5s
          ha_tracker_failover_timeout: 30s
          ha_tracker_sample_failover_timeout: 500ms
          ha_tracker_sender_backoff: 1m30s
          ha_failover_mode: classic
          ha_failover_guard: 1s
          ha_failover_slice: 4s
          ha_failover_hold_bytes: 134217728
          ingestion_rate: 1.5
          ingestion_rate_strategy: global
          ingestion_burst_size: 0
        runtime_config:
          file:
            - a.yaml
            - b.yaml
          period: 10s
        memberlist:
          join_members: []
          protocol: auto
          bind_addr:
            - 0.0.0.0
          bind_port: 7946
          advertise_addr: ""
          advertise_port: 0
          node_name: ""
          randomize_node_name: true
          cluster_label: ""
          cluster_label_verification_disabled: false
          gossip_interval: 200ms
          gossip_nodes: 3
          pull_push_interval: 30s
          gossip_to_dead_nodes_time: 30s
          dead_node_reclaim_time: 0s
          retransmit_factor: 4
          stream_timeout: 2s
          packet_dial_timeout: 2s
          packet_write_timeout: 5s
          rejoin_interval: 0s
          rejoin_seed_nodes: []
          min_join_backoff: 1s
          max_join_backoff: 1m0s
          max_join_retries: 10
          abort_if_cluster_join_fails: false
          abort_if_cluster_fast_join_fails: false
          abort_if_cluster_fast_join_fails_min_nodes: 2
          leave_timeout: 20s
          left_ingesters_timeout: 5m0s
          obsolete_entries_timeout: 30s
          message_history_buffer_bytes: 0
          max_concurrent_writes: 5
          acquire_writer_timeout: 250ms
          notify_interval: 0s
          compression_algorithm: lzw
          compression_enabled: true
          encryption_keys: []
          encryption_required: false
          tls_enabled: false
          tls_cert_path: ""
          tls_key_path: ""
          tls_ca_path: ""
          tls_server_name: ""
          tls_insecure_skip_verify: false
          tls_min_version: ""
          tls_cipher_suites: ""
    "#]]
    .assert_eq(&render_yaml(&from_yaml(CHANGED), Mode::Full));
}

#[test]
fn differences_only() {
    let config = from_yaml(CHANGED);
    expect![[r#"
        server:
          http_listen_address: 127.0.0.1
          http_listen_port: 1
        distributor:
          remote_timeout: 1m30s
          downstream:
            - name: "a:80"
              url: "http://********@a/"
              remote_timeout: 20s
              headers:
                A: "********"
              tenant_header: X-Scope-OrgID
              basic_auth:
                username: ""
                password: ""
                password_file: ""
              bearer_token: ""
              bearer_token_file: ""
              tls:
                ca_file: ""
                cert_file: ""
                key_file: ""
                server_name: ""
                insecure_skip_verify: false
              max_concurrency: 256
        limits:
          ha_tracker_sample_failover_timeout: 500ms
          ingestion_rate: 1.5
        runtime_config:
          file:
            - a.yaml
            - b.yaml
    "#]]
    .assert_eq(&render_yaml(&config, Mode::Diff));
    let json = render_json(&config, Mode::Diff);
    assert_eq!(
        json["limits"],
        json!({
            "ha_tracker_sample_failover_timeout": "500ms",
            "ingestion_rate": 1.5,
        })
    );
    assert_eq!(
        render_yaml(&Process::default().config(), Mode::Diff),
        "{}\n"
    );
}

#[test]
fn the_defaults_are_the_same_whatever_is_configured() {
    let defaults = Process::default().config();
    let rendered = render_yaml(&from_yaml(CHANGED), Mode::Defaults);
    assert_eq!(rendered, render_yaml(&defaults, Mode::Full));
    assert_eq!(
        render_json(&defaults, Mode::Defaults),
        render_json(&defaults, Mode::Full)
    );
}

#[test]
fn what_is_rendered_loads_again() {
    let text = "\
no_auth_tenant: 'true'
server: {http_listen_address: '::1', graceful_shutdown_timeout: 1h2m3.5s}
limits: {ha_cluster_label: '# \"it''s: a label\"', ha_replica_label: '123', ha_max_clusters: 0}
distributor: {downstream: [{url: 'http://a/', name: 'a: b'}]}
";
    let config = from_yaml(text);
    for mode in [Mode::Full, Mode::Diff] {
        assert_eq!(from_yaml(&render_yaml(&config, mode)), config);
    }
}

#[test]
fn help_shows_the_basic_flags() {
    let Ok(Invocation::Help(text)) = (Process {
        flags: &["-help"],
        ..Process::default()
    })
    .start() else {
        panic!("help was asked for");
    };
    expect![[r#"
        Usage of distributor:
          distributor [flags]                   run the distributor
          distributor demo [flags]              see it work, without any other software (demo -help)
          distributor status [flags]            a fleet at a glance: versions, members, elections that differ,
                                                and what needs attention (status -help)
          distributor explain [flags]           who is elected in a cluster, and what a sample of a replica gets
                                                (explain -help)
          distributor forget [flags]            remove a cluster from every store (forget -help)
          distributor migration status [flags]  whether a fleet may take its next step from Consul or etcd
                                                to memberlist (migration -help)

        Flags:
          -auth.multitenancy-enabled
            	Take the tenant of a request from its X-Scope-OrgID header. When false, every request belongs to no_auth_tenant. (default true)
          -config.check
            	Check the configuration and the files that it names, report every mistake, and exit: status 0, or 64 with mistakes.
          -config.expand-env
            	Replace ${VAR}, ${VAR:default} and $VAR in the YAML files by values of the environment; $$ stands for one $.
          -config.file list of strings
            	YAML file with the configuration. Several files, separated by commas or given by repeating the flag, are merged; later ones win.
          -distributor.downstream.url list
            	Where accepted samples are sent by remote write; every downstream must accept them. As a flag: the URLs, separated by commas or given by repeating the flag. Without any, samples are counted and dropped.
          -distributor.ha-tracker.cluster string
            	Label that names the HA cluster of a series. (default cluster)
          -distributor.ha-tracker.consul.hostname string
            	Consul: host and port of the agent; https:// in front selects TLS. (default localhost:8500)
          -distributor.ha-tracker.enable
            	Deduplicate the samples of HA pairs, for the tenants whose accept_ha_samples is true.
          -distributor.ha-tracker.enable-for-all-users
            	Deduplicate the samples of this tenant; needs the HA tracker to be enabled.
          -distributor.ha-tracker.etcd.endpoints list of strings
            	etcd: members of the cluster, each as host:port or a URL.
          -distributor.ha-tracker.replica string
            	Label that names the replica of a series; removed from what is accepted. (default __replica__)
          -distributor.ha-tracker.store string
            	Store of the elections: memberlist (gossip between the distributors), consul, etcd, inmemory (for a single process) or multi (two of these, to move from one to the other). (default memberlist)
          -help
            	Print the basic flags and exit.
          -help-all
            	Print all flags and exit.
          -log.format string
            	Format of the log: logfmt or json. (default logfmt)
          -log.level string
            	Log only lines of at least this level: debug, info, warn or error. (default info)
          -memberlist.bind-port int
            	Port to listen on, UDP and TCP; 0 for a free one. (default 7946)
          -memberlist.join list of strings
            	Members to contact at first: host:port, dns+host:port for all addresses of a name, or dnssrv+name for its SRV records; without a port, bind_port. The names are resolved again at each attempt.
          -memberlist.protocol string
            	What all members speak: chitchat, for a ring of distributors of this kind only; memberlist, to be a member of the gossip ring of Mimir's own distributors; or auto, for memberlist if a member that join_members names speaks it, and else chitchat. Members that speak one cannot join those that speak the other. Not a setting of Mimir. (default auto)
          -print.config
            	Print the configuration as YAML, with every setting and without secrets, and exit; with mistakes, report them instead.
          -runtime-config.file list of strings
            	YAML files with per-tenant overrides of the limits, read again when they change; later files win.
          -server.grpc-listen-port int
            	Port of the gRPC server; 0 for a free one. (default 9095)
          -server.http-listen-port int
            	Port of the HTTP server; 0 for a free one. (default 8080)
          -version
            	Print the version and exit.

        -help-all lists all flags. Every setting can also be set in a YAML file or in the environment. Flags of Grafana Mimir that are not listed are accepted, and have no effect.
    "#]].assert_eq(&text);
}

#[test]
fn help_all_shows_every_flag() {
    let Ok(Invocation::Help(text)) = (Process {
        flags: &["-help-all", "-nonsense"],
        ..Process::default()
    })
    .start() else {
        panic!("help was asked for");
    };
    for setting in crate::schema::all_settings() {
        assert!(
            text.contains(&format!("  -{}", setting.flag)),
            "{}",
            setting.flag
        );
    }
}
