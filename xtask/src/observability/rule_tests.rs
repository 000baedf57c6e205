//! The tests of the rules, for `promtool test rules`: each alert fires when it should, and none does
//! in a healthy fleet.

use super::GENERATED;
use super::alerts::HEALTHY;
use super::rules::{Alert, Group};
use super::yaml::quoted;

/// The labels of a scraped series in tests; `@` in the source.
pub(super) const LABELS: &str = r#"namespace="prod", job="prod/ha-distributor""#;

/// `deploy/observability/rules_test.yaml`.
pub(super) fn render(groups: &[Group]) -> String {
    let mut text = format!(
        "# {GENERATED}\n#\n\
         # For `promtool test rules`: each alert fires, and none does in a healthy fleet.\n\
         rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n"
    );
    text += &healthy();
    for alert in groups.iter().flat_map(|group| group.alerts) {
        text += &fires(alert);
    }
    text
}

fn healthy() -> String {
    let mut text = "  - name: a healthy fleet\n    interval: 1m\n    input_series:\n".to_owned();
    for (series, values) in HEALTHY {
        text += &input(series, values);
    }
    text += "    promql_expr_test:\n";
    for at in ["5m", "30m", "90m"] {
        text +=
            &format!("      - expr: ALERTS\n        eval_time: {at}\n        exp_samples: []\n");
    }
    text
}

fn fires(alert: &Alert) -> String {
    let Alert { name, fires, .. } = alert;
    let mut text = format!("  - name: {name}\n    interval: 1m\n    input_series:\n");
    for (series, values) in fires.series {
        text += &input(series, values);
    }
    text += "    promql_expr_test:\n";
    text += &format!(
        "      - expr: {}\n",
        quoted(&format!(
            r#"ALERTS{{alertname="{name}", alertstate="firing"}}"#
        ))
    );
    let labels = match labelled(fires.labels) {
        labels if labels.is_empty() => labels,
        labels => format!(", {labels}"),
    };
    let expected = format!(
        r#"ALERTS{{alertname="{name}", alertstate="firing", severity="{}"{labels}}}"#,
        alert.severity.as_str()
    );
    text + &format!(
        "        eval_time: {}\n        exp_samples:\n          - labels: {}\n            value: 1\n",
        fires.at,
        quoted(&expected)
    )
}

fn input(series: &str, values: &str) -> String {
    format!(
        "      - series: {}\n        values: {}\n",
        quoted(&labelled(series)),
        quoted(values)
    )
}

fn labelled(text: &str) -> String {
    text.replace('@', LABELS)
}
