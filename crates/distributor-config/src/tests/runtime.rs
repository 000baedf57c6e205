//! The runtime configuration: loading, refusing, reloading.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use ingest::InstanceLimits;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tempfile::TempDir;

use super::Process;
use crate::{Limits, Mode, MultiKvOverride, RuntimeConfig, RuntimeConfigSource};

const PERIOD: Duration = Duration::from_secs(10);

const GOOD: &str = "\
overrides:
  one:
    ha_max_clusters: 7
    ha_tracker_update_timeout: 10s
    ruler_max_rules_per_rule_group: 20
  two.with-dots: {accept_ha_samples: true}
  empty:
ingester_limits: {}
multi_kv_config:
  primary: memberlist
  mirror_enabled: true
";

struct Files {
    folder: TempDir,
    registry: Registry,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let files_of_test = Self {
            folder: TempDir::new().unwrap(),
            registry: Registry::default(),
        };
        for (name, text) in files {
            files_of_test.write(name, text);
        }
        files_of_test
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn source(&self, names: &[&str]) -> RuntimeConfigSource {
        let files = names.iter().map(|name| self.path(name)).collect();
        RuntimeConfigSource {
            files,
            period: PERIOD,
            strict: false,
        }
    }

    async fn strict_mistakes(&mut self, names: &[&str]) -> String {
        let source = RuntimeConfigSource {
            strict: true,
            ..self.source(names)
        };
        let started = RuntimeConfig::start(source, defaults(), &mut self.registry).await;
        self.without_folder(&started.unwrap_err().to_string())
    }

    async fn start(&mut self, names: &[&str]) -> RuntimeConfig {
        let source = self.source(names);
        RuntimeConfig::start(source, defaults(), &mut self.registry)
            .await
            .unwrap()
    }

    async fn mistakes(&mut self, names: &[&str]) -> String {
        let source = self.source(names);
        let started = RuntimeConfig::start(source, defaults(), &mut self.registry).await;
        self.without_folder(&started.unwrap_err().to_string())
    }

    fn without_folder(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect()
    }
}

fn defaults() -> Limits {
    Process::default().config().limits
}

#[tokio::test]
async fn overrides_apply_to_their_tenant() {
    let mut files = Files::new(&[("a.yaml", GOOD)]);
    let runtime = files.start(&["a.yaml"]).await;
    let one = runtime.limits("one");
    assert_eq!(one.elections.max_clusters, 7);
    assert_eq!(one.elections.update_timeout, Duration::from_secs(10));
    assert_eq!(
        one.elections.failover_timeout,
        Duration::from_secs(30),
        "from the defaults"
    );
    assert!(
        runtime
            .reader()
            .limits("two.with-dots")
            .push
            .accept_ha_samples
    );
    assert_eq!(*runtime.limits("other"), defaults());
    assert!(Arc::ptr_eq(
        &runtime.limits("other"),
        &runtime.limits("empty")
    ));
    let multi = MultiKvOverride {
        primary: Some("memberlist".into()),
        mirror_enabled: Some(true),
    };
    assert_eq!(runtime.snapshot().multi_kv_config(), Some(&multi));
    runtime.shutdown().await.unwrap();
}

#[tokio::test]
async fn without_files_all_tenants_have_the_defaults() {
    let mut files = Files::new(&[]);
    let runtime = files.start(&[]).await;
    assert_eq!(*runtime.limits("any"), defaults());
    assert_eq!(runtime.reload_now().await, Ok(false));
    assert_eq!(runtime.snapshot().multi_kv_config(), None);
    runtime.shutdown().await.unwrap();
}

#[tokio::test]
async fn later_files_win_by_key() {
    let mut files = Files::new(&[
        (
            "a.yaml",
            "overrides: {t: {ha_max_clusters: 1, ingestion_rate: 2}}",
        ),
        (
            "b.yaml",
            "overrides: {t: {ha_max_clusters: 3}}\nmulti_kv_config: {mirror_enabled: false}",
        ),
    ]);
    let runtime = files.start(&["a.yaml", "b.yaml"]).await;
    let limits = runtime.limits("t");
    assert_eq!(limits.elections.max_clusters, 3);
    assert!((limits.push.ingestion_rate - 2.0).abs() < f64::EPSILON);
    let multi = MultiKvOverride {
        primary: None,
        mirror_enabled: Some(false),
    };
    assert_eq!(runtime.snapshot().multi_kv_config(), Some(&multi));
    runtime.shutdown().await.unwrap();
}

