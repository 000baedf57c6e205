//! The section of gossip: its two places, its rules, and what is not said.

use std::net::IpAddr;
use std::time::Duration;

use expect_test::expect;

use super::{DOWNSTREAM, Process, flag_mistakes, from_yaml, yaml_mistakes};
use crate::{Mode, Secret, StoreKind, render_json, render_yaml};

const ENABLED: &str = "distributor: {ha_tracker: {enable_ha_tracker: true}}\n";

#[test]
fn the_last_snippet_of_the_migration_guide() {
    let loaded = Process {
        files: &[(
            "c.yaml",
            "\
distributor:
  ha_tracker:
    enable_ha_tracker: true
    kvstore:
      store: memberlist # Changed in this step
      memberlist:
        join_members:
          - mimir-gossip-ring.default.svc.cluster.local:7946
",
        )],
        flags: &[DOWNSTREAM],
        ..Process::default()
    }
    .loaded();
    assert_eq!(loaded.warnings, [""; 0]);
    let kvstore = &loaded.config.distributor.ha_tracker.kvstore;
    assert_eq!(kvstore.store, StoreKind::Memberlist);
    assert_eq!(
        loaded.config.memberlist.join_members,
        ["mimir-gossip-ring.default.svc.cluster.local:7946"]
    );
    expect![[r#"
        distributor:
          ha_tracker:
            enable_ha_tracker: true
          downstream:
            - name: "backend:80"
              url: "http://backend/push"
              remote_timeout: 20s
              headers: {}
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
        memberlist:
          join_members:
            - "mimir-gossip-ring.default.svc.cluster.local:7946"
    "#]]
    .assert_eq(&render_yaml(&loaded.config, Mode::Diff));
}

/// All that Mimir's `memberlist` block can hold, with values of its helm chart where it has any.
const OF_MIMIR: &str = "\
memberlist:
  node_name: distributor-0
  randomize_node_name: false
  stream_timeout: 2s
  retransmit_factor: 4
  pull_push_interval: 1m
  gossip_interval: 300ms
  gossip_nodes: 3
  gossip_to_dead_nodes_time: 30s
  dead_node_reclaim_time: 0s
  compression_enabled: false
  notify_interval: 0s
  advertise_addr: 10.0.0.1
  advertise_port: 7947
  cluster_label: mimir.default
  cluster_label_verification_disabled: true
  join_members: [dns+mimir-gossip-ring.default.svc.cluster.local.:7946]
  min_join_backoff: 2s
  max_join_backoff: 30s
  max_join_retries: 5
  abort_if_cluster_fast_join_fails: true
  abort_if_cluster_join_fails: true
  rejoin_interval: 1m30s
  left_ingesters_timeout: 6m
  obsolete_entries_timeout: 40s
  leave_timeout: 10s
  broadcast_timeout_for_local_updates_on_shutdown: 10s
  message_history_buffer_bytes: 1048576
  bind_addr: [10.0.0.1, localhost]
  bind_port: 7948
  packet_dial_timeout: 500ms
  packet_write_timeout: 500ms
  max_concurrent_writes: 5
  acquire_writer_timeout: 250ms
  tls_enabled: false
  tls_cert_path: ''
  zone_aware_routing: {enabled: false}
";

#[test]
fn the_block_of_a_mimir_file() {
    let text = format!("{ENABLED}{OF_MIMIR}");
    let loaded = Process {
        files: &[("mimir.yaml", &text)],
        ..Process::default()
    }
    .loaded();
    expect![[r#"
        no downstream is configured (distributor.downstream): accepted samples are counted and DROPPED; set the URL of a remote-write backend
        ignored settings of Mimir that have no effect in this program: memberlist.broadcast_timeout_for_local_updates_on_shutdown, memberlist.zone_aware_routing"#]].assert_eq(&loaded.warnings.join("\n"));
    expect![[r#"
        distributor:
          ha_tracker:
            enable_ha_tracker: true
        memberlist:
          join_members:
            - "dns+mimir-gossip-ring.default.svc.cluster.local.:7946"
          bind_addr:
            - 10.0.0.1
            - 127.0.0.1
          bind_port: 7948
          advertise_addr: 10.0.0.1
          advertise_port: 7947
          node_name: distributor-0
          randomize_node_name: false
          cluster_label: mimir.default
          cluster_label_verification_disabled: true
          gossip_interval: 300ms
          pull_push_interval: 1m0s
          packet_dial_timeout: 500ms
          packet_write_timeout: 500ms
          rejoin_interval: 1m30s
          min_join_backoff: 2s
          max_join_backoff: 30s
          max_join_retries: 5
          abort_if_cluster_join_fails: true
          abort_if_cluster_fast_join_fails: true
          leave_timeout: 10s
          left_ingesters_timeout: 6m0s
          obsolete_entries_timeout: 40s
          message_history_buffer_bytes: 1048576
          compression_enabled: false
    "#]]
    .assert_eq(&render_yaml(&loaded.config, Mode::Diff));
    let settings = &loaded.config.memberlist;
    let addresses = ["10.0.0.1", "127.0.0.1"].map(|text| text.parse::<IpAddr>().unwrap());
    assert_eq!(settings.bind_addr, addresses);
    assert_eq!(settings.advertise_addr, Some(addresses[0]));
    assert_eq!(settings.rejoin_interval, Duration::from_secs(90));

    // The same block at the other place means the same.
    let block = OF_MIMIR.replace('\n', "\n    ");
    let inner = from_yaml(&format!(
        "distributor:\n ha_tracker:\n  enable_ha_tracker: true\n  kvstore:\n    {block}"
    ));
    assert_eq!(inner, loaded.config);
}

#[test]
fn defaults_are_those_of_mimir() {
    let config = Process::default().config();
    let kvstore = &config.distributor.ha_tracker.kvstore;
    assert_eq!(kvstore.store, StoreKind::Memberlist);
    let shown = &render_json(&config, Mode::Defaults)["memberlist"];
    expect![[r#"
        {
          "abort_if_cluster_fast_join_fails": false,
          "abort_if_cluster_fast_join_fails_min_nodes": 2,
          "abort_if_cluster_join_fails": false,
          "acquire_writer_timeout": "250ms",
          "advertise_addr": "",
          "advertise_port": 0,
          "bind_addr": [
            "0.0.0.0"
          ],
          "bind_port": 7946,
          "cluster_label": "",
          "cluster_label_verification_disabled": false,
          "compression_algorithm": "lzw",
          "compression_enabled": true,
          "dead_node_reclaim_time": "0s",
          "encryption_keys": [],
          "encryption_required": false,
          "gossip_interval": "200ms",
          "gossip_nodes": 3,
          "gossip_to_dead_nodes_time": "30s",
          "join_members": [],
          "leave_timeout": "20s",
          "left_ingesters_timeout": "5m0s",
          "max_concurrent_writes": 5,
          "max_join_backoff": "1m0s",
          "max_join_retries": 10,
          "message_history_buffer_bytes": 0,
          "min_join_backoff": "1s",
          "node_name": "",
          "notify_interval": "0s",
          "obsolete_entries_timeout": "30s",
          "packet_dial_timeout": "2s",
          "packet_write_timeout": "5s",
          "protocol": "auto",
          "pull_push_interval": "30s",
          "randomize_node_name": true,
          "rejoin_interval": "0s",
          "rejoin_seed_nodes": [],
          "retransmit_factor": 4,
          "stream_timeout": "2s",
          "tls_ca_path": "",
          "tls_cert_path": "",
          "tls_cipher_suites": "",
          "tls_enabled": false,
          "tls_insecure_skip_verify": false,
          "tls_key_path": "",
          "tls_min_version": "",
          "tls_server_name": ""
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(shown).unwrap());
    // One distributor needs no settings at all.
    from_yaml(ENABLED);
}

#[test]
fn the_inner_block_wins_then_the_environment_then_flags() {
    let outer = "\
memberlist:
  {cluster_label: outer, bind_port: 1, advertise_port: 1, leave_timeout: 1s, node_name: outer,
   join_members: [a, b, c]}
";
    let inner = "\
distributor: {ha_tracker: {kvstore: {memberlist:
  {cluster_label: inner, bind_port: 2, advertise_port: 2, leave_timeout: 2s, join_members: [d]}}}}
";
    let variables = [
        ("HA_DISTRIBUTOR_MEMBERLIST__ADVERTISE_PORT", "3"),
        ("HA_DISTRIBUTOR_MEMBERLIST__LEAVE_TIMEOUT", "3s"),
        ("HA_DISTRIBUTOR_MEMBERLIST__BIND_PORT", "3"),
        (
            "HA_DISTRIBUTOR_DISTRIBUTOR__HA_TRACKER__KVSTORE__MEMBERLIST__BIND_PORT",
            "4",
        ),
    ];
    // Whichever stands first.
    for text in [format!("{outer}{inner}"), format!("{inner}{outer}")] {
        let settings = Process {
            files: &[("c.yaml", &text)],
            variables: &variables,
            flags: &["-memberlist.leave-timeout=5s"],
        }
        .config()
        .memberlist;
        assert_eq!(settings.node_name, "outer", "only set there");
        assert_eq!(settings.cluster_label, "inner");
        assert_eq!(settings.join_members, ["d"], "a list is one value");
        assert_eq!(settings.advertise_port, 3, "environment over files");
        assert_eq!(settings.bind_port, 4, "in the environment as in files");
        assert_eq!(settings.leave_timeout, Duration::from_secs(5), "flag");
    }
    let settings = Process {
        files: &[("c.yaml", inner), ("d.yaml", outer)],
        ..Process::default()
    }
    .config()
    .memberlist;
    assert_eq!(settings.cluster_label, "outer", "a later file over all");
}

#[test]
fn flags_have_mimirs_names() {
    let config = Process {
        flags: &[
            DOWNSTREAM,
            "-memberlist.join=a:1",
            "-memberlist.join=dnssrv+_gossip._udp.b",
            "-memberlist.bind-addr=127.0.0.1,::1",
            "-memberlist.bind-addr=127.0.0.2",
            "-memberlist.nodename=n",
            "-memberlist.pullpush-interval=5s",
            "-memberlist.abort-if-join-fails",
            "-memberlist.abort-if-fast-join-fails",
            "-memberlist.compression-enabled=false",
        ],
        ..Process::default()
    }
    .loaded();
    let settings = &config.config.memberlist;
    assert_eq!(settings.join_members, ["a:1", "dnssrv+_gossip._udp.b"]);
    assert_eq!(settings.bind_addr.len(), 3);
    assert_eq!(settings.node_name, "n");
    assert!(settings.abort_if_cluster_join_fails);
    assert!(settings.abort_if_cluster_fast_join_fails);
    assert!(!settings.compression_enabled);
    expect![""].assert_eq(&config.warnings.join("\n"));
}

#[test]
fn what_breaks_a_rule_is_a_mistake() {
    let text = "\
memberlist:
  join_members:
    - a:7946
    - dns+
    - a:x
  bind_addr: [127.0.0.1]
  node_name: NAME
  cluster_label: NAMENAMENAME
  gossip_interval: 5ms
  min_join_backoff: 2m
  left_ingesters_timeout: 0
  obsolete_entries_timeout: 0s
  message_history_buffer_bytes: 65MiB
  encryption_keys: ['', a, a, a, a, a, a, a, LONGSECRET]
  protocol: chitchat
  tls_enabled: true
"
    .replace("NAME", &"é".repeat(51))
    .replace("LONG", &"x".repeat(4091));
    expect![[r#"
        the configuration has 13 mistakes:
          c.yaml:3: memberlist.join_members[1]: got "dns+"; it has no host; must be host:port, dns+host:port or dnssrv+name
          c.yaml:3: memberlist.join_members[2]: got "a:x"; the port must be a number from 1 to 65535
          c.yaml:8: memberlist.node_name: got 102 bytes; must be at most 100
          c.yaml:9: memberlist.cluster_label: got 306 bytes; must be at most 255
          c.yaml:10: memberlist.gossip_interval: got 5ms; must be from 10ms to 10s
          c.yaml:12: memberlist.left_ingesters_timeout: got 0s; must be more than 0
          c.yaml:13: memberlist.obsolete_entries_timeout: got 0s; must be more than 0
          c.yaml:11: memberlist.max_join_backoff: got 1m0s; must be at least min_join_backoff 2m0s (c.yaml:11)
          c.yaml:14: memberlist.message_history_buffer_bytes: got 68157440 bytes; must be at most 64MiB
          c.yaml:15: memberlist.encryption_keys: got 9 keys; must be at most 8
          c.yaml:15: memberlist.encryption_keys[0]: got nothing; must be a key in base64, or the path of a file that contains one
          c.yaml:15: memberlist.encryption_keys[8]: got 4097 bytes, which are not shown; must be at most 4096
          c.yaml:17: memberlist.tls_enabled: got true; with memberlist.protocol chitchat, gossip is encrypted with memberlist.encryption_keys, not TLS: set these on all members, and remove this"#]].assert_eq(&yaml_mistakes(&format!("{ENABLED}{text}")));
    // None of it matters where gossip is not used.
    from_yaml(&text);
    from_yaml(&format!(
        "distributor: {{ha_tracker: {{enable_ha_tracker: true, kvstore: {{store: inmemory}}}}}}\n{text}"
    ));
}

#[test]
fn what_is_no_value_of_its_setting_is_a_mistake_at_both_places() {
    let text = "\
distributor:
  ha_tracker:
    enable_ha_tracker: true
    kvstore:
      memberlst: {}
      memberlist:
        bind_addr:
          - 10.0.0.1
          - eth0
          - [1]
        bind_prt: 1
        max_join_backoff: 500ms
        min_join_backoff: hush
        encryption_keys: [{hush: hush}]
memberlist:
  join_member: [a]
  bind_addr: eth0
  advertise_addr: eth0
  advertise_port: 65536
  host: consul
";
    expect![[r#"
        the configuration has 10 mistakes:
          c.yaml:5: distributor.ha_tracker.kvstore.memberlst: unknown key; did you mean memberlist?
          c.yaml:9: distributor.ha_tracker.kvstore.memberlist.bind_addr[1]: got "eth0"; must be an IP address
          c.yaml:10: distributor.ha_tracker.kvstore.memberlist.bind_addr[2]: got a list; must be an IP address
          c.yaml:11: distributor.ha_tracker.kvstore.memberlist.bind_prt: unknown key; did you mean bind_port?
          c.yaml:13: distributor.ha_tracker.kvstore.memberlist.min_join_backoff: got "hush"; must be a duration such as 1m30s or 500ms
          c.yaml:14: distributor.ha_tracker.kvstore.memberlist.encryption_keys[0]: got a mapping; must be text
          c.yaml:16: memberlist.join_member: unknown key; did you mean join_members?
          c.yaml:17: memberlist.bind_addr: got "eth0"; must be a list of IP addresses
          c.yaml:18: memberlist.advertise_addr: got "eth0"; must be an IP address, or empty
          c.yaml:19: memberlist.advertise_port: got "65536"; must be a port number from 0 to 65535"#]].assert_eq(&yaml_mistakes(text));
    expect![[r#"
        the configuration has 2 mistakes:
          c.yaml:1: distributor.ha_tracker.kvstore.memberlist: got a list; must be a mapping
          c.yaml:2: memberlist: got a single value; must be a mapping"#]]
    .assert_eq(&yaml_mistakes(
        "distributor: {ha_tracker: {kvstore: {memberlist: [a]}}}\nmemberlist: a",
    ));
    expect![[r#"
        the configuration has 3 mistakes:
          -memberlist.joi: unknown flag; did you mean -memberlist.join?
          -memberlist.bind-addr: memberlist.bind_addr: got "a"; must be a list of IP addresses
          -memberlist.max-join-backoff: memberlist.max_join_backoff: got 500ms; must be at least min_join_backoff 1s (default)"#]].assert_eq(&flag_mistakes(&[
        "-memberlist.joi=a",
        "-memberlist.bind-addr=a",
        "-memberlist.max-join-backoff=500ms",
        "-distributor.ha-tracker.enable",
    ]));
}

#[test]
fn members_to_join() {
    let mistakes = |member: &str| {
        let text = format!("{ENABLED}memberlist: {{join_members: ['{member}']}}");
        Process {
            files: &[("c.yaml", &text)],
            ..Process::default()
        }
        .start()
        .err()
        .map(|errors| errors.0[0].problem.clone())
    };
    for member in [
        "a",
        "a:1",
        "10.0.0.1:7946",
        "::1",
        "[::1]",
        "[::1]:7946",
        "dns+a.b.svc.cluster.local.:65535",
        "dns+a",
        "dnssrv+_gossip._udp.a",
        "dnssrvnoa+_gossip._udp.a",
        "bücher.example:1",
    ] {
        assert_eq!(mistakes(member), None, "{member}");
    }
    let refused: Vec<String> = [
        "",
        ":7946",
        "dns+",
        "dns+:1",
        "dnssrv+",
        "dnsrv+a",
        "a:",
        "a:0",
        "a:65536",
        "a:b:c",
        "a b",
        " a",
        "+a",
        "http://a",
        "a/b",
        "[::1",
        "[::1]x",
        "[]:1",
        "[a]:1",
        "dns+dns+a",
    ]
    .iter()
    .map(|member| mistakes(member).unwrap_or_else(|| panic!("{member} was taken")))
    .collect();
    expect![[r#"
        got ""; it has no host; must be host:port, dns+host:port or dnssrv+name
        got ":7946"; it has no host; must be host:port, dns+host:port or dnssrv+name
        got "dns+"; it has no host; must be host:port, dns+host:port or dnssrv+name
        got "dns+:1"; it has no host; must be host:port, dns+host:port or dnssrv+name
        got "dnssrv+"; it has no host; must be host:port, dns+host:port or dnssrv+name
        got "dnsrv+a"; dnsrv+ is not a known prefix; must be host:port, dns+host:port or dnssrv+name
        got "a:"; the port must be a number from 1 to 65535
        got "a:0"; the port must be a number from 1 to 65535
        got "a:65536"; the port must be a number from 1 to 65535
        got "a:b:c"; must be host:port, dns+host:port or dnssrv+name
        got "a b"; must be host:port, dns+host:port or dnssrv+name
        got " a"; must be host:port, dns+host:port or dnssrv+name
        got "+a"; + is not a known prefix; must be host:port, dns+host:port or dnssrv+name
        got "http://a"; the port must be a number from 1 to 65535
        got "a/b"; must be host:port, dns+host:port or dnssrv+name
        got "[::1"; must be host:port, dns+host:port or dnssrv+name
        got "[::1]x"; must be host:port, dns+host:port or dnssrv+name
        got "[]:1"; brackets must contain an IPv6 address
        got "[a]:1"; brackets must contain an IPv6 address
        got "dns+dns+a"; must be host:port, dns+host:port or dnssrv+name"#]]
    .assert_eq(&refused.join("\n"));
}

#[test]
fn keys_are_never_shown() {
    let text = "memberlist: {encryption_keys: [/etc/gossip.key, aHVzaA==]}";
    let config = from_yaml(text);
    let keys = config.memberlist.encryption_keys.iter();
    assert_eq!(
        keys.map(Secret::expose).collect::<Vec<_>>(),
        ["/etc/gossip.key", "aHVzaA=="]
    );
    for shown in [
        render_yaml(&config, Mode::Full),
        render_yaml(&config, Mode::Diff),
        render_json(&config, Mode::Full).to_string(),
        format!("{config:?}"),
    ] {
        assert!(shown.contains("********"), "{shown}");
        assert!(
            !shown.contains("gossip.key") && !shown.contains("aHV"),
            "{shown}"
        );
    }
}
