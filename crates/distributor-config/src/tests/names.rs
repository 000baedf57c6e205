//! Every setting of Mimir's, as a path in files and overrides and as a flag, from 2.0 on.

use std::collections::BTreeSet;

use expect_test::expect;
use serde_json::{Map, Value, json};
use settings::Setting;

use super::{DOWNSTREAM, Process, flag_mistakes, from_yaml, yaml_mistakes};
use crate::mimir::{self, MimirSetting};
use crate::schema::all_settings;
use crate::sources::meant::MISTYPED;
use crate::{Invocation, RuntimeConfig, Secret};

/// A dump of Mimir's defaults.
const DEFAULTS: &str = include_str!("mimir-defaults.yaml");

fn paths() -> impl Iterator<Item = &'static MimirSetting> {
    mimir::all()
        .iter()
        .filter(|setting| !setting.path.is_empty())
}

fn ours(path: &str) -> Option<&'static Setting> {
    all_settings()
        .iter()
        .find(|setting| setting.path == path || setting.also == path)
}

/// A value that the setting may have: its default if it is ours, else one of its kind.
fn value(setting: &MimirSetting) -> Value {
    match (ours(setting.path), setting.kind) {
        (Some(setting), _) => json!(setting.default),
        (None, "bool") => json!(true),
        (None, "int") => json!(-7),
        (None, "float") => json!(0.5),
        (None, "duration") => json!("2562047h47m16.854775807s"),
        (None, "list") => json!([{"a": 1}, "b"]),
        (None, "map") => json!({"a": {"b": "c"}}),
        (None, _) => json!("any"),
    }
}

fn put(tree: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(tree.insert(path.to_owned(), value)),
        Some((head, tail)) => {
            let section = tree.entry(head).or_insert_with(|| json!({}));
            put(section.as_object_mut().unwrap(), tail, value);
        }
    }
}

/// YAML with all `settings`, each with a value, below `section`.
fn document<'a>(settings: impl Iterator<Item = &'a MimirSetting>, section: &str) -> String {
    let mut tree = Map::new();
    for setting in settings {
        let path = setting.path.strip_prefix(section).unwrap();
        put(&mut tree, path, value(setting));
    }
    Value::Object(tree).to_string()
}

/// What the warning about ignored names lists.
fn ignored(warnings: &[String]) -> BTreeSet<&str> {
    let warning = warnings
        .iter()
        .find(|text| text.starts_with("ignored settings"));
    let (_, names) = warning.unwrap().rsplit_once(": ").unwrap();
    names.split(", ").collect()
}

#[test]
fn the_table_is_in_order() {
    assert!(mimir::all().len() > 2_100);
    for pair in mimir::all().windows(2) {
        let key = |setting: &MimirSetting| (setting.path, setting.flag);
        assert!(key(&pair[0]) < key(&pair[1]), "{pair:?}");
    }
    for setting in mimir::all() {
        let kinds = ["bool", "duration", "float", "int", "list", "map", "text"];
        assert!(kinds.contains(&setting.kind), "{setting:?}");
        assert!(!setting.flag.starts_with('-'), "{setting:?}");
    }
}

#[test]
fn every_path_is_accepted_in_a_file() {
    let text = document(paths(), "");
    // Strict, so that nothing passes as a name of another Mimir.
    for flags in [&[DOWNSTREAM][..], &[DOWNSTREAM, "-config.strict"]] {
        let loaded = Process {
            files: &[("mimir.yaml", &text)],
            flags,
            ..Process::default()
        }
        .loaded();
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
        let ignored = ignored(&loaded.warnings);
        for setting in paths().filter(|setting| ours(setting.path).is_none()) {
            let mut start = setting.path;
            while !ignored.contains(start) {
                let Some((shorter, _)) = start.rsplit_once('.') else {
                    panic!("{} is not named", setting.path);
                };
                start = shorter;
            }
        }
    }
}

