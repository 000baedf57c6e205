//! What rules are made of, and the file that Prometheus reads.

use super::yaml::{block, quoted};
use super::{GENERATED, RUNBOOKS, SELECTOR};

/// How soon a person must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// At once: samples are lost or doubled, or will be soon.
    Critical,
    /// Within a day.
    Warning,
    /// Not at all: it explains something else.
    Info,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Alerts about one part.
pub(super) struct Group {
    /// Of the group in the rule file: `ha-distributor-<name>`.
    pub(super) name: &'static str,
    /// Of the section in the runbooks.
    pub(super) title: &'static str,
    pub(super) alerts: &'static [Alert],
}

/// One alert with its runbook and its test.
pub(super) struct Alert {
    pub(super) name: &'static str,
    pub(super) severity: Severity,
    /// How long the expression must hold; a Prometheus duration.
    pub(super) hold: &'static str,
    pub(super) expr: &'static str,
    /// One line; a template.
    pub(super) summary: &'static str,
    /// A sentence or two for a person who was just woken; a template.
    pub(super) description: &'static str,
    pub(super) runbook: Runbook,
    pub(super) fires: Fires,
}

/// The four parts of a runbook; Markdown.
pub(super) struct Runbook {
    pub(super) meaning: &'static str,
    pub(super) look: &'static str,
    pub(super) repair: &'static str,
    pub(super) false_alarms: &'static str,
}

/// When an alert must fire.
pub(super) struct Fires {
    /// Series and their values, one per minute, in promtool's notation.
    pub(super) series: &'static [(&'static str, &'static str)],
    /// The time at which it fires.
    pub(super) at: &'static str,
    /// The labels that the alert has then, besides its name and severity.
    pub(super) labels: &'static str,
}

/// A recording rule.
pub(super) struct Record {
    pub(super) name: &'static str,
    pub(super) expr: &'static str,
    /// Without a full stop.
    pub(super) meaning: &'static str,
}

/// `deploy/observability/rules.yaml`.
pub(super) fn render(records: &[Record], groups: &[Group]) -> String {
    let mut text = format!(
        "# {GENERATED}\n#\n\
         # Alerts and recording rules for Prometheus; docs/observability.md says how to install them.\n\
         # Replace two texts throughout if yours differ:\n\
         #   {SELECTOR}  selects the distributors\n\
         #   {RUNBOOKS}  begins the address of each runbook\n\
         groups:\n  - name: ha-distributor-records\n    rules:\n"
    );
    for record in records {
        text += &format!("      - record: {}\n", record.name);
        text += &block("        expr", &selected(record.expr));
    }
    for group in groups {
        text += &format!("  - name: ha-distributor-{}\n    rules:\n", group.name);
        for alert in group.alerts {
            text += &render_alert(alert);
        }
    }
    text
}

fn render_alert(alert: &Alert) -> String {
    let mut text = format!("      - alert: {}\n", alert.name);
    text += &block("        expr", &selected(alert.expr));
    if alert.hold != "0s" {
        text += &format!("        for: {}\n", alert.hold);
    }
    text += &format!(
        "        labels:\n          severity: {}\n        annotations:\n",
        alert.severity.as_str()
    );
    for (name, value) in [
        ("summary", alert.summary),
        ("description", alert.description),
    ] {
        text += &format!("          {name}: {}\n", quoted(value));
    }
    text + &format!(
        "          runbook_url: {RUNBOOKS}#{}\n",
        alert.name.to_lowercase()
    )
}

fn selected(expr: &str) -> String {
    expr.replace('@', SELECTOR)
}
