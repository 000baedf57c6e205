//! What must hold of the source itself; promtool and a real Prometheus check the expressions.

use std::collections::BTreeSet;

use super::alerts::{HEALTHY, all};
use super::rules::Alert;
use super::*;

fn each_alert(check: impl Fn(&Alert)) {
    for alert in all().iter().flat_map(|group| group.alerts) {
        check(alert);
    }
}

fn metric(series: &str) -> &str {
    series.split('{').next().unwrap_or_default()
}

#[test]
fn names_are_unique_and_speak_of_the_distributor() {
    let groups = all();
    let names: Vec<&str> = groups
        .iter()
        .flat_map(|group| group.alerts)
        .map(|alert| alert.name)
        .collect();
    assert!(names.iter().all(|name| name.starts_with("HaDistributor")));
    let unique: BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
}

#[test]
fn the_healthy_fleet_has_what_makes_an_alert_fire() {
    let healthy: BTreeSet<&str> = HEALTHY.iter().map(|(series, _)| metric(series)).collect();
    each_alert(|alert| {
        assert!(!alert.fires.series.is_empty(), "{}", alert.name);
        for (series, _) in alert.fires.series {
            assert!(healthy.contains(metric(series)), "{}: {series}", alert.name);
        }
    });
}

#[test]
fn texts_use_only_labels_that_the_alert_has() {
    each_alert(|alert| {
        let labels = alert.fires.labels.replace('@', rule_tests::LABELS);
        for text in [alert.summary, alert.description] {
            for used in text.split("$labels.").skip(1) {
                let label: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                assert!(
                    labels.contains(&format!("{label}=\"")),
                    "{}: {label} is not in {labels}",
                    alert.name
                );
            }
        }
    });
}

#[test]
fn every_expression_selects_the_distributors() {
    for record in records::all() {
        assert!(record.expr.contains('@') || record.expr.contains(":ha_distributor"));
    }
    each_alert(|alert| {
        let selects = alert.expr.contains('@') || alert.expr.contains(":ha_distributor");
        assert!(selects, "{}", alert.name);
    });
}

#[test]
fn files_are_named_as_they_are_written() {
    let written: Vec<&str> = files().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(written, names().collect::<Vec<_>>());
}
