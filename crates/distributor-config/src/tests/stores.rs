//! The settings of the key-value store.

use std::time::Duration;

use expect_test::expect;

use super::{from_yaml, yaml_mistakes};
use crate::{Mode, SecretUrl, StoreKind, render_yaml};

fn kvstore(settings: &str) -> String {
    format!("distributor: {{ha_tracker: {{enable_ha_tracker: true, kvstore: {{{settings}}}}}}}")
}

#[test]
fn every_setting_has_its_place() {
    let config = from_yaml(
        "\
distributor:
  ha_tracker:
    kvstore:
      store: etcd
      prefix: \"\"
      consul:
        host: https://consul.example:8501
        acl_token: hush
        http_client_timeout: 5s
        consistent_reads: true
        watch_rate_limit: 0.5
        watch_burst_size: 2
        cas_retry_delay: 100ms
      etcd:
        endpoints: [a:2379, b:2379]
        dial_timeout: 3s
        max_retries: 4
        username: ha
        password: hush
",
    );
    let kvstore = &config.distributor.ha_tracker.kvstore;
    assert_eq!(kvstore.store, StoreKind::Etcd);
    assert_eq!(kvstore.consul.http_client_timeout, Duration::from_secs(5));
    assert!(kvstore.consul.consistent_reads);
    assert_eq!(kvstore.consul.watch_rate_limit, 0.5);
    assert_eq!(kvstore.consul.watch_burst_size, 2);
    assert_eq!(kvstore.consul.cas_retry_delay, Duration::from_millis(100));
    let endpoints = kvstore.etcd.endpoints.iter().map(SecretUrl::expose);
    assert_eq!(endpoints.collect::<Vec<_>>(), ["a:2379", "b:2379"]);
    assert_eq!(kvstore.etcd.dial_timeout, Duration::from_secs(3));
    assert_eq!(kvstore.etcd.max_retries, 4);
    let shown = render_yaml(&config, Mode::Full);
    assert!(shown.contains("username: ha"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn a_store_that_cannot_work_is_a_mistake() {
    let mistakes: Vec<String> = [
        "store: etcd",
        "store: etcd, etcd: {endpoints: ['http://a:2379'], tls_enabled: true}",
        "store: etcd, etcd: {endpoints: [a:2379], tls_enabled: true, tls_cert_path: /no/such.pem}",
        "store: consul, consul: {host: 'consul:8500/v1'}",
        "store: consul, consul: {host: ''}",
        "store: consul, prefix: ../",
        "store: consul, consul: {watch_burst_size: 0}",
        "store: consul, consul: {acl_token: \"a\\nb\"}",
    ]
    .iter()
    .map(|settings| yaml_mistakes(&kvstore(settings)))
    .collect();
    expect![[r#"
        the configuration has 1 mistake:
          c.yaml:1: distributor.ha_tracker.kvstore.etcd: etcd has no endpoints; name at least one member as host:port
        the configuration has 1 mistake:
          c.yaml:1: distributor.ha_tracker.kvstore.etcd: etcd endpoint "http://a:2379" is plain http, but TLS is enabled; write https:// or no scheme, or disable TLS
        the configuration has 2 mistakes:
          c.yaml:1: distributor.ha_tracker.kvstore.etcd.tls_cert_path: is set without distributor.ha_tracker.kvstore.etcd.tls_key_path; set both
          c.yaml:1: distributor.ha_tracker.kvstore.etcd.tls_cert_path: got "/no/such.pem"; must be a readable file: No such file or directory (os error 2)
        the configuration has 1 mistake:
          c.yaml:1: distributor.ha_tracker.kvstore.consul: host: got "consul:8500/v1"; must be host:port, or http://host:port, or https://host:port
        the configuration has 1 mistake:
          c.yaml:1: distributor.ha_tracker.kvstore.consul.host: got ""; must be text that is not empty
        the configuration has 1 mistake:
          c.yaml:1: distributor.ha_tracker.kvstore.consul: consul cannot hold keys that begin with "../": Consul cannot keep '.' or '..' as a path segment; change kvstore.prefix
        the configuration has 1 mistake:
          c.yaml:1: distributor.ha_tracker.kvstore.consul: watch_burst_size: must be at least 1 while watch_rate_limit is set
        the configuration has 1 mistake:
          c.yaml:1: distributor.ha_tracker.kvstore.consul: acl_token: it has characters that an HTTP header cannot contain"#]].assert_eq(&mistakes.join("\n"));
    // A password in an address is neither right nor shown.
    for settings in [
        "store: etcd, etcd: {endpoints: ['root:hush@a:2379']}",
        "store: consul, consul: {host: 'http://root:hush@consul:8500'}",
    ] {
        let mistakes = yaml_mistakes(&kvstore(settings));
        assert!(!mistakes.contains("hush"), "{mistakes}");
    }
    let config = from_yaml(&kvstore(
        "store: inmemory, etcd: {endpoints: ['root:hush@a:2379']}",
    ));
    assert!(!render_yaml(&config, Mode::Full).contains("hush"));
    // Nor is anything asked of a store that is not used.
    from_yaml("distributor: {ha_tracker: {kvstore: {store: etcd}}}");
    // What another store would need is not asked for.
    from_yaml(&kvstore("store: consul, etcd: {endpoints: []}"));
}
