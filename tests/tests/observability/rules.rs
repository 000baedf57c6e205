//! Alerts and recording rules, by Prometheus's own tool.

use std::path::{Path, PathBuf};

use e2e::promtool;

/// A file of `deploy/observability`.
pub(crate) fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/observability")
        .join(name)
}

#[tokio::test]
async fn every_alert_fires_when_it_should_and_none_in_a_healthy_fleet() {
    promtool::check_rules(&shipped("rules.yaml")).await.unwrap();
    promtool::test_rules(&shipped("rules_test.yaml"))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_tests_of_the_rules_can_fail() {
    let folder = tempfile::tempdir().unwrap();
    let rules = std::fs::read_to_string(shipped("rules.yaml")).unwrap();
    let tests = folder.path().join("rules_test.yaml");
    std::fs::copy(shipped("rules_test.yaml"), &tests).unwrap();
    for (threshold, wrong, alert, verdict) in [
        // Never fires.
        ("> 0.8", "> 800", "HaDistributorOpenFilesHigh", "got: nil"),
        // Fires in the healthy fleet.
        ("> 0.8", "> 0.01", "HaDistributorOpenFilesHigh", "exp: nil"),
    ] {
        let changed = rules.replace(threshold, wrong);
        assert_ne!(changed, rules);
        std::fs::write(folder.path().join("rules.yaml"), changed).unwrap();
        let failed = promtool::test_rules(&tests).await.unwrap_err();
        assert!(failed.contains(alert), "{failed}");
        assert!(failed.contains(verdict), "{failed}");
    }
}
