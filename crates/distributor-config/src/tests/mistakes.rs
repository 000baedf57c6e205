//! Every mistake is reported in one run, with its place, its rule and what to do.

use expect_test::expect;

use super::{Process, yaml_mistakes};

#[test]
fn a_file_full_of_mistakes() {
    let text = "\
multitenancy_enabled: maybe
no_auth_tenant: a/b
servr: {}
server:
  http_listen_address: example.com
  log_level: loud
distributor:
  ha_tracker:
    enable_ha_trackr: true
    kvstore:
      store: consul
  max_recv_msg_size: 100MX
  downstream:
    - url: gopher://x
limits:
  ha_tracker_failover_timeout: 10s
  ha_max_clusters: -1
";
    expect![[r#"
        the configuration has 10 mistakes:
          c.yaml:1: multitenancy_enabled: got "maybe"; must be true or false
          c.yaml:3: servr: unknown key; did you mean server?
          c.yaml:5: server.http_listen_address: got "example.com"; must be an IP address, or empty
          c.yaml:6: server.log_level: got "loud"; must be one of debug, info, warn, error
          c.yaml:9: distributor.ha_tracker.enable_ha_trackr: unknown key; did you mean enable_ha_tracker?
          c.yaml:12: distributor.max_recv_msg_size: got "100MX"; must be a size in bytes, or with a unit such as 100MiB or 1GB; more than 0
          c.yaml:14: distributor.downstream[0].url: got "gopher://x"; must be an http:// or https:// URL with a host
          c.yaml:17: limits.ha_max_clusters: got "-1"; must be a whole number from 0
          c.yaml:2: no_auth_tenant: got "a/b"; the tenant ID "a/b" contains '/'; allowed are letters, digits and !-_.*'()
          c.yaml:16: limits.ha_tracker_failover_timeout: got 10s; must be at least 21s: the sum of ha_tracker_update_timeout 15s (default), ha_tracker_update_timeout_jitter_max 5s (default) and 1s; raise it, or lower these"#]]
    .assert_eq(&yaml_mistakes(text));
}

#[test]
fn mistakes_of_all_sources_in_one_run() {
    let process = Process {
        files: &[
            ("a.yaml", "nothing_known: 1\n"),
            ("b.yaml", "server:\n  http_listen_port: x\n"),
        ],
        variables: &[("HA_DISTRIBUTOR_LIMITS__HA_TRACKER_UPDATE_TIMEOUT", "40s")],
        flags: &["-config.file=missing.yaml", "-log.format=xml"],
    };
    expect![[r#"
        the configuration has 5 mistakes:
          a.yaml:1: nothing_known: unknown key; known here: multitenancy_enabled, no_auth_tenant, senders_credentials_file, pages_credentials_file, target, shutdown_delay, server, distributor, limits, runtime_config, memberlist
          b.yaml:2: server.http_listen_port: got "x"; must be a port number from 0 to 65535
          missing.yaml: cannot be read: no such file; check -config.file
          -log.format: server.log_format: got "xml"; must be one of logfmt, json
          HA_DISTRIBUTOR_LIMITS__HA_TRACKER_UPDATE_TIMEOUT: limits.ha_tracker_failover_timeout: got 30s; must be at least 46s: the sum of ha_tracker_update_timeout 40s (HA_DISTRIBUTOR_LIMITS__HA_TRACKER_UPDATE_TIMEOUT), ha_tracker_update_timeout_jitter_max 5s (default) and 1s; raise it, or lower these"#]]
    .assert_eq(&process.mistakes());
}

#[test]
fn unknown_keys_name_the_nearest() {
    let text = "\
limits:
  accept_ha_sample: true
  enable_ha_tracker: true
  qqqqqq: 1
server:
  http_tls_config: {cert: inline}
distributor:
  ha_trackr: {}
";
    expect![[r#"
        the configuration has 4 mistakes:
          c.yaml:2: limits.accept_ha_sample: unknown key; did you mean accept_ha_samples?
          c.yaml:3: limits.enable_ha_tracker: unknown key; did you mean distributor.ha_tracker.enable_ha_tracker?
          c.yaml:8: distributor.ha_trackr: unknown key; did you mean ha_tracker?
          c.yaml:6: server.http_tls_config.cert: is set without server.http_tls_config.key_file; set both"#]]
    .assert_eq(&yaml_mistakes(text));
}

#[test]
fn rules_about_timeouts_labels_and_ports() {
    let text = "\
server: {http_listen_port: 9095}
limits:
  ha_cluster_label: __replica__
  ha_tracker_update_timeout: 5s
  ha_tracker_update_timeout_jitter_max: 5s
";
    expect![[r#"
        the configuration has 3 mistakes:
          c.yaml:1: server.grpc_listen_port: got 9095, which is also server.http_listen_port (c.yaml:1); the two servers need different ports
          c.yaml:5: limits.ha_tracker_update_timeout_jitter_max: got 5s; must be less than ha_tracker_update_timeout 5s (c.yaml:4)
          c.yaml:3: limits.ha_replica_label: got "__replica__", which is also ha_cluster_label (c.yaml:3); they must be different labels"#]]
    .assert_eq(&yaml_mistakes(text));
}

#[test]
fn the_failover_timeout_may_be_exactly_the_sum() {
    let limits = |failover: &str| {
        format!(
            "limits: {{ha_tracker_update_timeout: 10s, ha_tracker_update_timeout_jitter_max: 2s, \
             ha_tracker_failover_timeout: {failover}}}"
        )
    };
    super::from_yaml(&limits("13s"));
    assert!(yaml_mistakes(&limits("12.999s")).contains("must be at least 13s"));
}

#[test]
fn nothing_and_zero_are_refused_where_they_make_no_sense() {
    let text = "\
no_auth_tenant: ''
distributor: {remote_timeout: 0, max_recv_msg_size: 0}
limits: {ha_cluster_label: '', ha_replica_label: \"\", ha_tracker_update_timeout: 0s}
runtime_config: {period: 0}
";
    expect![[r#"
        the configuration has 7 mistakes:
          c.yaml:1: no_auth_tenant: got ""; must be text that is not empty
          c.yaml:2: distributor.remote_timeout: got "0"; must be a duration such as 1m30s or 500ms; more than 0
          c.yaml:2: distributor.max_recv_msg_size: got "0"; must be a size in bytes, or with a unit such as 100MiB or 1GB; more than 0
          c.yaml:3: limits.ha_cluster_label: got ""; must be text that is not empty
          c.yaml:3: limits.ha_replica_label: got ""; must be text that is not empty
          c.yaml:3: limits.ha_tracker_update_timeout: got "0s"; must be a duration such as 1m30s or 500ms; more than 0
          c.yaml:4: runtime_config.period: got "0"; must be a duration such as 1m30s or 500ms; more than 0"#]]
    .assert_eq(&yaml_mistakes(text));
}

#[test]
fn rules_about_tls() {
    let text = "\
server:
  http_tls_config:
    cert_file: /nonexistent/cert.pem
  grpc_tls_config:
    cert_file: /
    key_file: /nonexistent/key.pem
    client_auth_type: RequireAndVerifyClientCert
";
    expect![[r#"
        the configuration has 5 mistakes:
          c.yaml:3: server.http_tls_config.cert_file: is set without server.http_tls_config.key_file; set both
          c.yaml:3: server.http_tls_config.cert_file: got "/nonexistent/cert.pem"; must be a readable file: No such file or directory (os error 2)
          c.yaml:5: server.grpc_tls_config.cert_file: got "/"; must be a readable file: it is a directory
          c.yaml:6: server.grpc_tls_config.key_file: got "/nonexistent/key.pem"; must be a readable file: No such file or directory (os error 2)
          c.yaml:7: server.grpc_tls_config.client_auth_type: client certificates cannot be verified without CA certificates; set server.grpc_tls_config.client_ca_file, or NoClientCert"#]]
    .assert_eq(&yaml_mistakes(text));
}

#[test]
fn tls_files_that_exist_are_taken() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    let config = super::from_yaml(&format!(
        "server: {{http_tls_config: {{cert_file: {path}, key_file: {path}, client_ca_file: {path}, \
         client_auth_type: VerifyClientCertIfGiven}}}}"
    ));
    assert_eq!(
        config.server.http_tls_config.key_file.as_deref(),
        Some(file.path())
    );
    assert!(
        yaml_mistakes(&format!(
            "server: {{http_tls_config: {{client_ca_file: {path}}}}}"
        ))
        .contains("has no effect while client certificates are not requested")
    );
}

#[test]
fn wrong_shapes_are_named() {
    let text = "\
server: [1]
limits: 5
distributor:
  ha_tracker:
    enable_ha_tracker: [true]
  remote_timeout: {a: 1}
  downstream:
    url: http://x
runtime_config:
  file: [a, [b]]
";
    expect![[r#"
        the configuration has 6 mistakes:
          c.yaml:1: server: got a list; must be a mapping
          c.yaml:2: limits: got a single value; must be a mapping
          c.yaml:5: distributor.ha_tracker.enable_ha_tracker: got a list; must be true or false
          c.yaml:6: distributor.remote_timeout: got a mapping; must be a duration such as 1m30s or 500ms; more than 0
          c.yaml:7: distributor.downstream: got a mapping; must be a list of mappings
          c.yaml:10: runtime_config.file[1]: got a list; must be text"#]]
    .assert_eq(&yaml_mistakes(text));
}