#[tokio::test]
async fn limits_of_the_instance_override_what_is_configured() {
    let mut files = Files::new(&[
        (
            "a.yaml",
            "distributor_limits: {max_inflight_push_requests: 7, max_ingestion_rate: 1.5}",
        ),
        (
            "b.yaml",
            "distributor_limits:\n  max_ingestion_rate: 2000\n  \
             max_inflight_push_requests_bytes: auto\n",
        ),
    ]);
    let runtime = files.start(&["a.yaml", "b.yaml"]).await;
    let configured = InstanceLimits {
        max_inflight_push_requests: 1,
        max_inflight_push_requests_bytes: Some(1),
        max_ingestion_rate: 1.0,
    };
    let snapshot = runtime.snapshot();
    let expected = InstanceLimits {
        max_inflight_push_requests: 7,
        max_inflight_push_requests_bytes: None,
        max_ingestion_rate: 2000.0,
    };
    assert_eq!(snapshot.distributor_limits().over(&configured), expected);
    expect![[r#"
        overrides: {}
        distributor_limits:
          max_inflight_push_requests: 7
          max_inflight_push_requests_bytes: auto
          max_ingestion_rate: 2000
    "#]]
    .assert_eq(&snapshot.render_yaml(Mode::Full));
    runtime.shutdown().await.unwrap();

    let mut files = Files::new(&[("a.yaml", "overrides: {}")]);
    let runtime = files.start(&["a.yaml"]).await;
    let nothing = runtime.snapshot().distributor_limits().over(&configured);
    assert_eq!(nothing, configured);
    runtime.shutdown().await.unwrap();
}

#[tokio::test]
async fn all_mistakes_are_reported_and_the_start_fails() {
    let text = "\
override: {}
overrides:
  one:
    ha_max_cluster: 1
    ha_tracker_failover_timeout: 10s
    server: {}
  two: 5
  three:
    ha_replica_label: cluster
    ingestion_rate: fast
multi_kv_config: {primry: x}
limits: {}
";
    let mut files = Files::new(&[("a.yaml", text)]);
    expect![[r#"
        the configuration has 7 mistakes:
          missing.yaml: cannot be read: No such file or directory (os error 2); check runtime_config.file
          a.yaml:1: override: unknown key; did you mean overrides?
          a.yaml:11: multi_kv_config.primry: unknown key; did you mean primary?
          a.yaml:7: overrides.two: got a single value; must be a mapping
          a.yaml:10: overrides.three.ingestion_rate: got "fast"; must be a number from 0
          a.yaml:5: overrides.one.ha_tracker_failover_timeout: got 10s; must be at least 21s: the sum of ha_tracker_update_timeout 15s (default), ha_tracker_update_timeout_jitter_max 5s (default) and 1s; raise it, or lower these
          a.yaml:9: overrides.three.ha_replica_label: got "cluster", which is also ha_cluster_label (default); they must be different labels"#]].assert_eq(&files.mistakes(&["a.yaml", "missing.yaml"]).await);
    expect![[r#"
        the configuration has 9 mistakes:
          a.yaml:1: override: unknown key; did you mean overrides?
          a.yaml:11: multi_kv_config.primry: unknown key; did you mean primary?
          a.yaml:12: limits: unknown key; known here: overrides, multi_kv_config, distributor_limits
          a.yaml:4: overrides.one.ha_max_cluster: unknown key; did you mean ha_max_clusters?
          a.yaml:6: overrides.one.server: unknown key; known here: accept_ha_samples, ha_cluster_label, ha_replica_label, ha_tracker_per_sample_dedupe, ha_max_clusters, ha_tracker_update_timeout, ha_tracker_update_timeout_jitter_max, ha_tracker_failover_timeout, ha_tracker_sample_failover_timeout, ha_tracker_sender_backoff, ha_failover_mode, ha_failover_guard, ha_failover_slice, ha_failover_hold_bytes, ingestion_rate, ingestion_rate_strategy, ingestion_burst_size
          a.yaml:7: overrides.two: got a single value; must be a mapping
          a.yaml:10: overrides.three.ingestion_rate: got "fast"; must be a number from 0
          a.yaml:5: overrides.one.ha_tracker_failover_timeout: got 10s; must be at least 21s: the sum of ha_tracker_update_timeout 15s (default), ha_tracker_update_timeout_jitter_max 5s (default) and 1s; raise it, or lower these
          a.yaml:9: overrides.three.ha_replica_label: got "cluster", which is also ha_cluster_label (default); they must be different labels"#]].assert_eq(&files.strict_mistakes(&["a.yaml"]).await);
}

#[tokio::test(start_paused = true)]
async fn changes_are_seen_and_broken_files_change_nothing() {
    let mut files = Files::new(&[("a.yaml", "overrides: {t: {ha_max_clusters: 1}}")]);
    let runtime = files.start(&["a.yaml"]).await;
    let mut changes = runtime.subscribe();
    expect![[r#"
        cortex_runtime_config_last_reload_successful 1
        cortex_runtime_config_hash{sha256="be22642bba7e133828efc3b121943cf1c8ad298bdda6d98f9aa620a24ac115d9"} 1
    "#]].assert_eq(&files.metrics());

    files.write("a.yaml", "overrides: {t: {ha_max_clusters: 2}}");
    changes.changed().await.unwrap();
    assert_eq!(
        changes
            .borrow_and_update()
            .limits("t")
            .elections
            .max_clusters,
        2
    );
    assert_eq!(runtime.limits("t").elections.max_clusters, 2);

    files.write("a.yaml", "overrides: {t: {ha_max_clusters: many}}");
    let mistakes = runtime.reload_now().await.unwrap_err().to_string();
    expect![[r#"
        the configuration has 1 mistake:
          a.yaml:1: overrides.t.ha_max_clusters: got "many"; must be a whole number from 0"#]]
    .assert_eq(&files.without_folder(&mistakes));
    assert_eq!(
        runtime.reload_now().await.unwrap_err().to_string(),
        mistakes,
        "still broken"
    );
    assert_eq!(
        runtime.limits("t").elections.max_clusters,
        2,
        "the last good one stays"
    );
    assert!(files.metrics().contains("last_reload_successful 0"));

    files.write("a.yaml", "overrides: {t: {ha_max_clusters: 2}}");
    assert_eq!(runtime.reload_now().await, Ok(true));
    assert!(files.metrics().contains("last_reload_successful 1"));
    assert_eq!(
        runtime.reload_now().await,
        Ok(false),
        "the same again is no change"
    );

    std::fs::remove_file(files.path("a.yaml")).unwrap();
    assert!(runtime.reload_now().await.is_err());
    assert_eq!(runtime.limits("t").elections.max_clusters, 2);
    files.write("a.yaml", "overrides: {t: {ha_max_clusters: 2}}");
    runtime.reload_now().await.unwrap();
    assert!(files.metrics().contains("last_reload_successful 1"));

    let reader = runtime.reader();
    runtime.shutdown().await.unwrap();
    assert_eq!(
        reader.limits("t").elections.max_clusters,
        2,
        "readers outlive the shutdown"
    );
}

#[tokio::test]
async fn rendering() {
    let mut files = Files::new(&[("a.yaml", GOOD)]);
    let runtime = files.start(&["a.yaml"]).await;
    let snapshot = runtime.snapshot();
    expect![[r#"
        overrides:
          one:
            ha_max_clusters: 7
            ha_tracker_update_timeout: 10s
          two.with-dots:
            accept_ha_samples: true
        multi_kv_config:
          primary: memberlist
          mirror_enabled: true
    "#]]
    .assert_eq(&snapshot.render_yaml(Mode::Diff));
    assert_eq!(
        snapshot.render_json(Mode::Diff)["overrides"]["one"],
        json!({"ha_max_clusters": 7, "ha_tracker_update_timeout": "10s"})
    );
    let full = snapshot.render_json(Mode::Full);
    assert_eq!(
        full["overrides"]["one"]["ha_tracker_failover_timeout"],
        "30s"
    );
    assert_eq!(full["multi_kv_config"]["primary"], "memberlist");
    assert_eq!(
        snapshot.render_json(Mode::Defaults)["limits"]["ha_max_clusters"],
        100
    );

    files.write("again.yaml", &snapshot.render_yaml(Mode::Diff));
    let again = files.start(&["again.yaml"]).await;
    for (tenant, limits) in snapshot.tenants() {
        assert_eq!(again.limits(tenant), *limits);
    }
    assert!(Path::new(&files.path("again.yaml")).exists());
    runtime.shutdown().await.unwrap();
    again.shutdown().await.unwrap();
}

const TWO: &str = "overrides: {t: {accept_ha_samples: true}, u: {accept_ha_samples: true}}";

#[tokio::test(start_paused = true)]
async fn an_empty_file_changes_nothing_until_it_says_that_nothing_is_overridden() {
    let mut files = Files::new(&[("a.yaml", TWO)]);
    let runtime = files.start(&["a.yaml"]).await;
    for empty in ["", "# overrides: {}\n\n", "---\n"] {
        files.write("a.yaml", empty);
        let mistakes = runtime.reload_now().await.unwrap_err().to_string();
        assert!(mistakes.contains("is empty but had content before; write {}"));
        tokio::time::sleep(PERIOD * 10).await;
        assert!(runtime.limits("t").push.accept_ha_samples);
        assert!(files.metrics().contains("last_reload_successful 0"));
        assert!(runtime.reader().refused().is_some());
    }
    files.write("a.yaml", "{}");
    let mut changes = runtime.subscribe();
    changes.changed().await.unwrap();
    assert!(!runtime.limits("t").push.accept_ha_samples);
    assert!(runtime.reader().refused().is_none());
    runtime.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_cut_in_the_middle_of_a_write_changes_nothing() {
    let mut files = Files::new(&[("a.yaml", TWO)]);
    let runtime = files.start(&["a.yaml"]).await;
    // It parses, and one tenant is missing.
    files.write("a.yaml", "overrides: {t: {accept_ha_samples: true}}");
    tokio::time::sleep(PERIOD * 2).await;
    assert!(runtime.limits("u").push.accept_ha_samples);
    let refused = runtime.reader().refused().unwrap();
    assert!(
        refused.mistakes.to_string().contains("has shrunk in place"),
        "{refused:?}"
    );
    // The rest of it.
    files.write("a.yaml", TWO);
    tokio::time::sleep(PERIOD * 2).await;
    assert!(runtime.reader().refused().is_none());
    assert!(files.metrics().contains("last_reload_successful 1"));

    files.write("a.yaml", "overrides: {t: {accept_ha_samples: true}}");
    let mut changes = runtime.subscribe();
    changes.changed().await.unwrap();
    assert!(
        !runtime.limits("u").push.accept_ha_samples,
        "it has stayed so"
    );
    runtime.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_replaced_as_a_whole_is_taken_over_soon() {
    let mut files = Files::new(&[("a.yaml", TWO)]);
    let runtime = files.start(&["a.yaml"]).await;
    let mut changes = runtime.subscribe();
    files.write("next.yaml", "overrides: {}");
    std::fs::rename(files.path("next.yaml"), files.path("a.yaml")).unwrap();
    let begun = tokio::time::Instant::now();
    changes.changed().await.unwrap();
    assert!(begun.elapsed() <= PERIOD + Duration::from_secs(2));
    assert!(!runtime.limits("t").push.accept_ha_samples);
    runtime.shutdown().await.unwrap();
}

/// Of a tenant, of the multi store and of the file.
const WITH_UNKNOWN: &str = "\
overrides:
  one: {ha_max_clusters: 7, of_a_newer_mimir: 1, ha_max_cluster: 8}
  two: {of_a_newer_mimir: 2, ruler_max_rules_per_rule_group: 3}
  three: {of_a_newer_mimir: [1, 2], accept_ha_samples: true}
of_the_file: {a: 1}
multi_kv_config: {primary: memberlist, of_the_store: 1}
";

#[tokio::test]
async fn unknown_names_are_left_out_and_named() {
    let mut files = Files::new(&[("a.yaml", WITH_UNKNOWN)]);
    let runtime = files.start(&["a.yaml"]).await;
    assert_eq!(runtime.limits("one").elections.max_clusters, 7);
    assert!(runtime.limits("three").push.accept_ha_samples);
    let multi = runtime.snapshot().multi_kv_config().cloned().unwrap();
    assert_eq!(multi.primary.as_deref(), Some("memberlist"));

    files.write("a.yaml", &format!("{WITH_UNKNOWN}more: 1\n"));
    assert_eq!(runtime.reload_now().await, Ok(true), "a reload is the same");
    runtime.shutdown().await.unwrap();

    let mut config = Process::default().config();
    config.runtime_config = files.source(&["a.yaml"]);
    config.distributor.ha_tracker.enable_ha_tracker = true;
    let warnings = RuntimeConfig::check(&config).await.unwrap().join("\n");
    expect![[r#"
        ignored unknown names, perhaps of an older or newer Mimir (-config.strict refuses them): of_the_file (a.yaml:5), multi_kv_config.of_the_store (a.yaml:6), more (a.yaml:7), overrides.one.of_a_newer_mimir (a.yaml:2 and 2 more), overrides.one.ha_max_cluster (a.yaml:2; did you mean ha_max_clusters?)
        ignored settings of Mimir that have no effect in this program: limits.ruler_max_rules_per_rule_group"#]].assert_eq(&files.without_folder(&warnings));
    let mistakes = files.strict_mistakes(&["a.yaml"]).await;
    for line in [
        "the configuration has 7 mistakes:",
        "\n  a.yaml:5: of_the_file: unknown key; known here: overrides,",
        "\n  a.yaml:6: multi_kv_config.of_the_store: unknown key; known here: primary,",
        "\n  a.yaml:2: overrides.one.ha_max_cluster: unknown key; did you mean ha_max_clusters?",
        "\n  a.yaml:4: overrides.three.of_a_newer_mimir: unknown key; known here: accept_ha_samples,",
    ] {
        assert!(mistakes.contains(line), "{mistakes}");
    }
}

#[tokio::test(start_paused = true)]
async fn strict_refuses_a_reload_as_well() {
    let mut files = Files::new(&[("a.yaml", "overrides: {t: {ha_max_clusters: 1}}")]);
    let source = RuntimeConfigSource {
        strict: true,
        ..files.source(&["a.yaml"])
    };
    let registry = &mut files.registry;
    let runtime = RuntimeConfig::start(source, defaults(), registry)
        .await
        .unwrap();
    files.write(
        "a.yaml",
        "overrides: {t: {ha_max_clusters: 2, of_a_newer_mimir: 1}}",
    );
    let mistakes = runtime.reload_now().await.unwrap_err().to_string();
    assert!(
        mistakes.contains("overrides.t.of_a_newer_mimir: unknown key"),
        "{mistakes}"
    );
    assert_eq!(runtime.limits("t").elections.max_clusters, 1);
    runtime.shutdown().await.unwrap();
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn files_may_be_gzipped() {
    let mut files = Files::new(&[("b.yaml", "overrides: {u: {ha_max_clusters: 2}}")]);
    // Two streams in one file are one text.
    let parts = [gzip("overrides: {t: {ha_max_"), gzip("clusters: 1}}")];
    std::fs::write(files.path("a.yaml.gz"), parts.concat()).unwrap();
    let runtime = files.start(&["a.yaml.gz", "b.yaml"]).await;
    assert_eq!(runtime.limits("t").elections.max_clusters, 1);
    assert_eq!(runtime.limits("u").elections.max_clusters, 2);

    // Replaced by a file that is cut off, then by plain text, whatever its name says.
    let cut = &gzip("overrides: {t: {ha_max_clusters: 9}}")[..30];
    std::fs::write(files.path("a.yaml.gz"), cut).unwrap();
    let mistakes = runtime.reload_now().await.unwrap_err().to_string();
    assert!(
        mistakes.contains("begins as gzip, but is not whole"),
        "{mistakes}"
    );
    std::fs::write(files.path("a.yaml.gz"), [0xff, 0xfe]).unwrap();
    let mistakes = runtime.reload_now().await.unwrap_err().to_string();
    assert!(mistakes.contains("not text in UTF-8"), "{mistakes}");
    assert_eq!(runtime.limits("t").elections.max_clusters, 1);
    files.write("a.yaml.gz", "overrides: {t: {ha_max_clusters: 3}}");
    assert_eq!(runtime.reload_now().await, Ok(true));
    assert_eq!(runtime.limits("t").elections.max_clusters, 3);
    runtime.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_check_tells_what_files_and_configuration_say_together() {
    let files = Files::new(&[
        (
            "accept.yaml",
            "overrides: {b: {accept_ha_samples: true}, a: {accept_ha_samples: true}}",
        ),
        ("not.yaml", "overrides: {b: {accept_ha_samples: false}}"),
    ]);
    for (file, is_on, expected) in [
        ("accept.yaml", true, ""),
        ("not.yaml", false, ""),
        (
            "accept.yaml",
            false,
            "overrides.a and 1 more: accept_ha_samples is true, but the HA tracker is off: nothing is \
             deduplicated; set distributor.ha_tracker.enable_ha_tracker",
        ),
        (
            "not.yaml",
            true,
            "the HA tracker is on, but accept_ha_samples is true for no tenant: nothing is \
             deduplicated; set it in limits, or in the overrides of a tenant",
        ),
    ] {
        let mut config = Process::default().config();
        config.runtime_config = files.source(&[file]);
        config.distributor.ha_tracker.enable_ha_tracker = is_on;
        let warnings = RuntimeConfig::check(&config).await.unwrap();
        assert_eq!(warnings.join("\n"), expected, "{file}, {is_on}");
    }
}
