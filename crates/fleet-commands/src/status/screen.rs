//! The result, for people and for programs.

use std::fmt::Write as _;
use std::time::SystemTime;

use explanation::list;
use fleet_client::short;
use serde_json::json;

use super::judge::{Finding, Level};
use super::{Instance, Seen};
use crate::output::{Style, clean, wrapped};

/// Distributors that a finding names.
const NAMED: usize = 4;

pub(super) fn text(seen: &[Seen], findings: &[Finding], now: SystemTime, style: Style) -> String {
    let mut out = String::new();
    let count = |level| findings.iter().filter(|one| one.level == level).count();
    let (critical, warnings) = (count(Level::Critical), count(Level::Warning));
    let verdict = match (critical, warnings) {
        (0, 0) => style.paint("1;32", "nothing needs attention"),
        (0, _) => style.paint("33", &format!("{warnings} warning(s)")),
        (_, 0) => style.paint("1;31", &format!("{critical} critical")),
        _ => style.paint(
            "1;31",
            &format!("{critical} critical, {warnings} warning(s)"),
        ),
    };
    let at = humantime::format_rfc3339_seconds(now);
    let _ = writeln!(out, "{} distributor(s) at {at}: {verdict}\n", seen.len());
    table(&mut out, seen, style);
    for finding in findings {
        out.push('\n');
        let (code, word) = match finding.level {
            Level::Critical => ("1;31", "CRITICAL"),
            Level::Warning => ("33", "WARNING "),
            Level::Note => ("2", "NOTE    "),
        };
        let _ = write!(out, "{}  ", style.paint(code, word));
        let remedy = match finding.remedy.as_str() {
            "" => String::new(),
            remedy => format!(" {remedy}."),
        };
        let of = match finding.instances.as_slice() {
            [] => String::new(),
            instances if instances.len() > 1 && instances.len() == seen.len() => "all: ".to_owned(),
            instances => format!("{}: ", list(instances, NAMED)),
        };
        wrapped(
            &mut out,
            &clean(&format!("{of}{}.{remedy}", finding.what)),
            10,
        );
    }
    out
}

fn table(out: &mut String, seen: &[Seen], style: Style) {
    let widest = seen.iter().map(|(target, _)| short(target).chars().count());
    let width = widest.max().unwrap_or(0).clamp(11, 40);
    let header = format!(
        "{:<width$}  {:<9} {:<11} {:<5} {:>7} {:>8} {:>9}",
        "distributor", "version", "revision", "ready", "members", "clusters", "attention",
    );
    let _ = writeln!(out, "{}", style.bold(header.trim_end()));
    for (target, instance) in seen {
        let name = clean(short(target));
        match instance {
            Err(error) => {
                let _ = write!(out, "{name:<width$}  ");
                let _ = writeln!(out, "{}", style.paint("1;31", &clean(error)));
            }
            Ok(instance) => {
                let members = instance.gossip.as_ref();
                let members = members.map(|gossip| gossip.active.len().to_string());
                let revision: String = instance.revision.chars().take(11).collect();
                let _ = writeln!(
                    out,
                    "{name:<width$}  {:<9} {:<11} {:<5} {:>7} {:>8} {:>9}",
                    clean(&instance.version),
                    clean(&revision),
                    if instance.not_ready.is_none() {
                        "yes"
                    } else {
                        "NO"
                    },
                    members.as_deref().unwrap_or("-"),
                    instance.elected.len(),
                    match instance.conditions.len() {
                        0 => "-".to_owned(),
                        count => count.to_string(),
                    },
                );
            }
        }
    }
}

pub(super) fn json(seen: &[Seen], findings: &[Finding], is_well: bool) -> serde_json::Value {
    let of = |instance: &Instance| {
        json!({
            "version": instance.version,
            "revision": instance.revision,
            "ready": instance.not_ready.is_none(),
            "notReadyBecause": instance.not_ready,
            "activeMembers": instance.gossip.as_ref().map(|gossip| &gossip.active),
            "clusters": instance.elected.len(),
            "conditions": instance.conditions,
        })
    };
    let instances: Vec<_> = seen
        .iter()
        .map(|(target, instance)| {
            let mut shown = match instance {
                Ok(instance) => of(instance),
                Err(error) => json!({ "error": error }),
            };
            shown["target"] = target.as_str().into();
            shown
        })
        .collect();
    json!({"ok": is_well, "instances": instances, "findings": findings})
}
