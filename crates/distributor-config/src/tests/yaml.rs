//! YAML itself: anchors, positions, and what is not YAML.

use std::time::Duration;

use expect_test::expect;

use proptest::prelude::*;

use super::{Process, from_yaml, yaml_mistakes};

#[test]
fn anchors_aliases_and_merge_keys() {
    let config = from_yaml(
        "\
server: &server
  http_listen_port: &port 1
  grpc_listen_port: 2
limits: &limits
  ha_max_clusters: *port
  <<: [{ingestion_rate: 7, ha_max_clusters: 9}, {ingestion_rate: 8}]
",
    );
    assert_eq!(
        config.limits.elections.max_clusters, 1,
        "a key of its own wins over a merged one"
    );
    assert!((config.limits.push.ingestion_rate - 7.0).abs() < f64::EPSILON);
}

#[test]
fn empty_files_and_empty_values_change_nothing() {
    let defaults = Process::default().config();
    for text in [
        "",
        "\n",
        "# only a comment\n",
        "---\n",
        "---\n...\n",
        "\u{feff}",
        "null",
        "server:\n",
        "server:\n  log_level:\n  http_listen_port: ~\n",
        "{}",
    ] {
        assert_eq!(from_yaml(text), defaults, "{text:?}");
    }
}

#[test]
fn scalars_keep_their_text() {
    let config = from_yaml(
        "no_auth_tenant: 0x10\nlimits: {ha_cluster_label: 1e3, ha_replica_label: \"null\"}\n",
    );
    assert_eq!(config.no_auth_tenant, "0x10");
    assert_eq!(config.limits.push.ha_cluster_label, "1e3");
    assert_eq!(config.limits.push.ha_replica_label, "null");
}

#[test]
fn numbers_and_words_may_be_quoted() {
    let config = from_yaml(
        "multitenancy_enabled: \"false\"\nserver: {http_listen_port: '1'}\ndistributor: \
         {max_recv_msg_size: 1024, remote_timeout: 1m30s}\n",
    );
    assert!(!config.multitenancy_enabled);
    assert_eq!(config.server.http_listen_port, 1);
    assert_eq!(config.distributor.push.max_recv_msg_size, 1024);
    assert_eq!(
        config.distributor.push.remote_timeout,
        Duration::from_secs(90)
    );
}

#[test]
fn what_is_not_one_mapping_is_refused() {
    let all: Vec<String> = [
        "- a\n- b\n",
        "text",
        "server: {}\n---\nlimits: {}\n",
        "server:\n\thttp_listen_port: 1\n",
        "server: {http_listen_port: 1\n",
        "a: *unknown\n",
        "server:\n  http_listen_port: 1\n grpc_listen_port: 2\n",
        "? [a]\n: b\n",
        "server: {log_level: info, log_level: warn}\n",
    ]
    .iter()
    .map(|text| format!("{text:?}\n{}", yaml_mistakes(text)))
    .collect();
    expect![[r#"
        "- a\n- b\n"
        the configuration has 1 mistake:
          c.yaml:1: got a list at the top; must be a mapping of settings
        "text"
        the configuration has 1 mistake:
          c.yaml:1: got a single value at the top; must be a mapping of settings
        "server: {}\n---\nlimits: {}\n"
        the configuration has 1 mistake:
          c.yaml:3: a second document begins here; a file must hold only one
        "server:\n\thttp_listen_port: 1\n"
        the configuration has 1 mistake:
          c.yaml:2: a tab in the indentation, which YAML forbids; use spaces
        "server: {http_listen_port: 1\n"
        the configuration has 1 mistake:
          c.yaml:2: not YAML: while parsing a flow mapping, did not find expected ',' or '}' (column 1)
        "a: *unknown\n"
        the configuration has 1 mistake:
          c.yaml:1: not YAML: while parsing node, found unknown anchor (column 4)
        "server:\n  http_listen_port: 1\n grpc_listen_port: 2\n"
        the configuration has 1 mistake:
          c.yaml:3: not YAML: while parsing a block mapping, did not find expected key (column 2)
        "? [a]\n: b\n"
        the configuration has 1 mistake:
          c.yaml:1: a key must be plain text
        "server: {log_level: info, log_level: warn}\n"
        the configuration has 1 mistake:
          c.yaml:1: the key "log_level" occurs twice in one mapping; remove one of them"#]].assert_eq(&all.join("\n"));
}

#[test]
fn a_repeated_key_does_not_hide_other_mistakes() {
    let text = "\
server:
  http_listen_port: 1
  log_level: info
  http_listen_port: 2
limits:
  ha_max_clusters: many
";
    expect![[r#"
        the configuration has 2 mistakes:
          c.yaml:4: the key "http_listen_port" occurs twice in one mapping; remove one of them
          c.yaml:6: limits.ha_max_clusters: got "many"; must be a whole number from 0"#]]
    .assert_eq(&yaml_mistakes(text));
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let previous = format!("*a{}", level - 1);
        let items = vec![previous; 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(yaml_mistakes(&text).contains("alias expansion exceeded"));
}

#[test]
fn deep_nesting_is_refused() {
    let mut indented = String::new();
    for depth in 0..2_000 {
        indented.push_str(&" ".repeat(depth));
        indented.push_str("a:\n");
    }
    for text in [
        "[".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        indented,
    ] {
        let mistakes = yaml_mistakes(&text);
        let refused = ["recursion limit exceeded", "nested deeper than 100 levels"];
        assert!(
            refused.iter().any(|words| mistakes.contains(words)),
            "{mistakes}"
        );
    }
}

proptest! {
    /// Files come from people: whatever stands in them is an answer, never a panic.
    #[test]
    fn any_text_is_answered(text in "(?s)[a-z:{}\\[\\]&*<|>!%@'\"#,? \t\n-]{0,60}|.{0,40}") {
        let _ = Process { files: &[("c.yaml", &text)], ..Process::default() }.start();
    }

    #[test]
    fn any_text_in_place_of_a_setting_is_answered(text in "(?s).{0,30}") {
        let yaml = format!(
            "server: {text}\ndistributor:\n  downstream:\n    - {text}\nlimits:\n  ha_max_clusters: {text}\n"
        );
        let flags = ["-distributor.downstream.url", &text, "-config.expand-env"];
        let variables = [("HA_DISTRIBUTOR_DISTRIBUTOR__REMOTE_TIMEOUT", text.as_str())];
        let process = Process { files: &[("c.yaml", &yaml)], variables: &variables, flags: &flags };
        let _ = process.start();
    }
}