#[tokio::test]
async fn every_limit_is_accepted_in_overrides() {
    let limits = paths().filter(|setting| setting.path.starts_with("limits."));
    let limits = document(limits, "limits.");
    let text = format!(
        "overrides: {{t: {limits}, u: {limits}}}\n\
         multi_kv_config: {{primary: consul, mirror_enabled: true}}\n\
         distributor_limits: {{max_inflight_push_requests: 1}}\n\
         ingester_limits: {{max_series: 1}}\n\
         ingester_stream_chunks_when_using_blocks: true\n"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let mut config = Process::default().config();
    config.runtime_config.files = vec![file.path().to_owned()];
    // Nothing passes as a name of another Mimir.
    config.runtime_config.strict = true;
    let warnings = RuntimeConfig::check(&config).await.unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(ignored(&warnings).contains("limits.ruler_max_rules_per_rule_group"));
}

#[test]
fn every_flag_is_accepted_and_named() {
    let flags = || {
        mimir::all()
            .iter()
            .filter(|setting| !setting.flag.is_empty())
    };
    let text = |setting: &MimirSetting| match value(setting) {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let joined = |dash: &str| -> Vec<String> {
        flags()
            .map(|setting| format!("{dash}{}={}", setting.flag, text(setting)))
            .collect()
    };
    let apart: Vec<String> = flags()
        .flat_map(|setting| match (setting.kind, ours(setting.path)) {
            // A boolean never takes the next argument.
            ("bool", None) => vec![format!("-{}", setting.flag)],
            ("bool", Some(ours)) => vec![format!("-{}={}", setting.flag, ours.default)],
            _ => vec![format!("-{}", setting.flag), text(setting)],
        })
        .collect();
    for arguments in [joined("-"), joined("--"), apart] {
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.push(DOWNSTREAM);
        let loaded = Process {
            flags: &arguments,
            ..Process::default()
        }
        .loaded();
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
        let expected: BTreeSet<String> = flags()
            .filter(|setting| {
                let is_ours = |ours: &Setting| ours.flag == setting.flag && !ours.unused;
                !all_settings().iter().any(is_ours)
            })
            .map(|setting| format!("-{}", setting.flag))
            .collect();
        let ignored = ignored(&loaded.warnings);
        assert!(ignored.iter().all(|name| expected.contains(*name)));
        let ours_unused = all_settings()
            .iter()
            .filter(|setting| setting.unused)
            .count();
        assert!(expected.len() - ignored.len() <= ours_unused);
    }
}

/// Flags of ours whose setting Mimir has, but under another flag.
const OTHER_FLAGS: [&str; 0] = [];

#[test]
fn our_flags_are_those_of_mimir() {
    let mut others = Vec::new();
    for setting in paths().filter(|setting| !setting.flag.is_empty()) {
        if let Some(ours) = ours(setting.path)
            && ours.flag != setting.flag
        {
            others.push(format!("{}: -{} here", setting.path, ours.flag));
        }
    }
    assert_eq!(others, OTHER_FLAGS);
}

/// The key where the walk leaves the table of ours, and the names beside it.
fn fork(path: &str) -> Option<(&str, BTreeSet<&'static str>)> {
    let mut section = String::new();
    for key in path.split('.') {
        let siblings: BTreeSet<&str> = all_settings()
            .iter()
            .filter_map(|setting| setting.path.strip_prefix(section.as_str()))
            .filter_map(|rest| rest.split('.').next())
            .collect();
        if !siblings.contains(key) {
            return Some((key, siblings));
        }
        section = format!("{section}{key}.");
    }
    None
}

/// Else what a newer Mimir adds would be refused as a typing error of one of ours.
#[test]
fn no_setting_of_mimir_is_almost_one_of_ours() {
    let mut near = Vec::new();
    for setting in paths() {
        let Some((key, siblings)) = fork(setting.path) else {
            continue;
        };
        let limit = MISTYPED.min((key.len() / 3).max(1));
        let like = siblings
            .iter()
            .find(|name| strsim::damerau_levenshtein(key, name) <= limit);
        near.extend(like.map(|like| format!("{}: {like}", setting.path)));
        let is_so_called = |path: &str| path.rsplit('.').next() == Some(key);
        // Before Mimir had this one.
        let others = paths().filter(|other| other.path != setting.path && is_so_called(other.path));
        let is_rare = key.contains('_') && others.count() < 2;
        let elsewhere = all_settings()
            .iter()
            .filter(|_| is_rare && ours(setting.path).is_none())
            .find(|ours| is_so_called(ours.path));
        near.extend(elsewhere.map(|ours| format!("{}: {}", setting.path, ours.path)));
    }
    assert_eq!(near, Vec::<String>::new());
}

#[test]
fn a_dump_of_mimirs_defaults_loads() {
    let loaded = Process {
        files: &[("mimir.yaml", DEFAULTS)],
        flags: &["-config.strict", "-distributor.remote-timeout=20s"],
        ..Process::default()
    }
    .loaded();
    let others: Vec<&String> = loaded
        .warnings
        .iter()
        .filter(|warning| !warning.starts_with("ignored settings"))
        .collect();
    expect![[r#"
        [
            "target is \"all\" (mimir.yaml:2), but this program runs the distributor only: what else is in all must run elsewhere; set it to distributor",
            "no downstream is configured (distributor.downstream): accepted samples are counted and DROPPED; set the URL of a remote-write backend",
        ]
    "#]].assert_debug_eq(&others);
    // And what the store needs, once it is used.
    let with_tracker = Process {
        files: &[("mimir.yaml", DEFAULTS)],
        flags: &["-distributor.ha-tracker.enable"],
        ..Process::default()
    };
    assert!(
        with_tracker
            .config()
            .distributor
            .ha_tracker
            .enable_ha_tracker
    );
}

/// `docs/mimir.md` has the reason of each.
#[test]
fn defaults_that_differ_from_mimirs() {
    let mimirs = json!(from_yaml(DEFAULTS));
    let here = json!(Process::default().config());
    let mut differing = Vec::new();
    for setting in all_settings() {
        let at = |config: &Value| {
            let mut keys = setting.path.split('.');
            keys.try_fold(config, |value, key| value.get(key)).cloned()
        };
        if at(&mimirs) != at(&here) {
            differing.push(setting.path);
        }
    }
    let page = include_str!("../../../../docs/mimir.md");
    let (_, rest) = page.split_once("### Defaults that differ").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    for path in &differing {
        assert!(section.contains(&format!("| `{path}` |")), "{path}");
    }
    expect![[r#"
        target
        distributor.remote_timeout
        distributor.instance_limits.max_inflight_push_requests_bytes
        distributor.retry_after_header.enabled
        limits.ingestion_rate
        limits.ingestion_burst_size
        memberlist.bind_addr
        memberlist.advertise_port"#]]
    .assert_eq(&differing.join("\n"));
}

#[test]
fn what_another_mimir_may_have_is_left_out_and_named() {
    let text = "\
server: {of_a_newer: 1, http_tls_config: {of_a_newer: 2}}
distributor:
  of_a_newer: {with: {more: below}}
  ha_tracker: {of_a_newer: 3, kvstore: {of_a_newer: 4, memberlist: {of_a_newer: 5}}}
limits: {of_a_newer: [6], ingestion_rates_of_many: 7, ha_max_clusters: 8}
memberlist: {host: 9}
";
    let process = Process {
        files: &[("c.yaml", text)],
        flags: &[DOWNSTREAM],
        ..Process::default()
    };
    let loaded = process.loaded();
    assert_eq!(loaded.config.limits.elections.max_clusters, 8);
    expect!["ignored unknown names, perhaps of an older or newer Mimir (-config.strict refuses them): server.of_a_newer (c.yaml:1), server.http_tls_config.of_a_newer (c.yaml:1), distributor.of_a_newer (c.yaml:3), distributor.ha_tracker.of_a_newer (c.yaml:4), distributor.ha_tracker.kvstore.of_a_newer (c.yaml:4), distributor.ha_tracker.kvstore.memberlist.of_a_newer (c.yaml:4), limits.of_a_newer (c.yaml:5), limits.ingestion_rates_of_many (c.yaml:5; did you mean ingestion_rate_strategy?), memberlist.host (c.yaml:6; did you mean distributor.ha_tracker.kvstore.consul.host?)"].assert_eq(&loaded.warnings.join("\n"));
    let strict = Process {
        flags: &["-config.strict"],
        ..process
    };
    let mistakes = strict.mistakes();
    assert!(
        mistakes.starts_with("the configuration has 9 mistakes"),
        "{mistakes}"
    );
    let one = "c.yaml:5: limits.of_a_newer: unknown key; known here: accept_ha_samples,";
    assert!(mistakes.contains(one), "{mistakes}");
}

#[test]
fn what_mimir_cannot_have_stays_a_mistake() {
    let text = "\
of_a_newer: {}
distributor:
  downstream: [{url: 'http://a/', of_a_newer: 1}]
  ha_tracker: {enable_ha_trackers: true, accept_ha_samples: true}
memberlist: {join_member: [a]}
";
    let mistakes = yaml_mistakes(text);
    let expected = [
        "the configuration has 5 mistakes:",
        "  c.yaml:1: of_a_newer: unknown key; known here: multitenancy_enabled,",
        "  c.yaml:3: distributor.downstream[0].of_a_newer: unknown key; known here: name, url,",
        "  c.yaml:4: distributor.ha_tracker.enable_ha_trackers: unknown key; did you mean \
         enable_ha_tracker?",
        "  c.yaml:4: distributor.ha_tracker.accept_ha_samples: unknown key; did you mean \
         limits.accept_ha_samples?",
        "  c.yaml:5: memberlist.join_member: unknown key; did you mean join_members?",
    ];
    for (line, expected) in mistakes.lines().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
    assert_eq!(mistakes.lines().count(), expected.len());
}

#[test]
fn the_name_that_cortex_and_loki_have_for_multitenancy() {
    let loaded = Process {
        files: &[("c.yaml", "auth_enabled: false")],
        flags: &[DOWNSTREAM],
        ..Process::default()
    }
    .loaded();
    assert!(loaded.config.multitenancy_enabled);
    let expected = "auth_enabled (c.yaml:1) has no effect: that is its name in Cortex and Loki; here, \
                    as in Mimir, it is multitenancy_enabled";
    assert_eq!(loaded.warnings, [expected]);
    let mistakes = flag_mistakes(&["-auth.enabled=false"]);
    let flag = "-auth.enabled: unknown flag; did you mean -auth.multitenancy-enabled?";
    assert!(mistakes.contains(flag), "{mistakes}");
}

#[test]
fn client_auth_type_may_be_empty_and_all_kinds_exist() {
    for (text, expected) in [
        ("''", "NoClientCert"),
        ("NoClientCert", "NoClientCert"),
        ("RequestClientCert", "RequestClientCert"),
        ("RequireAnyClientCert", "RequireAnyClientCert"),
    ] {
        let config = from_yaml(&format!(
            "server: {{grpc_tls_config: {{cert: c, key: k, client_auth_type: {text}}}}}"
        ));
        let tls = &config.server.grpc_tls_config;
        assert_eq!(tls.client_auth_type.as_str(), expected);
        assert_eq!(tls.cert.as_deref(), Some("c"));
        assert_eq!(tls.key.as_ref().map(Secret::expose), Some("k"));
    }
    expect![[r#"
        the configuration has 3 mistakes:
          c.yaml:2: server.http_tls_config.client_auth_type: got "RequestAny"; must be one of NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert
          c.yaml:2: server.http_tls_config.cert: is set beside server.http_tls_config.cert_file; remove one of them
          c.yaml:3: server.grpc_tls_config.client_auth_type: client certificates need TLS; set server.grpc_tls_config.cert_file and server.grpc_tls_config.key_file"#]].assert_eq(&yaml_mistakes(
        "\
server:
  http_tls_config: {cert: c, cert_file: /dev/null, key: k, client_auth_type: RequestAny}
  grpc_tls_config: {client_ca: a, client_auth_type: RequireAnyClientCert}
",
    ));
}

#[test]
fn a_target_needs_a_distributor() {
    for (target, has_more) in [
        ("distributor", false),
        ("all", true),
        ("write", true),
        ("ingester, distributor", true),
    ] {
        let loaded = Process {
            flags: &[DOWNSTREAM, "-target=ingester", "-target", target],
            ..Process::default()
        }
        .loaded();
        assert_eq!(loaded.config.target, target, "the last one wins, as in Go");
        let said = loaded.warnings.iter().any(|text| {
            text.starts_with(&format!("target is {target:?} (-target), but this program"))
        });
        assert_eq!(said, has_more, "{target}: {:?}", loaded.warnings);
    }
    let mistakes = |target: &str| {
        let flag = format!("-target={target}");
        flag_mistakes(&[&flag])
    };
    expect![[r#"
        the configuration has 1 mistake:
          -target: target: got "ingester,querier", in which there is no distributor, and this program is nothing else; must contain distributor, write or all
        the configuration has 1 mistake:
          -target: target: got "read", in which there is no distributor, and this program is nothing else; must contain distributor, write or all
        the configuration has 1 mistake:
          -target: target: got ""; must be text that is not empty
        the configuration has 1 mistake:
          -target: target: got "distributer", which is no module of Mimir; did you mean distributor?
        the configuration has 1 mistake:
          -target: target: got "vcr", which is no module of Mimir; -modules lists them"#]].assert_eq(
        &[
            "ingester,querier",
            "read",
            "",
            "distributer",
            "distributor,vcr",
        ]
        .map(mistakes)
        .join("\n"),
    );
    expect![[r#"
        the configuration has 1 mistake:
          c.yaml:1: target: got "store-gateway", in which there is no distributor, and this program is nothing else; must contain distributor, write or all"#]].assert_eq(&yaml_mistakes("target: store-gateway"));
}

#[test]
fn modules_are_listed() {
    let process = Process {
        flags: &["-modules", "-target=none"],
        ..Process::default()
    };
    let Ok(Invocation::Help(text)) = process.start() else {
        panic!("no text");
    };
    expect![[r#"
        alertmanager
        all *
        backend
        block-builder
        block-builder-scheduler
        compactor
        continuous-test
        distributor *
        flusher
        ingester
        overrides-exporter
        purger
        querier
        query-frontend
        query-scheduler
        read
        ruler
        store-gateway
        usage-tracker
        write *

        Modules of Mimir. Those marked with * contain the distributor, which is what this program runs of them; -target needs one of them.
    "#]].assert_eq(&text);
}
