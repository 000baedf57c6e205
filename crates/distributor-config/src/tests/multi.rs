//! The settings of the multi store.

use std::time::Duration;

use expect_test::expect;

use super::{Process, flag_mistakes, from_yaml, yaml_mistakes};
use crate::StoreKind;

fn multi(settings: &str) -> String {
    format!(
        "\
distributor:
  ha_tracker:
    enable_ha_tracker: true
    kvstore:
      store: multi
      multi: {{{settings}}}
"
    )
}

#[test]
fn every_setting_has_its_place() {
    let config = from_yaml(&multi(
        "primary: consul, secondary: memberlist, mirror_enabled: true, mirror_timeout: 5s",
    ));
    let kvstore = &config.distributor.ha_tracker.kvstore;
    assert_eq!(kvstore.store, StoreKind::Multi);
    assert_eq!(kvstore.multi.primary, "consul");
    assert_eq!(kvstore.multi.secondary, "memberlist");
    assert!(kvstore.multi.mirroring.mirror_enabled);
    assert_eq!(
        kvstore.multi.mirroring.mirror_timeout,
        Duration::from_secs(5)
    );
    assert_eq!(kvstore.in_use(), [StoreKind::Consul, StoreKind::Memberlist]);

    let config = Process {
        flags: &[
            "-distributor.ha-tracker.enable=true",
            "-distributor.ha-tracker.store=multi",
            "-distributor.ha-tracker.multi.primary=etcd",
            "-distributor.ha-tracker.multi.secondary=inmemory",
            "-distributor.ha-tracker.multi.mirror-enabled",
            "-distributor.ha-tracker.multi.mirror-timeout=300ms",
            "-distributor.ha-tracker.etcd.endpoints=etcd:2379",
        ],
        ..Process::default()
    }
    .config();
    let kvstore = &config.distributor.ha_tracker.kvstore;
    assert_eq!(kvstore.in_use(), [StoreKind::Etcd, StoreKind::Inmemory]);
    assert!(kvstore.multi.mirroring.mirror_enabled);
    assert_eq!(
        kvstore.multi.mirroring.mirror_timeout,
        Duration::from_millis(300)
    );
}

#[test]
fn off_and_two_seconds_unless_told_otherwise() {
    let config = from_yaml(&multi("primary: consul, secondary: memberlist"));
    let multi = &config.distributor.ha_tracker.kvstore.multi;
    assert!(!multi.mirroring.mirror_enabled);
    assert_eq!(multi.mirroring.mirror_timeout, Duration::from_secs(2));
}

#[test]
fn two_stores_that_cannot_be_are_mistakes() {
    let mistakes: Vec<String> = [
        "",
        "secondary: memberlist",
        "primary: consul",
        "primary: consul, secondary: consul",
        "primary: multi, secondary: memberlist",
        "primary: consul, secondary: multi",
        "primary: zookeeper, secondary: memberlst",
        "primary: consul, secondary: memberlist, mirror_timeout: 0s",
        "primary: consul, secondary: memberlist, mirror_enable: true",
        // Both parts must be possible.
        "primary: etcd, secondary: memberlist",
        "primary: memberlist, secondary: etcd",
    ]
    .iter()
    .map(|settings| yaml_mistakes(&multi(settings)))
    .collect();
    expect![[r#"
        the configuration has 2 mistakes:
          c.yaml:5: distributor.ha_tracker.kvstore.multi.primary: is missing, and kvstore.store is multi; name the store that is used now: one of consul, etcd, inmemory, memberlist
          c.yaml:5: distributor.ha_tracker.kvstore.multi.secondary: is missing, and kvstore.store is multi; name the store to move to, such as memberlist: one of consul, etcd, inmemory, memberlist
        the configuration has 1 mistake:
          c.yaml:5: distributor.ha_tracker.kvstore.multi.primary: is missing, and kvstore.store is multi; name the store that is used now: one of consul, etcd, inmemory, memberlist
        the configuration has 1 mistake:
          c.yaml:5: distributor.ha_tracker.kvstore.multi.secondary: is missing, and kvstore.store is multi; name the store to move to, such as memberlist: one of consul, etcd, inmemory, memberlist
        the configuration has 1 mistake:
          c.yaml:6: distributor.ha_tracker.kvstore.multi.secondary: got "consul", the same as distributor.ha_tracker.kvstore.multi.primary; the two must differ
        the configuration has 1 mistake:
          c.yaml:6: distributor.ha_tracker.kvstore.multi.primary: got "multi", but a multi store cannot contain another multi store; must be one of consul, etcd, inmemory, memberlist
        the configuration has 1 mistake:
          c.yaml:6: distributor.ha_tracker.kvstore.multi.secondary: got "multi", but a multi store cannot contain another multi store; must be one of consul, etcd, inmemory, memberlist
        the configuration has 2 mistakes:
          c.yaml:6: distributor.ha_tracker.kvstore.multi.primary: got "zookeeper"; must be one of consul, etcd, inmemory, memberlist
          c.yaml:6: distributor.ha_tracker.kvstore.multi.secondary: got "memberlst"; must be one of consul, etcd, inmemory, memberlist
        the configuration has 1 mistake:
          c.yaml:6: distributor.ha_tracker.kvstore.multi.mirror_timeout: got "0s"; must be a duration such as 1m30s or 500ms; more than 0
        the configuration has 1 mistake:
          c.yaml:6: distributor.ha_tracker.kvstore.multi.mirror_enable: unknown key; did you mean mirror_enabled?
        the configuration has 1 mistake:
          c.yaml:5: distributor.ha_tracker.kvstore.etcd: etcd has no endpoints; name at least one member as host:port
        the configuration has 1 mistake:
          c.yaml:5: distributor.ha_tracker.kvstore.etcd: etcd has no endpoints; name at least one member as host:port"#]].assert_eq(&mistakes.join("\n"));
    let mistakes = flag_mistakes(&[
        "-distributor.ha-tracker.enable=true",
        "-distributor.ha-tracker.store=multi",
        "-distributor.ha-tracker.multi.primary=memberlist",
        "-distributor.ha-tracker.multi.secondary=memberlist",
    ]);
    expect![[r#"
        the configuration has 1 mistake:
          -distributor.ha-tracker.multi.secondary: distributor.ha_tracker.kvstore.multi.secondary: got "memberlist", the same as distributor.ha_tracker.kvstore.multi.primary; the two must differ"#]].assert_eq(&mistakes);
    let gossip = "      memberlist: {gossip_interval: 1h}\n";
    let settings = multi("primary: consul, secondary: memberlist") + gossip;
    assert!(yaml_mistakes(&settings).contains("memberlist.gossip_interval"));
}

#[test]
fn what_is_not_used_is_not_asked_for() {
    // Another store.
    from_yaml(
        "distributor: {ha_tracker: {enable_ha_tracker: true, kvstore: {store: inmemory, multi: {primary: x}}}}",
    );
    // No tracker.
    from_yaml("distributor: {ha_tracker: {kvstore: {store: multi}}}");
    // A third store.
    from_yaml(&(multi("primary: consul, secondary: memberlist") + "      etcd: {endpoints: []}\n"));
}
